package rules_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// referenceTally counts arrivals in the simplest way: by the first of each participant.
func referenceTally(b *konductorv1.Barrier, arrivals []rules.Arrival) (arrived, failed int32) {
	first := map[string]rules.Arrival{}
	for _, a := range slices.Backward(arrivals) {
		if b.Spec.Timeout == nil || !a.Created.After(b.CreationTimestamp.Add(b.Spec.Timeout.Duration.Duration)) {
			first[a.Participant] = a
		}
	}
	for _, a := range first {
		if a.Failed {
			failed++
		} else {
			arrived++
		}
	}
	return arrived, failed
}

// referencePhase is the phase of a barrier that has not opened before, if no timeout has been reported.
func referencePhase(b *konductorv1.Barrier, arrivals []rules.Arrival, now time.Duration) konductorv1.BarrierPhase {
	arrived, failed := referenceTally(b, arrivals)
	switch {
	case arrived >= b.Quorum():
		return konductorv1.BarrierOpen
	case failed > b.Spec.Expected-b.Quorum():
		return konductorv1.BarrierFailed
	case isOverdue(b, now):
		return konductorv1.BarrierTimeout
	default:
		return konductorv1.BarrierWaiting
	}
}

// isOverdue reports whether no arrival can be in time any more: arrivals are stamped with whole seconds.
func isOverdue(b *konductorv1.Barrier, now time.Duration) bool {
	if b.Spec.Timeout == nil {
		return false
	}
	return (now / time.Second * time.Second) > b.Spec.Timeout.Duration.Duration
}

func drawBarrier(t *rapid.T) *konductorv1.Barrier {
	expected := rapid.Int32Range(1, 4).Draw(t, "expected")
	b := newBarrier(expected)
	if rapid.Bool().Draw(t, "has quorum") {
		b.quorum(rapid.Int32Range(1, expected).Draw(t, "quorum"))
	}
	if rapid.Bool().Draw(t, "has timeout") {
		b.timeout(drawTimeout(t))
	}
	return b.build()
}

func drawTimeout(t *rapid.T) time.Duration {
	return time.Duration(rapid.IntRange(1, 100).Draw(t, "timeout")) * 100 * time.Millisecond
}

func drawPause(t *rapid.T) time.Duration {
	return time.Duration(rapid.IntRange(0, 15).Draw(t, "pause")) * 100 * time.Millisecond
}

func drawArrival(t *rapid.T, now time.Duration) rules.Arrival {
	a := newArrival(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "participant"), now)
	a.Failed = rapid.IntRange(0, 3).Draw(t, "failed") == 3
	return a
}

// TestDecideBarrierIndependentOfReconcileTime has one operator reconcile after each arrival and at each requeue, and another only
// once, at the end. They must agree.
func TestDecideBarrierIndependentOfReconcileTime(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBarrier(t)
		late := b.DeepCopy()
		var arrivals []rules.Arrival
		var now time.Duration
		timer := time.Duration(0)
		reconcile := func() {
			d := rules.DecideBarrier(b, arrivals, instantAt(now))
			b.Status = d.Status
			timer = 0
			if d.RequeueAfter > 0 {
				timer = now + d.RequeueAfter
			}
		}
		reconcile()
		for range rapid.IntRange(0, 12).Draw(t, "arrivals") {
			until := now + drawPause(t)
			if timer > 0 && timer <= until {
				now = timer
				reconcile()
			}
			now = until
			arrivals = append(arrivals, drawArrival(t, now))
			reconcile()
		}
		now += time.Minute
		reconcile()
		d := rules.DecideBarrier(late, arrivals, instantAt(now))
		if d.Status.Phase != b.Status.Phase {
			t.Fatalf("who looked at all times says %s, who looked at the end %s", b.Status.Phase, d.Status.Phase)
		}
		if want := referencePhase(late, arrivals, now); d.Status.Phase != want {
			t.Fatalf("the phase is %s, want %s", d.Status.Phase, want)
		}
	})
}

// barrierHistory is an API server with a barrier and its arrivals, which keeps all their versions.
type barrierHistory struct {
	now             time.Duration
	barrierVersions []*konductorv1.Barrier // the last is the current one
	arrivalVersions [][]rules.Arrival
}

