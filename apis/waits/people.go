package waits

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Holder is who holds a Lease, or permits of a Semaphore.
type Holder struct {
	// Process is the Pod, or, for one that isn't a Pod, the name it holds under.
	Process Ref `json:"process"`
	// Holder is the name it holds under.
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
	// Node is where the Pod runs.
	Node string `json:"node,omitempty"`
	// Deadlocked says that it is in a circle of waits.
	Deadlocked bool `json:"deadlocked,omitempty"`
}

// Waiter is who waits for a Lease or a Semaphore.
type Waiter struct {
	// Place in the queue, from 1.
	Place int `json:"place"`
	// Process is the Pod, or, for one that isn't a Pod, the name it waits under.
	Process Ref `json:"process"`
	// Holder is the name it waits under.
	Holder string `json:"holder"`
	// Claim is the name of its Claim.
	Claim string `json:"claim"`
	// Permits it asks for; 1 of a Lease.
	Permits int32 `json:"permits"`
	// Priority puts it before all of lower priority.
	Priority int32 `json:"priority,omitempty"`
	// Since is when it began to wait.
	Since time.Time `json:"since"`
	// Deadlocked says that it is in a circle of waits.
	Deadlocked bool `json:"deadlocked,omitempty"`
}

// Missing tells who has yet to arrive at a Barrier, as far as can be known.
type Missing struct {
	// Count is how many must still arrive before it opens.
	Count int `json:"count"`
	// Known are participants that are seen to be on their way: the commands of their Pods and Jobs say so, or others of
	// their Indexed Job have arrived.
	Known []Participant `json:"known,omitempty"`
	// Ended are participants that don't come any more: their Pod or Job has ended, and they have not arrived.
	Ended []Participant `json:"ended,omitempty"`
}

// Participant is one that has yet to arrive, or several of one Job that have no Pod yet.
type Participant struct {
	// Name under which it will arrive, unless it says otherwise.
	Name string `json:"name"`
	// Count is how many this stands for.
	Count int `json:"count"`
	// Process is the Pod, or the Job that has none yet.
	Process Ref `json:"process"`
	// Deadlocked says that it is in a circle of waits.
	Deadlocked bool `json:"deadlocked,omitempty"`
}

// Holders returns who holds a Lease or a Semaphore, in the order in which they were granted.
func (a *Analysis) Holders(ref Ref) (holders []Holder) {
	r := a.resources[ref]
	if r == nil {
		return nil
	}
	for i := range r.holds {
		holders = append(holders, a.holder(&r.holds[i]))
	}
	return holders
}

func (a *Analysis) holder(h *hold) Holder {
	one := Holder{
		Process: h.process.ref, Holder: h.holder.Holder, Claim: h.holder.Claim, Permits: h.holder.Permits, Token: h.holder.FencingToken,
		Since: h.holder.AcquiredAt.Time, Renewals: h.holder.Renewals, Deadlocked: a.deadlocked[h.process.ref] != nil,
	}
	if h.holder.ExpiresAt != nil {
		one.ExpiresAt = &h.holder.ExpiresAt.Time
	}
	if h.process.pod != nil {
		one.Node = h.process.pod.Spec.NodeName
	}
	if h.claim != nil && h.claim.Spec.Renewals > 0 {
		one.Renewals = h.claim.Spec.Renewals
		one.RenewedAt = lastWrite(h.claim)
	}
	return one
}

// lastWrite returns when a claim's client last wrote to it, which it does to renew. The API server notes that.
func lastWrite(c *konductorv1.Claim) (last *time.Time) {
	for i := range c.ManagedFields {
		f := &c.ManagedFields[i]
		if f.Subresource == "" && f.Time != nil && (last == nil || f.Time.After(*last)) {
			last = &f.Time.Time
		}
	}
	return last
}

// words tells of a holder in one go.
func (h *Holder) words(w *walk, namespace string) string {
	who := h.Process.In(namespace)
	if h.Process.Kind == KindHolder {
		who = h.Holder + ", which isn't a pod"
	} else if h.Holder != h.Process.Name {
		who += " as " + h.Holder
	}
	details := []string{"for " + w.since(h.Since), fmt.Sprintf("token %d", h.Token)}
	if h.Node != "" {
		details = append([]string{"on node " + h.Node}, details...)
	}
	switch {
	case h.RenewedAt != nil:
		details = append(details, "renewed "+w.since(*h.RenewedAt)+" ago")
	case h.ExpiresAt != nil:
		details = append(details, "not renewed yet")
	}
	return who + " (" + strings.Join(details, ", ") + ")"
}

