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
