package pods

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestETLExample(t *testing.T) {
	s := newTestEnv(t, "etl")
	barriers, arrivals := recordRevisions[*konductorv1.Barrier](s), recordRevisions[*konductorv1.Arrival](s)

	s.createExample("examples/etl/barriers.yaml")
	s.createExampleTimes(5, "examples/etl/transform.yaml")
	s.waitContainersRunning(5, "transform-", "wait-for-extracts")
	s.createExample("examples/etl/load.yaml")
	s.waitJobsComplete(1, "prepare-warehouse")
	s.createExampleTimes(10, "examples/etl/extract.yaml")

	s.waitJobsComplete(10, "extract-")
	s.waitJobsComplete(5, "transform-")
	barriers.waitForObject("transforms-done", "open", isOpen)
	s.waitJobsComplete(1, "load")

	opened := barriers.firstEntry("extracts-done open", func(e entry[*konductorv1.Barrier]) bool {
		return e.obj.Name == "extracts-done" && isOpen(e.obj)
	})
	tenth := nthArrival(arrivals, "extracts-done", 10)
	if tenth.revision >= opened.revision {
		t.Errorf("the barrier was open at revision %d, before the tenth arrival at %d", opened.revision, tenth.revision)
	}
	if n := opened.obj.Status.Arrived; n != 10 {
		t.Errorf("the barrier opened with %d arrivals, not 10", n)
	}
	atWork := func(pod *corev1.Pod) bool {
		return strings.HasPrefix(pod.Name, "transform-") && hasContainerStarted(pod, "transform")
	}
	now := s.pods.waitUntil("five transforms have been at work", func(now map[string]*corev1.Pod) bool { return countObjects(now, atWork) == 5 })
	// First check the watch's entries, in the order of the API server's writes.
	s.pods.replay(func(_ map[string]*corev1.Pod, e entry[*corev1.Pod]) {
		if atWork(e.obj) && e.revision <= opened.revision {
			t.Errorf("%s was at work at revision %d, before the barrier opened at %d", e.obj.Name, e.revision, opened.revision)
		}
	})
	stages := barriers.firstEntry("transforms-done open", func(e entry[*konductorv1.Barrier]) bool {
		return e.obj.Name == "transforms-done" && isOpen(e.obj)
	})
	load := s.pods.firstEntry("load at work", func(e entry[*corev1.Pod]) bool {
		return strings.HasPrefix(e.obj.Name, "load-") && hasContainerStarted(e.obj, "load")
	})
	if load.revision <= stages.revision {
		t.Errorf("%s was at work at revision %d, before the transforms were done at %d", load.obj.Name, load.revision, stages.revision)
	}
	// Then check the times: the clocks of operator, kubelet and API server are the same here, and have whole seconds.
	for _, pod := range now {
		at := containerStartTime(pod, "transform")
		if atWork(pod) && (at.Before(opened.obj.Status.OpenedAt.Time) || at.Before(tenth.obj.CreationTimestamp.Time)) {
			t.Errorf("%s started at %s; the tenth arrival was at %s and the barrier opened at %s",
				pod.Name, at, tenth.obj.CreationTimestamp, opened.obj.Status.OpenedAt)
		}
	}
}

func isOpen(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierOpen }

// nthArrival returns the entry of the nth arrival at a barrier.
func nthArrival(arrivals *revisionLog[*konductorv1.Arrival], barrier string, n int) entry[*konductorv1.Arrival] {
	arrivals.env.Helper()
	at := func(a *konductorv1.Arrival) bool { return a.Spec.Barrier == barrier }
	arrivals.waitUntil("enough have arrived", func(now map[string]*konductorv1.Arrival) bool { return countObjects(now, at) >= n })
	seen := map[string]bool{}
	return arrivals.firstEntry("there that many arrivals", func(e entry[*konductorv1.Arrival]) bool {
		if at(e.obj) {
			seen[e.obj.Name] = true
		}
		return len(seen) == n
	})
}

// TestFailedExtractDoesNotArrive has the work of an extract fail.
func TestFailedExtractDoesNotArrive(t *testing.T) {
	s := newTestEnv(t, "etl-failing")
	arrivals := recordRevisions[*konductorv1.Arrival](s)
	s.createExample("examples/etl/barriers.yaml")
	s.createExample("examples/etl/extract.yaml", replaceInCommand("sleep 2", "false"))
	s.waitContainerExit("extract-", "extract", 1)
	if n := len(arrivals.currentObjects()); n != 0 {
		t.Errorf("a failed extract has arrived %d times", n)
	}
}
