package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"

	"github.com/LogicIQ/konductor/internal/rules"
)

// barrierStep is one reconcile of a barrier: what has happened since the one before, and the expected outcome.
type barrierStep struct {
	at         time.Duration
	changeSpec func(*konductorv1.Barrier) // by the user; raises metadata.generation
	arrivals   []rules.Arrival            // all until then
	want       barrierOutcome
}

// barrierOutcome is what people and clients can see of a barrier.
type barrierOutcome struct {
	Phase         konductorv1.BarrierPhase
	Arrived       int32
	Failed        int32
	Participants  string
	OpenCondition string // see formatCondition
	Events        []string
	RequeueAfter  time.Duration
	Unchanged     bool // nothing is written
	Deferrable    bool // the write can wait
	Delete        bool
}

func newBarrierOutcome(d rules.BarrierDecision) barrierOutcome {
	return barrierOutcome{
		Phase: d.Status.Phase, Arrived: d.Status.Arrived, Failed: d.Status.Failed,
		Participants:  strings.Join(d.Status.Arrivals, " "),
		OpenCondition: formatCondition(d.Status.Conditions, konductorv1.ConditionOpen),
		Events:        formatEvents(d.Events), RequeueAfter: d.RequeueAfter,
		Unchanged: !d.Changed, Deferrable: d.Changed && !d.Urgent, Delete: d.Delete,
	}
}

