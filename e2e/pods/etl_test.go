package pods

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestNoTransformStartsBeforeTheTenthExtractHasArrived(t *testing.T) {
	s := newScene(t, "etl")
	barriers, arrivals := watching[*konductorv1.Barrier](s), watching[*konductorv1.Arrival](s)

	s.given("examples/etl/barriers.yaml")
	s.givenMany(5, "examples/etl/transform.yaml")
	s.runs(5, "transform-", "wait-for-extracts")
	s.given("examples/etl/load.yaml")
	s.complete(1, "prepare-warehouse")
	s.givenMany(10, "examples/etl/extract.yaml")

	s.complete(10, "extract-")
	s.complete(5, "transform-")
	barriers.awaitOne("transforms-done", "open", open)
	s.complete(1, "load")

	opened := barriers.first("extracts-done open", func(e entry[*konductorv1.Barrier]) bool {
		return e.obj.Name == "extracts-done" && open(e.obj)
	})
	tenth := nthArrival(arrivals, "extracts-done", 10)
	if tenth.revision >= opened.revision {
		t.Errorf("the barrier was open at revision %d, before the tenth arrival at %d", opened.revision, tenth.revision)
	}
	if n := opened.obj.Status.Arrived; n != 10 {
		t.Errorf("the barrier opened with %d arrivals, not 10", n)
	}
	atWork := func(pod *corev1.Pod) bool {
		return strings.HasPrefix(pod.Name, "transform-") && started(pod, "transform")
	}
	now := s.pods.await("five transforms have been at work", func(now map[string]*corev1.Pod) bool { return count(now, atWork) == 5 })
	// What the watch saw, in the order of the API server's writes.
	s.pods.replay(func(_ map[string]*corev1.Pod, e entry[*corev1.Pod]) {
		if atWork(e.obj) && e.revision <= opened.revision {
			t.Errorf("%s was at work at revision %d, before the barrier opened at %d", e.obj.Name, e.revision, opened.revision)
		}
	})
	stages := barriers.first("transforms-done open", func(e entry[*konductorv1.Barrier]) bool {
		return e.obj.Name == "transforms-done" && open(e.obj)
	})
	load := s.pods.first("load at work", func(e entry[*corev1.Pod]) bool {
		return strings.HasPrefix(e.obj.Name, "load-") && started(e.obj, "load")
	})
	if load.revision <= stages.revision {
		t.Errorf("%s was at work at revision %d, before the transforms were done at %d", load.obj.Name, load.revision, stages.revision)
	}
	// What the clocks say: operator's, kubelet's and API server's are the same here, and give whole seconds.
	for _, pod := range now {
		at := startedAt(pod, "transform")
		if atWork(pod) && (at.Before(opened.obj.Status.OpenedAt.Time) || at.Before(tenth.obj.CreationTimestamp.Time)) {
			t.Errorf("%s started at %s; the tenth arrival was at %s and the barrier opened at %s",
				pod.Name, at, tenth.obj.CreationTimestamp, opened.obj.Status.OpenedAt)
		}
	}
}

func open(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierOpen }

// nthArrival returns the entry of the nth arrival at a barrier.
func nthArrival(arrivals *chronicle[*konductorv1.Arrival], barrier string, n int) entry[*konductorv1.Arrival] {
	arrivals.s.Helper()
	at := func(a *konductorv1.Arrival) bool { return a.Spec.Barrier == barrier }
	arrivals.await("enough have arrived", func(now map[string]*konductorv1.Arrival) bool { return count(now, at) >= n })
	seen := map[string]bool{}
	return arrivals.first("there that many arrivals", func(e entry[*konductorv1.Arrival]) bool {
		if at(e.obj) {
			seen[e.obj.Name] = true
		}
		return len(seen) == n
	})
}
