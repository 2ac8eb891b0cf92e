package view

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// State is how an object stands, in one word.
type State string

// States. Those of the API are called what they are called there.
const (
	Unseen    State = "Unseen" // by an operator
	Waiting   State = "Waiting"
	Open      State = "Open"
	Failed    State = "Failed"
	Timeout   State = "Timeout"
	Cycle     State = "Cycle"
	Available State = "Available"
	Held      State = "Held"
	Ready     State = "Ready"
	Full      State = "Full"
	Paused    State = "Paused"
	Deleting  State = "Deleting"
)

// Urgency orders states by how much they ask for attention, the most urgent first.
func (s State) Urgency() int {
	switch s {
	case Failed, Timeout, Cycle:
		return 0
	case Unseen, Paused, Deleting:
		return 1
	case Full, Waiting:
		return 2
	case Held:
		return 3
	default:
		return 4
	}
}

// Row is one object in short.
type Row struct {
	Ref
	State State `json:"state"`
	// Done of Total: participants arrived, conditions met, permits in use. Total is 0 for a lease, which has neither.
	Done  int32 `json:"done"`
	Total int32 `json:"total"`
	// Quorum is how many of Total are enough; 0: all.
	Quorum int32 `json:"quorum,omitempty"`
	// Failed is how many participants have failed.
	Failed int32 `json:"failed,omitempty"`
	// Holds are the current holds of a lease or semaphore, in the order in which they were granted.
	Holds []Hold `json:"holders,omitempty"`
	// Waiting is how many claims wait.
	Waiting int32 `json:"waiting"`
	// LongestWait is since when the claim waits that waits longest, where that is known.
	LongestWait time.Time `json:"longestWaitSince,omitzero"`
	// Unmet are the objects that a gate waits for.
	Unmet []string `json:"unmet,omitempty"`
	// Message is what the operator says about the state.
	Message string `json:"message,omitempty"`
	// Since is when a barrier or gate opened, failed or timed out, or the last holder of a lease acquired it.
	Since time.Time `json:"since,omitzero"`
	// Deadline is when a barrier or gate that waits times out.
	Deadline time.Time `json:"deadline,omitzero"`
	// Created is when the object was created.
	Created time.Time `json:"created"`
}

// Hold is one hold on a lease or semaphore.
type Hold struct {
	Holder  string `json:"holder"`
	Permits int32  `json:"permits"`
	Token   int64  `json:"fencingToken"`
	// Since is when it was granted, by the operator's clock.
	Since time.Time `json:"since"`
	// Until is when it ends unless it is renewed; zero: with its Pod.
	Until    time.Time `json:"until,omitzero"`
	Renewals int64     `json:"renewals,omitempty"`
	// Claim names the Claim behind it, and ClaimUID tells it from a later one of that name.
	Claim    string `json:"claim"`
	ClaimUID string `json:"-"`
}

// Figure returns the progress in numbers, such as 7/10; empty where there is none.
func (r *Row) Figure() string {
	if r.Kind == konductorv1.KindLease {
		return ""
	}
	return fmt.Sprintf("%d/%d", r.Done, r.Total)
}

// Says returns in a few words what there is to say beyond the state, at the time now of the API server's clock.
func (r *Row) Says(now time.Time) string {
	var words string
	switch r.State {
	case Unseen:
		return "no operator has looked at it yet"
	case Deleting:
		return "it is being deleted"
	case Failed, Cycle:
		return r.Message
	case Timeout:
		return join("timed out "+ago(r.Since, now), r.Message)
	case Open:
		return "opened " + ago(r.Since, now)
	case Waiting:
		words = r.waitingFor(now)
	case Paused:
		words = "paused with 0 permits"
		if len(r.Holds) > 0 {
			words += ", still held by " + r.holders()
		}
	case Available:
		words = "free"
	case Ready:
		words = "free"
		if len(r.Holds) > 0 {
			words = "held by " + r.holders()
		}
	case Full:
		words = "held by " + r.holders()
	case Held:
		h := r.Holds[0]
		words = fmt.Sprintf("held by %s for %s", h.Holder, Age(h.Since, now))
		if !h.Until.IsZero() {
			words += ", " + expires(h.Until, now)
		}
	}
	return join(words, r.queue(now))
}

