package rules

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Arrival is the part of an Arrival object that the rules need.
type Arrival struct {
	Participant string
	Failed      bool
	Reason      string
	// Created is the creation time by the API server, in whole seconds.
	Created time.Time
}

// BarrierDecision is what to do with a Barrier.
type BarrierDecision struct {
	// Status is what the Barrier's status must become.
	Status konductorv1.BarrierStatus
	// Changed says that Status differs from the present one.
	Changed bool
	// Urgent says that a client waits for the change; otherwise it may be written a little later.
	Urgent bool
	// Events to record once Status is written.
	Events []Event
	// RequeueAfter is after what time the barrier must be reconciled again if nothing else happens; zero: never.
	RequeueAfter time.Duration
	// Delete says that the barrier has outlived its TTL.
	Delete bool
}

// DecideBarrier returns what to do with b, given its arrivals in order of arrival.
//
// A barrier opens when a quorum of participants has arrived before the timeout, each counted once by its first arrival,
// and then stays open. It fails when more participants have failed than can be spared. Failed and Timeout follow from
// spec and arrivals alone, so a lower quorum or a longer timeout makes the barrier wait again. A barrier that is being
// deleted does none of this.
func DecideBarrier(b *konductorv1.Barrier, arrivals []Arrival, now Instant) BarrierDecision {
	if b.DeletionTimestamp != nil {
		return decideTerminatingBarrier(b, now)
	}
	life := lifetime{
		created: b.CreationTimestamp.Time, timeout: b.Spec.Timeout, ttlAfterFinished: b.Spec.TTLAfterFinished,
		openedAt: b.Status.OpenedAt, endedAt: b.Status.EndedAt,
	}
	var d BarrierDecision
	next := b.Status.DeepCopy()
	next.ObservedGeneration = b.Generation
	var tally arrivalTally
	if b.Status.Phase != konductorv1.BarrierOpen {
		tally = tallyArrivals(arrivals, life.deadline())
		next.Arrived, next.Failed, next.Arrivals = tally.arrived, tally.failed, tally.participants
		next.Phase, d.RequeueAfter = nextBarrierPhase(b, tally, life, now)
		if next.Phase != b.Status.Phase {
			d.Events = enterBarrierPhase(b, next, tally, now)
		}
	}
	setBarrierConditions(b, next, tally, now)
	d.Status = *next
	d.Changed = !equality.Semantic.DeepEqual(b.Status, d.Status)
	d.Urgent = d.Status.Phase != b.Status.Phase || d.Status.ObservedGeneration != b.Status.ObservedGeneration

	life.openedAt, life.endedAt = next.OpenedAt, next.EndedAt
	expired, left := life.ttlExpired(now)
	d.Delete = expired && !d.Changed
	d.RequeueAfter = MinNonZero(d.RequeueAfter, left)
	return d
}

// arrivalTally is the result of counting arrivals.
type arrivalTally struct {
	arrived, failed int32
	participants    []string
	lastFailure     Arrival
}

// tallyArrivals counts each participant once, by its first arrival, and leaves out arrivals after the deadline, if there
// is one: whether a barrier was reached in time must not depend on when the operator looked.
func tallyArrivals(arrivals []Arrival, deadline time.Time) arrivalTally {
	var r arrivalTally
	counted := make(map[string]bool, len(arrivals))
	for _, a := range arrivals {
		if (counted[a.Participant] && !failpointCountDuplicates) || (!deadline.IsZero() && a.Created.After(deadline)) {
			continue
		}
		counted[a.Participant] = true
		if a.Failed {
			r.failed++
			r.lastFailure = a
			continue
		}
		r.arrived++
		if len(r.participants) < konductorv1.MaxListedArrivals {
			r.participants = append(r.participants, a.Participant)
		}
	}
	return r
}

