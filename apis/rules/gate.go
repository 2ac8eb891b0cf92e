package rules

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Observed is what was seen of the object that a gate's condition names.
type Observed struct {
	// Denied says that the object's namespace doesn't allow gates of the gate's namespace.
	Denied bool
	// Found says that the object exists.
	Found bool
	// UID is the object's.
	UID string
	// State is the object's, in the words of the condition's type; empty while it has none of them, as a running Job.
	State konductorv1.GateState
	// Free is, for a Semaphore, how many permits are free.
	Free int32
	// Detail tells people how the object stands.
	Detail string
	// Left is the last that was seen of an object that doesn't exist any more, and that was deleted before it was judged.
	Left *Observed
}

// GateDecision is what to do with a Gate.
type GateDecision struct {
	// Status is what the Gate's status must become.
	Status konductorv1.GateStatus
	// Changed says that Status differs from what stands there.
	Changed bool
	// Events to record once Status is written.
	Events []Event
	// After is how long from now the gate must be looked at again without anything else happening; zero: never.
	After time.Duration
	// Delete says that the gate has outlived its TTL.
	Delete bool
}

// Gate decides about g, given what was seen of the object of each of its conditions, in their order.
//
// A gate opens when all conditions hold at the same time, and then stays open. It fails when one of them can't be met
// as things stand, and waits again when that changes (a failed Job was replaced, say). It isn't Ready while its condition
// Deadlocked, which others set, says that gates alone wait for each other.
func Gate(g *konductorv1.Gate, seen []Observed, now Now) GateDecision {
	life := lifetime{
		created: g.CreationTimestamp.Time, timeout: g.Spec.Timeout, ttl: g.Spec.TTL,
		openedAt: g.Status.OpenedAt, endedAt: g.Status.EndedAt,
	}
	var d GateDecision
	next := g.Status.DeepCopy()
	next.ObservedGeneration = g.Generation
	why := ""
	if g.Status.Phase != konductorv1.GateOpen {
		var hopeless string
		next.ConditionStatuses, hopeless = conditionStatuses(g, seen)
		next.ConditionsTotal = int32(len(g.Spec.Conditions))
		next.ConditionsMet = 0
		for _, c := range next.ConditionStatuses {
			if c.Met {
				next.ConditionsMet++
			}
		}
		next.Phase, d.After = gatePhase(g, next, hopeless != "", life, now)
		why = gateMessage(next, hopeless)
		if next.Phase != g.Status.Phase {
			d.Events = enterGatePhase(g, next, why, now)
		}
	}
	setGateConditions(g, next, why, now)
	d.Status = *next
	d.Changed = !equality.Semantic.DeepEqual(g.Status, d.Status)

	life.openedAt, life.endedAt = next.OpenedAt, next.EndedAt
	expired, left := life.expired(now)
	d.Delete = expired && !d.Changed
	d.After = sooner(d.After, left)
	return d
}

// conditionStatuses judges each condition, and says of the first that can't be met any more why.
func conditionStatuses(g *konductorv1.Gate, seen []Observed) (statuses []konductorv1.GateConditionStatus, hopeless string) {
	for i := range g.Spec.Conditions {
		c := &g.Spec.Conditions[i]
		s, never := judge(c, seen[i], metBefore(g, c))
		if never && hopeless == "" {
			hopeless = s.Message
		}
		statuses = append(statuses, s)
	}
	return statuses, hopeless
}

// metBefore returns what status says of the same condition, if it was met.
func metBefore(g *konductorv1.Gate, c *konductorv1.GateCondition) *konductorv1.GateConditionStatus {
	for i := range g.Status.ConditionStatuses {
		s := &g.Status.ConditionStatuses[i]
		if s.Met && s.Type == c.Type && s.Name == c.Name && s.Namespace == c.Namespace && s.State == c.WantedState() {
			return s
		}
	}
	return nil
}

// judge says whether condition c holds, and whether it never will as things stand. before is its status when it was met
// earlier.
func judge(c *konductorv1.GateCondition, o Observed, before *konductorv1.GateConditionStatus) (s konductorv1.GateConditionStatus, never bool) {
	want := c.WantedState()
	object := strings.ToLower(string(c.Type)) + "/" + c.Name
	s = konductorv1.GateConditionStatus{Type: c.Type, Name: c.Name, Namespace: c.Namespace, State: want}
	switch {
	case o.Denied:
		s.Message = DeniedMessage(c.Namespace)
		return s, false
	case !o.Found && before != nil && final(c.Type):
		// What a Job, a Barrier or a Gate has reached it can't lose, so its deletion takes nothing back.
		return *before, false
	case !o.Found && o.Left != nil && final(c.Type) && o.Left.State == want:
		s.Met, s.UID, s.Message = true, o.Left.UID, object+" was "+o.Left.Detail+" when it was deleted"
		return s, false
	case !o.Found:
		s.Message = object + " not found"
		return s, false
	}
	s.Message = object + " is " + o.Detail
	if c.Type == konductorv1.GateOnSemaphore && want == konductorv1.StateAvailable {
		needed := c.WantedPermits()
		s.Met = o.Free >= needed
		s.Message = fmt.Sprintf("%s has %d free permits, %d wanted", object, o.Free, needed)
	} else {
		s.Met = o.State == want
	}
	if s.Met {
		s.UID = o.UID
	}
	return s, !s.Met && final(c.Type) && o.State != ""
}