// waitingFor says what a barrier or gate waits for.
func (r *Row) waitingFor(now time.Time) string {
	words := ""
	if r.Kind == konductorv1.KindGate {
		words = "waits for " + strings.Join(r.Unmet, ", ")
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
	return words + ", times out " + in(r.Deadline, now)
}

// holders names the first few holders.
func (r *Row) holders() string {
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

// queue says who waits.
func (r *Row) queue(now time.Time) string {
	if r.Waiting == 0 {
		return ""
	}
	words := fmt.Sprintf("%d waiting", r.Waiting)
	if !r.LongestWait.IsZero() {
		words += " for up to " + Age(r.LongestWait, now)
	}
	return words
}

// Gist returns what of the row is worth a line when it changes: all but the passing of time.
func (r *Row) Gist() string {
	var words []string
	add := func(format string, args ...any) { words = append(words, fmt.Sprintf(format, args...)) }
	if figure := r.Figure(); figure != "" {
		add("%s", figure)
	}
	switch {
	case r.Kind == konductorv1.KindBarrier && r.Failed > 0:
		add("%d failed", r.Failed)
	case len(r.Unmet) > 0:
		add("waits for %s", strings.Join(r.Unmet, ", "))
	case len(r.Holds) > 0:
		add("held by %s", r.holders())
	}
	if r.Kind == konductorv1.KindLease && len(r.Holds) > 0 {
		add("token %d", r.Holds[0].Token)
	}
	if r.Waiting > 0 {
		add("%d waiting", r.Waiting)
	}
	if r.State.Urgency() == 0 && r.Message != "" {
		add("%s", r.Message)
	}
	return strings.Join(words, ", ")
}

func (w *World) newRow(obj metav1.Object) *Row {
	var r *Row
	switch o := obj.(type) {
	case *konductorv1.Barrier:
		r = barrierRow(o)
	case *konductorv1.Gate:
		r = gateRow(o)
	case *konductorv1.Lease:
		r = &Row{State: State(o.Status.Phase), Waiting: o.Status.Waiting, Holds: holdsOf(rules.LeaseHolders(&o.Status))}
		r.Message = condition(o.Status.Conditions, konductorv1.ConditionHeld)
		if len(r.Holds) > 0 {
			r.Since = r.Holds[0].Since
		} else if r.State == Held {
			// A status that was written by hand: there is nobody to name.
			r.State = Available
		}
	case *konductorv1.Semaphore:
		r = semaphoreRow(o)
	default:
		return nil
	}
	r.Ref = refOf(obj)
	r.Created = obj.GetCreationTimestamp().Time
	switch {
	case obj.GetDeletionTimestamp() != nil:
		r.State = Deleting
	case r.State == "":
		r.State = Unseen
	}
	r.LongestWait = w.longestWait(r.Ref)
	return r
}

func barrierRow(b *konductorv1.Barrier) *Row {
	r := &Row{
		State: State(b.Status.Phase), Done: b.Status.Arrived, Total: b.Spec.Expected, Failed: b.Status.Failed,
		Since: ended(b.Status.OpenedAt, b.Status.EndedAt), Message: condition(b.Status.Conditions, konductorv1.ConditionOpen),
	}
	if b.Quorum() != b.Spec.Expected {
		r.Quorum = b.Quorum()
	}
	if r.State == Waiting && b.Spec.Timeout != nil {
		r.Deadline = b.CreationTimestamp.Add(b.Spec.Timeout.Duration.Duration)
	}
	return r
}

func gateRow(g *konductorv1.Gate) *Row {
	r := &Row{
		State: State(g.Status.Phase), Done: g.Status.ConditionsMet, Total: g.Status.ConditionsTotal,
		Since: ended(g.Status.OpenedAt, g.Status.EndedAt), Message: condition(g.Status.Conditions, konductorv1.ConditionOpen),
	}
	if r.State == "" {
		r.Total = int32(len(g.Spec.Conditions))
	}
	if r.State != Waiting {
		return r
	}
	for i := range g.Status.ConditionStatuses {
		if c := &g.Status.ConditionStatuses[i]; !c.Met {
			r.Unmet = append(r.Unmet, conditionName(c))
		}
	}
	if g.Spec.Timeout != nil {
		r.Deadline = g.CreationTimestamp.Add(g.Spec.Timeout.Duration.Duration)
	}
	if c := meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionReady); c != nil && c.Reason == konductorv1.ReasonCycle {
		r.State, r.Message = Cycle, c.Message
	}
	return r
}

// conditionName names what a gate's condition asks for, such as job/load or lease/db=Held.
func conditionName(c *konductorv1.GateConditionStatus) string {
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

func semaphoreRow(s *konductorv1.Semaphore) *Row {
	r := &Row{
		State: State(s.Status.Phase), Done: s.Status.InUse, Total: s.Spec.Permits, Waiting: s.Status.Waiting,
		Holds: holdsOf(s.Status.Holders), Message: condition(s.Status.Conditions, konductorv1.ConditionAvailable),
	}
	if s.Spec.Permits == 0 && r.State != "" {
		r.State = Paused
	}
	return r
}

func holdsOf(holders []konductorv1.SemaphoreHolder) []Hold {
	var holds []Hold
	for i := range holders {
		h := &holders[i]
		hold := Hold{
			Holder: h.Holder, Permits: h.Permits, Token: h.FencingToken, Since: h.AcquiredAt.Time,
			Renewals: h.Renewals, Claim: h.Claim, ClaimUID: string(h.ClaimUID),
		}
		if h.ExpiresAt != nil {
			hold.Until = h.ExpiresAt.Time
		}
		holds = append(holds, hold)
	}
	return holds
}

func condition(conditions []metav1.Condition, kind string) string {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		return c.Message
	}
	return ""
}

func ended(opened, ended *metav1.Time) time.Time {
	switch {
	case opened != nil:
		return opened.Time
	case ended != nil:
		return ended.Time
	default:
		return time.Time{}
	}
}

// Meaning says what a state means, for people who see it for the first time.
func Meaning(s State) string {
	return map[State]string{
		Waiting:   "not enough have arrived, or a condition is not met yet",
		Open:      "it has opened, and stays open",
		Failed:    "it can't open any more, as things stand",
		Timeout:   "its timeout passed first",
		Cycle:     "gates wait for each other",
		Available: "nobody holds the lease",
		Held:      "somebody holds the lease",
		Ready:     "there is a free permit",
		Full:      "no permit is free",
		Paused:    "the semaphore has 0 permits",
		Unseen:    "no operator has looked at it yet",
		Deleting:  "it is being deleted",
	}[s]
}
