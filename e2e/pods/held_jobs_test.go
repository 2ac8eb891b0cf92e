package pods

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// TestHeldJobPipeline has a transform wait for an extract, without koncli and without rights.
func TestHeldJobPipeline(t *testing.T) {
	s := newTestEnv(t, "held-pipeline")
	s.createExample("examples/jobs/pipeline.yaml")
	s.waitJobsComplete(1, "extract")
	s.waitJobsComplete(1, "transform")
	extracted := s.pods.firstEntry("the extract's Pod has ended", func(e entry[*corev1.Pod]) bool {
		return strings.HasPrefix(e.obj.Name, "extract-") && isPodFinished(e.obj)
	})
	transforming := s.pods.firstEntry("the transform has a Pod", func(e entry[*corev1.Pod]) bool { return strings.HasPrefix(e.obj.Name, "transform-") })
	if transforming.revision <= extracted.revision {
		t.Errorf("the transform had a Pod at revision %d, before the extract's Pod ended at %d", transforming.revision, extracted.revision)
	}
}

// TestHeldETL runs three stages, of which each starts when the one before is done.
func TestHeldETL(t *testing.T) {
	const extracts, transforms = 10, 5
	s := newTestEnv(t, "held-etl")
	s.createExample("examples/etl/barriers.yaml")
	s.createExample("examples/jobs/load.yaml")
	s.createExampleTimes(transforms, "examples/jobs/transform.yaml")
	s.createExampleTimes(extracts, "examples/jobs/extract.yaml")
	s.waitJobsComplete(1, "load")
	s.waitJobsComplete(extracts, "extract-")
	s.waitJobsComplete(transforms, "transform-")
	ended := map[string]map[string]bool{"extract": {}, "transform": {}, "prepare": {}, "load": {}} // stage → Pods
	s.pods.replay(func(_ map[string]*corev1.Pod, e entry[*corev1.Pod]) {
		stage, _, _ := strings.Cut(e.obj.Name, "-")
		switch {
		case isPodFinished(e.obj):
			ended[stage][e.obj.Name] = true
		case stage == "transform" && len(ended["extract"]) < extracts, stage == "load" && len(ended["transform"])*len(ended["prepare"]) < transforms:
			t.Errorf("%s exists at revision %d, when only %v have ended", e.obj.Name, e.revision, ended)
		}
	})
}

// TestHeldMigration has the Pods of a Deployment wait for a migration.
func TestHeldMigration(t *testing.T) {
	s := newTestEnv(t, "held-migration")
	s.createExample("examples/migration/job.yaml")
	s.waitContainersRunning(3, "app-", "serve")
	migrated := s.pods.firstEntry("the migration's Pod has ended", func(e entry[*corev1.Pod]) bool {
		return strings.HasPrefix(e.obj.Name, "migrate-v2-") && isPodFinished(e.obj)
	})
	scheduled := s.pods.firstEntry("a Pod of the application has a node", func(e entry[*corev1.Pod]) bool {
		return strings.HasPrefix(e.obj.Name, "app-") && e.obj.Spec.NodeName != ""
	})
	if scheduled.revision <= migrated.revision {
		t.Errorf("a Pod of the application had a node at revision %d, before the migration ended at %d", scheduled.revision, migrated.revision)
	}
	if log := s.containerLog(migrated.obj.Name, "migrate"); !strings.Contains(log, "with token "+migrated.obj.Annotations[konductorv1.FencingTokenAnnotation]) {
		t.Errorf("the migration says %q", log)
	}
}

// TestHeldJobsThrottled runs many Jobs behind three permits.
func TestHeldJobsThrottled(t *testing.T) {
	const jobs, permits = 20, 3
	s := newTestEnv(t, "held-batch")
	semaphores := recordRevisions[*konductorv1.Semaphore](s)
	s.createExample("examples/semaphore/semaphore.yaml", setField("Semaphore", int64(permits), "spec", "permits"))
	s.createExampleTimes(jobs, "examples/jobs/batch.yaml")
	s.waitJobsComplete(jobs, "batch-")
	semaphores.waitForObject("db-connections", "without holders", isIdle)
	if most := s.maxConcurrentJobs(); most != permits {
		t.Errorf("Pods of %d jobs existed at the same time, want %d", most, permits)
	}
	if n := len(s.pods.currentObjects()); n != jobs {
		t.Errorf("%d jobs have had %d Pods: a waiting job must have none", jobs, n)
	}
	if grants := checkedGrants(semaphores, "db-connections"); len(grants) != jobs {
		t.Errorf("there were %d grants for %d jobs", len(grants), jobs)
	}
}

// maxConcurrentJobs returns of how many Jobs at most Pods existed at the same time that had not finished.
func (s *testEnv) maxConcurrentJobs() (most int) {
	s.pods.replay(func(now map[string]*corev1.Pod, _ entry[*corev1.Pod]) {
		jobs := map[string]bool{}
		for _, pod := range now {
			if !isPodFinished(pod) {
				jobs[pod.Labels[batchv1.ControllerUidLabel]] = true
			}
		}
		most = max(most, len(jobs))
	})
	return most
}

