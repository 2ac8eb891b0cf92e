package pods

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestCronJobRunsDoNotOverlap(t *testing.T) {
	s := newTestEnv(t, "cronjob")
	leases := recordRevisions[*konductorv1.Lease](s)

	// The CronJob is suspended, so that no run is scheduled yet.
	s.createExample("examples/cronjob/report.yaml", setEnvVar("SECONDS_OF_WORK", "2"), setField("CronJob", true, "spec", "suspend"))
	s.startCronJobRun("first", func(pod *corev1.PodSpec) {
		pod.Containers[0].Env[0].Value = "86400"
		pod.TerminationGracePeriodSeconds = ptr.To[int64](1)
	})
	first := s.waitContainersRunning(1, "first-", "report")[0]
	s.waitForLog(first.Name, "report", "reporting")

	s.startCronJobRun("second", nil)
	s.waitJobsComplete(1, "second")
	if said := s.reportLog("second"); !strings.Contains(said, "lease/nightly-report is busy") || strings.Contains(said, "reporting") {
		t.Errorf("the second run began while the first was at work, and said\n%s", said)
	}
	if l := leases.currentObjects()["nightly-report"]; l.Status.Holder != first.Name {
		t.Errorf("the first run lost the lease to %q", l.Status.Holder)
	}

	s.deleteObject(&batchv1.Job{ObjectMeta: s.objectMeta("first")})
	leases.waitForObject("nightly-report", "free", func(l *konductorv1.Lease) bool { return !isHeld(l) })
	s.startCronJobRun("third", nil)
	s.waitJobsComplete(1, "third")
	if said := s.reportLog("third"); !strings.Contains(said, "reporting") {
		t.Errorf("the third run was alone, and said\n%s", said)
	}

	s.setSuspended("report", false)
	scheduled := s.waitForScheduledRun("report")
	s.setSuspended("report", true)
	s.waitJobsComplete(1, scheduled)
	if said := s.reportLog(scheduled); !strings.Contains(said, "reporting") {
		t.Errorf("the run that the clock started was alone, and said\n%s", said)
	}

	leases.waitForObject("nightly-report", "free", func(l *konductorv1.Lease) bool { return !isHeld(l) })
	if n := len(checkedGrants(leases, "nightly-report")); n != 3 {
		t.Errorf("%d runs had the lease, not 3", n)
	}
	reporting := func(pod *corev1.Pod) bool {
		return isContainerRunning(pod, "report") && !strings.HasPrefix(pod.Name, "second-")
	}
	if most := s.pods.maxConcurrent(reporting); most != 1 {
		t.Errorf("%d runs reported at the same time", most)
	}
}

// TestCronJobRunsThatFail has runs that fail for other reasons than that the lease is held: none of them counts as skipped.
func TestCronJobRunsThatFail(t *testing.T) {
	s := newTestEnv(t, "cronjob-failing")
	s.createExample("examples/cronjob/report.yaml", setField("CronJob", true, "spec", "suspend"))
	fails := func(name string, code int32) {
		s.startCronJobRun(name, func(pod *corev1.PodSpec) {
			command := pod.Containers[0].Command
			command[len(command)-1] = "echo reporting; exit 3"
		})
		if pod, _ := s.waitContainerExit(name+"-", "report", code); pod.Status.Phase == corev1.PodSucceeded {
			t.Errorf("the run %s has succeeded", name)
		}
	}
	fails("report-fails", 3)
	bindings := &unstructured.Unstructured{}
	bindings.SetGroupVersionKind(rbacv1.SchemeGroupVersion.WithKind("RoleBinding"))
	s.must(s.client.DeleteAllOf(s.ctx, bindings, client.InNamespace(s.namespace)))
	fails("no-right", 64+4)
}

// startCronJobRun starts a run of the CronJob by hand, as "kubectl create job NAME --from=cronjob/report" does.
func (s *testEnv) startCronJobRun(name string, change func(*corev1.PodSpec)) {
	s.Helper()
	cron := &batchv1.CronJob{}
	s.must(s.client.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "report"}, cron))
	job := &batchv1.Job{ObjectMeta: *cron.Spec.JobTemplate.ObjectMeta.DeepCopy(), Spec: cron.Spec.JobTemplate.Spec}
	job.Name, job.Namespace = name, s.namespace
	metav1.SetMetaDataAnnotation(&job.ObjectMeta, "cronjob.kubernetes.io/instantiate", "manual")
	job.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(cron, batchv1.SchemeGroupVersion.WithKind("CronJob"))}
	if change != nil {
		change(&job.Spec.Template.Spec)
	}
	s.must(s.client.Create(s.ctx, job))
}

// setSuspended suspends or resumes the schedule of a CronJob.
func (s *testEnv) setSuspended(name string, suspended bool) {
	s.Helper()
	fragment := `{"spec":{"suspend":false}}`
	if suspended {
		fragment = `{"spec":{"suspend":true}}`
	}
	cron := &batchv1.CronJob{ObjectMeta: s.objectMeta(name)}
	s.must(s.client.Patch(s.ctx, cron, client.RawPatch(types.MergePatchType, []byte(fragment))))
}

// waitForScheduledRun waits until a run of a CronJob was started by schedule, which can take a minute, and returns its name.
func (s *testEnv) waitForScheduledRun(name string) (run string) {
	s.Helper()
	s.jobs.waitUntil("the clock has started a run", func(now map[string]*batchv1.Job) bool {
		for job := range now {
			if strings.HasPrefix(job, name+"-") {
				run = job
			}
		}
		return run != ""
	})
	return run
}

// reportLog returns the log of the run's container that did, or did not, report.
func (s *testEnv) reportLog(job string) string {
	s.Helper()
	for name := range s.pods.currentObjects() {
		if strings.HasPrefix(name, job+"-") {
			return s.containerLog(name, "report")
		}
	}
	s.Fatalf("job %s has no Pod", job)
	return ""
}
