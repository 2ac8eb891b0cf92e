package pods

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestRetriedAndIndexedJobsExample(t *testing.T) {
	s := newTestEnv(t, "retry")
	barriers, arrivals := recordRevisions[*konductorv1.Barrier](s), recordRevisions[*konductorv1.Arrival](s)

	s.createExample("examples/retry/barrier.yaml")
	s.createExample("examples/retry/crashing-job.yaml")
	s.waitJobsComplete(1, "crashing")
	crashing := s.jobs.waitForObject("crashing", "retried", func(*batchv1.Job) bool { return true })
	if crashing.Status.Failed != 1 || crashing.Status.Succeeded != 1 {
		t.Errorf("%d Pods of the job failed and %d succeeded, not one each", crashing.Status.Failed, crashing.Status.Succeeded)
	}
	b := barriers.waitForObject("parts-done", "told of the job", func(b *konductorv1.Barrier) bool { return b.Status.Arrived > 0 })
	if b.Status.Arrived != 1 || isOpen(b) {
		t.Errorf("after both Pods of one job %d have arrived and the barrier is %s", b.Status.Arrived, b.Status.Phase)
	}

	s.createExample("examples/retry/indexed-job.yaml")
	s.waitJobsComplete(1, "indexed")

	b = barriers.waitForObject("parts-done", "open", isOpen)
	got := slices.Sorted(slices.Values(b.Status.Arrivals))
	want := []string{"job/crashing", "job/indexed/0", "job/indexed/1", "job/indexed/2", "job/indexed/3", "job/indexed/4"}
	if diff := cmp.Diff(want, got); diff != "" || b.Status.Arrived != 6 {
		t.Errorf("the barrier opened with %d arrivals, of (-want +got):\n%s", b.Status.Arrived, diff)
	}
	if n := countObjects(arrivals.currentObjects(), func(a *konductorv1.Arrival) bool { return a.Spec.Barrier == "parts-done" }); n != 6 {
		t.Errorf("there are %d Arrivals, not 6", n)
	}
	opened := barriers.firstEntry("the barrier open", func(e entry[*konductorv1.Barrier]) bool { return e.obj.Name == "parts-done" && isOpen(e.obj) })
	if sixth := nthArrival(arrivals, "parts-done", 6); sixth.revision >= opened.revision {
		t.Errorf("the barrier opened at revision %d, before the sixth arrival at %d", opened.revision, sixth.revision)
	}
}
