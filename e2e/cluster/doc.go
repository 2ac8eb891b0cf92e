// Package cluster gives a real Kubernetes cluster to tests and to the command
// line, built from Go modules: no container engine, no image registry, no
// virtual machine.
//
// [StartControlPlane] starts etcd, kube-apiserver and, if asked for,
// kube-controller-manager as children of the calling process. It needs no
// rights, works on Linux and macOS, and is for integration tests: no Pod runs.
//
// [Up] starts a detached cluster that outlives the caller, until [Cluster.Down].
// As root on Linux it has a node where Pods run, all of it in namespaces of its
// own; elsewhere it is the control plane alone.
package cluster
