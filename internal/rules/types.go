package rules

import (
	"fmt"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Instant is one moment, read from two clocks that serve different ends.
type Instant struct {
	// ServerTime is the API server's time. Creation timestamps are compared with it and people read it.
	ServerTime time.Time
	// Monotonic is the operator's own monotonic clock, from an arbitrary start. TTLs are counted on it alone, so that
	// no wall clock, a client's or the operator's, can end a hold early.
	Monotonic time.Duration
}

// Event is a Kubernetes Event to record, after the status that it refers to has been written.
type Event struct {
	// Warning marks an Event of type Warning.
	Warning bool
	// Reason is one of the Event… constants of the API.
	Reason string
	// Message is the text for people.
	Message string
}

// MinNonZero returns the shorter of two waits. Zero means no wait.
func MinNonZero(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}

// Revision returns the resourceVersion of an object as a number, in the order of the writes to the cluster.
func Revision(obj metav1.Object) (uint64, error) {
	rev, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("resourceVersion %q of %s is not a number: %w", obj.GetResourceVersion(), obj.GetName(), err)
	}
	return rev, nil
}

// RevisionOrZero returns the same, or 0 if the resourceVersion is not a number, for what is only shown or sorted.
func RevisionOrZero(obj metav1.Object) uint64 {
	rev, err := Revision(obj)
	if err != nil {
		return 0
	}
	return rev
}

// newCondition returns a condition for the given generation.
func newCondition(conditionType string, isTrue bool, reason, message string, generation int64, now Instant) metav1.Condition {
	status := metav1.ConditionFalse
	if isTrue {
		status = metav1.ConditionTrue
	}
	return metav1.Condition{
		Type:               conditionType,
		Status:             status,
		Reason:             reason,
		Message:            message,
		ObservedGeneration: generation,
		LastTransitionTime: metav1.NewTime(now.ServerTime),
	}
}
