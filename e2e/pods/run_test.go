package pods

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestACommandInAnotherImageRunsUnderItsLeaseAndArrives(t *testing.T) {
	s := newScene(t, "run")
	leases, barriers := watching[*konductorv1.Lease](s), watching[*konductorv1.Barrier](s)
	s.given("examples/run/migrate.yaml")
	pod, _ := s.exits("migrate-", "migrate", 0)
	s.complete(1, "migrate")
	barriers.awaitOne("migrated", "open", open)
	leases.awaitOne("db-migration", "free", func(l *konductorv1.Lease) bool { return !held(l) })
	all := grants(leases, "db-migration")
	if len(all) != 1 || all[0].Holder != pod.Name {
		t.Fatalf("the grants were %+v, want one to %s", all, pod.Name)
	}
	want := "migrating with token " + strconv.FormatInt(all[0].FencingToken, 10)
	if log := s.logOf(pod.Name, "migrate"); !strings.Contains(log, want) {
		t.Errorf("the log is\n%swant %q in it", log, want)
	}
	end := s.pods.first("the Pod ended", func(e entry[*corev1.Pod]) bool { return e.obj.UID == pod.UID && finished(e.obj) })
	if all[0].to >= end.revision {
		t.Errorf("the lease came back at revision %d and not before the Pod ended at %d", all[0].to, end.revision)
	}
}

func TestACommandThatIsPartOfAPodThatIsDeletedGivesBackWhenItHasCleanedUp(t *testing.T) {
	s := newScene(t, "run-deleted")
	leases := watching[*konductorv1.Lease](s)
	s.given("examples/run/migrate.yaml", script("sleep 1", "trap 'echo cleaning; sleep 1; exit 0' TERM; while true; do sleep 1; done"))
	pod := s.runs(1, "migrate-", "migrate")[0]
	s.says(pod.Name, "migrate", "migrating")
	s.delete(pod.DeepCopy(), client.GracePeriodSeconds(30))
	leases.awaitOne("db-migration", "free", func(l *konductorv1.Lease) bool { return !held(l) })
	s.pods.awaitGone(pod.Name)
	gone := s.pods.first("the Pod gone", func(e entry[*corev1.Pod]) bool { return e.obj.UID == pod.UID && e.deleted })
	all := grants(leases, "db-migration")
	if all[0].to >= gone.revision {
		t.Errorf("the lease came back at revision %d and not before the Pod was gone at %d", all[0].to, gone.revision)
	}
}

func TestASidecarHoldsForAnImageThatKnowsNothingOfItAndTheJobCompletes(t *testing.T) {
	s := newScene(t, "sidecar")
	semaphores := watching[*konductorv1.Semaphore](s)
	s.given("examples/sidecar/job.yaml")
	s.complete(1, "render")
	semaphores.awaitOne("licenses", "without holders", idle)
	// The sidecar gives the license back when rendering is over, which may be before the kubelet has reported that. So the
	// times count that it notes in the end.
	rendered := periods(s.pods, "render")
	if len(rendered) != 3 {
		t.Errorf("%d Pods rendered, not 3", len(rendered))
	}
	for i := 1; i < len(rendered); i++ {
		if before, after := rendered[i-1], rendered[i]; after.from.Before(before.to) {
			t.Errorf("%s began to render at %s, when %s did so until %s, with one license", after.pod, after.from, before.pod, before.to)
		}
	}
	all := grants(semaphores, "licenses")
	if len(all) != 3 {
		t.Errorf("there were %d grants for 3 Pods", len(all))
	}
	for _, g := range all {
		work := s.pods.first(g.Holder+" at work", func(e entry[*corev1.Pod]) bool { return e.obj.Name == g.Holder && started(e.obj, "render") })
		if work.revision <= g.from {
			t.Errorf("%s began its work at revision %d, before it had the license at %d", g.Holder, work.revision, g.from)
		}
	}
}