func TestDecideBarrier(t *testing.T) {
	lateArrivals := []rules.Arrival{newArrival("a", 5*time.Second), newArrival("b", 32*time.Second)}
	tests := map[string]struct {
		barrier *barrierBuilder
		story   []barrierStep
	}{
		"opens when the last participant arrives and not before": {newBarrier(2), []barrierStep{
			{at: 0, want: barrierOutcome{
				Phase: "Waiting", OpenCondition: "Open=False Waiting: 0 of 2 participants have arrived",
			}},
			{at: time.Second, arrivals: []rules.Arrival{newArrival("a", time.Second)}, want: barrierOutcome{
				Phase: "Waiting", Arrived: 1, Participants: "a", OpenCondition: "Open=False Waiting: 1 of 2 participants have arrived", Deferrable: true,
			}},
			{at: 2 * time.Second, arrivals: []rules.Arrival{newArrival("a", time.Second), newArrival("b", 2*time.Second)}, want: barrierOutcome{
				Phase: "Open", Arrived: 2, Participants: "a b", OpenCondition: "Open=True Opened: 2 of 2 participants have arrived",
				Events: []string{"Opened: 2 of 2 participants have arrived"},
			}},
		}},
		"opens at once when all have arrived before the operator looked": {newBarrier(1), []barrierStep{
			{at: time.Minute, arrivals: []rules.Arrival{newArrival("a", time.Second)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"},
			}},
		}},
		"opens at the quorum": {newBarrier(5).quorum(2), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Waiting", Arrived: 1, Participants: "a", OpenCondition: "Open=False Waiting: 1 of 5 participants have arrived (quorum 2)",
			}},
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0), newArrival("b", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 2, Participants: "a b", OpenCondition: "Open=True Opened: 2 of 5 participants have arrived (quorum 2)",
				Events: []string{"Opened: 2 of 5 participants have arrived (quorum 2)"},
			}},
		}},
		"a quorum of all is not mentioned": {newBarrier(2).quorum(2), []barrierStep{
			{at: 0, want: barrierOutcome{Phase: "Waiting", OpenCondition: "Open=False Waiting: 0 of 2 participants have arrived"}},
		}},
		"counts a participant that arrives twice once": {newBarrier(2), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0), newArrival("a", 0), newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Waiting", Arrived: 1, Participants: "a", OpenCondition: "Open=False Waiting: 1 of 2 participants have arrived",
			}},
		}},
		"late arrivals at an open barrier change nothing": {newBarrier(1), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"},
			}},
			{at: time.Second, arrivals: []rules.Arrival{newArrival("a", 0), newArrival("b", time.Second)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived", Unchanged: true,
			}},
		}},
		"stays open when its arrivals are deleted": {newBarrier(1), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"},
			}},
			{at: time.Hour, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived", Unchanged: true,
			}},
		}},
		"an arrival that is taken back before it opens doesn't count": {newBarrier(2), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Waiting", Arrived: 1, Participants: "a", OpenCondition: "Open=False Waiting: 1 of 2 participants have arrived",
			}},
			{at: 0, arrivals: []rules.Arrival{newArrival("b", 0)}, want: barrierOutcome{
				Phase: "Waiting", Arrived: 1, Participants: "b", OpenCondition: "Open=False Waiting: 1 of 2 participants have arrived", Deferrable: true,
			}},
		}},
		"fails as soon as one of all has failed": {newBarrier(3), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0), newFailedArrival("b", "disk full", 0)}, want: barrierOutcome{
				Phase: "Failed", Arrived: 1, Failed: 1, Participants: "a",
				OpenCondition: "Open=False Failed: 1 of 3 participants have arrived, 1 failed: the quorum of 3 can't be reached any more; last to fail: b (disk full)",
				Events:        []string{"! Failed: 1 of 3 participants have arrived, 1 failed: the quorum of 3 can't be reached any more; last to fail: b (disk full)"},
			}},
		}},
		"bears as many failures as the quorum spares": {newBarrier(3).quorum(2), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newFailedArrival("a", "", 0)}, want: barrierOutcome{
				Phase: "Waiting", Failed: 1, OpenCondition: "Open=False Waiting: 0 of 3 participants have arrived (quorum 2), 1 failed",
			}},
			{at: 0, arrivals: []rules.Arrival{newFailedArrival("a", "", 0), newFailedArrival("b", "", 0)}, want: barrierOutcome{
				Phase: "Failed", Failed: 2,
				OpenCondition: "Open=False Failed: 0 of 3 participants have arrived (quorum 2), 2 failed: the quorum of 2 can't be reached any more; last to fail: b",
				Events:        []string{"! Failed: 0 of 3 participants have arrived (quorum 2), 2 failed: the quorum of 2 can't be reached any more; last to fail: b"},
			}},
		}},
		"opens with failures among the participants": {newBarrier(3).quorum(2), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newFailedArrival("a", "", 0), newArrival("b", 0), newArrival("c", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 2, Failed: 1, Participants: "b c",
				OpenCondition: "Open=True Opened: 2 of 3 participants have arrived (quorum 2), 1 failed",
				Events:        []string{"Opened: 2 of 3 participants have arrived (quorum 2), 1 failed"},
			}},
		}},
		"a participant's first word counts, be it good or bad": {newBarrier(3).quorum(1), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newFailedArrival("a", "", 0), newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Waiting", Failed: 1, OpenCondition: "Open=False Waiting: 0 of 3 participants have arrived (quorum 1), 1 failed",
			}},
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0), newFailedArrival("a", "", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 3 participants have arrived (quorum 1)",
				Events: []string{"Opened: 1 of 3 participants have arrived (quorum 1)"},
			}},
		}},
		"a lower quorum takes a failure back": {newBarrier(2), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newFailedArrival("a", "", 0)}, want: barrierOutcome{
				Phase: "Failed", Failed: 1,
				OpenCondition: "Open=False Failed: 0 of 2 participants have arrived, 1 failed: the quorum of 2 can't be reached any more; last to fail: a",
				Events:        []string{"! Failed: 0 of 2 participants have arrived, 1 failed: the quorum of 2 can't be reached any more; last to fail: a"},
			}},
			{at: 0, changeSpec: func(b *konductorv1.Barrier) { b.Spec.Quorum = ptr[int32](1) }, arrivals: []rules.Arrival{newFailedArrival("a", "", 0)}, want: barrierOutcome{
				Phase: "Waiting", Failed: 1, OpenCondition: "Open=False Waiting: 0 of 2 participants have arrived (quorum 1), 1 failed",
				Events: []string{"Resumed: the barrier waits again: 0 of 2 participants have arrived (quorum 1), 1 failed"},
			}},
		}},
		"a failure outlasts the timeout": {newBarrier(2).timeout(30 * time.Second), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newFailedArrival("a", "", 0)}, want: barrierOutcome{
				Phase: "Failed", Failed: 1,
				OpenCondition: "Open=False Failed: 0 of 2 participants have arrived, 1 failed: the quorum of 2 can't be reached any more; last to fail: a",
				Events:        []string{"! Failed: 0 of 2 participants have arrived, 1 failed: the quorum of 2 can't be reached any more; last to fail: a"},
			}},
			{at: time.Minute, arrivals: []rules.Arrival{newFailedArrival("a", "", 0)}, want: barrierOutcome{
				Phase: "Failed", Failed: 1,
				OpenCondition: "Open=False Failed: 0 of 2 participants have arrived, 1 failed: the quorum of 2 can't be reached any more; last to fail: a", Unchanged: true,
			}},
		}},
		"times out, and looks again no sooner than that": {newBarrier(2).timeout(30 * time.Second), []barrierStep{
			{at: 0, want: barrierOutcome{
				Phase: "Waiting", OpenCondition: "Open=False Waiting: 0 of 2 participants have arrived", RequeueAfter: 31 * time.Second,
			}},
			{at: 10 * time.Second, want: barrierOutcome{
				Phase: "Waiting", OpenCondition: "Open=False Waiting: 0 of 2 participants have arrived", RequeueAfter: 21 * time.Second, Unchanged: true,
			}},
			{at: 31 * time.Second, arrivals: []rules.Arrival{newArrival("a", 12*time.Second)}, want: barrierOutcome{
				Phase: "Timeout", Arrived: 1, Participants: "a", OpenCondition: "Open=False Timeout: timed out after 30s with 1 of 2 arrived",
				Events: []string{"! Timeout: timed out after 30s with 1 of 2 arrived"},
			}},
		}},
		// A creation time is truncated to the second, so within the second of the deadline the order can't be known.
		"arrivals in the second of the deadline are in time": {newBarrier(1).timeout(30 * time.Second), []barrierStep{
			{at: 30500 * time.Millisecond, want: barrierOutcome{
				Phase: "Waiting", OpenCondition: "Open=False Waiting: 0 of 1 participants have arrived", RequeueAfter: 500 * time.Millisecond,
			}},
			{at: 30900 * time.Millisecond, arrivals: []rules.Arrival{newArrival("a", 30900*time.Millisecond)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"},
			}},
		}},
		"a timeout shorter than a second doesn't end before it has passed": {newBarrier(1).timeout(500 * time.Millisecond), []barrierStep{
			// The barrier may have been created 900 ms after its creation time.
			{at: 950 * time.Millisecond, want: barrierOutcome{
				Phase: "Waiting", OpenCondition: "Open=False Waiting: 0 of 1 participants have arrived", RequeueAfter: 50 * time.Millisecond,
			}},
			{at: time.Second, want: barrierOutcome{
				Phase: "Timeout", OpenCondition: "Open=False Timeout: timed out after 500ms with 0 of 1 arrived",
				Events: []string{"! Timeout: timed out after 500ms with 0 of 1 arrived"},
			}},
		}},
		"opens when all were in time, though the operator looked after the timeout": {newBarrier(2).timeout(30 * time.Second), []barrierStep{
			{at: time.Hour, arrivals: []rules.Arrival{newArrival("a", 5*time.Second), newArrival("b", 30*time.Second)}, want: barrierOutcome{
				Phase: "Open", Arrived: 2, Participants: "a b", OpenCondition: "Open=True Opened: 2 of 2 participants have arrived",
				Events: []string{"Opened: 2 of 2 participants have arrived"},
			}},
		}},
		"times out when one was late, though the operator looked after it arrived": {newBarrier(2).timeout(30 * time.Second), []barrierStep{
			{at: time.Hour, arrivals: lateArrivals, want: barrierOutcome{
				Phase: "Timeout", Arrived: 1, Participants: "a", OpenCondition: "Open=False Timeout: timed out after 30s with 1 of 2 arrived",
				Events: []string{"! Timeout: timed out after 30s with 1 of 2 arrived"},
			}},
		}},
		"waiters that were told of the timeout aren't told otherwise": {newBarrier(1).timeout(30 * time.Second), []barrierStep{
			{at: 31 * time.Second, want: barrierOutcome{
				Phase: "Timeout", OpenCondition: "Open=False Timeout: timed out after 30s with 0 of 1 arrived",
				Events: []string{"! Timeout: timed out after 30s with 0 of 1 arrived"},
			}},
			// It was in time, but the operator observes it only now.
			{at: 32 * time.Second, arrivals: []rules.Arrival{newArrival("a", 29*time.Second)}, want: barrierOutcome{
				Phase: "Timeout", Arrived: 1, Participants: "a", OpenCondition: "Open=False Timeout: timed out after 30s with 1 of 1 arrived", Deferrable: true,
			}},
		}},
		"fewer expected participants don't take a timeout back": {newBarrier(2).timeout(30 * time.Second), []barrierStep{
			{at: time.Minute, arrivals: lateArrivals, want: barrierOutcome{
				Phase: "Timeout", Arrived: 1, Participants: "a", OpenCondition: "Open=False Timeout: timed out after 30s with 1 of 2 arrived",
				Events: []string{"! Timeout: timed out after 30s with 1 of 2 arrived"},
			}},
			{at: time.Minute, changeSpec: func(b *konductorv1.Barrier) { b.Spec.Expected = 1 }, arrivals: lateArrivals, want: barrierOutcome{
				Phase: "Timeout", Arrived: 1, Participants: "a", OpenCondition: "Open=False Timeout: timed out after 30s with 1 of 1 arrived",
			}},
		}},
		"a longer timeout makes it wait again": {newBarrier(3).timeout(30 * time.Second), []barrierStep{
			{at: time.Minute, arrivals: lateArrivals, want: barrierOutcome{
				Phase: "Timeout", Arrived: 1, Participants: "a", OpenCondition: "Open=False Timeout: timed out after 30s with 1 of 3 arrived",
				Events: []string{"! Timeout: timed out after 30s with 1 of 3 arrived"},
			}},
			{at: time.Minute, changeSpec: func(b *konductorv1.Barrier) { b.Spec.Timeout = konductorv1.NewDuration(2 * time.Minute) }, arrivals: lateArrivals, want: barrierOutcome{
				Phase: "Waiting", Arrived: 2, Participants: "a b", OpenCondition: "Open=False Waiting: 2 of 3 participants have arrived", RequeueAfter: 61 * time.Second,
				Events: []string{"Resumed: the barrier waits again: 2 of 3 participants have arrived"},
			}},
		}},
		"a longer timeout opens it when those who were late are now in time": {newBarrier(2).timeout(30 * time.Second), []barrierStep{
			{at: time.Minute, arrivals: lateArrivals, want: barrierOutcome{
				Phase: "Timeout", Arrived: 1, Participants: "a", OpenCondition: "Open=False Timeout: timed out after 30s with 1 of 2 arrived",
				Events: []string{"! Timeout: timed out after 30s with 1 of 2 arrived"},
			}},
			{at: time.Minute, changeSpec: func(b *konductorv1.Barrier) { b.Spec.Timeout = konductorv1.NewDuration(2 * time.Minute) }, arrivals: lateArrivals, want: barrierOutcome{
				Phase: "Open", Arrived: 2, Participants: "a b", OpenCondition: "Open=True Opened: 2 of 2 participants have arrived",
				Events: []string{"Opened: 2 of 2 participants have arrived"},
			}},
		}},
		"taking the timeout away makes it wait for ever": {newBarrier(2).timeout(30 * time.Second), []barrierStep{
			{at: time.Minute, want: barrierOutcome{
				Phase: "Timeout", OpenCondition: "Open=False Timeout: timed out after 30s with 0 of 2 arrived",
				Events: []string{"! Timeout: timed out after 30s with 0 of 2 arrived"},
			}},
			{at: time.Minute, changeSpec: func(b *konductorv1.Barrier) { b.Spec.Timeout = nil }, want: barrierOutcome{
				Phase: "Waiting", OpenCondition: "Open=False Waiting: 0 of 2 participants have arrived",
				Events: []string{"Resumed: the barrier waits again: 0 of 2 participants have arrived"},
			}},
		}},
		"fewer expected participants may open it": {newBarrier(3), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0), newArrival("b", 0)}, want: barrierOutcome{
				Phase: "Waiting", Arrived: 2, Participants: "a b", OpenCondition: "Open=False Waiting: 2 of 3 participants have arrived",
			}},
			{at: 0, changeSpec: func(b *konductorv1.Barrier) { b.Spec.Expected = 2 }, arrivals: []rules.Arrival{newArrival("a", 0), newArrival("b", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 2, Participants: "a b", OpenCondition: "Open=True Opened: 2 of 2 participants have arrived",
				Events: []string{"Opened: 2 of 2 participants have arrived"},
			}},
		}},
		"more expected participants after it opened change nothing but the generation": {newBarrier(1), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"},
			}},
			{at: 0, changeSpec: func(b *konductorv1.Barrier) { b.Spec.Expected = 9 }, arrivals: []rules.Arrival{newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived",
			}},
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived", Unchanged: true,
			}},
		}},
		"a timeout that passes after it opened changes nothing": {newBarrier(1).timeout(30 * time.Second), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"},
			}},
			{at: time.Hour, arrivals: []rules.Arrival{newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived", Unchanged: true,
			}},
		}},
		"is deleted when its TTL has passed since it opened": {newBarrier(1).ttlAfterFinished(time.Minute), []barrierStep{
			{at: 10 * time.Second, arrivals: []rules.Arrival{newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"}, RequeueAfter: 61 * time.Second,
			}},
			{at: 30 * time.Second, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived", RequeueAfter: 41 * time.Second, Unchanged: true,
			}},
			{at: 71 * time.Second, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived", Unchanged: true, Delete: true,
			}},
		}},
		"is deleted when its TTL has passed since it failed": {newBarrier(1).ttlAfterFinished(time.Minute), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newFailedArrival("a", "", 0)}, want: barrierOutcome{
				Phase: "Failed", Failed: 1, OpenCondition: "Open=False Failed: 0 of 1 participants have arrived, 1 failed: the quorum of 1 can't be reached any more; last to fail: a",
				Events:       []string{"! Failed: 0 of 1 participants have arrived, 1 failed: the quorum of 1 can't be reached any more; last to fail: a"},
				RequeueAfter: 61 * time.Second,
			}},
			{at: 61 * time.Second, arrivals: []rules.Arrival{newFailedArrival("a", "", 0)}, want: barrierOutcome{
				Phase: "Failed", Failed: 1, OpenCondition: "Open=False Failed: 0 of 1 participants have arrived, 1 failed: the quorum of 1 can't be reached any more; last to fail: a",
				Unchanged: true, Delete: true,
			}},
		}},
		"is deleted when its TTL has passed since it timed out": {newBarrier(1).timeout(30 * time.Second).ttlAfterFinished(time.Minute), []barrierStep{
			{at: 40 * time.Second, want: barrierOutcome{
				Phase: "Timeout", OpenCondition: "Open=False Timeout: timed out after 30s with 0 of 1 arrived",
				Events: []string{"! Timeout: timed out after 30s with 0 of 1 arrived"}, RequeueAfter: 61 * time.Second,
			}},
			{at: 101 * time.Second, want: barrierOutcome{
				Phase: "Timeout", OpenCondition: "Open=False Timeout: timed out after 30s with 0 of 1 arrived", Unchanged: true, Delete: true,
			}},
		}},
		"is not deleted while it waits, however short its TTL": {newBarrier(1).ttlAfterFinished(time.Second), []barrierStep{
			{at: time.Hour, want: barrierOutcome{Phase: "Waiting", OpenCondition: "Open=False Waiting: 0 of 1 participants have arrived"}},
		}},
		"is told of before it is deleted": {newBarrier(1).ttlAfterFinished(time.Second), []barrierStep{
			{at: 0, arrivals: []rules.Arrival{newArrival("a", 0)}, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived",
				Events: []string{"Opened: 1 of 1 participants have arrived"}, RequeueAfter: 2 * time.Second,
			}},
			{at: time.Hour, changeSpec: func(b *konductorv1.Barrier) { b.Spec.Expected = 2 }, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived",
			}},
			{at: time.Hour, want: barrierOutcome{
				Phase: "Open", Arrived: 1, Participants: "a", OpenCondition: "Open=True Opened: 1 of 1 participants have arrived", Unchanged: true, Delete: true,
			}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			b := test.barrier.build()
			for i, m := range test.story {
				if m.changeSpec != nil {
					m.changeSpec(b)
					b.Generation++
				}
				d := rules.DecideBarrier(b, m.arrivals, instantAt(m.at))
				assertEqual(t, fmt.Sprintf("moment %d", i+1), m.want, newBarrierOutcome(d))
				assertEqual(t, "Ready", "Ready=True Accepted: the barrier is in operation", formatCondition(d.Status.Conditions, konductorv1.ConditionReady))
				assertEqual(t, "observedGeneration", b.Generation, d.Status.ObservedGeneration)
				b.Status = d.Status
				if again := rules.DecideBarrier(b, m.arrivals, instantAt(m.at)); again.Changed || len(again.Events) > 0 {
					t.Errorf("moment %d: the barrier is not at rest after its status was written: %v", i+1, again)
				}
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

func TestDecideBarrierTimestamps(t *testing.T) {
	b := newBarrier(1).timeout(30 * time.Second).build()
	b.Status = rules.DecideBarrier(b, nil, instantAt(time.Minute)).Status
	if b.Status.OpenedAt != nil || b.Status.EndedAt == nil || !b.Status.EndedAt.Time.Equal(epoch.Add(time.Minute)) {
		t.Errorf("after the timeout: openedAt %v, endedAt %v", b.Status.OpenedAt, b.Status.EndedAt)
	}
	b.Spec.Timeout = nil
	b.Status = rules.DecideBarrier(b, nil, instantAt(time.Minute)).Status
	if b.Status.OpenedAt != nil || b.Status.EndedAt != nil {
		t.Errorf("when it waits again: openedAt %v, endedAt %v", b.Status.OpenedAt, b.Status.EndedAt)
	}
	b.Status = rules.DecideBarrier(b, []rules.Arrival{newArrival("a", 0)}, instantAt(2*time.Minute)).Status
	if b.Status.EndedAt != nil || b.Status.OpenedAt == nil || !b.Status.OpenedAt.Time.Equal(epoch.Add(2*time.Minute)) {
		t.Errorf("when it has opened: openedAt %v, endedAt %v", b.Status.OpenedAt, b.Status.EndedAt)
	}
}

func TestDecideBarrierListsFirstHundredArrivals(t *testing.T) {
	var all []rules.Arrival
	for i := range konductorv1.MaxListedArrivals + 50 {
		all = append(all, newArrival(fmt.Sprint("p", i), 0))
	}
	d := rules.DecideBarrier(newBarrier(1000).build(), all, instantAt(0))
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

func TestDecideBarrierDoesNotMutateArguments(t *testing.T) {
	b := newBarrier(2).timeout(time.Minute).build()
	b.Status = rules.DecideBarrier(b, []rules.Arrival{newArrival("a", 0)}, instantAt(0)).Status
	before := b.DeepCopy()
	rules.DecideBarrier(b, []rules.Arrival{newArrival("b", 0), newArrival("c", 0)}, instantAt(2*time.Minute))
	assertEqual(t, "the barrier", before, b)
}
