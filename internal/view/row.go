package view

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// State is an object's state, in one word.
type State string

// States. Those that exist in the API have the same names.
const (
	StateUnobserved State = "Unseen" // not reconciled by an operator yet
	StateWaiting    State = "Waiting"
	StateOpen       State = "Open"
	StateFailed     State = "Failed"
	StateTimeout    State = "Timeout"
	StateCycle      State = "Cycle"
	StateAvailable  State = "Available"
	StateHeld       State = "Held"
	StateReady      State = "Ready"
	StateFull       State = "Full"
	StatePaused     State = "Paused"
	StateDeleting   State = "Deleting"
)

// UrgencyRank ranks states by how much attention they need, 0 (the most urgent) to 4.
func (s State) UrgencyRank() int {
	switch s {
	case StateFailed, StateTimeout, StateCycle:
		return 0
	case StateUnobserved, StatePaused, StateDeleting:
		return 1
	case StateFull, StateWaiting:
		return 2
	case StateHeld:
		return 3
	default:
		return 4
	}
}

// Row is the summary of one object.
type Row struct {
	Ref
	State State `json:"state"`
	// Done of Total: participants arrived, conditions met, permits in use. Both are 0 for a lease.
	Done  int32 `json:"done"`
	Total int32 `json:"total"`
	// Quorum is how many of Total are enough; 0: all.
	Quorum int32 `json:"quorum,omitempty"`
	// Failed is how many participants reported a failure.
	Failed int32 `json:"failed,omitempty"`
	// Holds are the current holds on a lease or semaphore, in the order of their grants.
	Holds []Hold `json:"holders,omitempty"`
	// Waiting is the number of claims in the queue.
	Waiting int32 `json:"waiting"`
	// LongestWaitSince is when the claim that has waited longest was created; zero if not known.
	LongestWaitSince time.Time `json:"longestWaitSince,omitzero"`
	// UnmetConditions are the objects that a gate waits for.
	UnmetConditions []string `json:"unmet,omitempty"`
	// Message is the operator's message about the state.
	Message string `json:"message,omitempty"`
	// StateSince is when a barrier or gate opened, failed or timed out, or when the last holder of a lease acquired it.
	StateSince time.Time `json:"since,omitzero"`
	// Deadline is when a waiting barrier or gate times out; zero: never.
	Deadline time.Time `json:"deadline,omitzero"`
	Created  time.Time `json:"created"`
	// UID distinguishes the object from a later one of its name.
	UID string `json:"-"`
	// Finalizers are those of an object that is being deleted.
	Finalizers []string `json:"keptBy,omitempty"`
}

// Hold is one hold on a lease or semaphore.
type Hold struct {
	Holder       string `json:"holder"`
	Permits      int32  `json:"permits"`
	FencingToken int64  `json:"fencingToken"`
	// AcquiredAt is the time of the grant, by the operator's estimate of the API server's clock.
	AcquiredAt time.Time `json:"since"`
	// ExpiresAt is when the hold ends unless it is renewed; zero: with its Pod.
	ExpiresAt time.Time `json:"until,omitzero"`
	Renewals  int64     `json:"renewals,omitempty"`
	// Claim names the hold's Claim, and ClaimUID distinguishes it from a later one of that name.
	Claim    string `json:"claim"`
	ClaimUID string `json:"-"`
}

// ProgressText returns the progress in numbers, such as 7/10; empty for a lease.
func (r *Row) ProgressText() string {
	if r.Kind == konductorv1.KindLease {
		return ""
	}
	return fmt.Sprintf("%d/%d", r.Done, r.Total)
}

// Description returns a few words beyond the state. now is the time by the API server's clock.
func (r *Row) Description(now time.Time) string {
	var words string
	switch r.State {
	case StateUnobserved:
		return "no operator has observed it yet"
	case StateDeleting:
		if len(r.Finalizers) > 0 {
			return "it is being deleted, blocked by finalizers: " + strings.Join(r.Finalizers, ", ")
		}
		return "it is being deleted"
	case StateFailed, StateCycle:
		return r.Message
	case StateTimeout:
		return joinNonEmpty("timed out "+formatAgo(r.StateSince, now), strings.TrimPrefix(r.Message, "timed out "))
	case StateOpen:
		return "opened " + formatAgo(r.StateSince, now)
	case StateWaiting:
		words = r.waitingText(now)
	case StatePaused:
		words = "paused with 0 permits"
		if len(r.Holds) > 0 {
			words += ", still held by " + r.holdersText()
		}
	case StateAvailable:
		words = "free"
	case StateReady:
		words = "free"
		if len(r.Holds) > 0 {
			words = "held by " + r.holdersText()
		}
	case StateFull:
		words = "held by " + r.holdersText()
	case StateHeld:
		h := r.Holds[0]
		words = fmt.Sprintf("held by %s for %s", h.Holder, FormatAge(h.AcquiredAt, now))
		if !h.ExpiresAt.IsZero() {
			words += ", " + formatExpiry(h.ExpiresAt, now)
		}
	}
	return joinNonEmpty(words, r.queueText(now))
}

