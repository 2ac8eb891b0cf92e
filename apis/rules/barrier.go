package rules

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Arrival is what the rules need to know of an Arrival object.
type Arrival struct {
	Participant string
	Failed      bool
	Reason      string
	// Created is the API server's time of the arrival, in whole seconds.
	Created time.Time
}

// BarrierDecision is what to do with a Barrier.
type BarrierDecision struct {
	// Status is what the Barrier's status must become.
	Status konductorv1.BarrierStatus
	// Changed says that Status differs from what stands there.
	Changed bool
	// Urgent says that somebody waits for the change; otherwise it may be written a little later.
	Urgent bool
	// Events to record once Status is written.
	Events []Event
	// After is how long from now the barrier must be looked at again without anything else happening; zero: never.
	After time.Duration
	// Delete says that the barrier has outlived its TTL.
	Delete bool
}

// Barrier decides about b, given its arrivals in order of arrival.
//
// A barrier opens when a quorum of participants has arrived before the timeout, each counted once by its first
// arrival, and then stays open. It fails when more participants have failed than can be spared. Failed and Timeout
// follow from spec and arrivals alone, so a lower quorum or a longer timeout makes the barrier wait again.
func Barrier(b *konductorv1.Barrier, arrivals []Arrival, now Now) BarrierDecision {
	life := lifetime{
		created: b.CreationTimestamp.Time, timeout: b.Spec.Timeout, ttl: b.Spec.TTL,
		openedAt: b.Status.OpenedAt, endedAt: b.Status.EndedAt,
	}
	var d BarrierDecision
	next := b.Status.DeepCopy()
	next.ObservedGeneration = b.Generation
	var roll roll
	if b.Status.Phase != konductorv1.BarrierOpen {
		roll = callRoll(arrivals, life.deadline())
		next.Arrived, next.Failed, next.Arrivals = roll.arrived, roll.failed, roll.names
		next.Phase, d.After = barrierPhase(b, roll, life, now)
		if next.Phase != b.Status.Phase {
			d.Events = enterBarrierPhase(b, next, roll, now)
		}
	}
	setBarrierConditions(b, next, roll, now)
	d.Status = *next
	d.Changed = !equality.Semantic.DeepEqual(b.Status, d.Status)
	d.Urgent = d.Status.Phase != b.Status.Phase || d.Status.ObservedGeneration != b.Status.ObservedGeneration

	life.openedAt, life.endedAt = next.OpenedAt, next.EndedAt
	expired, left := life.expired(now)
	d.Delete = expired && !d.Changed
	d.After = sooner(d.After, left)
	return d
}

// roll is the result of counting arrivals.
type roll struct {
	arrived, failed int32
	names           []string
	lastFailure     Arrival
}

// callRoll counts each participant once, by its first arrival, and leaves out arrivals after the deadline, if there is
// one: whether a barrier was reached in time must not depend on when the operator looked.
func callRoll(arrivals []Arrival, deadline time.Time) roll {
	var r roll
	seen := make(map[string]bool, len(arrivals))
	for _, a := range arrivals {
		if (seen[a.Participant] && !countsTwice) || (!deadline.IsZero() && a.Created.After(deadline)) {
			continue
		}
		seen[a.Participant] = true
		if a.Failed {
			r.failed++
			r.lastFailure = a
			continue
		}
		r.arrived++
		if len(r.names) < konductorv1.MaxListedArrivals {
			r.names = append(r.names, a.Participant)
		}
	}
	return r
}

// barrierPhase returns the phase of a barrier that has not opened yet, and when to look again.
func barrierPhase(b *konductorv1.Barrier, r roll, life lifetime, now Now) (konductorv1.BarrierPhase, time.Duration) {
	timedOut, left := life.timedOut(now)
	switch {
	case timedOut && b.Status.Phase == konductorv1.BarrierTimeout:
		// Waiters have been told. Only a longer timeout takes that back.
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

// enterBarrierPhase notes the time of the change and returns the event that tells of it.
func enterBarrierPhase(b *konductorv1.Barrier, next *konductorv1.BarrierStatus, r roll, now Now) []Event {
	at := metav1.NewTime(now.Server)
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

func setBarrierConditions(b *konductorv1.Barrier, next *konductorv1.BarrierStatus, r roll, now Now) {
	reason := map[konductorv1.BarrierPhase]string{
		konductorv1.BarrierWaiting: konductorv1.ReasonWaiting,
		konductorv1.BarrierOpen:    konductorv1.ReasonOpened,
		konductorv1.BarrierFailed:  konductorv1.ReasonFailed,
		konductorv1.BarrierTimeout: konductorv1.ReasonTimeout,
	}[next.Phase]
	open := next.Phase == konductorv1.BarrierOpen
	meta.SetStatusCondition(&next.Conditions, condition(konductorv1.ConditionReady, true, konductorv1.ReasonAccepted, "the barrier is in operation", b.Generation, now))
	meta.SetStatusCondition(&next.Conditions, condition(konductorv1.ConditionOpen, open, reason, barrierMessage(b, next, r), b.Generation, now))
}

// barrierMessage says how the barrier stands.
func barrierMessage(b *konductorv1.Barrier, s *konductorv1.BarrierStatus, r roll) string {
	if s.Phase == konductorv1.BarrierOpen && b.Status.Phase == konductorv1.BarrierOpen {
		// The spec may have changed since: the message of an open barrier stays what it was when it opened.
		if c := meta.FindStatusCondition(b.Status.Conditions, konductorv1.ConditionOpen); c != nil {
			return c.Message
		}
	}
	count := fmt.Sprintf("%d of %d participants have arrived", s.Arrived, b.Spec.Expected)
	if b.Quorum() != b.Spec.Expected {
		count += fmt.Sprintf(", %d are enough", b.Quorum())
	}
	if s.Failed > 0 {
		count += fmt.Sprintf(", %d failed", s.Failed)
	}
	switch s.Phase {
	case konductorv1.BarrierFailed:
		message := fmt.Sprintf("%s: the quorum of %d can't be reached any more; last to fail: %s", count, b.Quorum(), r.lastFailure.Participant)
		if r.lastFailure.Reason != "" {
			message += " (" + r.lastFailure.Reason + ")"
		}
		return message
	case konductorv1.BarrierTimeout:
		return fmt.Sprintf("%s when the timeout of %s passed", count, b.Spec.Timeout.Duration.Duration)
	default:
		return count
	}
}
