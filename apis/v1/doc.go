// Package v1 is version v1 of the API group konductor.io: the four coordination
// primitives (Barrier, Gate, Lease, Semaphore) and the two objects that
// participants create to take part in them (Arrival, Claim).
//
// Users write the spec of the primitives, participants create Arrivals and
// Claims, and the operator alone writes status. Package internal/rules decides
// what the fields mean.
//
// +kubebuilder:object:generate=true
// +groupName=konductor.io
package v1
