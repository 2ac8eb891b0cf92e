package integration

import (
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator"
)

// mustBeDenied fails the test unless the API server has refused a request with that sentence.
func (w *testEnv) mustBeDenied(what string, err error, sentence string) {
	w.Helper()
	if err == nil || !strings.Contains(err.Error(), sentence) {
		w.Errorf("%s: got %v, want %q", what, err, sentence)
	}
}

// clientFor returns a client with that config.
func (w *testEnv) clientFor(config *rest.Config) client.Client {
	w.Helper()
	scheme, err := operator.NewScheme()
	w.must(err)
	w.must(appsv1.AddToScheme(scheme))
	c, err := client.New(config, client.Options{Scheme: scheme})
	w.must(err)
	return c
}

func (w *testEnv) heldCronJob(name string, annotations map[string]string) *batchv1.CronJob {
	suspend := true
	return &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace},
		Spec: batchv1.CronJobSpec{
			Schedule: "0 * * * *", Suspend: &suspend,
			JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: annotations}, Spec: heldJob("", nil).Spec},
		},
	}
}

// TestHeldJobOfUserWithoutRights has a user who may create Jobs and nothing else.
func TestHeldJobOfUserWithoutRights(t *testing.T) {
	w := newTestEnv(t)
	w.createServiceAccount("creator", false)
	w.createClusterRole("e2e-job-creator", rbacv1.PolicyRule{
		APIGroups: []string{"batch"}, Resources: []string{"jobs", "cronjobs"}, Verbs: []string{"get", "create", "update", "patch"},
	})
	w.bindRole("e2e-job-creator", "creator")
	creator := w.clientFor(w.serviceAccountConfig("creator"))
	create := func(obj client.Object) error {
		obj.SetNamespace(w.namespace)
		return creator.Create(w.ctx, obj)
	}
	const noClaims, noArrivals = "needs the right to create claims.konductor.io", "needs the right to create arrivals.konductor.io"
	arriving := map[string]string{konductorv1.ArriveAnnotation: "barrier/done"}
	w.mustBeDenied("a job that holds", create(heldJob("a", holding("lease/report"))), noClaims)
	w.mustBeDenied("a job that arrives", create(heldJob("a", arriving)), noArrivals)
	w.mustBeDenied("a cron job that holds", create(w.heldCronJob("a", holding("lease/report"))), noClaims)
	w.mustBeDenied("a cron job that arrives", create(w.heldCronJob("a", arriving)), noArrivals)
	w.must(create(heldJob("after", map[string]string{konductorv1.AfterAnnotation: "gate/ready"})))
	w.must(create(heldJob("plain", nil)))
	w.must(create(w.heldCronJob("plain", nil)))
	patch := func(obj client.Object, text string) error {
		obj.SetNamespace(w.namespace)
		return creator.Patch(w.ctx, obj, client.RawPatch(types.MergePatchType, []byte(text)))
	}
	// A Job that names somebody else's CronJob as its owner would make the operator delete other Jobs of that.
	cronJob := w.heldCronJob("others", map[string]string{konductorv1.AfterAnnotation: "gate/ready"})
	w.createObjects(cronJob)
	for _, busy := range []string{konductorv1.WhenBusyReplace, konductorv1.WhenBusyNewest} {
		forged := cronJobRun(cronJob, "forged")
		forged.Annotations[konductorv1.WhenBusyAnnotation] = busy
		w.mustBeDenied("a forged owner with "+busy, create(forged), "needs the right to delete jobs.batch")
	}
	orphan := heldJob("adopted-later", map[string]string{konductorv1.AfterAnnotation: "gate/ready", konductorv1.WhenBusyAnnotation: konductorv1.WhenBusyReplace})
	w.must(create(orphan))
	owner := fmt.Sprintf(`{"metadata":{"ownerReferences":[{"apiVersion":"batch/v1","kind":"CronJob","name":"others","uid":%q,"controller":true}]}}`, cronJob.UID)
	w.mustBeDenied("an owner that is added", creator.Patch(w.ctx, orphan, client.RawPatch(types.MergePatchType, []byte(owner))), "needs the right to delete jobs.batch")
	named := metav1.ObjectMeta{Name: "plain"}
	finished := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "finished"}, Spec: newHeldJob("", nil, false).Spec}
	w.must(create(finished))
	w.waitForPodOf(finished)
	w.finishPods(finished.UID, corev1.PodFailed)
	w.waitUntil("the end of the job", func() bool {
		w.finishPods(finished.UID, corev1.PodSucceeded)
		return getObject[*batchv1.Job](w, "finished").Status.Succeeded == 1
	})
	w.mustBeDenied("an arrival that is added to a finished job",
		patch(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "finished"}}, `{"metadata":{"annotations":{"konductor.io/arrive":"barrier/done"}}}`), "can't be changed")
	manual := heldJob("manual", map[string]string{konductorv1.AfterAnnotation: "gate/ready"})
	own := true
	manual.Spec.ManualSelector, manual.Spec.Selector = &own, &metav1.LabelSelector{MatchLabels: map[string]string{"app": "x"}}
	manual.Spec.Template.Labels = map[string]string{"app": "x"}
	w.mustBeDenied("a selector of its own", create(manual), "spec.manualSelector: leave it out")
	w.mustBeDenied("an annotation that is added", patch(&batchv1.Job{ObjectMeta: named}, `{"metadata":{"annotations":{"konductor.io/hold":"lease/report"}}}`), "can't be changed")
	w.mustBeDenied("an annotation that is added to a template",
		patch(&batchv1.CronJob{ObjectMeta: named}, `{"spec":{"jobTemplate":{"metadata":{"annotations":{"konductor.io/hold":"lease/report"}}}}}`), noClaims)
	w.mustBeDenied("the operator's label", patch(&batchv1.Job{ObjectMeta: named}, `{"metadata":{"labels":{"konductor.io/held":"started"}}}`), "set by konductor's operator")
	w.mustBeDenied("the operator's annotation", patch(&batchv1.Job{ObjectMeta: named}, `{"metadata":{"annotations":{"konductor.io/released-tokens":"lease/report:1"}}}`), "set by konductor's operator")
}

