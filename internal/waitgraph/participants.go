package waitgraph

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Holder is one hold of a Lease, or of permits of a Semaphore.
type Holder struct {
	// Process is the Pod or, for a holder that isn't a Pod, its name.
	Process Ref `json:"process"`
	// Holder is the name under which it holds.
	Holder string `json:"holder"`
	// Claim is the name of its Claim.
	Claim string `json:"claim"`
	// Permits it holds; 1 of a Lease.
	Permits int32 `json:"permits"`
	// Token is its fencing token.
	Token int64 `json:"fencingToken"`
	// Since is when it was granted.
	Since time.Time `json:"since"`
	// Renewals is how often it was renewed.
	Renewals int64 `json:"renewals,omitempty"`
	// RenewedAt is when it was last renewed, if ever.
	RenewedAt *time.Time `json:"renewedAt,omitempty"`
	// ExpiresAt is when it ends unless it is renewed. Without it, it ends with the Pod.
	ExpiresAt *time.Time `json:"expiresAt,omitempty"`
	// Node on which the Pod runs.
	Node string `json:"node,omitempty"`
	// Deadlocked says that it is in a wait cycle.
	Deadlocked bool `json:"deadlocked,omitempty"`
}

// Waiter is one wait for a Lease or a Semaphore.
type Waiter struct {
	// Position in the queue, from 1.
	Position int `json:"place"`
	// Process is the Pod or, for a waiter that isn't a Pod, its name.
	Process Ref `json:"process"`
	// Holder is the name under which it waits.
	Holder string `json:"holder"`
	// Claim is the name of its Claim.
	Claim string `json:"claim"`
	// Permits it asks for; 1 of a Lease.
	Permits int32 `json:"permits"`
	// Priority puts it before all of lower priority.
	Priority int32 `json:"priority,omitempty"`
	// Since is when it began to wait.
	Since time.Time `json:"since"`
	// Deadlocked says that it is in a wait cycle.
	Deadlocked bool `json:"deadlocked,omitempty"`
}

// MissingArrivals are the participants that have yet to arrive at a Barrier, as far as can be known.
type MissingArrivals struct {
	// Count is how many must still arrive before it opens.
	Count int `json:"count"`
	// Known are participants expected to arrive: the commands of their Pods and Jobs say so, or others of their Indexed Job have
	// arrived.
	Known []Participant `json:"known,omitempty"`
	// Ended are participants that won't arrive: their Pod or Job has ended, and they have not arrived.
	Ended []Participant `json:"ended,omitempty"`
}

// Participant is one that has yet to arrive, or several of one Job that have no Pod yet.
type Participant struct {
	// Name under which it will arrive unless its command sets another.
	Name string `json:"name"`
	// Count is how many participants this represents.
	Count int `json:"count"`
	// Process is the Pod, or the Job that has none yet.
	Process Ref `json:"process"`
	// Deadlocked says that it is in a wait cycle.
	Deadlocked bool `json:"deadlocked,omitempty"`
}

// Holders returns the holders of a Lease or a Semaphore, in the order in which they were granted.
func (a *Analysis) Holders(ref Ref) (holders []Holder) {
	r := a.resources[ref]
	if r == nil {
		return nil
	}
	for i := range r.holds {
		holders = append(holders, a.newHolder(&r.holds[i]))
	}
	return holders
}

func (a *Analysis) newHolder(h *hold) Holder {
	holder := Holder{
		Process: h.process.ref, Holder: h.holder.Name, Claim: h.holder.Claim, Permits: h.holder.Permits, Token: h.holder.FencingToken,
		Since: h.holder.AcquiredAt.Time, Renewals: h.holder.Renewals, Deadlocked: a.deadlockByMember[h.process.ref] != nil,
	}
	if h.holder.ExpiresAt != nil {
		holder.ExpiresAt = &h.holder.ExpiresAt.Time
	}
	if h.process.pod != nil {
		holder.Node = h.process.pod.Spec.NodeName
	}
	if h.claim != nil && h.claim.Spec.Renewals > 0 {
		holder.Renewals = h.claim.Spec.Renewals
		holder.RenewedAt = lastClientWrite(h.claim)
	}
	return holder
}

// lastClientWrite returns when a claim's client last wrote to it, which it does to renew. The API server records that in
// managedFields.
func lastClientWrite(c *konductorv1.Claim) (last *time.Time) {
	for i := range c.ManagedFields {
		f := &c.ManagedFields[i]
		if f.Subresource == "" && f.Time != nil && (last == nil || f.Time.After(*last)) {
			last = &f.Time.Time
		}
	}
	return last
}

