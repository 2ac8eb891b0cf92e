// Package v1 is version v1 of the API group konductor.io: the four coordination
// primitives (Barrier, Gate, Lease, Semaphore) and the two small objects by which
// participants take part in them (Arrival, Claim).
//
// The user writes the spec of the four primitives, participants create Arrivals
// and Claims, and the operator alone writes status. What the fields mean is
// decided in package rules next to this one.
//
// +kubebuilder:object:generate=true
// +groupName=konductor.io
package v1
