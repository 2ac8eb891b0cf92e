// Package pods tests konductor as its users use it: installed with its chart on a real cluster, in real Jobs, CronJobs and
// Deployments that run the manifests of the directory examples.
//
// The cluster is started once for all tests and needs root on Linux; elsewhere the tests are skipped. Each test has a namespace
// of its own and observes what happens with watches that are independent of konductor: see revisionLog.
package pods