// describe returns a holder with its details as one text.
func (h *Holder) describe(w *explainer, namespace string) string {
	text := h.Process.StringIn(namespace)
	if h.Process.Kind == KindHolder {
		text = h.Holder + ", which isn't a pod"
	} else if h.Holder != h.Process.Name {
		text += " as " + h.Holder
	}
	details := []string{"for " + w.formatAge(h.Since), fmt.Sprintf("token %d", h.Token)}
	if h.Node != "" {
		details = append([]string{"on node " + h.Node}, details...)
	}
	switch {
	case h.RenewedAt != nil:
		details = append(details, "renewed "+w.formatAge(*h.RenewedAt)+" ago")
	case h.ExpiresAt != nil:
		details = append(details, "not renewed yet")
	}
	return text + " (" + strings.Join(details, ", ") + ")"
}

// Queue returns the waiters of a Lease or a Semaphore, in the order in which they are served.
func (a *Analysis) Queue(ref Ref) (queue []Waiter) {
	r := a.resources[ref]
	if r == nil {
		return nil
	}
	for i, w := range r.queue {
		queue = append(queue, Waiter{
			Position: i + 1, Process: w.process.ref, Holder: w.claim.Spec.Holder, Claim: w.claim.Name, Permits: w.permits,
			Priority: w.claim.Spec.Priority, Since: w.claim.CreationTimestamp.Time, Deadlocked: a.deadlockByMember[w.process.ref] != nil,
		})
	}
	return queue
}

// MissingArrivals returns the participants that have yet to arrive at a Barrier, or nil when it isn't waiting. Participants with
// a custom name are left out, since it can't be known whether they have arrived.
func (a *Analysis) MissingArrivals(ref Ref) *MissingArrivals {
	b := a.barriers[ref]
	if b == nil || !b.isWaiting() {
		return nil
	}
	m := &MissingArrivals{Count: int(b.missingCount())}
	add := func(list *[]Participant, name string, n int32, process Ref) {
		*list = append(*list, Participant{Name: name, Count: int(n), Process: process, Deadlocked: a.deadlockByMember[process] != nil})
	}
	for _, r := range b.pendingParticipants {
		if arrives, renamed := findArrival(r.calls(), b.ref); arrives && !renamed {
			add(&m.Known, r.name, r.count, r.ref())
		}
	}
	for _, j := range a.jobs {
		arrives, renamed := findArrival(j.calls, b.ref)
		switch {
		case j.ref.Namespace != b.ref.Namespace || renamed || !arrives && !b.hasArrivalsOf(j):
		case j.terminalCondition() != "":
			if n := j.notArrivedCount(b); n > 0 {
				add(&m.Ended, j.unstartedName(), n, j.ref)
			}
		case !arrives:
			for _, p := range j.activePods {
				if name := p.participantName; !b.arrivedParticipants[name] {
					add(&m.Known, name, 1, p.ref)
				}
			}
			if n := j.unstartedCount(b); n > 0 {
				add(&m.Known, j.unstartedName(), n, j.ref)
			}
		}
	}
	for ref, pod := range a.endedPods {
		if ref.Namespace != b.ref.Namespace || metav1.GetControllerOf(pod) != nil || b.arrivedParticipants[ref.String()] {
			continue
		}
		if arrives, renamed := findArrival(podCalls(&pod.Spec, nil), b.ref); arrives && !renamed {
			add(&m.Ended, ref.String(), 1, ref)
		}
	}
	byName := func(x, y Participant) int {
		return cmp.Or(strings.Compare(x.Name, y.Name), CompareRefs(x.Process, y.Process))
	}
	slices.SortFunc(m.Known, byName)
	slices.SortFunc(m.Ended, byName)
	return m
}

// findArrival reports whether calls arrive at a barrier, and whether under a custom name.
func findArrival(containers []containerCalls, barrier Ref) (arrives, renamed bool) {
	for _, c := range containers {
		for i := range c.calls {
			if call := &c.calls[i]; call.Kind == barrier.Kind && call.Verb == VerbArrive && call.Name == barrier.Name {
				arrives, renamed = true, renamed || call.CustomHolder
			}
		}
	}
	return arrives, renamed
}

// hasArrivalsOf reports whether participants of an Indexed Job have arrived.
func (b *barrier) hasArrivalsOf(j *job) bool {
	return j.isIndexed() && j.notArrivedCount(b) < j.participantCount()
}

// participantCount returns how many participants a Job has.
func (j *job) participantCount() int32 {
	if !j.isIndexed() || j.obj.Spec.Completions == nil {
		return 1
	}
	return *j.obj.Spec.Completions
}

// notArrivedCount returns how many participants of the Job have not arrived. It counts those that have, and subtracts: the number
// of completions is set by users, and may be huge.
func (j *job) notArrivedCount(b *barrier) int32 {
	if !j.isIndexed() {
		if b.arrivedParticipants[j.ref.String()] {
			return 0
		}
		return 1
	}
	remaining := j.participantCount()
	for _, index := range b.arrivedIndexes[j.ref.String()] {
		if index < j.participantCount() {
			remaining--
		}
	}
	return remaining
}

// DeadlockMessage describes the wait cycle that an object is in, or returns "" when it is in none.
func (a *Analysis) DeadlockMessage(ref Ref) string {
	if d := a.deadlockByMember[ref]; d != nil {
		return d.Message(ref)
	}
	return ""
}
