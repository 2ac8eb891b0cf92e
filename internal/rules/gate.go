package rules

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Observation is what was observed of the object that a gate's condition names.
type Observation struct {
	// NamespaceDenied says that the object's namespace doesn't allow gates of the gate's namespace.
	NamespaceDenied bool
	// Found says that the object exists and isn't being deleted.
	Found bool
	// Terminating says that the object is being deleted.
	Terminating bool
	// UID is the object's.
	UID string
	// State is the object's state as one that the condition's type can wait for; empty when it is in none, like a running
	// Job.
	State konductorv1.GateState
	// FreePermits is the number of free permits of a Semaphore.
	FreePermits int32
	// Description is the object's state in words, for people.
	Description string
	// DeletedState is the last observation of an object that no longer exists and was deleted before it was evaluated.
	DeletedState *Observation
}

// GateDecision is what to do with a Gate.
type GateDecision struct {
	// Status is what the Gate's status must become.
	Status konductorv1.GateStatus
	// Changed says that Status differs from the present one.
	Changed bool
	// OnlyMessagesChanged says that the messages of the conditions have changed, but neither the phase nor which
	// conditions are met.
	OnlyMessagesChanged bool
	// Events to record once Status is written.
	Events []Event
	// RequeueAfter is after what time the gate must be reconciled again if nothing else happens; zero: never.
	RequeueAfter time.Duration
	// Delete says that the gate has outlived its TTL.
	Delete bool
}

// DecideGate returns what to do with g, given an observation for each of its conditions, in their order.
//
// A gate opens when all conditions hold at the same time, and then stays open. It fails when one of them can't be met as
// things stand, and waits again when that changes (a failed Job was replaced, say). It isn't Ready while its condition
// Deadlocked, which the deadlock detection sets, says that gates alone wait for each other. A gate that is being deleted
// does none of this.
func DecideGate(g *konductorv1.Gate, observations []Observation, now Instant) GateDecision {
	if g.DeletionTimestamp != nil {
		return decideTerminatingGate(g, now)
	}
	life := lifetime{
		created: g.CreationTimestamp.Time, timeout: g.Spec.Timeout, ttlAfterFinished: g.Spec.TTLAfterFinished,
		openedAt: g.Status.OpenedAt, endedAt: g.Status.EndedAt,
	}
	var d GateDecision
	next := g.Status.DeepCopy()
	next.ObservedGeneration = g.Generation
	message := ""
	if g.Status.Phase != konductorv1.GateOpen {
		var impossibleMessage string
		next.ConditionStatuses, impossibleMessage = evaluateConditions(g, observations)
		next.ConditionsTotal = int32(len(g.Spec.Conditions))
		next.ConditionsMet = 0
		for _, c := range next.ConditionStatuses {
			if c.Met {
				next.ConditionsMet++
			}
		}
		next.Phase, d.RequeueAfter = nextGatePhase(g, next, impossibleMessage != "", life, now)
		message = gateMessage(next, impossibleMessage)
		if next.Phase != g.Status.Phase {
			d.Events = enterGatePhase(g, next, message, now)
		}
	}
	setGateConditions(g, next, message, now)
	d.Status = *next
	d.Changed = !equality.Semantic.DeepEqual(g.Status, d.Status)
	d.OnlyMessagesChanged = d.Changed && next.Phase == g.Status.Phase && next.ObservedGeneration == g.Status.ObservedGeneration &&
		slices.EqualFunc(next.ConditionStatuses, g.Status.ConditionStatuses, func(a, b konductorv1.GateConditionStatus) bool { return a.Met == b.Met })

	life.openedAt, life.endedAt = next.OpenedAt, next.EndedAt
	expired, left := life.ttlExpired(now)
	d.Delete = expired && !d.Changed
	d.RequeueAfter = MinNonZero(d.RequeueAfter, left)
	return d
}

