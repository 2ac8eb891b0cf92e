package waits_test

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/LogicIQ/konductor/apis/waits"
)

// members returns the names of what is deadlocked in a snapshot.
func members(s *waits.Snapshot) (names []string) {
	for _, d := range waits.Analyze(s).Deadlocks() {
		for _, m := range d.Members {
			names = append(names, m.String()+": "+d.Message(m))
		}
	}
	return names
}

// cut returns the snapshot as an operator has it that keeps of Pods and Jobs only what is looked at.
func cut(s *waits.Snapshot) *waits.Snapshot {
	c := *s
	c.Pods, c.Jobs = nil, nil
	for _, p := range s.Pods {
		c.Pods = append(c.Pods, waits.CutPod(waits.CutPod(p)))
	}
	for _, j := range s.Jobs {
		c.Jobs = append(c.Jobs, waits.CutJob(waits.CutJob(j)))
	}
	return &c
}

func TestWhatIsCutOffAPodMakesNoDifference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		for can := w.ready(); len(can) > 0; can = w.ready() {
			w.begin(rapid.SampledFrom(can).Draw(t, "next"))
			w.settle()
			if diff := cmp.Diff(members(&w.Snapshot), members(cut(&w.Snapshot))); diff != "" {
				t.Fatalf("(-whole +cut):\n%s", diff)
			}
		}
	})
}

func TestAPodThatHoldsWhatItsGateWaitsForIsDeadlocked(t *testing.T) {
	for name, command := range map[string]string{
		"a command": "koncli gate wait late", "a script of nothing else": "sh: koncli gate wait late", "exec": "sh: exec /konductor/koncli gate wait late",
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			pod := s.pod("p", runs("main", command))
			s.lease("lock")
			s.holds("p", "lease/lock")
			s.gate("late", on("Lease", "lock"))
			if !waits.MayWait(pod) || !waits.MayWait(waits.CutPod(pod)) {
				t.Error("it isn't seen to wait")
			}
			want := []string{
				"gate/late: gate/late waits for lease/lock, held by pod/p, which waits for gate/late",
				"lease/lock: gate/late waits for lease/lock, held by pod/p, which waits for gate/late",
				"pod/p: pod/p waits for gate/late, which waits for lease/lock, held by pod/p",
			}
			if diff := cmp.Diff(want, members(cut(&s.Snapshot))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestAPodThatMayDoOtherThingsIsNotCalledDeadlocked(t *testing.T) {
	s := newScene()
	pod := s.pod("p", runs("main", "sh: work; koncli gate wait late; koncli lease release lock"))
	s.lease("lock")
	s.holds("p", "lease/lock")
	s.gate("late", on("Lease", "lock"))
	if got := members(cut(&s.Snapshot)); len(got) > 0 || waits.MayWait(waits.CutPod(pod)) {
		t.Errorf("called deadlocked: %v", got)
	}
}

func TestASemaphoreIsADeadlockOnlyWhenNobodyElseCanFreeEnough(t *testing.T) {
	for name, test := range map[string]struct {
		outside bool
		want    bool
	}{"all permits are in the circle": {false, true}, "somebody else holds one": {true, false}} {
		t.Run(name, func(t *testing.T) {
			s := newScene()
			permits := int32(2)
			s.semaphore("s", permits)
			s.pod("p1")
			s.pod("p2")
			s.pod("other", runs("main", "work"))
			s.holds("p1", "semaphore/s")
			if test.outside {
				s.holds("other", "semaphore/s")
			} else {
				s.holds("p2", "semaphore/s")
			}
			s.lease("l")
			s.holds("p2", "lease/l")
			s.waits("p2", "semaphore/s")
			s.waits("p1", "lease/l")
			got := waits.Analyze(&s.Snapshot).Deadlocks()
			if (len(got) > 0) != test.want {
				t.Errorf("deadlocks: %v", members(&s.Snapshot))
			}
			if test.want && !slices.Contains(got[0].Members, ref("semaphore/s")) {
				t.Errorf("the semaphore isn't a member: %v", got[0].Members)
			}
		})
	}
}
