package pods

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestQuorumExample(t *testing.T) {
	s := newTestEnv(t, "quorum")
	barriers := recordRevisions[*konductorv1.Barrier](s)

	s.createExample("examples/quorum/barriers.yaml")
	s.createExample("examples/quorum/consumer.yaml")
	consumer := s.waitContainersRunning(1, "consumer-", "wait")[0]
	s.createExampleTimes(3, "examples/quorum/failing-worker.yaml")
	barriers.waitForObject("shards-ready", "told of three failures, and waiting on", func(b *konductorv1.Barrier) bool {
		return b.Status.Failed == 3 && b.Status.Phase == konductorv1.BarrierWaiting
	})
	s.createExampleTimes(7, "examples/quorum/worker.yaml")

	s.waitJobsComplete(1, "consumer-")
	b := barriers.waitForObject("shards-ready", "open", isOpen)
	if b.Status.Arrived != 7 || b.Status.Failed != 3 {
		t.Errorf("%d arrived and %d failed, not 7 and 3", b.Status.Arrived, b.Status.Failed)
	}
	opened := barriers.firstEntry("shards-ready open", func(e entry[*konductorv1.Barrier]) bool { return isOpen(e.obj) })
	at := s.pods.firstEntry("the consumer at work", func(e entry[*corev1.Pod]) bool {
		return e.obj.Name == consumer.Name && hasContainerStarted(e.obj, "consume")
	})
	if at.revision <= opened.revision {
		t.Errorf("the consumer was at work at revision %d, before the barrier opened at %d", at.revision, opened.revision)
	}
}

func TestUnreachableQuorumFailsAtOnce(t *testing.T) {
	s := newTestEnv(t, "unreachable")
	barriers, arrivals := recordRevisions[*konductorv1.Barrier](s), recordRevisions[*konductorv1.Arrival](s)
	here := setEnvVar("BARRIER", "replicas-ready")

	s.createExample("examples/quorum/barriers.yaml")
	s.createExample("examples/quorum/consumer.yaml", here)
	s.waitContainersRunning(1, "consumer-", "wait")
	s.createExampleTimes(3, "examples/quorum/failing-worker.yaml", here)

	barriers.waitForObject("replicas-ready", "failed", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierFailed })
	failed := barriers.firstEntry("the barrier failed", func(e entry[*konductorv1.Barrier]) bool {
		return e.obj.Name == "replicas-ready" && e.obj.Status.Phase == konductorv1.BarrierFailed
	})
	third := nthArrival(arrivals, "replicas-ready", 3)
	if failed.revision <= third.revision || failed.obj.Status.Failed != 3 {
		t.Errorf("the barrier failed at revision %d with %d failures; the third came at %d", failed.revision, failed.obj.Status.Failed, third.revision)
	}
	pod, at := s.waitContainerExit("consumer-", "wait", 6)
	s.waitJobFailed("consumer-")
	t.Logf("the barrier failed %s after the third failure, the waiter ended %s after it",
		failed.receivedAt.Sub(third.receivedAt).Round(time.Millisecond), at.Sub(third.obj.CreationTimestamp.Time))
	if late := at.Sub(third.obj.CreationTimestamp.Time); late > promptLimit {
		t.Errorf("the waiter ended %s after the third failure", late)
	}
	if hasContainerStarted(pod, "consume") {
		t.Error("the consumer went to work all the same")
	}
}