// waitingText returns what a barrier or gate waits for.
func (r *Row) waitingText(now time.Time) string {
	words := ""
	if r.Kind == konductorv1.KindGate {
		words = "waits for " + strings.Join(r.UnmetConditions, ", ")
	} else {
		enough := r.Quorum
		if enough == 0 {
			enough = r.Total
		}
		words = fmt.Sprintf("%d to come", enough-r.Done)
		if r.Failed > 0 {
			words += fmt.Sprintf(", %d failed", r.Failed)
		}
	}
	if r.Deadline.IsZero() {
		return words
	}
	return words + ", times out " + formatUntil(r.Deadline, now)
}

// holdersText returns the names of the first few holders.
func (r *Row) holdersText() string {
	const named = 3
	var names []string
	for _, h := range r.Holds {
		if len(names) == named && len(r.Holds) > named+1 {
			return fmt.Sprintf("%s and %d more", strings.Join(names, ", "), len(r.Holds)-named)
		}
		name := h.Holder
		if h.Permits > 1 {
			name += fmt.Sprintf(" (%d)", h.Permits)
		}
		names = append(names, name)
	}
	return strings.Join(names, ", ")
}

// queueText returns the length of the queue and the longest wait.
func (r *Row) queueText(now time.Time) string {
	if r.Waiting == 0 {
		return ""
	}
	words := fmt.Sprintf("%d waiting", r.Waiting)
	if !r.LongestWaitSince.IsZero() {
		words += " for up to " + FormatAge(r.LongestWaitSince, now)
	}
	return words
}

// StateSummary returns everything whose change is worth a line; the passing of time is not.
func (r *Row) StateSummary() string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if figure := r.ProgressText(); figure != "" {
		add("%s", figure)
	}
	switch {
	case r.Kind == konductorv1.KindBarrier && r.Failed > 0:
		add("%d failed", r.Failed)
	case len(r.UnmetConditions) > 0:
		add("waits for %s", strings.Join(r.UnmetConditions, ", "))
	case len(r.Holds) > 0:
		add("held by %s", r.holdersText())
	}
	if r.Kind == konductorv1.KindLease && len(r.Holds) > 0 {
		add("token %d", r.Holds[0].FencingToken)
	}
	if r.Waiting > 0 {
		add("%d waiting", r.Waiting)
	}
	if r.State.UrgencyRank() == 0 && r.Message != "" {
		add("%s", r.Message)
	}
	return strings.Join(words, ", ")
}

func (w *Store) newRow(obj metav1.Object) *Row {
	var r *Row
	switch o := obj.(type) {
	case *konductorv1.Barrier:
		r = newBarrierRow(o)
	case *konductorv1.Gate:
		r = newGateRow(o)
	case *konductorv1.Lease:
		r = &Row{State: State(o.Status.Phase), Waiting: o.Status.Waiting, Holds: toHolds(o.Status.Holders())}
		r.Message = conditionMessage(o.Status.Conditions, konductorv1.ConditionHeld)
		if len(r.Holds) > 0 {
			r.StateSince = r.Holds[0].AcquiredAt
		} else if r.State == StateHeld {
			// The status was written by hand: there is no holder to name.
			r.State = StateAvailable
		}
	case *konductorv1.Semaphore:
		r = newSemaphoreRow(o)
	default:
		return nil
	}
	r.Ref = refOf(obj)
	r.Created, r.UID = obj.GetCreationTimestamp().Time, string(obj.GetUID())
	switch {
	case obj.GetDeletionTimestamp() != nil:
		r.State, r.Finalizers = StateDeleting, obj.GetFinalizers()
	case r.State == "":
		r.State = StateUnobserved
	}
	r.LongestWaitSince = w.longestWaitSince(r.Ref)
	return r
}