func (w *barrierHistory) currentBarrier() *konductorv1.Barrier {
	return w.barrierVersions[len(w.barrierVersions)-1]
}
func (w *barrierHistory) currentArrivals() []rules.Arrival {
	return w.arrivalVersions[len(w.arrivalVersions)-1]
}

// staleOperator knows some version of the barrier and some version of the arrivals.
type staleOperator struct{ barrierVersion, arrivalsVersion int }

// reconcile has the operator decide and write, on condition that its version of the barrier is the current one.
func (w *barrierHistory) reconcile(o *staleOperator) (rules.BarrierDecision, bool) {
	b, arrivals := w.barrierVersions[o.barrierVersion], w.arrivalVersions[o.arrivalsVersion]
	d := rules.DecideBarrier(b, arrivals, instantAt(w.now))
	if !d.Changed {
		return d, false
	}
	if o.barrierVersion != len(w.barrierVersions)-1 {
		o.barrierVersion = len(w.barrierVersions) - 1 // the conflict shows the current one
		return d, false
	}
	w.checkTransition(b, arrivals, d)
	next := b.DeepCopy()
	next.Status = d.Status
	w.barrierVersions = append(w.barrierVersions, next)
	o.barrierVersion++
	return d, true
}

// checkTransition checks the invariants between one status and the next.
func (w *barrierHistory) checkTransition(b *konductorv1.Barrier, arrivals []rules.Arrival, d rules.BarrierDecision) {
	previous, next := b.Status, d.Status
	if previous.Phase == konductorv1.BarrierOpen {
		if next.Phase != previous.Phase || next.Arrived != previous.Arrived || !next.OpenedAt.Equal(previous.OpenedAt) || !slices.Equal(next.Arrivals, previous.Arrivals) {
			failInvariant("an open barrier changed from %+v to %+v", previous, next)
		}
		return
	}
	arrived, failed := referenceTally(b, arrivals)
	if next.Arrived != arrived || next.Failed != failed || len(next.Arrivals) != int(arrived) {
		failInvariant("%d arrived and %d failed, the status says %d and %d and names %v", arrived, failed, next.Arrived, next.Failed, next.Arrivals)
	}
	want := referencePhase(b, arrivals, w.now)
	if previous.Phase == konductorv1.BarrierTimeout && isOverdue(b, w.now) {
		want = konductorv1.BarrierTimeout
	}
	if next.Phase != want {
		failInvariant("the phase is %s, want %s", next.Phase, want)
	}
}

// TestDecideBarrierWithSeveralOperators has operators reconcile that see the barrier and its arrivals late.
func TestDecideBarrierWithSeveralOperators(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &barrierHistory{barrierVersions: []*konductorv1.Barrier{drawBarrier(t)}, arrivalVersions: [][]rules.Arrival{nil}}
		ops := []*staleOperator{{}, {}}
		change := func(f func(*konductorv1.Barrier)) {
			next := w.currentBarrier().DeepCopy()
			f(next)
			next.Generation++
			if next.Spec.Quorum != nil {
				*next.Spec.Quorum = min(*next.Spec.Quorum, next.Spec.Expected)
			}
			w.barrierVersions = append(w.barrierVersions, next)
		}
		t.Repeat(map[string]func(*rapid.T){
			"somebody arrives": func(t *rapid.T) {
				w.arrivalVersions = append(w.arrivalVersions, append(slices.Clone(w.currentArrivals()), drawArrival(t, w.now)))
			},
			"an arrival is taken back": oneInThree(func(t *rapid.T) {
				if len(w.currentArrivals()) == 0 {
					t.Skip("none")
				}
				i := rapid.IntRange(0, len(w.currentArrivals())-1).Draw(t, "arrival")
				w.arrivalVersions = append(w.arrivalVersions, slices.Delete(slices.Clone(w.currentArrivals()), i, i+1))
			}),
			"time passes": func(t *rapid.T) { w.now += drawPause(t) },
			"expected is changed": oneInThree(func(t *rapid.T) {
				n := rapid.Int32Range(1, 5).Draw(t, "expected")
				change(func(b *konductorv1.Barrier) { b.Spec.Expected = n })
			}),
			"the timeout is changed": oneInThree(func(t *rapid.T) {
				d := drawTimeout(t)
				change(func(b *konductorv1.Barrier) { b.Spec.Timeout = konductorv1.NewDuration(d) })
			}),
			"an operator is told something": func(t *rapid.T) {
				o := ops[rapid.IntRange(0, 1).Draw(t, "operator")]
				o.barrierVersion = rapid.IntRange(o.barrierVersion, len(w.barrierVersions)-1).Draw(t, "barrier")
				o.arrivalsVersion = rapid.IntRange(o.arrivalsVersion, len(w.arrivalVersions)-1).Draw(t, "roll")
			},
			"an operator acts": func(t *rapid.T) { w.reconcile(ops[rapid.IntRange(0, 1).Draw(t, "operator")]) },
		})
		reconcileUntilStable(w)
	})
}