// DeniedMessage is what a gate says of a condition that looks into a namespace which doesn't allow it.
func DeniedMessage(namespace string) string {
	return fmt.Sprintf("namespace %s doesn't allow it: its annotation %s must name this gate's namespace", namespace, konductorv1.AllowGatesAnnotation)
}

// final reports whether the states of that type are final: an object that is in another than the wanted one won't get
// there by itself.
func final(t konductorv1.GateConditionType) bool {
	return t == konductorv1.GateOnJob || t == konductorv1.GateOnBarrier || t == konductorv1.GateOnGate
}

// gatePhase returns the phase of a gate that has not opened yet, and when to look again.
func gatePhase(g *konductorv1.Gate, next *konductorv1.GateStatus, hopeless bool, life lifetime, now Now) (konductorv1.GatePhase, time.Duration) {
	timedOut, left := life.timedOut(now)
	switch {
	case timedOut && g.Status.Phase == konductorv1.GateTimeout:
		// Waiters have been told. Only a longer timeout takes that back.
		return konductorv1.GateTimeout, 0
	case next.ConditionsMet == next.ConditionsTotal:
		return konductorv1.GateOpen, 0
	case hopeless:
		return konductorv1.GateFailed, 0
	case timedOut:
		return konductorv1.GateTimeout, 0
	default:
		return konductorv1.GateWaiting, left
	}
}

// enterGatePhase notes the time of the change and returns the event that tells of it.
func enterGatePhase(g *konductorv1.Gate, next *konductorv1.GateStatus, why string, now Now) []Event {
	at := metav1.NewTime(now.Server)
	next.OpenedAt, next.EndedAt = nil, nil
	switch next.Phase {
	case konductorv1.GateOpen:
		next.OpenedAt = &at
		return []Event{{Reason: konductorv1.EventOpened, Message: why}}
	case konductorv1.GateFailed:
		next.EndedAt = &at
		return []Event{{Warning: true, Reason: konductorv1.EventFailed, Message: why}}
	case konductorv1.GateTimeout:
		next.EndedAt = &at
		return []Event{{Warning: true, Reason: konductorv1.EventTimeout, Message: fmt.Sprintf("the timeout of %s passed: %s", g.Spec.Timeout.Duration.Duration, why)}}
	case konductorv1.GateWaiting:
		if g.Status.Phase != "" {
			return []Event{{Reason: konductorv1.EventResumed, Message: "the gate waits again: " + why}}
		}
	}
	return nil
}

// setGateConditions sets Ready and Open. why is ignored for a gate that was open already.
func setGateConditions(g *konductorv1.Gate, next *konductorv1.GateStatus, why string, now Now) {
	ready := condition(konductorv1.ConditionReady, true, konductorv1.ReasonAccepted, "the gate is in operation", g.Generation, now)
	deadlocked := meta.FindStatusCondition(next.Conditions, konductorv1.ConditionDeadlocked)
	if deadlocked != nil && deadlocked.Reason == konductorv1.ReasonCycle && next.Phase == konductorv1.GateWaiting {
		ready = condition(konductorv1.ConditionReady, false, konductorv1.ReasonCycle, deadlocked.Message, g.Generation, now)
	}
	meta.SetStatusCondition(&next.Conditions, ready)

	if g.Status.Phase == konductorv1.GateOpen {
		if c := meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionOpen); c != nil {
			why = c.Message
		}
	}
	reason := map[konductorv1.GatePhase]string{
		konductorv1.GateWaiting: konductorv1.ReasonWaiting,
		konductorv1.GateOpen:    konductorv1.ReasonOpened,
		konductorv1.GateFailed:  konductorv1.ReasonFailed,
		konductorv1.GateTimeout: konductorv1.ReasonTimeout,
	}[next.Phase]
	open := next.Phase == konductorv1.GateOpen
	meta.SetStatusCondition(&next.Conditions, condition(konductorv1.ConditionOpen, open, reason, why, g.Generation, now))
}

// gateMessage says how the gate stands.
func gateMessage(s *konductorv1.GateStatus, hopeless string) string {
	if s.Phase == konductorv1.GateFailed {
		return hopeless
	}
	count := fmt.Sprintf("%d of %d conditions are met", s.ConditionsMet, s.ConditionsTotal)
	for _, c := range s.ConditionStatuses {
		if !c.Met {
			return count + ", not met: " + c.Message
		}
	}
	return count
}
