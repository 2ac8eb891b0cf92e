package waitgraph

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// newSemaphoreResource returns a semaphore with an empty queue.
func newSemaphoreResource(permits int32) *resource {
	return &resource{permits: permits, sem: &konductorv1.Semaphore{Spec: konductorv1.SemaphoreSpec{Permits: permits}}}
}

// enqueue adds a process that waits for that many permits.
func (r *resource) enqueue(p *process, permits int32) *wait {
	w := &wait{process: p, permits: permits, evidence: EvidenceClaim, claim: &konductorv1.Claim{}}
	w.claim.UID = types.UID(fmt.Sprint(len(r.queue)))
	p.waits, r.queue = append(p.waits, w), append(r.queue, w)
	return w
}

// grantSatisfiable marks the satisfiable waits, and returns how many waits were scanned.
func (r *resource) grantSatisfiable() (scanned int) {
	for w := range r.queueState.candidates() {
		scanned++
		if int64(w.permits)+r.queueState.permitsAhead(w) <= int64(r.permits) {
			w.satisfiable = true
			r.queueState.wantedPermits.remove(w.queuePosition)
		}
	}
	return scanned
}

// grantByReference marks the satisfiable waits by a direct implementation of the rule.
func (r *resource) grantByReference(granted map[*wait]bool) {
	for i, w := range r.queue {
		before := int64(0)
		for j := range r.holds {
			if h := &r.holds[j]; h.isBlocked() {
				before += int64(h.holder.Permits)
			}
		}
		for _, other := range r.queue[:i] {
			behind := other.waitsElsewhere && other.permits <= w.permits
			if !other.process.reducible && (behind || r.isReservedFor(other)) {
				before += int64(other.permits)
			}
		}
		if !w.process.reducible && w.needsPermits(r) && int64(w.permits)+before <= int64(r.permits) {
			granted[w] = true
		}
	}
}

func TestQueueStateMatchesReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newSemaphoreResource(int32(rapid.IntRange(1, 12).Draw(t, "permits")))
		processes := make([]*process, rapid.IntRange(1, 12).Draw(t, "processes"))
		for i := range processes {
			p := &process{}
			processes[i] = p
			if n := rapid.IntRange(-3, 4).Draw(t, "holds"); n > 0 {
				one := hold{resource: r, process: p, ending: n == 4, holder: konductorv1.Holder{Permits: int32(n)}}
				r.holds, p.holds = append(r.holds, one), append(p.holds, one)
			}
			if rapid.Bool().Draw(t, "elsewhere") {
				p.waits = append(p.waits, &wait{process: p, evidence: EvidenceCommand})
			}
		}
		for range rapid.IntRange(1, 20).Draw(t, "waits") {
			w := r.enqueue(rapid.SampledFrom(processes).Draw(t, "process"), int32(rapid.IntRange(1, 13).Draw(t, "n")))
			if rapid.IntRange(0, 4).Draw(t, "reserved") == 0 {
				r.sem.Status.Overtaken = append(r.sem.Status.Overtaken, konductorv1.OvertakenClaim{ClaimUID: w.claim.UID, Times: konductorv1.MaxOvertaken})
			}
		}
		r.queueState = newQueueState(r)
		want := map[*wait]bool{}
		for _, next := range rapid.Permutation(processes).Draw(t, "order") {
			r.grantSatisfiable()
			r.grantByReference(want)
			got := map[*wait]bool{}
			for _, w := range r.queue {
				if w.satisfiable {
					got[w] = true
				}
			}
			if len(got) != len(want) {
				t.Fatalf("%d may go on, want %d", len(got), len(want))
			}
			for w := range want {
				if !got[w] {
					t.Fatalf("number %d of the queue may not go on", w.queuePosition)
				}
			}
			next.reducible = true
			for i := range next.holds {
				r.queueState.releaseHold(&next.holds[i])
			}
			for _, w := range next.waits {
				r.queueState.removeWait(w)
			}
		}
	})
}

func TestQueueStateScansEachWaitOnce(t *testing.T) {
	const n = 10_000
	for what, permits := range map[string]int32{"one after the other": 1, "half of it, one after the other": n / 2} {
		t.Run(what, func(t *testing.T) {
			r := newSemaphoreResource(permits)
			for range n {
				p := &process{waits: []*wait{{evidence: EvidenceClaim}}}
				r.enqueue(p, 1)
			}
			r.queueState = newQueueState(r)
			scanned := 0
			for _, w := range r.queue {
				scanned += r.grantSatisfiable()
				if !w.satisfiable {
					t.Fatalf("number %d may not go on", w.queuePosition)
				}
				w.process.reducible = true
				r.queueState.removeWait(w)
			}
			if scanned > 3*n {
				t.Errorf("of %d in a queue %d were looked at", n, scanned)
			}
		})
	}
}

func TestMinTreeNextBelow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.Int64Range(1, 5), 0, 20).Draw(t, "values")
		m := newMinSegmentTree(len(values))
		for i, v := range values {
			m.set(i+1, v)
		}
		for from := 1; from <= len(values)+1; from++ {
			for than := range int64(7) {
				want := 0
				for i := len(values); i >= from; i-- {
					if values[i-1] < than {
						want = i
					}
				}
				if diff := cmp.Diff(want, m.nextBelow(from, than)); diff != "" {
					t.Fatalf("from %d, less than %d (-want +got):\n%s", from, than, diff)
				}
			}
		}
	})
}