// nextBarrierPhase returns the phase of a barrier that has not opened yet, and the time until its deadline while it
// waits.
func nextBarrierPhase(b *konductorv1.Barrier, r arrivalTally, life lifetime, now Instant) (konductorv1.BarrierPhase, time.Duration) {
	timedOut, left := life.timedOut(now)
	switch {
	case timedOut && b.Status.Phase == konductorv1.BarrierTimeout:
		// Waiters have been notified. Only a longer timeout takes that back.
		return konductorv1.BarrierTimeout, 0
	case r.arrived >= b.Quorum():
		return konductorv1.BarrierOpen, 0
	case r.failed > b.Spec.Expected-b.Quorum():
		return konductorv1.BarrierFailed, 0
	case timedOut:
		return konductorv1.BarrierTimeout, 0
	default:
		return konductorv1.BarrierWaiting, left
	}
}

// enterBarrierPhase sets the time of the phase change and returns its event.
func enterBarrierPhase(b *konductorv1.Barrier, next *konductorv1.BarrierStatus, r arrivalTally, now Instant) []Event {
	at := metav1.NewTime(now.ServerTime)
	next.OpenedAt, next.EndedAt = nil, nil
	switch next.Phase {
	case konductorv1.BarrierOpen:
		next.OpenedAt = &at
		return []Event{{Reason: konductorv1.EventOpened, Message: barrierMessage(b, next, r)}}
	case konductorv1.BarrierFailed:
		next.EndedAt = &at
		return []Event{{Warning: true, Reason: konductorv1.EventFailed, Message: barrierMessage(b, next, r)}}
	case konductorv1.BarrierTimeout:
		next.EndedAt = &at
		return []Event{{Warning: true, Reason: konductorv1.EventTimeout, Message: barrierMessage(b, next, r)}}
	case konductorv1.BarrierWaiting:
		if b.Status.Phase != "" {
			return []Event{{Reason: konductorv1.EventResumed, Message: "the barrier waits again: " + barrierMessage(b, next, r)}}
		}
	}
	return nil
}

func setBarrierConditions(b *konductorv1.Barrier, next *konductorv1.BarrierStatus, r arrivalTally, now Instant) {
	reason := map[konductorv1.BarrierPhase]string{
		konductorv1.BarrierWaiting: konductorv1.ReasonWaiting,
		konductorv1.BarrierOpen:    konductorv1.ReasonOpened,
		konductorv1.BarrierFailed:  konductorv1.ReasonFailed,
		konductorv1.BarrierTimeout: konductorv1.ReasonTimeout,
	}[next.Phase]
	open := next.Phase == konductorv1.BarrierOpen
	meta.SetStatusCondition(&next.Conditions, newCondition(konductorv1.ConditionReady, true, konductorv1.ReasonAccepted, "the barrier is in operation", b.Generation, now))
	meta.SetStatusCondition(&next.Conditions, newCondition(konductorv1.ConditionOpen, open, reason, barrierMessage(b, next, r), b.Generation, now))
}

// barrierMessage returns the message of the condition Open.
func barrierMessage(b *konductorv1.Barrier, s *konductorv1.BarrierStatus, r arrivalTally) string {
	if s.Phase == konductorv1.BarrierOpen && b.Status.Phase == konductorv1.BarrierOpen {
		// The spec may have changed since: the message of an open barrier stays what it was when it opened.
		if c := meta.FindStatusCondition(b.Status.Conditions, konductorv1.ConditionOpen); c != nil {
			return c.Message
		}
	}
	details := ""
	if b.Quorum() != b.Spec.Expected {
		details = fmt.Sprintf(" (quorum %d)", b.Quorum())
	}
	if s.Failed > 0 {
		details += fmt.Sprintf(", %d failed", s.Failed)
	}
	if s.Phase == konductorv1.BarrierTimeout {
		return fmt.Sprintf("timed out after %s with %d of %d arrived%s", b.Spec.Timeout.Duration.Duration, s.Arrived, b.Spec.Expected, details)
	}
	message := fmt.Sprintf("%d of %d participants have arrived%s", s.Arrived, b.Spec.Expected, details)
	if s.Phase == konductorv1.BarrierFailed {
		message += fmt.Sprintf(": the quorum of %d can't be reached any more; last to fail: %s", b.Quorum(), r.lastFailure.Participant)
		if r.lastFailure.Reason != "" {
			message += " (" + r.lastFailure.Reason + ")"
		}
	}
	return message
}
