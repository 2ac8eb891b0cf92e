// Package waits answers why something doesn't go on. From a snapshot of what
// there is (barriers, gates, leases, semaphores, their claims and arrivals, Jobs
// and Pods) it builds the graph of who waits for what and who holds it, and finds
// in it root causes (why.go), circles of waits (deadlock.go) and what depends on
// what (graph.go). It talks to no API server and reads no clock.
//
// Most waits are facts: a pending Claim, a Gate's conditions. Waiting for a gate
// or a barrier writes nothing, so such waits are read off the commands of the
// containers that run (calls.go), and the results say that they are inferred.
package waits