func newBarrierRow(b *konductorv1.Barrier) *Row {
	r := &Row{
		State: State(b.Status.Phase), Done: b.Status.Arrived, Total: b.Spec.Expected, Failed: b.Status.Failed,
		StateSince: finishTime(b.Status.OpenedAt, b.Status.EndedAt), Message: conditionMessage(b.Status.Conditions, konductorv1.ConditionOpen),
	}
	if b.Quorum() != b.Spec.Expected {
		r.Quorum = b.Quorum()
	}
	if r.State == StateWaiting && b.Spec.Timeout != nil {
		r.Deadline = b.CreationTimestamp.Add(b.Spec.Timeout.Duration.Duration)
	}
	return r
}

func newGateRow(g *konductorv1.Gate) *Row {
	r := &Row{
		State: State(g.Status.Phase), Done: g.Status.ConditionsMet, Total: g.Status.ConditionsTotal,
		StateSince: finishTime(g.Status.OpenedAt, g.Status.EndedAt), Message: conditionMessage(g.Status.Conditions, konductorv1.ConditionOpen),
	}
	if r.State == "" {
		r.Total = int32(len(g.Spec.Conditions))
	}
	if r.State != StateWaiting {
		return r
	}
	for i := range g.Status.ConditionStatuses {
		if c := &g.Status.ConditionStatuses[i]; !c.Met {
			r.UnmetConditions = append(r.UnmetConditions, gateConditionName(c))
		}
	}
	if g.Spec.Timeout != nil {
		r.Deadline = g.CreationTimestamp.Add(g.Spec.Timeout.Duration.Duration)
	}
	if c := meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionReady); c != nil && c.Reason == konductorv1.ReasonCycle {
		r.State, r.Message = StateCycle, c.Message
	}
	return r
}

// gateConditionName returns the object that a gate's condition names, such as job/load or lease/db=Held.
func gateConditionName(c *konductorv1.GateConditionStatus) string {
	name := strings.ToLower(string(c.Type)) + "/" + c.Name
	if c.Namespace != "" {
		name = c.Namespace + "/" + name
	}
	usual := konductorv1.GateCondition{Type: c.Type}
	if c.State != "" && c.State != usual.WantedState() {
		name += "=" + string(c.State)
	}
	return name
}

func newSemaphoreRow(s *konductorv1.Semaphore) *Row {
	r := &Row{
		State: State(s.Status.Phase), Done: s.Status.InUse, Total: s.Spec.Permits, Waiting: s.Status.Waiting,
		Holds: toHolds(s.Status.Holders), Message: conditionMessage(s.Status.Conditions, konductorv1.ConditionAvailable),
	}
	if s.Spec.Permits == 0 && r.State != "" {
		r.State = StatePaused
	}
	return r
}

func toHolds(holders []konductorv1.Holder) []Hold {
	var holds []Hold
	for i := range holders {
		h := &holders[i]
		hold := Hold{
			Holder: h.Name, Permits: h.Permits, FencingToken: h.FencingToken, AcquiredAt: h.AcquiredAt.Time,
			Renewals: h.Renewals, Claim: h.Claim, ClaimUID: string(h.ClaimUID),
		}
		if h.ExpiresAt != nil {
			hold.ExpiresAt = h.ExpiresAt.Time
		}
		holds = append(holds, hold)
	}
	return holds
}

func conditionMessage(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

func finishTime(opened, ended *metav1.Time) time.Time {
	switch {
	case opened != nil:
		return opened.Time
	case ended != nil:
		return ended.Time
	default:
		return time.Time{}
	}
}

// DescribeState returns what a state means, for people who see it for the first time.
func DescribeState(s State) string {
	return map[State]string{
		StateWaiting:    "not enough participants have arrived, or a condition is not met",
		StateOpen:       "it has opened, and stays open",
		StateFailed:     "it can't open any more",
		StateTimeout:    "it timed out before it could open",
		StateCycle:      "gates wait for each other",
		StateAvailable:  "nobody holds the lease",
		StateHeld:       "somebody holds the lease",
		StateReady:      "there is a free permit",
		StateFull:       "no permit is free",
		StatePaused:     "the semaphore has 0 permits",
		StateUnobserved: "no operator has observed it yet",
		StateDeleting:   "it is being deleted",
	}[s]
}
