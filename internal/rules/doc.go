// Package rules makes konductor's decisions, as pure functions: when a barrier or a gate opens, which claim gets a lease
// or a permit next, when a hold ends. It reads no clock and talks to no API server: every decision follows from its
// arguments alone. The operator acts on these decisions; the wait graph (package waitgraph) shares the order of the queue.
//
// Each kind has its file: barrier.go, gate.go, and lease_semaphore.go. ClaimSet, in queue.go, has the
// claims on a lease or semaphore and their queue.
package rules
