package rules_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// tally counts arrivals in the plainest way: who spoke first in time, and what.
func tally(b *konductorv1.Barrier, arrivals []rules.Arrival) (came, gaveUp int32) {
	first := map[string]rules.Arrival{}
	for _, a := range slices.Backward(arrivals) {
		if b.Spec.Timeout == nil || !a.Created.After(b.CreationTimestamp.Add(b.Spec.Timeout.Duration.Duration)) {
			first[a.Participant] = a
		}
	}
	for _, a := range first {
		if a.Failed {
			gaveUp++
		} else {
			came++
		}
	}
	return came, gaveUp
}

// rightPhase is the phase of a barrier that has not opened before, if nobody was told of a timeout.
func rightPhase(b *konductorv1.Barrier, arrivals []rules.Arrival, now time.Duration) konductorv1.BarrierPhase {
	came, gaveUp := tally(b, arrivals)
	switch {
	case came >= b.Quorum():
		return konductorv1.BarrierOpen
	case gaveUp > b.Spec.Expected-b.Quorum():
		return konductorv1.BarrierFailed
	case overdue(b, now):
		return konductorv1.BarrierTimeout
	default:
		return konductorv1.BarrierWaiting
	}
}

// overdue reports whether no arrival can be in time any more: arrivals are stamped with whole seconds.
func overdue(b *konductorv1.Barrier, now time.Duration) bool {
	if b.Spec.Timeout == nil {
		return false
	}
	return (now / time.Second * time.Second) > b.Spec.Timeout.Duration.Duration
}

func drawBarrier(t *rapid.T) *konductorv1.Barrier {
	expected := rapid.Int32Range(1, 4).Draw(t, "expected")
	b := aBarrier(expected)
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
	a := arrived(rapid.SampledFrom([]string{"a", "b", "c", "d", "e", "f"}).Draw(t, "participant"), now)
	a.Failed = rapid.IntRange(0, 3).Draw(t, "failed") == 3
	return a
}

// TestWhatABarrierDecidesDoesNotDependOnWhenTheOperatorLooks lets one operator look after each arrival and as soon as a
// timer ends, and another only once, when all is over. They must agree.
func TestWhatABarrierDecidesDoesNotDependOnWhenTheOperatorLooks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := drawBarrier(t)
		late := b.DeepCopy()
		var arrivals []rules.Arrival
		var now time.Duration
		timer := time.Duration(0)
		look := func() {
			d := rules.Barrier(b, arrivals, at(now))
			b.Status = d.Status
			timer = 0
			if d.After > 0 {
				timer = now + d.After
			}
		}
		look()
		for range rapid.IntRange(0, 12).Draw(t, "arrivals") {
			until := now + drawPause(t)
			if timer > 0 && timer <= until {
				now = timer
				look()
			}
			now = until
			arrivals = append(arrivals, drawArrival(t, now))
			look()
		}
		now += time.Minute
		look()
		d := rules.Barrier(late, arrivals, at(now))
		if d.Status.Phase != b.Status.Phase {
			t.Fatalf("who looked at all times says %s, who looked at the end %s", b.Status.Phase, d.Status.Phase)
		}
		if want := rightPhase(late, arrivals, now); d.Status.Phase != want {
			t.Fatalf("the phase is %s, want %s", d.Status.Phase, want)
		}
	})
}

// barrierWorld is an API server with a barrier and its arrivals, of which it keeps all former states.
type barrierWorld struct {
	now      time.Duration
	barriers []*konductorv1.Barrier // the last is the present one
	rolls    [][]rules.Arrival
}

func (w *barrierWorld) barrier() *konductorv1.Barrier { return w.barriers[len(w.barriers)-1] }
func (w *barrierWorld) roll() []rules.Arrival         { return w.rolls[len(w.rolls)-1] }

// lateOperator knows a former state of the barrier and another of the arrivals.
type lateOperator struct{ barrier, roll int }

// act lets the operator decide and write, on condition that the barrier is as it knows it.
func (w *barrierWorld) act(o *lateOperator) (rules.BarrierDecision, bool) {
	b, arrivals := w.barriers[o.barrier], w.rolls[o.roll]
	d := rules.Barrier(b, arrivals, at(w.now))
	if !d.Changed {
		return d, false
	}
	if o.barrier != len(w.barriers)-1 {
		o.barrier = len(w.barriers) - 1 // the conflict shows the present one
		return d, false
	}
	w.check(b, arrivals, d)
	next := b.DeepCopy()
	next.Status = d.Status
	w.barriers = append(w.barriers, next)
	o.barrier++
	return d, true
}

// check checks what must hold between one status and the next.
func (w *barrierWorld) check(b *konductorv1.Barrier, arrivals []rules.Arrival, d rules.BarrierDecision) {
	was, is := b.Status, d.Status
	if was.Phase == konductorv1.BarrierOpen {
		if is.Phase != was.Phase || is.Arrived != was.Arrived || !is.OpenedAt.Equal(was.OpenedAt) || !slices.Equal(is.Arrivals, was.Arrivals) {
			violation("an open barrier changed from %+v to %+v", was, is)
		}
		return
	}
	came, gaveUp := tally(b, arrivals)
	if is.Arrived != came || is.Failed != gaveUp || len(is.Arrivals) != int(came) {
		violation("%d arrived and %d failed, the status says %d and %d and names %v", came, gaveUp, is.Arrived, is.Failed, is.Arrivals)
	}
	want := rightPhase(b, arrivals, w.now)
	if was.Phase == konductorv1.BarrierTimeout && overdue(b, w.now) {
		want = konductorv1.BarrierTimeout
	}
	if is.Phase != want {
		violation("the phase is %s, want %s", is.Phase, want)
	}
}

