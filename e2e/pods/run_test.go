package pods

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestRunExample(t *testing.T) {
	s := newTestEnv(t, "run")
	leases, barriers := recordRevisions[*konductorv1.Lease](s), recordRevisions[*konductorv1.Barrier](s)
	s.createExample("examples/run/migrate.yaml")
	pod, _ := s.waitContainerExit("migrate-", "migrate", 0)
	s.waitJobsComplete(1, "migrate")
	barriers.waitForObject("migrated", "open", isOpen)
	leases.waitForObject("db-migration", "free", func(l *konductorv1.Lease) bool { return !isHeld(l) })
	all := checkedGrants(leases, "db-migration")
	if len(all) != 1 || all[0].Name != pod.Name {
		t.Fatalf("the grants were %+v, want one to %s", all, pod.Name)
	}
	want := "migrating with token " + strconv.FormatInt(all[0].FencingToken, 10)
	if log := s.containerLog(pod.Name, "migrate"); !strings.Contains(log, want) {
		t.Errorf("the log is\n%swant %q in it", log, want)
	}
	end := s.pods.firstEntry("the Pod ended", func(e entry[*corev1.Pod]) bool { return e.obj.UID == pod.UID && isPodFinished(e.obj) })
	if all[0].endedAtRevision >= end.revision {
		t.Errorf("the lease came back at revision %d and not before the Pod ended at %d", all[0].endedAtRevision, end.revision)
	}
}

func TestRunReleasesAfterPodDeletion(t *testing.T) {
	s := newTestEnv(t, "run-deleted")
	leases := recordRevisions[*konductorv1.Lease](s)
	s.createExample("examples/run/migrate.yaml", replaceInCommand("sleep 1", "trap 'echo cleaning; sleep 1; exit 0' TERM; while true; do sleep 1; done"))
	pod := s.waitContainersRunning(1, "migrate-", "migrate")[0]
	s.waitForLog(pod.Name, "migrate", "migrating")
	s.deleteObject(pod.DeepCopy(), client.GracePeriodSeconds(30))
	leases.waitForObject("db-migration", "free", func(l *konductorv1.Lease) bool { return !isHeld(l) })
	s.pods.waitGone(pod.Name)
	gone := s.pods.firstEntry("the Pod gone", func(e entry[*corev1.Pod]) bool { return e.obj.UID == pod.UID && e.deleted })
	all := checkedGrants(leases, "db-migration")
	if all[0].endedAtRevision >= gone.revision {
		t.Errorf("the lease came back at revision %d and not before the Pod was gone at %d", all[0].endedAtRevision, gone.revision)
	}
}

func TestSidecarExample(t *testing.T) {
	s := newTestEnv(t, "sidecar")
	semaphores := recordRevisions[*konductorv1.Semaphore](s)
	s.createExample("examples/sidecar/job.yaml")
	s.waitJobsComplete(1, "render")
	semaphores.waitForObject("licenses", "without holders", isIdle)
	// The sidecar releases the license when rendering is over, which may be before the kubelet has reported that. So the times that
	// it writes at the end count.
	rendered := containerRuns(s.pods, "render")
	if len(rendered) != 3 {
		t.Errorf("%d Pods rendered, not 3", len(rendered))
	}
	for i := 1; i < len(rendered); i++ {
		if before, after := rendered[i-1], rendered[i]; after.from.Before(before.to) {
			t.Errorf("%s began to render at %s, when %s did so until %s, with one license", after.pod, after.from, before.pod, before.to)
		}
	}
	all := checkedGrants(semaphores, "licenses")
	if len(all) != 3 {
		t.Errorf("there were %d grants for 3 Pods", len(all))
	}
	for _, g := range all {
		work := s.pods.firstEntry(g.Name+" at work", func(e entry[*corev1.Pod]) bool { return e.obj.Name == g.Name && hasContainerStarted(e.obj, "render") })
		if work.revision <= g.grantedAtRevision {
			t.Errorf("%s began its work at revision %d, before it had the license at %d", g.Name, work.revision, g.grantedAtRevision)
		}
	}
}
