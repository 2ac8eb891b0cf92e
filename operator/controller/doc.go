// Package controller drives the four primitives: it gathers what is there, asks
// package rules what to do, writes the status once, and then tells those who
// wait. There is one controller for Barrier (barrier.go), one for Gate (gate.go)
// and one for Lease and Semaphore together (holds.go).
//
// What makes it safe is that every decision rests on facts that can't become
// untrue (a claim was deleted, has expired, its Pod has ended), and every grant
// is a compare-and-swap of the object that lists the holders. A stale cache or a
// second operator can make a write fail, never make it wrong.
package controller

// What the operator may do. The chart's role is generated from these lines. It may not read Secrets, and of the objects
// of others it changes none. Operators of the first chart's time patched the status of claims: an upgrade changes the role
// first, and they must go on until they are replaced.
//
// +kubebuilder:rbac:groups=konductor.io,resources=barriers;gates,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=konductor.io,resources=leases;semaphores;arrivals,verbs=get;list;watch
// +kubebuilder:rbac:groups=konductor.io,resources=claims,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=konductor.io,resources=barriers/status;gates/status;leases/status;semaphores/status,verbs=update
// +kubebuilder:rbac:groups=konductor.io,resources=claims/status,verbs=update;patch
// +kubebuilder:rbac:groups="",resources=pods;namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch
