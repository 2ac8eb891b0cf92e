package waitgraph_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// deadlockMessages returns the members of all deadlocks, each with its message.
func deadlockMessages(s *waitgraph.Snapshot) (names []string) {
	for _, d := range waitgraph.Analyze(s).Deadlocks() {
		for _, m := range d.Members {
			names = append(names, m.String()+": "+d.Message(m))
		}
	}
	return names
}

// stripSnapshot returns the snapshot with stripped Pods and Jobs, as in the operator's cache.
func stripSnapshot(s *waitgraph.Snapshot) *waitgraph.Snapshot {
	c := *s
	c.Pods, c.Jobs = nil, nil
	for _, p := range s.Pods {
		c.Pods = append(c.Pods, waitgraph.StripPod(waitgraph.StripPod(p)))
	}
	for _, j := range s.Jobs {
		c.Jobs = append(c.Jobs, waitgraph.StripJob(waitgraph.StripJob(j)))
	}
	return &c
}

func TestStripKeepsDeadlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawSimulation(t)
		for can := w.runnable(); len(can) > 0; can = w.runnable() {
			w.startStep(rapid.SampledFrom(can).Draw(t, "next"))
			w.reconcileUntilStable()
			if diff := cmp.Diff(deadlockMessages(&w.Snapshot), deadlockMessages(stripSnapshot(&w.Snapshot))); diff != "" {
				t.Fatalf("(-whole +cut):\n%s", diff)
			}
		}
	})
}

func TestDeadlockOfPodHoldingWhatItsGateNeeds(t *testing.T) {
	for name, command := range map[string]string{
		"a command": "koncli gate wait late", "a script of nothing else": "sh: koncli gate wait late", "exec": "sh: exec /konductor/koncli gate wait late",
	} {
		t.Run(name, func(t *testing.T) {
			s := newSnapshotBuilder()
			pod := s.addPod("p", runningContainer("main", command))
			s.addLease("lock")
			s.addHolder("p", "lease/lock")
			s.addGate("late", conditionOn("Lease", "lock"))
			if !waitgraph.MayWait(pod) || !waitgraph.MayWait(waitgraph.StripPod(pod)) {
				t.Error("it isn't seen to wait")
			}
			want := []string{
				"gate/late: gate/late waits for lease/lock, held by pod/p, which waits for gate/late",
				"lease/lock: gate/late waits for lease/lock, held by pod/p, which waits for gate/late",
				"pod/p: pod/p waits for gate/late, which waits for lease/lock, held by pod/p",
			}
			if diff := cmp.Diff(want, deadlockMessages(stripSnapshot(&s.Snapshot))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoDeadlockForPodWithOtherCommands(t *testing.T) {
	s := newSnapshotBuilder()
	pod := s.addPod("p", runningContainer("main", "sh: work; koncli gate wait late; koncli lease release lock"))
	s.addLease("lock")
	s.addHolder("p", "lease/lock")
	s.addGate("late", conditionOn("Lease", "lock"))
	if got := deadlockMessages(stripSnapshot(&s.Snapshot)); len(got) > 0 || waitgraph.MayWait(waitgraph.StripPod(pod)) {
		t.Errorf("called deadlocked: %v", got)
	}
}

func TestSemaphoreDeadlockNeedsAllPermits(t *testing.T) {
	for name, test := range map[string]struct {
		outside bool
		want    bool
	}{"all permits are in the cycle": {false, true}, "somebody else holds one": {true, false}} {
		t.Run(name, func(t *testing.T) {
			s := newSnapshotBuilder()
			permits := int32(2)
			s.addSemaphore("s", permits)
			s.addPod("p1")
			s.addPod("p2")
			s.addPod("other", runningContainer("main", "work"))
			s.addHolder("p1", "semaphore/s")
			if test.outside {
				s.addHolder("other", "semaphore/s")
			} else {
				s.addHolder("p2", "semaphore/s")
			}
			s.addLease("l")
			s.addHolder("p2", "lease/l")
			s.addWaiter("p2", "semaphore/s")
			s.addWaiter("p1", "lease/l")
			got := waitgraph.Analyze(&s.Snapshot).Deadlocks()
			if (len(got) > 0) != test.want {
				t.Errorf("deadlocks: %v", deadlockMessages(&s.Snapshot))
			}
			if test.want && !slices.Contains(got[0].Members, mustRef("semaphore/s")) {
				t.Errorf("the semaphore isn't a member: %v", got[0].Members)
			}
		})
	}
}

func TestUnparsablePodMayArrive(t *testing.T) {
	// The barrier waits for a Pod that waits for a lease whose holder waits at the barrier: unless a third one arrives.
	for name, test := range map[string]struct {
		script string
		want   bool
	}{
		"nobody else":                    {"true", true},
		"a program of its own":           {"work", true},
		"a script that is too deep":      {"sh: koncli barrier wait other; " + strings.Repeat("(", 1000), false},
		"a script that is too long":      {"sh: koncli barrier wait other; " + strings.Repeat("a;", 40_000), false},
		"a script with too many calls":   {"sh: " + strings.Repeat("koncli barrier wait other;", 100), false},
		"a script that can't be parsed":  {"sh: koncli barrier wait 'other", false},
		"a script of which nothing else": {"sh: koncli barrier wait other; true", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSnapshotBuilder()
			s.addBarrier("b", 2, "pod/holder")
			s.addLease("l")
			s.addPod("holder", runningContainer("main", "koncli barrier wait b"))
			s.addHolder("holder", "lease/l")
			s.addPod("waiter", runningContainer("main", "sh: koncli lease acquire l; koncli barrier arrive b"))
			s.addWaiter("waiter", "lease/l")
			s.addPod("third", runningContainer("main", test.script))
			for _, look := range []*waitgraph.Snapshot{&s.Snapshot, stripSnapshot(&s.Snapshot)} {
				if found := len(waitgraph.Analyze(look).Deadlocks()) > 0; found != test.want {
					t.Errorf("deadlocked: %t, want %t", found, test.want)
				}
			}
		})
	}
}