func TestHeldJobPolicies(t *testing.T) {
	w := newTestEnv(t)
	dryRun := func(obj client.Object) error {
		obj.SetNamespace(w.namespace)
		return w.client.Create(w.ctx, obj, client.DryRunAll)
	}
	for annotation, cases := range map[string]map[string]string{ // value → sentence
		konductorv1.AfterAnnotation:    {"lease/x": "write gate/NAME or barrier/NAME", "gate/x,": "write gate/NAME", "gate/X": "write gate/NAME", "gate/x,gate/x": "list each object once"},
		konductorv1.HoldAnnotation:     {"gate/x": "write lease/NAME, semaphore/NAME or semaphore/NAME:PERMITS", "semaphore/x:0": "write lease/NAME", "lease/x:2": "write lease/NAME", "semaphore/x,semaphore/x:2": "list each object once"},
		konductorv1.ArriveAnnotation:   {"gate/x": "write barrier/NAME"},
		konductorv1.WhenBusyAnnotation: {"skip": "write Wait, Skip, Newest or Replace"},
		konductorv1.MaxWaitAnnotation:  {"soon": "write a duration longer than zero", "0s": "write a duration longer than zero"},
		konductorv1.PriorityAnnotation: {"high": "write a whole number from -1000000 to 1000000", "1000001": "write a whole number"},
	} {
		for value, sentence := range cases {
			annotations := map[string]string{konductorv1.HoldAnnotation: "lease/ok", annotation: value}
			w.mustBeDenied(annotation+": "+value, dryRun(heldJob("j", annotations)), sentence)
			w.mustBeDenied("cron job, "+annotation+": "+value, dryRun(w.heldCronJob("c", annotations)), sentence)
		}
	}
	w.mustBeDenied("a misspelled annotation", dryRun(heldJob("j", map[string]string{"konductor.io/holds": "lease/x"})), "of konductor.io/, write only after, hold, arrive")
	w.mustBeDenied("an annotation of the template that is misspelled", dryRun(w.heldCronJob("c", map[string]string{"konductor.io/holds": "lease/x"})), "of konductor.io/, write only after, hold, arrive")
	misplaced := w.heldCronJob("c", nil)
	misplaced.Annotations = holding("lease/x")
	w.mustBeDenied("an annotation of the cron job itself", dryRun(misplaced), "write them in spec.jobTemplate.metadata.annotations")
	w.mustBeDenied("another pause", dryRun(heldJob("j", map[string]string{konductorv1.PauseAnnotation: "True"})), `write "true", or remove the annotation`)
	whole := map[string]string{
		konductorv1.AfterAnnotation: "gate/a, barrier/b.c", konductorv1.HoldAnnotation: "lease/a, semaphore/b:10,semaphore/c", konductorv1.ArriveAnnotation: "barrier/d",
		konductorv1.WhenBusyAnnotation: "Skip", konductorv1.MaxWaitAnnotation: "1h30m", konductorv1.PriorityAnnotation: "-5",
	}
	w.must(dryRun(heldJob("j", whole)))
	w.must(dryRun(w.heldCronJob("c", whole)))
	if sharedCluster.suspendsHeldJobs {
		job := newHeldJob("j", whole, false)
		if w.must(dryRun(job)); !*job.Spec.Suspend {
			t.Error("the job is not suspended")
		}
		managed := newHeldJob("j", whole, false)
		managed.Labels = map[string]string{"kueue.x-k8s.io/queue-name": "q"}
		if w.must(dryRun(managed)); *managed.Spec.Suspend {
			t.Error("a job of Kueue was suspended")
		}
	} else {
		const suspend = "must be created with spec.suspend: true"
		w.mustBeDenied("a job that isn't suspended", dryRun(newHeldJob("j", whole, false)), suspend)
		unsuspended := w.heldCronJob("c", whole)
		*unsuspended.Spec.JobTemplate.Spec.Suspend = false
		w.mustBeDenied("a cron job whose jobs aren't suspended", dryRun(unsuspended), "must have spec.jobTemplate.spec.suspend: true")
	}

	w.createObjects(heldJob("waiting", holding("lease/nobody-has-created")))
	patch := func(text string) error {
		obj := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "waiting"}}
		return w.client.Patch(w.ctx, obj, client.RawPatch(types.MergePatchType, []byte(text)))
	}
	w.mustBeDenied("starting it by hand", patch(`{"spec":{"suspend":false}}`), `"kubectl konductor why job/waiting" shows what the Job waits for`)
	w.mustBeDenied("another hold", patch(`{"metadata":{"annotations":{"konductor.io/hold":"lease/other"}}}`), "delete the Job and create it again")
	w.mustBeDenied("no hold", patch(`{"metadata":{"annotations":{"konductor.io/hold":null}}}`), "delete the Job and create it again")
	w.must(patch(`{"metadata":{"annotations":{"example.com/note":"x"},"labels":{"team":"etl"}}}`))
}

