// Package chaos runs campaigns: dozens of clients use konductor on a real control plane while everything around them fails.
// Afterwards the responses that they got, and every revision of every object, are compared with what konductor guarantees.
//
// The packages:
//
//	clients     what clients do: SDK clients, koncli processes, and those of held Jobs and Pods
//	faults      faults of clients, operators, the control plane, and the objects
//	operators   operators as processes, built with a wall clock that can be wrong
//	proxy       the unreliable connection between an operator and the API server
//	history     the requests of clients, with times and results
//	revisions   every revision of every object, read from etcd
//	models      a lease and a semaphore as sequential models, for porcupine
//	checks      the checks of konductor's guarantees
//
// Run in this package puts them together. "make chaos" runs a campaign; docs/chaos.md has the results of past ones.
package chaos
