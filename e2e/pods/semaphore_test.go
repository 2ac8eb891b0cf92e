package pods

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestAHundredJobsShareTenPermitsAndADeletedOneGivesItsBack(t *testing.T) {
	const jobs, permits = 100, 10
	s := newScene(t, "semaphore")
	semaphores, claims := watching[*konductorv1.Semaphore](s), watching[*konductorv1.Claim](s)

	s.given("examples/semaphore/semaphore.yaml")
	// One that would keep its permit for ever.
	stuck := s.given("examples/semaphore/job.yaml",
		script("sleep 1", "sleep 86400"), with("Job", int64(1), "spec", "template", "spec", "terminationGracePeriodSeconds"))[0]
	victim := s.runs(1, stuck, "work")[0]
	begin := time.Now()
	s.givenMany(jobs-1, "examples/semaphore/job.yaml")
	s.jobs.await("half of the jobs are complete", func(now map[string]*batchv1.Job) bool { return count(now, complete) >= jobs/2 })
	s.delete(&batchv1.Job{ObjectMeta: s.named(stuck)})

	claims.await("the deleted job's claim is gone", func(now map[string]*konductorv1.Claim) bool {
		return count(now, func(c *konductorv1.Claim) bool { return c.Spec.Holder == victim.Name }) == 0
	})
	s.complete(jobs-1, "batch-")
	t.Logf("%d jobs took %s", jobs-1, time.Since(begin).Round(time.Second))
	semaphores.awaitOne("db-connections", "without holders", idle)
	claims.await("no claim is left", func(now map[string]*konductorv1.Claim) bool { return len(now) == 0 })

	all := grants(semaphores, "db-connections")
	if len(all) != jobs {
		t.Errorf("there were %d grants for %d jobs", len(all), jobs)
	}
	if most := s.pods.most(func(pod *corev1.Pod) bool { return running(pod, "work") && !finished(pod) }); most > permits {
		t.Errorf("%d Pods were at work at the same time", most)
	}
	most := int32(0)
	semaphores.replay(func(_ map[string]*konductorv1.Semaphore, e entry[*konductorv1.Semaphore]) {
		most = max(most, e.obj.Status.InUse)
	})
	if most != permits {
		t.Errorf("at most %d permits were in use at the same time: nobody had to wait", most)
	}
	// The stuck one's permit came back because its Pod ended, not before.
	end := s.pods.first("the stuck Pod ended", func(e entry[*corev1.Pod]) bool {
		return e.obj.Name == victim.Name && (e.deleted || finished(e.obj))
	})
	if to := endOf(all, victim.Name); to <= end.revision {
		t.Errorf("the permit came back at revision %d, while its Pod was at work until %d", to, end.revision)
	}
}

func complete(job *batchv1.Job) bool {
	_, ended := jobEnded(job, batchv1.JobComplete)
	return ended
}