// TestOperatorRightsOnJobs uses the operator's account for what the operator doesn't do.
func TestOperatorRightsOnJobs(t *testing.T) {
	w := newTestEnv(t)
	op := w.clientFor(w.operatorConfig)
	plain, held := heldJob("plain", nil), heldJob("held", holding("lease/report"))
	w.createObjects(plain, held)
	patch := func(job *batchv1.Job, text string) error {
		obj := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: job.Name}}
		return op.Patch(w.ctx, obj, client.RawPatch(types.MergePatchType, []byte(text)))
	}
	const onlyAnnotated, spec, metadata = "may only change Jobs with its annotations", "nothing in the spec", "nothing in the metadata"
	w.mustBeDenied("a job without annotations", patch(plain, `{"spec":{"suspend":true}}`), onlyAnnotated)
	w.mustBeDenied("annotating a job", patch(plain, `{"metadata":{"annotations":{"konductor.io/hold":"lease/report"}}}`), onlyAnnotated)
	w.mustBeDenied("another node", patch(held, `{"spec":{"template":{"spec":{"nodeSelector":{"x":"y"}}}}}`), spec)
	w.mustBeDenied("parallelism", patch(held, `{"spec":{"parallelism":7}}`), spec)
	w.mustBeDenied("an annotation of the template", patch(held, `{"spec":{"template":{"metadata":{"annotations":{"x":"y"}}}}}`), spec)
	w.mustBeDenied("a label", patch(held, `{"metadata":{"labels":{"x":"y"}}}`), metadata)
	w.mustBeDenied("an annotation", patch(held, `{"metadata":{"annotations":{"konductor.io/hold":"lease/other"}}}`), metadata)
	w.mustBeDenied("a finalizer", patch(held, `{"metadata":{"finalizers":["example.com/x"]}}`), metadata)
	w.mustBeDenied("deletion", op.Delete(w.ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "held"}}), "may delete no Job but one of a CronJob")
	w.mustBeDenied("creation", op.Create(w.ctx, &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "new"}, Spec: heldJob("", nil).Spec}), "forbidden")
	claim := &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "c"},
		Spec:       konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: "report"}, Holder: "somebody"},
	}
	w.mustBeDenied("a claim for nobody", op.Create(w.ctx, claim), "only for a Job")
	arrival := &konductorv1.Arrival{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "a"}, Spec: konductorv1.ArrivalSpec{Barrier: "b", Participant: "p"}}
	w.mustBeDenied("an arrival for nobody", op.Create(w.ctx, arrival), "only for a Job")
	status := func(text string) error {
		obj := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: held.Name}}
		return op.Status().Patch(w.ctx, obj, client.RawPatch(types.MergePatchType, []byte(text)))
	}
	w.mustBeDenied("a status", status(`{"status":{"conditions":[{"type":"Suspended","status":"False"}]}}`), "nothing in the status of a Job but remove startTime")
	w.must(status(`{"status":{"startTime":null}}`))
	// What it does do.
	w.must(patch(held, `{"metadata":{"labels":{"konductor.io/held":"started"}},"spec":{"suspend":false,"template":{"metadata":{"annotations":{"konductor.io/fencing-token":"7","report.lease.konductor.io/fencing-token":"7"}}}}}`))
	w.must(patch(held, `{"metadata":{"labels":{"konductor.io/held":"stopping"},"annotations":{"konductor.io/released-tokens":"lease/report:7"}},"spec":{"suspend":true}}`))
}
