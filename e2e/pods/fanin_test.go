package pods

import (
	"testing"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestPartsAreEnoughWithoutTheTwoThatFailed(t *testing.T) {
	s := newScene(t, "fan-in")
	barriers := watching[*konductorv1.Barrier](s)
	s.given("examples/fan-in/fan-in.yaml", script("sleep 1", "test $JOB_COMPLETION_INDEX -gt 1"))
	s.complete(1, "put-together")
	s.fails("part")
	b := barriers.awaitOne("parts-made", "open", open)
	if b.Status.Arrived < 6 || b.Status.Failed > 2 {
		t.Errorf("it opened with %d arrived and %d failed", b.Status.Arrived, b.Status.Failed)
	}
}

func TestTheThirdPartThatFailsEndsTheWait(t *testing.T) {
	s := newScene(t, "fan-in-failed")
	barriers := watching[*konductorv1.Barrier](s)
	s.given("examples/fan-in/fan-in.yaml", script("sleep 1", "test $JOB_COMPLETION_INDEX -gt 2"))
	barriers.awaitOne("parts-made", "failed", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierFailed })
	s.exits("put-together", "wait-for-parts", 6)
}