// TestHeldCronJob skips a run while the one before is at work, and while that is being deleted and ignores SIGTERM.
func TestHeldCronJob(t *testing.T) {
	s := newTestEnv(t, "held-cronjob")
	leases := recordRevisions[*konductorv1.Lease](s)
	// The CronJob is suspended, so that no run is scheduled yet.
	s.createExample("examples/jobs/report.yaml", setEnvVar("SECONDS_OF_WORK", "1"), setField("CronJob", true, "spec", "suspend"))
	s.startCronJobRun("first", func(pod *corev1.PodSpec) {
		pod.Containers[0].Command = []string{"sh", "-c", "trap '' TERM; echo reporting; while true; do sleep 1; done"}
		pod.TerminationGracePeriodSeconds = ptr.To[int64](12)
	})
	first := s.waitContainersRunning(1, "first-", "report")[0]
	s.startCronJobRun("second", nil)
	s.jobs.waitGone("second")

	s.deleteObject(&batchv1.Job{ObjectMeta: s.objectMeta("first")})
	s.jobs.waitGone("first")
	s.startCronJobRun("third", nil)
	s.jobs.waitGone("third")
	leases.waitForObject("reports", "free", func(l *konductorv1.Lease) bool { return !isHeld(l) })
	s.startCronJobRun("fourth", nil)
	s.waitJobsComplete(1, "fourth")

	if most := s.maxConcurrentJobs(); most != 1 {
		t.Errorf("Pods of %d runs existed at the same time", most)
	}
	for _, skipped := range []string{"second-", "third-"} {
		s.pods.replay(func(_ map[string]*corev1.Pod, e entry[*corev1.Pod]) {
			if strings.HasPrefix(e.obj.Name, skipped) {
				t.Errorf("the skipped run has had the Pod %s", e.obj.Name)
			}
		})
	}
	leases.waitForObject("reports", "free", func(l *konductorv1.Lease) bool { return !isHeld(l) })
	grants := checkedGrants(leases, "reports")
	if len(grants) != 2 {
		t.Errorf("%d runs had the lease, not 2", len(grants))
	}
	end := s.pods.firstEntry("the first run's Pod is gone", func(e entry[*corev1.Pod]) bool {
		return e.obj.Name == first.Name && (e.deleted || isPodFinished(e.obj))
	})
	if to := endRevisionOf(grants, "job/first"); to <= end.revision {
		t.Errorf("the lease was free at revision %d, while a Pod of the deleted run was at work until %d", to, end.revision)
	}
	token := fmt.Sprint(grants[1].FencingToken)
	for name, pod := range s.pods.currentObjects() {
		if strings.HasPrefix(name, "fourth-") && pod.Annotations[konductorv1.FencingTokenAnnotation] != token {
			t.Errorf("the Pod's token is %q, want %s", pod.Annotations[konductorv1.FencingTokenAnnotation], token)
		}
	}
}

// TestLimitedJobs runs Jobs that don't know of the limit that applies to them.
func TestLimitedJobs(t *testing.T) {
	const jobs, permits = 9, 3
	s := newTestEnv(t, "limited-jobs")
	semaphores := recordRevisions[*konductorv1.Semaphore](s)
	s.createExample("examples/jobs/limit.yaml")
	err := wait.PollUntilContextTimeout(s.ctx, 100*time.Millisecond, waitTimeout, true, func(context.Context) (bool, error) {
		probe := &batchv1.Job{ObjectMeta: s.objectMeta("probe")}
		probe.Labels = map[string]string{"tier": "batch"}
		probe.Spec.Template.Spec = corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "c", Image: "none"}}}
		err := s.client.Create(s.ctx, probe, client.DryRunAll)
		return ptr.Deref(probe.Spec.Suspend, false), err
	})
	s.must(err)
	s.createExampleTimes(jobs, "examples/jobs/limited.yaml")
	s.waitJobsComplete(jobs, "limited-")
	semaphores.waitForObject("batch-limit", "without holders", isIdle)
	if most := s.maxConcurrentJobs(); most != permits {
		t.Errorf("Pods of %d jobs existed at the same time, want %d", most, permits)
	}
	if grants := checkedGrants(semaphores, "batch-limit"); len(grants) != jobs {
		t.Errorf("there were %d grants for %d jobs", len(grants), jobs)
	}
}

// TestHeldPodsOfDeployment has one of two replicas wait behind its scheduling gate until the other has ended.
func TestHeldPodsOfDeployment(t *testing.T) {
	s := newTestEnv(t, "active-passive")
	s.createExample("examples/jobs/active-passive.yaml")
	active := s.waitContainersRunning(1, "worker-", "worker")[0]
	s.deleteObject(&corev1.Pod{ObjectMeta: s.objectMeta(active.Name)})
	s.pods.waitUntil("the other replica runs", func(now map[string]*corev1.Pod) bool {
		for name, pod := range now {
			if name != active.Name && pod.Status.Phase == corev1.PodRunning {
				return true
			}
		}
		return false
	})
	s.pods.replay(func(now map[string]*corev1.Pod, e entry[*corev1.Pod]) {
		scheduled := 0
		for _, pod := range now {
			if pod.Spec.NodeName != "" && !isPodFinished(pod) {
				scheduled++
			}
		}
		if scheduled > 1 {
			t.Errorf("at revision %d %d replicas had a node", e.revision, scheduled)
		}
	})
}
