// Package controller has the controllers of the four primitives. A controller reads the state, asks package rules for a
// decision, writes the status once, and then notifies the clients that wait. Barrier (barrier.go) and Gate (gate.go) have
// one each, Lease and Semaphore share one (holds.go).
//
// It is safe because every decision rests on facts that can't become untrue (a claim was deleted, has expired, its Pod has
// ended), and every grant is a compare-and-swap of the object that lists the holders. A stale cache or a second operator can
// make a write fail, never make it wrong.
package controller

// What the operator may do. The chart's role is generated from these lines. It may not read Secrets, and of other API groups
// it may write only Events. Operators installed by the first chart patched the status of claims: an upgrade changes the role
// first, and those operators must keep working until they are replaced.
//
// +kubebuilder:rbac:groups=konductor.io,resources=barriers;gates,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=konductor.io,resources=leases;semaphores;arrivals,verbs=get;list;watch
// +kubebuilder:rbac:groups=konductor.io,resources=claims,verbs=get;list;watch;delete
// +kubebuilder:rbac:groups=konductor.io,resources=barriers/status;gates/status;leases/status;semaphores/status,verbs=update
// +kubebuilder:rbac:groups=konductor.io,resources=claims/status,verbs=update;patch
// +kubebuilder:rbac:groups="",resources=pods;namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups=batch,resources=jobs,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=events,verbs=create;patch