// evaluateConditions evaluates all conditions. impossibleMessage is that of the first that can't be met any more, or
// empty.
func evaluateConditions(g *konductorv1.Gate, observations []Observation) (statuses []konductorv1.GateConditionStatus, impossibleMessage string) {
	for i := range g.Spec.Conditions {
		c := &g.Spec.Conditions[i]
		s, impossible := evaluateCondition(c, observations[i], previouslyMetStatus(g, c))
		if impossible && impossibleMessage == "" {
			impossibleMessage = s.Message
		}
		statuses = append(statuses, s)
	}
	return statuses, impossibleMessage
}

// previouslyMetStatus returns the status of the same condition if it was met, else nil.
func previouslyMetStatus(g *konductorv1.Gate, c *konductorv1.GateCondition) *konductorv1.GateConditionStatus {
	for i := range g.Status.ConditionStatuses {
		s := &g.Status.ConditionStatuses[i]
		if s.Met && s.Type == c.Type && s.Name == c.Name && s.Namespace == c.Namespace && s.State == c.WantedState() {
			return s
		}
	}
	return nil
}

// evaluateCondition returns the status of condition c, and whether it is impossible to meet as things stand. previous is
// its status if it was met earlier, else nil.
func evaluateCondition(c *konductorv1.GateCondition, o Observation, previous *konductorv1.GateConditionStatus) (s konductorv1.GateConditionStatus, impossible bool) {
	want := c.WantedState()
	object := strings.ToLower(string(c.Type)) + "/" + c.Name
	s = konductorv1.GateConditionStatus{Type: c.Type, Name: c.Name, Namespace: c.Namespace, State: want}
	switch {
	case o.NamespaceDenied:
		s.Message = NamespaceDeniedMessage(c.Namespace)
		return s, false
	case !o.Found && previous != nil && hasFinalStates(c.Type):
		// A Job, a Barrier or a Gate can't leave the state that it has reached, so its deletion takes nothing back.
		return *previous, false
	case !o.Found && o.DeletedState != nil && hasFinalStates(c.Type) && o.DeletedState.State == want:
		s.Met, s.UID, s.Message = true, o.DeletedState.UID, object+" was "+o.DeletedState.Description+" when it was deleted"
		return s, false
	case o.Terminating:
		s.Message = object + " is being deleted"
		return s, false
	case !o.Found:
		s.Message = object + " not found"
		return s, false
	}
	s.Message = object + " is " + o.Description
	if c.Type == konductorv1.GateOnSemaphore && want == konductorv1.StateAvailable {
		needed := c.WantedPermits()
		s.Met = o.FreePermits >= needed
		s.Message = fmt.Sprintf("%s has %s free, %d wanted", object, permitsText(o.FreePermits), needed)
	} else {
		s.Met = o.State == want
	}
	if s.Met {
		s.UID = o.UID
	}
	return s, !s.Met && hasFinalStates(c.Type) && o.State != ""
}

// IsConditionDenied reports whether the status of a gate says that the namespace of its i-th condition doesn't allow it.
func IsConditionDenied(g *konductorv1.Gate, i int) bool {
	c := &g.Spec.Conditions[i]
	if c.Namespace == "" || c.Namespace == g.Namespace || i >= len(g.Status.ConditionStatuses) {
		return false
	}
	s := &g.Status.ConditionStatuses[i]
	return s.Type == c.Type && s.Name == c.Name && s.Namespace == c.Namespace && !s.Met && s.Message == NamespaceDeniedMessage(c.Namespace)
}

// NamespaceDeniedMessage is the message of a condition on an object in a namespace that doesn't allow the gate.
func NamespaceDeniedMessage(namespace string) string {
	return fmt.Sprintf("namespace %s doesn't allow this gate: its annotation %s must name the gate's namespace", namespace, konductorv1.AllowGatesAnnotation)
}

// hasFinalStates reports whether the states of that type are final: an object in another state than the wanted one won't
// reach that by itself.
func hasFinalStates(t konductorv1.GateConditionType) bool {
	return t == konductorv1.GateOnJob || t == konductorv1.GateOnBarrier || t == konductorv1.GateOnGate
}

