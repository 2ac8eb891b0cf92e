// Package chaos runs campaigns: dozens of clients use konductor on a real control
// plane while everything around them fails, and afterwards what they were told,
// and every revision there was, is compared with what konductor promises.
//
// To find your way:
//
//	clients     what clients do: SDK clients, and koncli processes
//	faults      what happens to them, to operators, to the control plane, and to the objects
//	operators   operators as processes, built with a wall clock that can be wrong
//	proxy       the bad connection between an operator and the API server
//	history     what clients asked for, when, and what they were told
//	revisions   every revision of every object, read from etcd
//	models      a lease and a semaphore as sequential machines, for porcupine
//	checks      the promises
//
// Run in this package puts them together. "make chaos" runs a campaign,
// docs/chaos.md tells what came of those that were run.
package chaos
