package pods

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestSemaphoreExample(t *testing.T) {
	const jobs, permits = 100, 10
	s := newTestEnv(t, "semaphore")
	semaphores, claims := recordRevisions[*konductorv1.Semaphore](s), recordRevisions[*konductorv1.Claim](s)

	s.createExample("examples/semaphore/semaphore.yaml")
	// This Job would keep its permit for ever.
	stuck := s.createExample("examples/semaphore/job.yaml",
		replaceInCommand("sleep 1", "sleep 86400"), setField("Job", int64(1), "spec", "template", "spec", "terminationGracePeriodSeconds"))[0]
	victim := s.waitContainersRunning(1, stuck, "work")[0]
	begin := time.Now()
	s.createExampleTimes(jobs-1, "examples/semaphore/job.yaml")
	s.jobs.waitUntil("half of the jobs are complete", func(now map[string]*batchv1.Job) bool { return countObjects(now, isJobComplete) >= jobs/2 })
	s.deleteObject(&batchv1.Job{ObjectMeta: s.objectMeta(stuck)})

	claims.waitUntil("the deleted job's claim is gone", func(now map[string]*konductorv1.Claim) bool {
		return countObjects(now, func(c *konductorv1.Claim) bool { return c.Spec.Holder == victim.Name }) == 0
	})
	s.waitJobsComplete(jobs-1, "batch-")
	t.Logf("%d jobs took %s", jobs-1, time.Since(begin).Round(time.Second))
	semaphores.waitForObject("db-connections", "without holders", isIdle)
	claims.waitUntil("no claim is left", func(now map[string]*konductorv1.Claim) bool { return len(now) == 0 })

	all := checkedGrants(semaphores, "db-connections")
	if len(all) != jobs {
		t.Errorf("there were %d grants for %d jobs", len(all), jobs)
	}
	if most := s.pods.maxConcurrent(func(pod *corev1.Pod) bool { return isContainerRunning(pod, "work") && !isPodFinished(pod) }); most > permits {
		t.Errorf("%d Pods were at work at the same time", most)
	}
	most := int32(0)
	semaphores.replay(func(_ map[string]*konductorv1.Semaphore, e entry[*konductorv1.Semaphore]) {
		most = max(most, e.obj.Status.InUse)
	})
	if most != permits {
		t.Errorf("at most %d permits were in use at the same time: nobody had to wait", most)
	}
	// Its permit was freed because its Pod ended, not before.
	end := s.pods.firstEntry("the stuck Pod ended", func(e entry[*corev1.Pod]) bool {
		return e.obj.Name == victim.Name && (e.deleted || isPodFinished(e.obj))
	})
	if to := endRevisionOf(all, victim.Name); to <= end.revision {
		t.Errorf("the permit came back at revision %d, while its Pod was at work until %d", to, end.revision)
	}
}

func isJobComplete(job *batchv1.Job) bool {
	_, ended := jobConditionTrue(job, batchv1.JobComplete)
	return ended
}
