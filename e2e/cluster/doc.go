// Package cluster provides a real Kubernetes cluster to tests and to the command
// line, built from Go modules: no container engine, no image registry, no
// virtual machine.
//
// [StartControlPlane] starts etcd, kube-apiserver and, if asked for,
// kube-controller-manager as children of the calling process, in about three
// seconds. It needs no privileges, works on Linux and macOS, and is for integration
// tests: no Pod runs. The components die with the process.
//
// [Up] starts a detached cluster that outlives the caller, until [Cluster.Down].
// As root on Linux it has a node that runs Pods; elsewhere it is the control plane
// alone. It consists of one process, the supervisor, which starts the components
// and restarts those that end. With a node, the supervisor is the first process of
// namespaces of its own (processes, mounts, network, host name, IPC), hence:
//
//   - However the supervisor ends, kill -9 included, the kernel ends every process of
//     the cluster and removes its mounts, bridges and addresses. Only files and control
//     groups are left for [Down] to remove.
//   - Any number of clusters run side by side with the same addresses and ports.
//   - Files that the components write to fixed paths (/run/netns, /var/lib/cni,
//     /var/log/containers) never reach the host.
//   - The host reaches the API server on a port of its loopback, from which the
//     supervisor forwards connections.
//
// Both run the newest Kubernetes that is pinned below e2e/tools, or the minor
// version that the environment variable KONDUCTOR_KUBERNETES names (1.32). A control
// plane without a node takes its programs from KUBEBUILDER_ASSETS, where that is set
// and KONDUCTOR_KUBERNETES isn't.
//
// Limits of the node: it has no registry (images come by [Cluster.LoadImage]; a
// shell with small utilities is there as busybox:1.37), no DNS, and no Service proxy:
// only the Service "kubernetes" has a working address. Pods reach each other and the
// API server, but nothing outside.
package cluster
