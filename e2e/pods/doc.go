// Package pods tests konductor as its users meet it: installed with its chart on a
// real cluster, at work in real Jobs, CronJobs and Deployments that run the
// manifests of the folder examples.
//
// The cluster is started once for all tests and needs root on Linux; elsewhere the
// tests are skipped. Each test has a namespace of its own and learns what happens
// from watches that know nothing of konductor: see chronicle.
package pods
