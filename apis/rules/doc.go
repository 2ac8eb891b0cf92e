// Package rules holds konductor's decisions as pure functions: when a barrier or
// a gate opens, who gets a lease or a permit next, when a hold ends. It reads no
// clock and talks to no API server; what it decides follows from its arguments
// alone. The operator, the command line and the SDK all ask here.
//
// A file for each kind: barrier.go, gate.go, and holds.go, which Lease and
// Semaphore share. Claims, in claims.go, is the queue of a lease or semaphore.
package rules

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Now is one moment, read off two clocks that serve different ends.
type Now struct {
	// Server is the API server's time. Creation timestamps are compared with it and people read it.
	Server time.Time
	// Elapsed is the operator's own monotonic clock, from an arbitrary start. TTLs are counted on it alone, so that
	// no wall clock, a client's or the operator's, can end a hold early.
	Elapsed time.Duration
}

// Event is something worth telling people, recorded once the status that it speaks of has been written.
type Event struct {
	// Warning marks an event that asks for attention.
	Warning bool
	// Reason is one of the Event… constants of the API.
	Reason string
	// Message is for people.
	Message string
}

// sooner returns the earlier of two waits, of which zero means none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// condition builds a condition that speaks of the given generation.
func condition(kind string, is bool, reason, message string, generation int64, now Now) metav1.Condition {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{
		Type:               kind,
		Status:             status,
		Reason:             reason,
		Message:            message,
		ObservedGeneration: generation,
		LastTransitionTime: metav1.NewTime(now.Server),
	}
}
