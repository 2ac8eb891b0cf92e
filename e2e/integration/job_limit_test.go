package integration

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// limitFor returns spec.appliesTo for Jobs with these labels.
func limitFor(matched map[string]string) *konductorv1.AppliesTo {
	return &konductorv1.AppliesTo{Jobs: &konductorv1.JobLimit{Selector: metav1.LabelSelector{MatchLabels: matched}}}
}

func (w *testEnv) limitedSemaphore(name string, permits int32, applies *konductorv1.AppliesTo) *konductorv1.Semaphore {
	return &konductorv1.Semaphore{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: w.namespace}, Spec: konductorv1.SemaphoreSpec{Permits: permits, AppliesTo: applies},
	}
}

// labelledJob returns a Job as its author writes it: nothing in it is konductor's.
func labelledJob(name string, labels map[string]string) *batchv1.Job {
	job := newHeldJob(name, nil, false)
	job.Spec.Suspend, job.Labels = nil, labels
	return job
}

// needJobLimits reports whether the API server can suspend Jobs for spec.appliesTo. Where it can't, it checks that
// spec.appliesTo is refused with the reason.
func (w *testEnv) needJobLimits() bool {
	w.Helper()
	if sharedCluster.suspendsHeldJobs {
		return true
	}
	const reason = "spec.appliesTo needs Kubernetes 1.36 or later"
	w.mustBeDenied("a limit", w.client.Create(w.ctx, w.limitedSemaphore("batch", 1, limitFor(nil))), reason)
	lease := &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "batch", Namespace: w.namespace}, Spec: konductorv1.LeaseSpec{AppliesTo: limitFor(nil)}}
	w.mustBeDenied("a limit of one", w.client.Create(w.ctx, lease), reason)
	w.createSemaphore("later", 1)
	w.mustBeDenied("a limit that is added", w.client.Patch(w.ctx, &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "later", Namespace: w.namespace}},
		client.RawPatch(types.MergePatchType, []byte(`{"spec":{"appliesTo":{"jobs":{"selector":{}}}}}`))), reason)
	return false
}

// waitUntilLimited waits until the API server applies a limit to Jobs like this one, which is not created.
func (w *testEnv) waitUntilLimited(limit string, labels map[string]string) {
	w.Helper()
	w.waitUntil("the API server to apply "+limit, func() bool {
		probe := labelledJob("probe", labels)
		probe.Namespace = w.namespace
		w.must(w.client.Create(w.ctx, probe, client.DryRunAll))
		return probe.Annotations[limit+konductorv1.AppliesAnnotationSuffix] == "true" && *probe.Spec.Suspend
	})
}

func batchLabels() map[string]string { return map[string]string{"tier": "batch"} }

