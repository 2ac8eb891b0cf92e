package pods

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestSevenOfTenAreEnoughAlthoughThreeFail(t *testing.T) {
	s := newScene(t, "quorum")
	barriers := watching[*konductorv1.Barrier](s)

	s.given("examples/quorum/barriers.yaml")
	s.given("examples/quorum/consumer.yaml")
	consumer := s.runs(1, "consumer-", "wait")[0]
	s.givenMany(3, "examples/quorum/failing-worker.yaml")
	barriers.awaitOne("shards-ready", "told of three failures, and waiting on", func(b *konductorv1.Barrier) bool {
		return b.Status.Failed == 3 && b.Status.Phase == konductorv1.BarrierWaiting
	})
	s.givenMany(7, "examples/quorum/worker.yaml")

	s.complete(1, "consumer-")
	b := barriers.awaitOne("shards-ready", "open", open)
	if b.Status.Arrived != 7 || b.Status.Failed != 3 {
		t.Errorf("%d arrived and %d failed, not 7 and 3", b.Status.Arrived, b.Status.Failed)
	}
	opened := barriers.first("shards-ready open", func(e entry[*konductorv1.Barrier]) bool { return open(e.obj) })
	at := s.pods.first("the consumer at work", func(e entry[*corev1.Pod]) bool {
		return e.obj.Name == consumer.Name && started(e.obj, "consume")
	})
	if at.revision <= opened.revision {
		t.Errorf("the consumer was at work at revision %d, before the barrier opened at %d", at.revision, opened.revision)
	}
}

func TestABarrierThatCanNotBeReachedAnyMoreFailsAtOnce(t *testing.T) {
	s := newScene(t, "unreachable")
	barriers, arrivals := watching[*konductorv1.Barrier](s), watching[*konductorv1.Arrival](s)
	here := env("BARRIER", "replicas-ready")

	s.given("examples/quorum/barriers.yaml")
	s.given("examples/quorum/consumer.yaml", here)
	s.runs(1, "consumer-", "wait")
	s.givenMany(3, "examples/quorum/failing-worker.yaml", here)

	barriers.awaitOne("replicas-ready", "failed", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierFailed })
	failed := barriers.first("the barrier failed", func(e entry[*konductorv1.Barrier]) bool {
		return e.obj.Name == "replicas-ready" && e.obj.Status.Phase == konductorv1.BarrierFailed
	})
	third := nthArrival(arrivals, "replicas-ready", 3)
	if failed.revision <= third.revision || failed.obj.Status.Failed != 3 {
		t.Errorf("the barrier failed at revision %d with %d failures; the third came at %d", failed.revision, failed.obj.Status.Failed, third.revision)
	}
	pod, at := s.exits("consumer-", "wait", 6)
	s.fails("consumer-")
	t.Logf("the barrier failed %s after the third failure, the waiter ended %s after it",
		failed.seen.Sub(third.seen).Round(time.Millisecond), at.Sub(third.obj.CreationTimestamp.Time))
	if late := at.Sub(third.obj.CreationTimestamp.Time); late > atOnce {
		t.Errorf("the waiter ended %s after the third failure", late)
	}
	if started(pod, "consume") {
		t.Error("the consumer went to work all the same")
	}
}
