package pods

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestRunsOfACronJobDoNotOverlapAndTheLateOneSaysThatItSkips(t *testing.T) {
	s := newScene(t, "cronjob")
	leases := watching[*konductorv1.Lease](s)

	// Suspended, so that the clock starts none before it is its turn.
	s.given("examples/cronjob/report.yaml", env("SECONDS_OF_WORK", "2"), with("CronJob", true, "spec", "suspend"))
	s.runNow("first", func(pod *corev1.PodSpec) {
		pod.Containers[0].Env[0].Value = "86400"
		pod.TerminationGracePeriodSeconds = ptr.To[int64](1)
	})
	first := s.runs(1, "first-", "report")[0]
	s.says(first.Name, "report", "reporting")

	s.runNow("second", nil)
	s.complete(1, "second")
	if said := s.reportOf("second"); !strings.Contains(said, "skipping") || strings.Contains(said, "reporting") {
		t.Errorf("the second run began while the first was at work, and said\n%s", said)
	}
	if l := leases.state()["nightly-report"]; l.Status.Holder != first.Name {
		t.Errorf("the first run lost the lease to %q", l.Status.Holder)
	}

	s.delete(&batchv1.Job{ObjectMeta: s.named("first")})
	leases.awaitOne("nightly-report", "free", func(l *konductorv1.Lease) bool { return !held(l) })
	s.runNow("third", nil)
	s.complete(1, "third")
	if said := s.reportOf("third"); !strings.Contains(said, "reporting") {
		t.Errorf("the third run was alone, and said\n%s", said)
	}

	s.suspend("report", false)
	scheduled := s.scheduled("report")
	s.suspend("report", true)
	s.complete(1, scheduled)
	if said := s.reportOf(scheduled); !strings.Contains(said, "reporting") {
		t.Errorf("the run that the clock started was alone, and said\n%s", said)
	}

	leases.awaitOne("nightly-report", "free", func(l *konductorv1.Lease) bool { return !held(l) })
	if n := len(grants(leases, "nightly-report")); n != 3 {
		t.Errorf("%d runs had the lease, not 3", n)
	}
	reporting := func(pod *corev1.Pod) bool { return running(pod, "report") && !strings.HasPrefix(pod.Name, "second-") }
	if most := s.pods.most(reporting); most != 1 {
		t.Errorf("%d runs reported at the same time", most)
	}
}

// runNow starts a run of the CronJob by hand, as "kubectl create job NAME --from=cronjob/report" does.
func (s *scene) runNow(name string, change func(*corev1.PodSpec)) {
	s.Helper()
	cron := &batchv1.CronJob{}
	s.ok(s.objects.Get(s.ctx, client.ObjectKey{Namespace: s.namespace, Name: "report"}, cron))
	job := &batchv1.Job{ObjectMeta: *cron.Spec.JobTemplate.ObjectMeta.DeepCopy(), Spec: cron.Spec.JobTemplate.Spec}
	job.Name, job.Namespace = name, s.namespace
	job.Annotations = map[string]string{"cronjob.kubernetes.io/instantiate": "manual"}
	job.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(cron, batchv1.SchemeGroupVersion.WithKind("CronJob"))}
	if change != nil {
		change(&job.Spec.Template.Spec)
	}
	s.ok(s.objects.Create(s.ctx, job))
}

// suspend makes the clock start runs of a CronJob, or not.
func (s *scene) suspend(name string, suspended bool) {
	s.Helper()
	fragment := `{"spec":{"suspend":false}}`
	if suspended {
		fragment = `{"spec":{"suspend":true}}`
	}
	cron := &batchv1.CronJob{ObjectMeta: s.named(name)}
	s.ok(s.objects.Patch(s.ctx, cron, client.RawPatch(types.MergePatchType, []byte(fragment))))
}

// scheduled waits until the clock has started a run of a CronJob, which can take a minute, and returns its name.
func (s *scene) scheduled(name string) (run string) {
	s.Helper()
	s.jobs.await("the clock has started a run", func(now map[string]*batchv1.Job) bool {
		for job := range now {
			if strings.HasPrefix(job, name+"-") {
				run = job
			}
		}
		return run != ""
	})
	return run
}

// reportOf returns what the run said that did, or did not, report.
func (s *scene) reportOf(job string) string {
	s.Helper()
	for name := range s.pods.state() {
		if strings.HasPrefix(name, job+"-") {
			return s.logOf(name, "report")
		}
	}
	s.Fatalf("job %s has no Pod", job)
	return ""
}