// reconcileUntilStable has an operator that sees everything reconcile until nothing is left to do, and checks the final phase.
func reconcileUntilStable(w *barrierHistory) {
	o := &staleOperator{len(w.barrierVersions) - 1, len(w.arrivalVersions) - 1}
	was := w.currentBarrier()
	w.reconcile(o)
	if d, written := w.reconcile(o); written || len(d.Events) > 0 {
		failInvariant("at rest, and still written: %+v", d)
	}
	want := referencePhase(was, w.currentArrivals(), w.now)
	switch {
	case was.Status.Phase == konductorv1.BarrierOpen:
		want = konductorv1.BarrierOpen
	case was.Status.Phase == konductorv1.BarrierTimeout && isOverdue(was, w.now):
		want = konductorv1.BarrierTimeout
	}
	if got := w.currentBarrier().Status.Phase; got != want {
		failInvariant("the phase is %s in the end, want %s", got, want)
	}
}

// TestDecideGateOpensOnlyWhenAllConditionsMet gives a gate arbitrary observations, one after the other.
func TestDecideGateOpensOnlyWhenAllConditionsMet(t *testing.T) {
	types := []konductorv1.GateConditionType{"Job", "Barrier", "Lease", "Semaphore", "Gate"}
	states := map[konductorv1.GateConditionType][]konductorv1.GateState{
		"Job": {"", "Complete", "Failed"}, "Barrier": {"", "Open", "Failed", "Timeout"}, "Gate": {"", "Open", "Failed", "Timeout"},
		"Lease": {"Available", "Held"}, "Semaphore": {"Available", "Full"},
	}
	rapid.Check(t, func(t *rapid.T) {
		var conditions []konductorv1.GateCondition
		for i := range rapid.IntRange(1, 3).Draw(t, "conditions") {
			c := conditionOn(rapid.SampledFrom(types).Draw(t, "type"), fmt.Sprint("x", i))
			c.State = rapid.SampledFrom(states[c.Type]).Draw(t, "state")
			conditions = append(conditions, c)
		}
		g := newGate(conditions...).build()
		fulfilled := make([]bool, len(conditions)) // by an object that has been deleted since
		for range rapid.IntRange(1, 20).Draw(t, "looks") {
			seen := make([]rules.Observation, len(conditions))
			all := true
			for i, c := range conditions {
				o := rules.Observation{Found: rapid.Bool().Draw(t, "found"), UID: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "uid")}
				if o.Found {
					o.State = rapid.SampledFrom(states[c.Type]).Draw(t, "is")
					if o.State == konductorv1.StateAvailable {
						o.FreePermits = 1
					}
				}
				seen[i] = o
				if o.Found {
					fulfilled[i] = o.State == c.WantedState()
				}
				if c.Type == "Lease" || c.Type == "Semaphore" {
					fulfilled[i] = fulfilled[i] && o.Found
				}
				all = all && fulfilled[i]
			}
			was := g.Status
			d := rules.DecideGate(g, seen, instantAt(time.Second))
			g.Status = d.Status
			switch {
			case was.Phase == konductorv1.GateOpen:
				if d.Changed {
					t.Fatalf("an open gate changed")
				}
			case (d.Status.Phase == konductorv1.GateOpen) != all:
				t.Fatalf("the gate is %s, and that all conditions are met is %t: %+v", d.Status.Phase, all, d.Status.ConditionStatuses)
			}
			if again := rules.DecideGate(g, seen, instantAt(time.Second)); again.Changed || len(again.Events) > 0 {
				t.Fatalf("not at rest: %+v", again)
			}
		}
	})
}