func TestLimitOfJobs(t *testing.T) {
	w := newTestEnv(t)
	if !w.needJobLimits() {
		return
	}
	w.startJobOperator()
	// Whoever creates the Jobs may do nothing else.
	w.createServiceAccount("creator", false)
	w.createClusterRole("e2e-limited-job-creator", rbacv1.PolicyRule{APIGroups: []string{"batch"}, Resources: []string{"jobs"}, Verbs: []string{"create", "get", "patch"}})
	w.bindRole("e2e-limited-job-creator", "creator")
	creator := w.clientFor(w.serviceAccountConfig("creator"))
	create := func(job *batchv1.Job) *batchv1.Job {
		job.Namespace = w.namespace
		w.must(creator.Create(w.ctx, job))
		return job
	}

	before := create(labelledJob("before", batchLabels()))
	w.createObjects(w.limitedSemaphore("batch", 2, limitFor(batchLabels())))
	w.waitUntilLimited("batch.semaphore", batchLabels())
	w.awaitEvent("Job", "before", konductorv1.EventNotHeld, "which was created before it")
	if j := getObject[*batchv1.Job](w, "before"); *j.Spec.Suspend || len(j.Annotations) != 0 {
		t.Errorf("the job that was there before: suspended %t, annotations %v", *j.Spec.Suspend, j.Annotations)
	}
	w.finishPods(w.waitForPodOf(before).OwnerReferences[0].UID, corev1.PodSucceeded)

	jobs := map[types.UID]bool{}
	const count = 6
	for i := range count {
		jobs[create(labelledJob(fmt.Sprint("j", i), batchLabels())).UID] = true
	}
	other := create(labelledJob("other", map[string]string{"tier": "web"}))
	if *other.Spec.Suspend || len(other.Annotations) != 0 {
		t.Errorf("a job that the limit doesn't select: suspended %t, annotations %v", *other.Spec.Suspend, other.Annotations)
	}
	running := func() (ids []types.UID) {
		for id := range jobs {
			if len(w.jobPods(id)) > 0 {
				ids = append(ids, id)
			}
		}
		return ids
	}
	w.waitForPodOf(other)
	most, done := 0, map[types.UID]bool{}
	waitFor(w, "batch", "full", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 2 && s.Status.Waiting == count-2 })
	waiting := w.waitJobState("j5", konductorv1.HeldWaiting)
	w.mustBeDenied("starting it by hand", creator.Patch(w.ctx, waiting, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":false}}`))), "the operator starts this Job")
	w.mustBeDenied("removing the mark", creator.Patch(w.ctx, waiting, client.RawPatch(types.MergePatchType,
		[]byte(`{"metadata":{"annotations":{"batch.semaphore.konductor.io/applies":null}}}`))), "set when it is created")
	w.waitUntil("the end of all jobs", func() bool {
		ids := running()
		most = max(most, len(ids))
		for _, id := range ids {
			w.finishPods(id, corev1.PodSucceeded)
			done[id] = true
		}
		return len(done) == count
	})
	if most != 2 {
		t.Errorf("at most %d jobs ran at once, want 2", most)
	}
	waitFor(w, "batch", "free", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 0 && s.Status.Waiting == 0 })
	w.waitNoClaims()
}

// TestLimitsAddUp has two limits and an annotation.
func TestLimitsAddUp(t *testing.T) {
	w := newTestEnv(t)
	if !w.needJobLimits() {
		return
	}
	w.startJobOperator()
	all := &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "one-at-a-time", Namespace: w.namespace}, Spec: konductorv1.LeaseSpec{AppliesTo: limitFor(nil)}}
	pair := w.limitedSemaphore("pair", 3, limitFor(batchLabels()))
	pair.Spec.AppliesTo.Jobs.Permits = 2
	w.createSemaphore("db", 5)
	w.createObjects(all, pair)
	w.waitUntilLimited("pair.semaphore", batchLabels())
	w.waitUntilLimited("one-at-a-time.lease", nil)

	job := labelledJob("both", batchLabels())
	job.Annotations = holding("semaphore/db:3")
	w.createObjects(job)
	started := w.waitJobState("both", konductorv1.HeldStarted)
	pod := w.waitForPodOf(started)
	for _, token := range []string{"one-at-a-time.lease", "pair.semaphore", "db.semaphore"} {
		if pod.Annotations[token+".konductor.io/fencing-token"] == "" {
			t.Errorf("the pod has no token of %s", token)
		}
	}
	if inUse := getObject[*konductorv1.Semaphore](w, "pair").Status.InUse; inUse != 2 {
		t.Errorf("%d permits of the limit are in use, want 2", inUse)
	}
	w.createObjects(labelledJob("next", nil))
	w.waitJobState("next", konductorv1.HeldWaiting)
	if why := w.runKoncli(w.adminKubeconfig, "why", "job/next", "-n", w.namespace); !strings.Contains(why.Stdout, "job/both") || strings.Contains(why.Stdout, "suspend") {
		t.Errorf("why says:\n%s", why.Stdout)
	}
	// Changing what each Job takes stops nobody.
	w.patchSpec(&konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "pair"}}, `{"appliesTo":{"jobs":{"selector":{"matchLabels":{"tier":"batch"}},"permits":1}}}`)
	w.finishPods(started.UID, corev1.PodSucceeded)
	next := w.waitJobState("next", konductorv1.HeldStarted)
	w.finishPods(w.waitForPodOf(next).OwnerReferences[0].UID, corev1.PodSucceeded)
	if both := getObject[*batchv1.Job](w, "both"); both.Labels[konductorv1.HeldLabel] != konductorv1.HeldFinished {
		t.Errorf("the first job is %s", both.Labels[konductorv1.HeldLabel])
	}
}

