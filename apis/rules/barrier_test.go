package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"

	"github.com/LogicIQ/konductor/apis/rules"
)

// barrierMoment is one look at a barrier: what has happened since the one before, and how it must stand then.
type barrierMoment struct {
	at       time.Duration
	change   func(*konductorv1.Barrier) // by the user; raises metadata.generation
	arrivals []rules.Arrival            // all there are by then
	want     barrierStanding
}

// barrierStanding is what people and clients can tell about a barrier.
type barrierStanding struct {
	Phase   konductorv1.BarrierPhase
	Arrived int32
	Failed  int32
	Names   string
	Open    string // the condition
	Events  []string
	After   time.Duration
	Rest    bool // nothing is written
	Later   bool // the write can wait
	Delete  bool
}

func standingOf(d rules.BarrierDecision) barrierStanding {
	return barrierStanding{
		Phase: d.Status.Phase, Arrived: d.Status.Arrived, Failed: d.Status.Failed,
		Names:  strings.Join(d.Status.Arrivals, " "),
		Open:   conditionLine(d.Status.Conditions, konductorv1.ConditionOpen),
		Events: eventLines(d.Events), After: d.After,
		Rest: !d.Changed, Later: d.Changed && !d.Urgent, Delete: d.Delete,
	}
}

func TestBarrier(t *testing.T) {
	lateRoll := []rules.Arrival{arrived("a", 5*time.Second), arrived("b", 32*time.Second)}
	tests := map[string]struct {
		barrier *barrierBuilder
		story   []barrierMoment
	}{
		"opens when the last participant arrives and not before": {aBarrier(2), []barrierMoment{
			{at: 0, want: barrierStanding{
				Phase: "Waiting", Open: "Open=False Waiting: 0 of 2 participants have arrived",
			}},
			{at: time.Second, arrivals: []rules.Arrival{arrived("a", time.Second)}, want: barrierStanding{
				Phase: "Waiting", Arrived: 1, Names: "a", Open: "Open=False Waiting: 1 of 2 participants have arrived", Later: true,
			}},
			{at: 2 * time.Second, arrivals: []rules.Arrival{arrived("a", time.Second), arrived("b", 2*time.Second)}, want: barrierStanding{
				Phase: "Open", Arrived: 2, Names: "a b", Open: "Open=True Opened: 2 of 2 participants have arrived",
				Events: []string{"Opened: 2 of 2 participants have arrived"},
			}},
		}},
		"opens at once when all have arrived before the operator looked": {aBarrier(1), []barrierMoment{
			{at: time.Minute, arrivals: []rules.Arrival{arrived("a", time.Second)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"},
			}},
		}},
		"opens at the quorum": {aBarrier(5).quorum(2), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0)}, want: barrierStanding{
				Phase: "Waiting", Arrived: 1, Names: "a", Open: "Open=False Waiting: 1 of 5 participants have arrived, 2 are enough",
			}},
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0), arrived("b", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 2, Names: "a b", Open: "Open=True Opened: 2 of 5 participants have arrived, 2 are enough",
				Events: []string{"Opened: 2 of 5 participants have arrived, 2 are enough"},
			}},
		}},
		"a quorum of all is not mentioned": {aBarrier(2).quorum(2), []barrierMoment{
			{at: 0, want: barrierStanding{Phase: "Waiting", Open: "Open=False Waiting: 0 of 2 participants have arrived"}},
		}},
		"counts a participant that arrives twice once": {aBarrier(2), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0), arrived("a", 0), arrived("a", 0)}, want: barrierStanding{
				Phase: "Waiting", Arrived: 1, Names: "a", Open: "Open=False Waiting: 1 of 2 participants have arrived",
			}},
		}},
		"late arrivals at an open barrier change nothing": {aBarrier(1), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"},
			}},
			{at: time.Second, arrivals: []rules.Arrival{arrived("a", 0), arrived("b", time.Second)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived", Rest: true,
			}},
		}},
		"stays open when its arrivals are deleted": {aBarrier(1), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"},
			}},
			{at: time.Hour, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived", Rest: true,
			}},
		}},
		"an arrival that is taken back before it opens doesn't count": {aBarrier(2), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0)}, want: barrierStanding{
				Phase: "Waiting", Arrived: 1, Names: "a", Open: "Open=False Waiting: 1 of 2 participants have arrived",
			}},
			{at: 0, arrivals: []rules.Arrival{arrived("b", 0)}, want: barrierStanding{
				Phase: "Waiting", Arrived: 1, Names: "b", Open: "Open=False Waiting: 1 of 2 participants have arrived", Later: true,
			}},
		}},
		"fails as soon as one of all has failed": {aBarrier(3), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0), failed("b", "disk full", 0)}, want: barrierStanding{
				Phase: "Failed", Arrived: 1, Failed: 1, Names: "a",
				Open:   "Open=False Failed: 1 of 3 participants have arrived, 1 failed: the quorum of 3 can't be reached any more; last to fail: b (disk full)",
				Events: []string{"! Failed: 1 of 3 participants have arrived, 1 failed: the quorum of 3 can't be reached any more; last to fail: b (disk full)"},
			}},
		}},
		"bears as many failures as the quorum spares": {aBarrier(3).quorum(2), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{failed("a", "", 0)}, want: barrierStanding{
				Phase: "Waiting", Failed: 1, Open: "Open=False Waiting: 0 of 3 participants have arrived, 2 are enough, 1 failed",
			}},
			{at: 0, arrivals: []rules.Arrival{failed("a", "", 0), failed("b", "", 0)}, want: barrierStanding{
				Phase: "Failed", Failed: 2,
				Open:   "Open=False Failed: 0 of 3 participants have arrived, 2 are enough, 2 failed: the quorum of 2 can't be reached any more; last to fail: b",
				Events: []string{"! Failed: 0 of 3 participants have arrived, 2 are enough, 2 failed: the quorum of 2 can't be reached any more; last to fail: b"},
			}},
		}},
		"opens with failures among the participants": {aBarrier(3).quorum(2), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{failed("a", "", 0), arrived("b", 0), arrived("c", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 2, Failed: 1, Names: "b c",
				Open:   "Open=True Opened: 2 of 3 participants have arrived, 2 are enough, 1 failed",
				Events: []string{"Opened: 2 of 3 participants have arrived, 2 are enough, 1 failed"},
			}},
		}},
		"a participant's first word counts, be it good or bad": {aBarrier(3).quorum(1), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{failed("a", "", 0), arrived("a", 0)}, want: barrierStanding{
				Phase: "Waiting", Failed: 1, Open: "Open=False Waiting: 0 of 3 participants have arrived, 1 are enough, 1 failed",
			}},
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0), failed("a", "", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 3 participants have arrived, 1 are enough",
				Events: []string{"Opened: 1 of 3 participants have arrived, 1 are enough"},
			}},
		}},
		"a lower quorum takes a failure back": {aBarrier(2), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{failed("a", "", 0)}, want: barrierStanding{
				Phase: "Failed", Failed: 1,
				Open:   "Open=False Failed: 0 of 2 participants have arrived, 1 failed: the quorum of 2 can't be reached any more; last to fail: a",
				Events: []string{"! Failed: 0 of 2 participants have arrived, 1 failed: the quorum of 2 can't be reached any more; last to fail: a"},
			}},
			{at: 0, change: func(b *konductorv1.Barrier) { b.Spec.Quorum = ptr[int32](1) }, arrivals: []rules.Arrival{failed("a", "", 0)}, want: barrierStanding{
				Phase: "Waiting", Failed: 1, Open: "Open=False Waiting: 0 of 2 participants have arrived, 1 are enough, 1 failed",
				Events: []string{"Resumed: the barrier waits again: 0 of 2 participants have arrived, 1 are enough, 1 failed"},
			}},
		}},
		"a failure outlasts the timeout": {aBarrier(2).timeout(30 * time.Second), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{failed("a", "", 0)}, want: barrierStanding{
				Phase: "Failed", Failed: 1,
				Open:   "Open=False Failed: 0 of 2 participants have arrived, 1 failed: the quorum of 2 can't be reached any more; last to fail: a",
				Events: []string{"! Failed: 0 of 2 participants have arrived, 1 failed: the quorum of 2 can't be reached any more; last to fail: a"},
			}},
			{at: time.Minute, arrivals: []rules.Arrival{failed("a", "", 0)}, want: barrierStanding{
				Phase: "Failed", Failed: 1,
				Open: "Open=False Failed: 0 of 2 participants have arrived, 1 failed: the quorum of 2 can't be reached any more; last to fail: a", Rest: true,
			}},
		}},
		"times out, and looks again no sooner than that": {aBarrier(2).timeout(30 * time.Second), []barrierMoment{
			{at: 0, want: barrierStanding{
				Phase: "Waiting", Open: "Open=False Waiting: 0 of 2 participants have arrived", After: 31 * time.Second,
			}},
			{at: 10 * time.Second, want: barrierStanding{
				Phase: "Waiting", Open: "Open=False Waiting: 0 of 2 participants have arrived", After: 21 * time.Second, Rest: true,
			}},
			{at: 31 * time.Second, arrivals: []rules.Arrival{arrived("a", 12*time.Second)}, want: barrierStanding{
				Phase: "Timeout", Arrived: 1, Names: "a", Open: "Open=False Timeout: 1 of 2 participants have arrived when the timeout of 30s passed",
				Events: []string{"! Timeout: 1 of 2 participants have arrived when the timeout of 30s passed"},
			}},
		}},
		// A creation time is cut to the second, so that within the second of the deadline nobody can tell who was first.
		"arrivals in the second of the deadline are in time": {aBarrier(1).timeout(30 * time.Second), []barrierMoment{
			{at: 30500 * time.Millisecond, want: barrierStanding{
				Phase: "Waiting", Open: "Open=False Waiting: 0 of 1 participants have arrived", After: 500 * time.Millisecond,
			}},
			{at: 30900 * time.Millisecond, arrivals: []rules.Arrival{arrived("a", 30900*time.Millisecond)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"},
			}},
		}},
		"a timeout shorter than a second doesn't end before it has passed": {aBarrier(1).timeout(500 * time.Millisecond), []barrierMoment{
			// The barrier may have been created 900 ms after what its creation time says.
			{at: 950 * time.Millisecond, want: barrierStanding{
				Phase: "Waiting", Open: "Open=False Waiting: 0 of 1 participants have arrived", After: 50 * time.Millisecond,
			}},
			{at: time.Second, want: barrierStanding{
				Phase: "Timeout", Open: "Open=False Timeout: 0 of 1 participants have arrived when the timeout of 500ms passed",
				Events: []string{"! Timeout: 0 of 1 participants have arrived when the timeout of 500ms passed"},
			}},
		}},
		"opens when all were in time, though the operator looked after the timeout": {aBarrier(2).timeout(30 * time.Second), []barrierMoment{
			{at: time.Hour, arrivals: []rules.Arrival{arrived("a", 5*time.Second), arrived("b", 30*time.Second)}, want: barrierStanding{
				Phase: "Open", Arrived: 2, Names: "a b", Open: "Open=True Opened: 2 of 2 participants have arrived",
				Events: []string{"Opened: 2 of 2 participants have arrived"},
			}},
		}},
		"times out when one was late, though the operator looked after it arrived": {aBarrier(2).timeout(30 * time.Second), []barrierMoment{
			{at: time.Hour, arrivals: lateRoll, want: barrierStanding{
				Phase: "Timeout", Arrived: 1, Names: "a", Open: "Open=False Timeout: 1 of 2 participants have arrived when the timeout of 30s passed",
				Events: []string{"! Timeout: 1 of 2 participants have arrived when the timeout of 30s passed"},
			}},
		}},
		"waiters that were told of the timeout aren't told otherwise": {aBarrier(1).timeout(30 * time.Second), []barrierMoment{
			{at: 31 * time.Second, want: barrierStanding{
				Phase: "Timeout", Open: "Open=False Timeout: 0 of 1 participants have arrived when the timeout of 30s passed",
				Events: []string{"! Timeout: 0 of 1 participants have arrived when the timeout of 30s passed"},
			}},
			// It was in time, but the operator learns of it only now.
			{at: 32 * time.Second, arrivals: []rules.Arrival{arrived("a", 29*time.Second)}, want: barrierStanding{
				Phase: "Timeout", Arrived: 1, Names: "a", Open: "Open=False Timeout: 1 of 1 participants have arrived when the timeout of 30s passed", Later: true,
			}},
		}},
		"fewer expected participants don't take a timeout back": {aBarrier(2).timeout(30 * time.Second), []barrierMoment{
			{at: time.Minute, arrivals: lateRoll, want: barrierStanding{
				Phase: "Timeout", Arrived: 1, Names: "a", Open: "Open=False Timeout: 1 of 2 participants have arrived when the timeout of 30s passed",
				Events: []string{"! Timeout: 1 of 2 participants have arrived when the timeout of 30s passed"},
			}},
			{at: time.Minute, change: func(b *konductorv1.Barrier) { b.Spec.Expected = 1 }, arrivals: lateRoll, want: barrierStanding{
				Phase: "Timeout", Arrived: 1, Names: "a", Open: "Open=False Timeout: 1 of 1 participants have arrived when the timeout of 30s passed",
			}},
		}},
		"a longer timeout makes it wait again": {aBarrier(3).timeout(30 * time.Second), []barrierMoment{
			{at: time.Minute, arrivals: lateRoll, want: barrierStanding{
				Phase: "Timeout", Arrived: 1, Names: "a", Open: "Open=False Timeout: 1 of 3 participants have arrived when the timeout of 30s passed",
				Events: []string{"! Timeout: 1 of 3 participants have arrived when the timeout of 30s passed"},
			}},
			{at: time.Minute, change: func(b *konductorv1.Barrier) { b.Spec.Timeout = konductorv1.NewDuration(2 * time.Minute) }, arrivals: lateRoll, want: barrierStanding{
				Phase: "Waiting", Arrived: 2, Names: "a b", Open: "Open=False Waiting: 2 of 3 participants have arrived", After: 61 * time.Second,
				Events: []string{"Resumed: the barrier waits again: 2 of 3 participants have arrived"},
			}},
		}},
		"a longer timeout opens it when those who were late are now in time": {aBarrier(2).timeout(30 * time.Second), []barrierMoment{
			{at: time.Minute, arrivals: lateRoll, want: barrierStanding{
				Phase: "Timeout", Arrived: 1, Names: "a", Open: "Open=False Timeout: 1 of 2 participants have arrived when the timeout of 30s passed",
				Events: []string{"! Timeout: 1 of 2 participants have arrived when the timeout of 30s passed"},
			}},
			{at: time.Minute, change: func(b *konductorv1.Barrier) { b.Spec.Timeout = konductorv1.NewDuration(2 * time.Minute) }, arrivals: lateRoll, want: barrierStanding{
				Phase: "Open", Arrived: 2, Names: "a b", Open: "Open=True Opened: 2 of 2 participants have arrived",
				Events: []string{"Opened: 2 of 2 participants have arrived"},
			}},
		}},
		"taking the timeout away makes it wait for ever": {aBarrier(2).timeout(30 * time.Second), []barrierMoment{
			{at: time.Minute, want: barrierStanding{
				Phase: "Timeout", Open: "Open=False Timeout: 0 of 2 participants have arrived when the timeout of 30s passed",
				Events: []string{"! Timeout: 0 of 2 participants have arrived when the timeout of 30s passed"},
			}},
			{at: time.Minute, change: func(b *konductorv1.Barrier) { b.Spec.Timeout = nil }, want: barrierStanding{
				Phase: "Waiting", Open: "Open=False Waiting: 0 of 2 participants have arrived",
				Events: []string{"Resumed: the barrier waits again: 0 of 2 participants have arrived"},
			}},
		}},
		"fewer expected participants may open it": {aBarrier(3), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0), arrived("b", 0)}, want: barrierStanding{
				Phase: "Waiting", Arrived: 2, Names: "a b", Open: "Open=False Waiting: 2 of 3 participants have arrived",
			}},
			{at: 0, change: func(b *konductorv1.Barrier) { b.Spec.Expected = 2 }, arrivals: []rules.Arrival{arrived("a", 0), arrived("b", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 2, Names: "a b", Open: "Open=True Opened: 2 of 2 participants have arrived",
				Events: []string{"Opened: 2 of 2 participants have arrived"},
			}},
		}},
		"more expected participants after it opened change nothing but the generation": {aBarrier(1), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"},
			}},
			{at: 0, change: func(b *konductorv1.Barrier) { b.Spec.Expected = 9 }, arrivals: []rules.Arrival{arrived("a", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived",
			}},
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived", Rest: true,
			}},
		}},
		"a timeout that passes after it opened changes nothing": {aBarrier(1).timeout(30 * time.Second), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"},
			}},
			{at: time.Hour, arrivals: []rules.Arrival{arrived("a", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived", Rest: true,
			}},
		}},
		"is deleted when its TTL has passed since it opened": {aBarrier(1).ttl(time.Minute), []barrierMoment{
			{at: 10 * time.Second, arrivals: []rules.Arrival{arrived("a", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"}, After: 61 * time.Second,
			}},
			{at: 30 * time.Second, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived", After: 41 * time.Second, Rest: true,
			}},
			{at: 71 * time.Second, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived", Rest: true, Delete: true,
			}},
		}},
		"is deleted when its TTL has passed since it failed": {aBarrier(1).ttl(time.Minute), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{failed("a", "", 0)}, want: barrierStanding{
				Phase: "Failed", Failed: 1, Open: "Open=False Failed: 0 of 1 participants have arrived, 1 failed: the quorum of 1 can't be reached any more; last to fail: a",
				Events: []string{"! Failed: 0 of 1 participants have arrived, 1 failed: the quorum of 1 can't be reached any more; last to fail: a"},
				After:  61 * time.Second,
			}},
			{at: 61 * time.Second, arrivals: []rules.Arrival{failed("a", "", 0)}, want: barrierStanding{
				Phase: "Failed", Failed: 1, Open: "Open=False Failed: 0 of 1 participants have arrived, 1 failed: the quorum of 1 can't be reached any more; last to fail: a",
				Rest: true, Delete: true,
			}},
		}},
		"is deleted when its TTL has passed since it timed out": {aBarrier(1).timeout(30 * time.Second).ttl(time.Minute), []barrierMoment{
			{at: 40 * time.Second, want: barrierStanding{
				Phase: "Timeout", Open: "Open=False Timeout: 0 of 1 participants have arrived when the timeout of 30s passed",
				Events: []string{"! Timeout: 0 of 1 participants have arrived when the timeout of 30s passed"}, After: 61 * time.Second,
			}},
			{at: 101 * time.Second, want: barrierStanding{
				Phase: "Timeout", Open: "Open=False Timeout: 0 of 1 participants have arrived when the timeout of 30s passed", Rest: true, Delete: true,
			}},
		}},
		"is not deleted while it waits, however short its TTL": {aBarrier(1).ttl(time.Second), []barrierMoment{
			{at: time.Hour, want: barrierStanding{Phase: "Waiting", Open: "Open=False Waiting: 0 of 1 participants have arrived"}},
		}},
		"is told of before it is deleted": {aBarrier(1).ttl(time.Second), []barrierMoment{
			{at: 0, arrivals: []rules.Arrival{arrived("a", 0)}, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"}, After: 2 * time.Second,
			}},
			{at: time.Hour, change: func(b *konductorv1.Barrier) { b.Spec.Expected = 2 }, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived",
			}},
			{at: time.Hour, want: barrierStanding{
				Phase: "Open", Arrived: 1, Names: "a", Open: "Open=True Opened: 1 of 1 participants have arrived", Rest: true, Delete: true,
			}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := test.barrier.build()
			for i, m := range test.story {
				if m.change != nil {
					m.change(b)
					b.Generation++
				}
				d := rules.Barrier(b, m.arrivals, at(m.at))
				differ(t, fmt.Sprintf("moment %d", i+1), m.want, standingOf(d))
				differ(t, "Ready", "Ready=True Accepted: the barrier is in operation", conditionLine(d.Status.Conditions, konductorv1.ConditionReady))
				differ(t, "observedGeneration", b.Generation, d.Status.ObservedGeneration)
				b.Status = d.Status
				if again := rules.Barrier(b, m.arrivals, at(m.at)); again.Changed || len(again.Events) > 0 {
					t.Errorf("moment %d: the barrier is not at rest after its status was written: %v", i+1, again)
				}
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestBarrierNotesWhenItEnded(t *testing.T) {
	b := aBarrier(1).timeout(30 * time.Second).build()
	b.Status = rules.Barrier(b, nil, at(time.Minute)).Status
	if b.Status.OpenedAt != nil || b.Status.EndedAt == nil || !b.Status.EndedAt.Time.Equal(epoch.Add(time.Minute)) {
		t.Errorf("after the timeout: openedAt %v, endedAt %v", b.Status.OpenedAt, b.Status.EndedAt)
	}
	b.Spec.Timeout = nil
	b.Status = rules.Barrier(b, nil, at(time.Minute)).Status
	if b.Status.OpenedAt != nil || b.Status.EndedAt != nil {
		t.Errorf("when it waits again: openedAt %v, endedAt %v", b.Status.OpenedAt, b.Status.EndedAt)
	}
	b.Status = rules.Barrier(b, []rules.Arrival{arrived("a", 0)}, at(2*time.Minute)).Status
	if b.Status.EndedAt != nil || b.Status.OpenedAt == nil || !b.Status.OpenedAt.Time.Equal(epoch.Add(2*time.Minute)) {
		t.Errorf("when it has opened: openedAt %v, endedAt %v", b.Status.OpenedAt, b.Status.EndedAt)
	}
}

func TestBarrierNamesTheFirstHundredAndCountsAll(t *testing.T) {
	var all []rules.Arrival
	for i := range konductorv1.MaxListedArrivals + 50 {
		all = append(all, arrived(fmt.Sprint("p", i), 0))
	}
	d := rules.Barrier(aBarrier(1000).build(), all, at(0))
	if got := int(d.Status.Arrived); got != len(all) {
		t.Errorf("arrived is %d, want %d", got, len(all))
	}
	if got := len(d.Status.Arrivals); got != konductorv1.MaxListedArrivals {
		t.Errorf("%d participants are named, want %d", got, konductorv1.MaxListedArrivals)
	}
	if first, last := d.Status.Arrivals[0], d.Status.Arrivals[konductorv1.MaxListedArrivals-1]; first != "p0" || last != "p99" {
		t.Errorf("names go from %s to %s, want p0 to p99", first, last)
	}
}

func TestBarrierLeavesItsArgumentsAlone(t *testing.T) {
	b := aBarrier(2).timeout(time.Minute).build()
	b.Status = rules.Barrier(b, []rules.Arrival{arrived("a", 0)}, at(0)).Status
	before := b.DeepCopy()
	rules.Barrier(b, []rules.Arrival{arrived("b", 0), arrived("c", 0)}, at(2*time.Minute))
	differ(t, "the barrier", before, b)
}
