// Package cluster gives a real Kubernetes cluster to tests and to the command
// line, built from Go modules: no container engine, no image registry, no
// virtual machine.
//
// [StartControlPlane] starts etcd, kube-apiserver and, if asked for,
// kube-controller-manager as children of the calling process, in about three
// seconds. It needs no rights, works on Linux and macOS, and is for integration
// tests: no Pod runs. Should the process die, they die with it.
//
// [Up] starts a detached cluster that outlives the caller, until [Cluster.Down].
// As root on Linux it has a node where Pods run; elsewhere it is the control plane
// alone. It consists of one process, the supervisor, which starts the components
// and restarts those that end. With a node, the supervisor is the first process of
// namespaces of its own (processes, mounts, network, host name, IPC), hence:
//
//   - However the supervisor ends, kill -9 included, the kernel ends every process of
//     the cluster and removes its mounts, bridges and addresses. Files and control
//     groups are what is left for [Down] to remove.
//   - Any number of clusters run side by side with the same addresses and ports.
//   - What the components write to fixed places (/run/netns, /var/lib/cni,
//     /var/log/containers) never reaches the host.
//   - The host reaches the API server on a port of its loopback, from which the
//     supervisor passes connections on.
//
// What the node is not: it has no registry (images come by [Cluster.LoadImage]; a
// shell with small utilities is there as busybox:1.37), no DNS, and nothing that
// proxies Services: of these only "kubernetes" has an address that answers. Pods
// reach each other and the API server, but not the world outside.
package cluster
