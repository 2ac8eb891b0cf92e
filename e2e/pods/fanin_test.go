package pods

import (
	"testing"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestFanInToleratesFailures(t *testing.T) {
	s := newTestEnv(t, "fan-in")
	barriers := recordRevisions[*konductorv1.Barrier](s)
	s.createExample("examples/fan-in/fan-in.yaml", replaceInCommand("sleep 1", "test $JOB_COMPLETION_INDEX -gt 1"))
	s.waitJobsComplete(1, "put-together")
	s.waitJobFailed("part")
	b := barriers.waitForObject("parts-made", "open", isOpen)
	if b.Status.Arrived < 6 || b.Status.Failed > 2 {
		t.Errorf("it opened with %d arrived and %d failed", b.Status.Arrived, b.Status.Failed)
	}
}

func TestFanInFailsBelowQuorum(t *testing.T) {
	s := newTestEnv(t, "fan-in-failed")
	barriers := recordRevisions[*konductorv1.Barrier](s)
	s.createExample("examples/fan-in/fan-in.yaml", replaceInCommand("sleep 1", "test $JOB_COMPLETION_INDEX -gt 2"))
	barriers.waitForObject("parts-made", "failed", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierFailed })
	s.waitContainerExit("put-together", "wait-for-parts", 6)
}
