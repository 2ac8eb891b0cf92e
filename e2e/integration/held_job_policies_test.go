package integration

import (
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
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
	named := metav1.ObjectMeta{Name: "plain"}
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
		konductorv1.PriorityAnnotation: {"high": "write a number from -1000000 to 1000000", "1000001": "write a number"},
	} {
		for value, sentence := range cases {
			annotations := map[string]string{konductorv1.HoldAnnotation: "lease/ok", annotation: value}
			w.mustBeDenied(annotation+": "+value, dryRun(heldJob("j", annotations)), sentence)
			w.mustBeDenied("cron job, "+annotation+": "+value, dryRun(w.heldCronJob("c", annotations)), sentence)
		}
	}
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
	w.mustBeDenied("starting it by hand", patch(`{"spec":{"suspend":false}}`), `ask "kubectl konductor why job/waiting"`)
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
	claim.ResourceVersion, claim.Spec.BoundTo = "", &konductorv1.BoundObject{Kind: konductorv1.KindPod, Name: "p", UID: "u"}
	w.mustBeDenied("a claim for a pod", op.Create(w.ctx, claim), "only for a Job")
	arrival := &konductorv1.Arrival{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: "a"}, Spec: konductorv1.ArrivalSpec{Barrier: "b", Participant: "p"}}
	w.mustBeDenied("an arrival for nobody", op.Create(w.ctx, arrival), "only for a Job")
	// What it does do.
	w.must(patch(held, `{"metadata":{"labels":{"konductor.io/held":"started"}},"spec":{"suspend":false,"template":{"metadata":{"annotations":{"konductor.io/fencing-token":"7","report.lease.konductor.io/fencing-token":"7"}}}}}`))
	w.must(patch(held, `{"metadata":{"labels":{"konductor.io/held":"stopping"},"annotations":{"konductor.io/released-tokens":"lease/report:7"}},"spec":{"suspend":true}}`))
}