// Queue returns who waits for a Lease or a Semaphore, in the order in which it is served.
func (a *Analysis) Queue(ref Ref) (queue []Waiter) {
	r := a.resources[ref]
	if r == nil {
		return nil
	}
	for i, w := range r.queue {
		queue = append(queue, Waiter{
			Place: i + 1, Process: w.process.ref, Holder: w.claim.Spec.Holder, Claim: w.claim.Name, Permits: w.permits,
			Priority: w.claim.Spec.Priority, Since: w.claim.CreationTimestamp.Time, Deadlocked: a.deadlocked[w.process.ref] != nil,
		})
	}
	return queue
}

// Missing returns who has yet to arrive at a Barrier, or nil when it doesn't wait. Of those who arrive under a name that
// they are given it can't be told whether they have, so that they are left out.
func (a *Analysis) Missing(ref Ref) *Missing {
	b := a.barriers[ref]
	if b == nil || !b.waiting() {
		return nil
	}
	m := &Missing{Count: int(b.missing())}
	add := func(to *[]Participant, name string, n int32, process Ref) {
		*to = append(*to, Participant{Name: name, Count: int(n), Process: process, Deadlocked: a.deadlocked[process] != nil})
	}
	for _, r := range b.arrivers {
		if arrives, renamed := arrivesUnder(r.calls(), b.ref); arrives && !renamed {
			add(&m.Known, r.participant, r.count, r.ref())
		}
	}
	for _, j := range a.jobs {
		arrives, renamed := arrivesUnder(j.calls, b.ref)
		switch {
		case j.ref.Namespace != b.ref.Namespace || renamed || !arrives && !b.someOf(j):
		case j.ended() != "":
			if n := j.notAt(b); n > 0 {
				add(&m.Ended, j.startingAs(), n, j.ref)
			}
		case !arrives:
			for _, p := range j.pods {
				if name := p.participant(); !b.arrived[name] {
					add(&m.Known, name, 1, p.ref)
				}
			}
			if n := j.stillToStart(b); n > 0 {
				add(&m.Known, j.startingAs(), n, j.ref)
			}
		}
	}
	for ref, pod := range a.endedPods {
		arrives, renamed := arrivesUnder(podCalls(&pod.Spec), b.ref)
		if ref.Namespace == b.ref.Namespace && metav1.GetControllerOf(pod) == nil && arrives && !renamed && !b.arrived[ref.String()] {
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

// arrivesUnder reports whether calls arrive at a barrier, and whether under a name that they are given.
func arrivesUnder(containers []containerCalls, barrier Ref) (arrives, renamed bool) {
	for _, c := range containers {
		for i := range c.calls {
			if call := &c.calls[i]; call.Kind == barrier.Kind && call.Verb == VerbArrive && call.Name == barrier.Name {
				arrives, renamed = true, renamed || call.Renamed
			}
		}
	}
	return arrives, renamed
}

// someOf reports whether participants of an Indexed Job have arrived.
func (b *barrier) someOf(j *job) bool { return j.indexed() && j.notAt(b) < j.participants() }

// participants returns how many participants a Job is.
func (j *job) participants() int32 {
	if !j.indexed() || j.obj.Spec.Completions == nil {
		return 1
	}
	return *j.obj.Spec.Completions
}

// notAt returns how many participants of the Job have not arrived.
func (j *job) notAt(b *barrier) int32 {
	if !j.indexed() {
		if b.arrived[j.ref.String()] {
			return 0
		}
		return 1
	}
	rest := int32(0)
	for i := range j.participants() {
		if !b.arrived[fmt.Sprintf("%s/%d", j.ref, i)] {
			rest++
		}
	}
	return rest
}

// Deadlocked says in words which circle of waits an object is in, or "" when it is in none.
func (a *Analysis) Deadlocked(ref Ref) string {
	if d := a.deadlocked[ref]; d != nil {
		return d.Message(ref)
	}
	return ""
}