// TestBarrierWithSeveralOperators lets operators that see the barrier and its arrivals late act on both.
func TestBarrierWithSeveralOperators(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &barrierWorld{barriers: []*konductorv1.Barrier{drawBarrier(t)}, rolls: [][]rules.Arrival{nil}}
		ops := []*lateOperator{{}, {}}
		change := func(f func(*konductorv1.Barrier)) {
			next := w.barrier().DeepCopy()
			f(next)
			next.Generation++
			if next.Spec.Quorum != nil {
				*next.Spec.Quorum = min(*next.Spec.Quorum, next.Spec.Expected)
			}
			w.barriers = append(w.barriers, next)
		}
		t.Repeat(map[string]func(*rapid.T){
			"somebody arrives": func(t *rapid.T) {
				w.rolls = append(w.rolls, append(slices.Clone(w.roll()), drawArrival(t, w.now)))
			},
			"an arrival is taken back": seldom(func(t *rapid.T) {
				if len(w.roll()) == 0 {
					t.Skip("none")
				}
				i := rapid.IntRange(0, len(w.roll())-1).Draw(t, "arrival")
				w.rolls = append(w.rolls, slices.Delete(slices.Clone(w.roll()), i, i+1))
			}),
			"time passes": func(t *rapid.T) { w.now += drawPause(t) },
			"expected is changed": seldom(func(t *rapid.T) {
				n := rapid.Int32Range(1, 5).Draw(t, "expected")
				change(func(b *konductorv1.Barrier) { b.Spec.Expected = n })
			}),
			"the timeout is changed": seldom(func(t *rapid.T) {
				d := drawTimeout(t)
				change(func(b *konductorv1.Barrier) { b.Spec.Timeout = konductorv1.NewDuration(d) })
			}),
			"an operator is told something": func(t *rapid.T) {
				o := ops[rapid.IntRange(0, 1).Draw(t, "operator")]
				o.barrier = rapid.IntRange(o.barrier, len(w.barriers)-1).Draw(t, "barrier")
				o.roll = rapid.IntRange(o.roll, len(w.rolls)-1).Draw(t, "roll")
			},
			"an operator acts": func(t *rapid.T) { w.act(ops[rapid.IntRange(0, 1).Draw(t, "operator")]) },
		})
		settleBarrier(w)
	})
}

// settleBarrier lets an operator that sees everything act until nothing is left to do, and checks how things then stand.
func settleBarrier(w *barrierWorld) {
	o := &lateOperator{len(w.barriers) - 1, len(w.rolls) - 1}
	was := w.barrier()
	w.act(o)
	if d, written := w.act(o); written || len(d.Events) > 0 {
		violation("at rest, and still written: %+v", d)
	}
	want := rightPhase(was, w.roll(), w.now)
	switch {
	case was.Status.Phase == konductorv1.BarrierOpen:
		want = konductorv1.BarrierOpen
	case was.Status.Phase == konductorv1.BarrierTimeout && overdue(was, w.now):
		want = konductorv1.BarrierTimeout
	}
	if got := w.barrier().Status.Phase; got != want {
		violation("the phase is %s in the end, want %s", got, want)
	}
}

// TestGateNeverClosesAndOpensOnlyWhenAllIsMet shows a gate arbitrary things, one after the other.
func TestGateNeverClosesAndOpensOnlyWhenAllIsMet(t *testing.T) {
	types := []konductorv1.GateConditionType{"Job", "Barrier", "Lease", "Semaphore", "Gate"}
	states := map[konductorv1.GateConditionType][]konductorv1.GateState{
		"Job": {"", "Complete", "Failed"}, "Barrier": {"", "Open", "Failed", "Timeout"}, "Gate": {"", "Open", "Failed", "Timeout"},
		"Lease": {"Available", "Held"}, "Semaphore": {"Available", "Full"},
	}
	rapid.Check(t, func(t *rapid.T) {
		var conditions []konductorv1.GateCondition
		for i := range rapid.IntRange(1, 3).Draw(t, "conditions") {
			c := on(rapid.SampledFrom(types).Draw(t, "type"), fmt.Sprint("x", i))
			c.State = rapid.SampledFrom(states[c.Type]).Draw(t, "state")
			conditions = append(conditions, c)
		}
		g := aGate(conditions...).build()
		fulfilled := make([]bool, len(conditions)) // by an object that has been deleted since
		for range rapid.IntRange(1, 20).Draw(t, "looks") {
			seen := make([]rules.Observed, len(conditions))
			all := true
			for i, c := range conditions {
				o := rules.Observed{Found: rapid.Bool().Draw(t, "found"), UID: rapid.SampledFrom([]string{"1", "2"}).Draw(t, "uid")}
				if o.Found {
					o.State = rapid.SampledFrom(states[c.Type]).Draw(t, "is")
					if o.State == konductorv1.StateAvailable {
						o.Free = 1
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
			d := rules.Gate(g, seen, at(time.Second))
			g.Status = d.Status
			switch {
			case was.Phase == konductorv1.GateOpen:
				if d.Changed {
					t.Fatalf("an open gate changed")
				}
			case (d.Status.Phase == konductorv1.GateOpen) != all:
				t.Fatalf("the gate is %s, and that all conditions are met is %t: %+v", d.Status.Phase, all, d.Status.ConditionStatuses)
			}
			if again := rules.Gate(g, seen, at(time.Second)); again.Changed || len(again.Events) > 0 {
				t.Fatalf("not at rest: %+v", again)
			}
		}
	})
}