// TestLimitThatIsRemoved removes limits while Jobs wait for them and hold them.
func TestLimitThatIsRemoved(t *testing.T) {
	for what, remove := range map[string]func(*testEnv){
		"the object": func(w *testEnv) { w.deleteObjects(w.limitedSemaphore("batch", 1, nil)) },
		"appliesTo": func(w *testEnv) {
			w.patchSpec(&konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "batch"}}, `{"appliesTo":null}`)
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newTestEnv(t)
			if !w.needJobLimits() {
				return
			}
			w.startJobOperator()
			w.createObjects(w.limitedSemaphore("batch", 1, limitFor(nil)))
			w.waitUntilLimited("batch.semaphore", nil)
			w.createObjects(labelledJob("runs", nil))
			runs := w.waitJobState("runs", konductorv1.HeldStarted)
			w.waitForPodOf(runs)
			w.createObjects(labelledJob("waits", nil))
			waitFor(w, "batch", "waited for", func(s *konductorv1.Semaphore) bool { return s.Status.Waiting == 1 })
			remove(w)
			w.waitForPodOf(w.waitJobState("waits", konductorv1.HeldStarted))
			if j := getObject[*batchv1.Job](w, "runs"); *j.Spec.Suspend || j.Labels[konductorv1.HeldLabel] != konductorv1.HeldStarted {
				t.Errorf("the job that ran is %s", j.Labels[konductorv1.HeldLabel])
			}
			// It comes back, and counts neither.
			if what == "the object" {
				w.createObjects(w.limitedSemaphore("batch", 1, limitFor(nil)))
			} else {
				w.patchSpec(&konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "batch"}}, `{"appliesTo":{"jobs":{"selector":{}}}}`)
			}
			w.waitUntilLimited("batch.semaphore", nil)
			w.must(w.client.Patch(w.ctx, w.withNamespace(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "waits"}}), client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"annotations":{"example.com/a":"change"}}}`))))
			w.createObjects(labelledJob("next", nil))
			if what == "the object" {
				w.waitJobState("next", konductorv1.HeldStarted)
			}
			if j := getObject[*batchv1.Job](w, "waits"); *j.Spec.Suspend || j.Labels[konductorv1.HeldLabel] != konductorv1.HeldStarted {
				t.Errorf("the job that was started without the limit is %s", j.Labels[konductorv1.HeldLabel])
			}
		})
	}
}

func TestLimitThatSkips(t *testing.T) {
	w := newTestEnv(t)
	if !w.needJobLimits() {
		return
	}
	w.startJobOperator()
	skipping := limitFor(nil)
	skipping.Jobs.WhenBusy = konductorv1.WhenBusySkip
	w.createObjects(w.limitedSemaphore("batch", 1, skipping))
	w.waitUntilLimited("batch.semaphore", nil)
	w.createObjects(labelledJob("runs", nil))
	w.waitJobState("runs", konductorv1.HeldStarted)
	patient := labelledJob("patient", nil)
	patient.Annotations = map[string]string{konductorv1.WhenBusyAnnotation: konductorv1.WhenBusyWait}
	w.createObjects(labelledJob("skipped", nil), patient)
	w.waitJobState("skipped", konductorv1.HeldSkipped)
	w.awaitEvent("Job", "skipped", konductorv1.EventSkipped, "semaphore/batch is busy")
	waitFor(w, "batch", "waited for", func(s *konductorv1.Semaphore) bool { return s.Status.Waiting == 1 })
}

// TestLimitThatAnAnnotationNamesToo has a Job that asks for what applies to it, and an author who would like to be without it.
func TestLimitThatAnAnnotationNamesToo(t *testing.T) {
	w := newTestEnv(t)
	if !w.needJobLimits() {
		return
	}
	w.startJobOperator()
	w.createObjects(w.limitedSemaphore("db", 1, limitFor(nil)))
	w.waitUntilLimited("db.semaphore", nil)
	holder := w.newParticipant("somebody").mustAcquire(konductorv1.KindSemaphore, "db")
	both := labelledJob("both", nil)
	both.Annotations = holding("semaphore/db")
	only := labelledJob("only", nil)
	only.Spec.Template.Annotations = map[string]string{"mykonductor.io/fencing-token": "of somebody else"}
	w.createObjects(both, only)
	waitFor(w, "db", "waited for", func(s *konductorv1.Semaphore) bool { return s.Status.Waiting == 2 })
	w.patchObject(only, fmt.Sprintf(`{"metadata":{"annotations":{"db.semaphore.konductor.io/applies":%q}}}`, strings.Repeat("x", 100)))
	claims := func() (names []string) {
		var list konductorv1.ClaimList
		w.must(w.client.List(w.ctx, &list, client.InNamespace(w.namespace)))
		for i := range list.Items {
			names = append(names, string(list.Items[i].UID))
		}
		slices.Sort(names)
		return names
	}
	before := claims()
	w.patchSpec(&konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "db"}}, `{"appliesTo":null}`)
	w.waitForPodOf(w.waitJobState("only", konductorv1.HeldStarted))
	if after := claims(); len(after) != len(before)-1 || !slices.Contains(before, after[0]) || !slices.Contains(before, after[len(after)-1]) {
		t.Errorf("claims were made anew: %v, before %v", after, before)
	}
	if j := getObject[*batchv1.Job](w, "both"); j.Labels[konductorv1.HeldLabel] != konductorv1.HeldWaiting {
		t.Errorf("the job that asks for it itself is %s", j.Labels[konductorv1.HeldLabel])
	}
	w.mustRelease(holder)
	w.waitForPodOf(w.waitJobState("both", konductorv1.HeldStarted))
}

// TestForgedLimit has Jobs whose authors write the API server's marks.
func TestForgedLimit(t *testing.T) {
	w := newTestEnv(t)
	if !w.needJobLimits() {
		return
	}
	w.startJobOperator()
	w.createSemaphore("db", 1)
	forged := heldJob("forged", map[string]string{konductorv1.AppliesAnnotation("semaphore", "db"): "true", konductorv1.AppliesAnnotation("lease", "none"): "true"})
	w.createObjects(forged)
	w.waitForPodOf(w.waitJobState("forged", konductorv1.HeldStarted))
	w.waitNoClaims()
	many := map[string]string{}
	for i := range 33 {
		many[konductorv1.AppliesAnnotation("lease", fmt.Sprint("l", i))] = "true"
	}
	w.mustBeDenied("33 limits", w.client.Create(w.ctx, w.withNamespace(heldJob("many", many))), "at most 32 Leases and Semaphores")
}

func (w *testEnv) withNamespace(job *batchv1.Job) *batchv1.Job {
	job.Namespace = w.namespace
	return job
}

func TestLimitSelectors(t *testing.T) {
	w := newTestEnv(t)
	if !w.needJobLimits() {
		return
	}
	expression := func(key string, operator metav1.LabelSelectorOperator, values ...string) *konductorv1.AppliesTo {
		return &konductorv1.AppliesTo{Jobs: &konductorv1.JobLimit{Selector: metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}},
		}}}
	}
	limits := map[string]*konductorv1.AppliesTo{
		"all": limitFor(nil), "in": expression("tier", "In", "batch", "etl"), "not-in": expression("tier", "NotIn", "web"), "exists": expression("tier", "Exists"),
		"no-tier": expression("tier", "DoesNotExist"), "labels": limitFor(map[string]string{"tier": "batch", "team": "a"}),
	}
	for name, applies := range limits {
		w.createObjects(w.limitedSemaphore(name, 1, applies))
		w.waitUntil("the API server to apply "+name, func() bool {
			for _, labels := range []map[string]string{nil, {"tier": "batch", "team": "a"}} {
				probe := w.withNamespace(labelledJob("probe", labels))
				w.must(w.client.Create(w.ctx, probe, client.DryRunAll))
				if probe.Annotations[konductorv1.AppliesAnnotation("semaphore", name)] != "" {
					return true
				}
			}
			return false
		})
	}
	for _, jobLabels := range []map[string]string{nil, {"tier": "batch"}, {"tier": "web"}, {"tier": "batch", "team": "a"}, {"team": "a"}} {
		job := w.withNamespace(labelledJob("probe", jobLabels))
		w.must(w.client.Create(w.ctx, job, client.DryRunAll))
		for name, applies := range limits {
			selector, err := metav1.LabelSelectorAsSelector(&applies.Jobs.Selector)
			w.must(err)
			want := selector.Matches(labels.Set(jobLabels))
			if _, got := job.Annotations[konductorv1.AppliesAnnotation("semaphore", name)]; got != want {
				t.Errorf("limit %s and labels %v: applies %t, want %t", name, jobLabels, got, want)
			}
		}
	}
	elsewhere := labelledJob("probe", nil)
	elsewhere.Namespace = w.createNamespace()
	w.must(w.client.Create(w.ctx, elsewhere, client.DryRunAll))
	if len(elsewhere.Annotations) != 0 {
		t.Errorf("a job of another namespace has %v", elsewhere.Annotations)
	}
	kueue := w.withNamespace(labelledJob("probe", map[string]string{"kueue.x-k8s.io/queue-name": "q"}))
	w.must(w.client.Create(w.ctx, kueue, client.DryRunAll))
	if *kueue.Spec.Suspend {
		t.Error("a job of Kueue was suspended")
	}
	both := w.withNamespace(labelledJob("probe", nil))
	both.Spec.Template.Annotations = holding("semaphore/all")
	both.Spec.Template.Spec.NodeName = ""
	w.mustBeDenied("a limited job whose pods hold", w.client.Create(w.ctx, both, client.DryRunAll), "not on the Pod template of a held Job")
	w.createObjects(labelledJob("waits", nil))
	w.mustBeDenied("giving a held job to Kueue", w.client.Patch(w.ctx, w.withNamespace(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "waits"}}),
		client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"labels":{"kueue.x-k8s.io/queue-name":"q"}}}`))), "of a held Job can't be changed")
	many := w.limitedSemaphore("bad", 1, limitFor(nil))
	many.Spec.AppliesTo.Jobs.Permits = 2
	w.mustBeDenied("more permits than there are", w.client.Create(w.ctx, many), "appliesTo.jobs.permits must be at most permits")
	for what, applies := range map[string]*konductorv1.AppliesTo{
		"an operator": expression("tier", "Is", "batch"), "no values": expression("tier", "In"), "needless values": expression("tier", "Exists", "batch"),
	} {
		w.mustBeDenied(what, w.client.Create(w.ctx, w.limitedSemaphore("bad", 1, applies)), "matchExpressions must have operator In or NotIn with values")
	}
	lease := &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "bad", Namespace: w.namespace}, Spec: konductorv1.LeaseSpec{AppliesTo: limitFor(nil)}}
	lease.Spec.AppliesTo.Jobs.Permits = 2
	w.mustBeDenied("two permits of a lease", w.client.Create(w.ctx, lease), "a lease has one permit")
}