// nextGatePhase returns the phase of a gate that has not opened yet, and the time until its deadline while it waits.
func nextGatePhase(g *konductorv1.Gate, next *konductorv1.GateStatus, impossible bool, life lifetime, now Instant) (konductorv1.GatePhase, time.Duration) {
	timedOut, left := life.timedOut(now)
	switch {
	case timedOut && g.Status.Phase == konductorv1.GateTimeout:
		// Waiters have been notified. Only a longer timeout takes that back.
		return konductorv1.GateTimeout, 0
	case next.ConditionsMet == next.ConditionsTotal:
		return konductorv1.GateOpen, 0
	case impossible:
		return konductorv1.GateFailed, 0
	case timedOut:
		return konductorv1.GateTimeout, 0
	default:
		return konductorv1.GateWaiting, left
	}
}

// enterGatePhase sets the time of the phase change and returns its event.
func enterGatePhase(g *konductorv1.Gate, next *konductorv1.GateStatus, message string, now Instant) []Event {
	at := metav1.NewTime(now.ServerTime)
	next.OpenedAt, next.EndedAt = nil, nil
	switch next.Phase {
	case konductorv1.GateOpen:
		next.OpenedAt = &at
		return []Event{{Reason: konductorv1.EventOpened, Message: message}}
	case konductorv1.GateFailed:
		next.EndedAt = &at
		return []Event{{Warning: true, Reason: konductorv1.EventFailed, Message: message}}
	case konductorv1.GateTimeout:
		next.EndedAt = &at
		return []Event{{Warning: true, Reason: konductorv1.EventTimeout, Message: fmt.Sprintf("timed out after %s: %s", g.Spec.Timeout.Duration.Duration, message)}}
	case konductorv1.GateWaiting:
		if g.Status.Phase != "" {
			return []Event{{Reason: konductorv1.EventResumed, Message: "the gate waits again: " + message}}
		}
	}
	return nil
}

// setGateConditions sets Ready and Open. message is ignored for a gate that was open already.
func setGateConditions(g *konductorv1.Gate, next *konductorv1.GateStatus, message string, now Instant) {
	ready := newCondition(konductorv1.ConditionReady, true, konductorv1.ReasonAccepted, "the gate is in operation", g.Generation, now)
	deadlocked := meta.FindStatusCondition(next.Conditions, konductorv1.ConditionDeadlocked)
	if deadlocked != nil && deadlocked.Reason == konductorv1.ReasonCycle && next.Phase == konductorv1.GateWaiting {
		ready = newCondition(konductorv1.ConditionReady, false, konductorv1.ReasonCycle, deadlocked.Message, g.Generation, now)
	}
	meta.SetStatusCondition(&next.Conditions, ready)

	if g.Status.Phase == konductorv1.GateOpen {
		if c := meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionOpen); c != nil {
			message = c.Message
		}
	}
	reason := map[konductorv1.GatePhase]string{
		konductorv1.GateWaiting: konductorv1.ReasonWaiting,
		konductorv1.GateOpen:    konductorv1.ReasonOpened,
		konductorv1.GateFailed:  konductorv1.ReasonFailed,
		konductorv1.GateTimeout: konductorv1.ReasonTimeout,
	}[next.Phase]
	open := next.Phase == konductorv1.GateOpen
	meta.SetStatusCondition(&next.Conditions, newCondition(konductorv1.ConditionOpen, open, reason, message, g.Generation, now))
}

// gateMessage returns the message of the condition Open.
func gateMessage(s *konductorv1.GateStatus, impossibleMessage string) string {
	if s.Phase == konductorv1.GateFailed {
		return impossibleMessage
	}
	count := fmt.Sprintf("%d of %d conditions are met", s.ConditionsMet, s.ConditionsTotal)
	for _, c := range s.ConditionStatuses {
		if !c.Met {
			return count + "; " + c.Message
		}
	}
	return count
}
