// Package integration tests the operator and the SDK together against a real API server and etcd: the operator runs inside the
// test process, participants are SDK clients, and Pods are objects whose status the test sets, since no node runs them.
//
// Each test has a namespace and operators of its own, so that tests run in parallel. Tests watch for what they wait for; none
// relies on a sleep.
package integration
