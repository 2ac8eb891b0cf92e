package integration

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// slowPodFinalizer keeps a Pod of a test after its deletion, as a program that ignores SIGTERM does.
const slowPodFinalizer = "example.com/slow"

// startJobOperator starts an operator that holds Jobs.
func (w *testEnv) startJobOperator() *runningOperator {
	w.Helper()
	return w.startOperatorWith(func(o *operator.Options) { o.HeldWorkloads = true })
}

// heldJob returns a Job with annotations. It is suspended where the API server doesn't see to that.
func heldJob(name string, annotations map[string]string) *batchv1.Job {
	return newHeldJob(name, annotations, !sharedCluster.suspendsHeldJobs)
}

func newHeldJob(name string, annotations map[string]string, suspend bool) *batchv1.Job {
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: annotations},
		Spec: batchv1.JobSpec{
			Suspend: &suspend,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Finalizers: []string{slowPodFinalizer}},
				Spec: corev1.PodSpec{
					// The garbage collector of Pods ends a terminating one that has no node.
					NodeName:      testNode,
					RestartPolicy: corev1.RestartPolicyNever,
					Containers:    []corev1.Container{{Name: "main", Image: "none"}},
				},
			},
		},
	}
}

func holding(objects string) map[string]string {
	return map[string]string{konductorv1.HoldAnnotation: objects}
}

// waitJobState waits until a held Job has that state.
func (w *testEnv) waitJobState(name, state string) *batchv1.Job {
	w.Helper()
	return waitFor(w, name, state, func(j *batchv1.Job) bool { return j.Labels[konductorv1.HeldLabel] == state })
}

// jobPods returns the Pods of a Job that have not finished.
func (w *testEnv) jobPods(job types.UID) (pods []corev1.Pod) {
	w.Helper()
	var list corev1.PodList
	w.must(w.client.List(w.ctx, &list, client.InNamespace(w.namespace), client.MatchingLabels{batchv1.ControllerUidLabel: string(job)}))
	return slices.DeleteFunc(list.Items, func(p corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed
	})
}

// waitForPodOf returns a Pod of a Job that has not finished and is not being deleted.
func (w *testEnv) waitForPodOf(job *batchv1.Job) *corev1.Pod {
	w.Helper()
	var found *corev1.Pod
	w.waitUntil("a pod of job "+job.Name, func() bool {
		for _, pod := range w.jobPods(job.UID) {
			if pod.DeletionTimestamp == nil {
				found = &pod
			}
		}
		return found != nil
	})
	return found
}

// finishPods lets the Pods of a Job end: those that are being deleted go, and the others get that phase.
func (w *testEnv) finishPods(job types.UID, phase corev1.PodPhase) {
	w.Helper()
	for _, pod := range w.jobPods(job) {
		key := client.ObjectKeyFromObject(&pod)
		update := func(change func(p *corev1.Pod) error) {
			w.must(client.IgnoreNotFound(retry.RetryOnConflict(retry.DefaultRetry, func() error {
				current := &corev1.Pod{}
				if err := w.client.Get(w.ctx, key, current); err != nil {
					return err
				}
				return change(current)
			})))
		}
		if pod.DeletionTimestamp == nil {
			update(func(p *corev1.Pod) error {
				p.Status.Phase = phase
				return w.client.Status().Update(w.ctx, p)
			})
		}
		update(func(p *corev1.Pod) error {
			controllerutil.RemoveFinalizer(p, slowPodFinalizer)
			return w.client.Update(w.ctx, p)
		})
		if pod.DeletionTimestamp != nil {
			w.must(client.IgnoreNotFound(w.client.Delete(w.ctx, &pod, client.GracePeriodSeconds(0))))
		}
	}
}

// podChecker watches all Pods, and records whenever Pods of more than a number of Jobs may run at once. A Pod of no Job counts as
// one, and a Pod behind the operator's scheduling gate doesn't run.
type podChecker struct {
	mu         sync.Mutex
	running    map[types.UID]map[types.UID]bool // Job UID → Pod UIDs
	most       int
	violations []string
}

// checkPods starts a checker of the test's namespace. Violations fail the test at its end.
func (w *testEnv) checkPods(limit int) *podChecker {
	w.Helper()
	c := &podChecker{running: map[types.UID]map[types.UID]bool{}}
	stream, err := w.client.Watch(w.ctx, &corev1.PodList{}, client.InNamespace(w.namespace))
	w.must(err)
	ctx, cancel := context.WithCancel(w.ctx)
	done := runAsyncErr(w, func() error {
		consumeWatch(ctx, stream, func(p *corev1.Pod, deleted bool) bool {
			c.record(p, deleted, limit)
			return false
		})
		return nil
	})
	w.Cleanup(func() {
		cancel()
		stream.Stop()
		done.waitUpTo(waitTimeout)
		for _, v := range c.violations {
			w.Error(v)
		}
	})
	return c
}

func (c *podChecker) record(p *corev1.Pod, deleted bool, limit int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	job := types.UID(cmp.Or(p.Labels[batchv1.ControllerUidLabel], string(p.UID)))
	if deleted || isBehindHoldGate(p) || p.Status.Phase == corev1.PodSucceeded || p.Status.Phase == corev1.PodFailed {
		delete(c.running[job], p.UID)
		if len(c.running[job]) == 0 {
			delete(c.running, job)
		}
		return
	}
	if c.running[job] == nil {
		c.running[job] = map[types.UID]bool{}
	}
	c.running[job][p.UID] = true
	if c.most = max(c.most, len(c.running)); len(c.running) > limit {
		c.violations = append(c.violations, fmt.Sprintf("at revision %s Pods of %d jobs may run, of at most %d", p.ResourceVersion, len(c.running), limit))
	}
}

// isBehindHoldGate reports whether the operator has not started a held Pod yet.
func isBehindHoldGate(p *corev1.Pod) bool {
	return slices.Contains(p.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: konductorv1.HoldSchedulingGate})
}

func TestHeldJobStartsWhenItHolds(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	w.createLease("report")
	w.createSemaphore("db", 3)
	holder := w.newParticipant("somebody").mustAcquire(konductorv1.KindLease, "report")
	w.createObjects(heldJob("j", holding("semaphore/db:2,lease/report")))
	job := w.waitJobState("j", konductorv1.HeldWaiting)
	if !*job.Spec.Suspend {
		t.Error("the job is not suspended while it waits")
	}
	waitFor(w, "report", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	if s := getObject[*konductorv1.Semaphore](w, "db"); s.Status.InUse != 0 {
		t.Error("the second hold was acquired before the first")
	}
	if pods := w.jobPods(job.UID); len(pods) != 0 {
		t.Errorf("a waiting job has %d pods", len(pods))
	}
	w.mustRelease(holder)

	w.waitJobState("j", konductorv1.HeldStarted)
	pod := w.waitForPodOf(job)
	lease, semaphore := getObject[*konductorv1.Lease](w, "report"), getObject[*konductorv1.Semaphore](w, "db")
	for annotation, want := range map[string]int64{
		konductorv1.FencingTokenAnnotation:                 lease.Status.FencingToken,
		konductorv1.HoldTokenAnnotation("lease", "report"): lease.Status.FencingToken,
		konductorv1.HoldTokenAnnotation("semaphore", "db"): semaphore.Status.FencingToken,
	} {
		if got := pod.Annotations[annotation]; got != strconv.FormatInt(want, 10) {
			t.Errorf("annotation %s of the pod is %q, want %d", annotation, got, want)
		}
	}
	if lease.Status.Holder != "job/j" || lease.Status.ExpiresAt != nil || lease.Status.Job == nil || lease.Status.Job.UID != job.UID {
		t.Errorf("the lease's status is %+v", lease.Status)
	}
	if semaphore.Status.InUse != 2 {
		t.Errorf("%d permits are in use", semaphore.Status.InUse)
	}

	w.finishPods(job.UID, corev1.PodSucceeded)
	w.waitJobState("j", konductorv1.HeldFinished)
	w.waitLeaseFree("report")
	waitFor(w, "db", "free", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 0 })
	w.waitNoClaims()
	w.awaitEvent("Job", "j", konductorv1.EventStarted, "lease/report (fencing token")
}

// TestHeldJobsExcludeEachOther lets ten Jobs hold a semaphore of two permits, while Pods fail and are replaced.
func TestHeldJobsExcludeEachOther(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	w.createSemaphore("db", 2)
	checker := w.checkPods(2)
	jobs := map[types.UID]bool{} // whether a Pod of it has failed
	const count = 10
	for i := range count {
		job := heldJob(fmt.Sprint("j", i), holding("semaphore/db"))
		w.createObjects(job)
		jobs[job.UID] = false
	}
	finished := 0
	w.waitUntil("the end of all jobs", func() bool {
		for uid, failed := range jobs {
			if pods := w.jobPods(uid); len(pods) == 0 {
				continue
			}
			if !failed {
				w.finishPods(uid, corev1.PodFailed) // the Job controller replaces it
			} else {
				w.finishPods(uid, corev1.PodSucceeded)
			}
			jobs[uid] = true
		}
		var list batchv1.JobList
		w.must(w.client.List(w.ctx, &list, client.InNamespace(w.namespace)))
		finished = 0
		for i := range list.Items {
			if list.Items[i].Status.Succeeded == 1 {
				finished++
			}
		}
		return finished == count
	})
	if checker.most != 2 {
		t.Errorf("pods of at most %d jobs ran at once, want 2", checker.most)
	}
	waitFor(w, "db", "free", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 0 && s.Status.Waiting == 0 })
}

func TestDeletedJobHoldsUntilItsPodsEnd(t *testing.T) {
	for _, policy := range []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan} {
		t.Run(string(policy), func(t *testing.T) {
			w := newTestEnv(t)
			w.startJobOperator()
			w.createLease("report")
			w.checkPods(1)
			w.createObjects(heldJob("first", holding("lease/report")))
			first := w.waitJobState("first", konductorv1.HeldStarted)
			w.waitForPodOf(first)
			w.createObjects(heldJob("next", holding("lease/report")))
			waitFor(w, "report", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
			w.must(w.client.Delete(w.ctx, first, client.PropagationPolicy(policy)))
			// Longer than the operator waits for the Job controller.
			timer := time.NewTimer(7 * time.Second)
			<-timer.C
			if l := getObject[*konductorv1.Lease](w, "report"); l.Status.Holder != "job/first" {
				t.Errorf("the lease is held by %q while a pod of the deleted job may run", l.Status.Holder)
			}
			w.finishPods(first.UID, corev1.PodSucceeded)
			w.waitForPodOf(w.waitJobState("next", konductorv1.HeldStarted))
		})
	}
}

func TestBrokenHoldStopsJob(t *testing.T) {
	w := newTestEnv(t)
	op := w.startJobOperator()
	w.createLease("report")
	w.checkPods(1)
	w.createObjects(heldJob("first", holding("lease/report")))
	first := w.waitJobState("first", konductorv1.HeldStarted)
	w.waitForPodOf(first)
	w.createObjects(heldJob("next", holding("lease/report")))
	waitFor(w, "report", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	token := getObject[*konductorv1.Lease](w, "report").Status.FencingToken

	if r := w.runKoncli(w.adminKubeconfig, "lease", "break", "report", "--yes", "-n", w.namespace); r.ExitCode != 0 {
		t.Fatalf("break: exit code %d: %s", r.ExitCode, r.Stderr)
	}
	waitFor(w, "first", "suspended", func(j *batchv1.Job) bool { return *j.Spec.Suspend })
	// The break survives a restart of the operator.
	op.stop()
	w.startJobOperator()
	timer := time.NewTimer(7 * time.Second)
	<-timer.C
	if l := getObject[*konductorv1.Lease](w, "report"); l.Status.FencingToken != token {
		t.Error("the lease was granted to another while a pod of the stopped job may run")
	}
	w.finishPods(first.UID, corev1.PodSucceeded)
	next := w.waitJobState("next", konductorv1.HeldStarted)
	w.waitForPodOf(next)
	// The first one waits again, and starts with another token.
	w.waitJobState("first", konductorv1.HeldWaiting)
	w.finishPods(next.UID, corev1.PodSucceeded)
	w.waitJobState("first", konductorv1.HeldStarted)
	again := w.waitForPodOf(first)
	if lease := getObject[*konductorv1.Lease](w, "report"); again.Annotations[konductorv1.FencingTokenAnnotation] != strconv.FormatInt(lease.Status.FencingToken, 10) {
		t.Errorf("the second run has token %s, and the lease %d", again.Annotations[konductorv1.FencingTokenAnnotation], lease.Status.FencingToken)
	}
	w.finishPods(first.UID, corev1.PodSucceeded)
	w.waitLeaseFree("report")
}

func TestPausedJob(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	w.createLease("report")
	w.createObjects(heldJob("j", holding("lease/report")))
	job := w.waitJobState("j", konductorv1.HeldStarted)
	w.waitForPodOf(job)

	// A manifest that is applied again doesn't stop it.
	w.reapplySuspended("j")
	w.waitForPodOf(job)

	w.patchObject(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j"}}, `{"metadata":{"annotations":{"konductor.io/pause":"true"}}}`)
	waitFor(w, "j", "suspended", func(j *batchv1.Job) bool { return *j.Spec.Suspend })
	if l := getObject[*konductorv1.Lease](w, "report"); l.Status.Holder != "job/j" {
		t.Error("the hold ended before the last pod")
	}
	w.finishPods(job.UID, corev1.PodSucceeded)
	w.waitJobState("j", konductorv1.HeldPaused)
	w.waitLeaseFree("report")
	w.patchObject(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "j"}}, `{"metadata":{"annotations":{"konductor.io/pause":null}}}`)
	w.waitJobState("j", konductorv1.HeldStarted)
	w.finishPods(w.waitForPodOf(job).UID, corev1.PodSucceeded)
	w.waitUntil("the end of the second run", func() bool {
		w.finishPods(job.UID, corev1.PodSucceeded)
		return getObject[*batchv1.Job](w, "j").Status.Succeeded == 1
	})
	w.waitLeaseFree("report")
}

// reapplySuspended does to a started Job what a manifest with suspend: true does that is applied again: on Kubernetes 1.36 the
// Job goes on, and before the request is refused.
func (w *testEnv) reapplySuspended(job string) {
	w.Helper()
	obj := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: job}}
	err := w.client.Patch(w.ctx, obj, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"suspend":true}}`)))
	switch {
	case sharedCluster.suspendsHeldJobs && err != nil:
		w.Fatalf("applying the manifest again: %v", err)
	case sharedCluster.suspendsHeldJobs && *obj.Spec.Suspend:
		w.Error("the job was suspended")
	case !sharedCluster.suspendsHeldJobs && (err == nil || !strings.Contains(err.Error(), "would stop this Job, which runs")):
		w.Errorf("got %v", err)
	}
}

func TestHeldJobWaitsAndArrives(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	w.createObjects(
		&konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "extracts"}, Spec: konductorv1.BarrierSpec{Expected: 1}},
		&konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "done"}, Spec: konductorv1.BarrierSpec{Expected: 2}},
		heldJob("transform", map[string]string{konductorv1.AfterAnnotation: "barrier/extracts, gate/ready", konductorv1.ArriveAnnotation: "barrier/done"}),
		heldJob("other", map[string]string{konductorv1.ArriveAnnotation: "barrier/done"}),
	)
	transform := w.waitJobState("transform", konductorv1.HeldWaiting)
	w.must(w.newParticipant("e").ArriveBarrier(w.ctx, "extracts"))
	waitFor(w, "extracts", "open", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierOpen })
	// The gate is created late.
	w.createGate("ready", condition{Type: konductorv1.GateOnBarrier, Name: "extracts"})
	w.waitJobState("transform", konductorv1.HeldStarted)
	w.waitForPodOf(transform)
	w.finishPods(transform.UID, corev1.PodSucceeded)
	other := getObject[*batchv1.Job](w, "other")
	if !sharedCluster.suspendsHeldJobs {
		w.patchSpec(&batchv1.Job{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, `{"suspend":false}`)
	}
	w.waitForPodOf(other)
	w.finishPods(other.UID, corev1.PodSucceeded)
	barrier := waitFor(w, "done", "open", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierOpen })
	if got := slices.Sorted(slices.Values(barrier.Status.Arrivals)); !slices.Equal(got, []string{"job/other", "job/transform"}) {
		t.Errorf("arrived: %v", got)
	}
}

// TestJobDeletedAtOnceArrives has a Job that is deleted as soon as it has finished.
func TestJobDeletedAtOnceArrives(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	createBarrier(w, "done", 3)
	now := int32(0)
	for i := range 3 {
		job := newHeldJob(fmt.Sprint("j", i), map[string]string{konductorv1.ArriveAnnotation: "barrier/done"}, false)
		job.Spec.TTLSecondsAfterFinished = &now
		w.createObjects(job)
		w.waitForPodOf(job)
		w.finishPods(job.UID, corev1.PodSucceeded)
	}
	waitFor(w, "done", "open", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierOpen })
}

func TestSkippedJob(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	w.createLease("report")
	hold := w.newParticipant("somebody").mustAcquire(konductorv1.KindLease, "report")
	skip := holding("lease/report")
	skip[konductorv1.WhenBusyAnnotation] = konductorv1.WhenBusySkip
	late := maps.Clone(skip)
	late[konductorv1.MaxWaitAnnotation] = "2s"
	w.createObjects(heldJob("at-once", skip), heldJob("late", late))
	for _, name := range []string{"at-once", "late"} {
		if job := w.waitJobState(name, konductorv1.HeldSkipped); !*job.Spec.Suspend {
			t.Errorf("%s was skipped and runs", name)
		}
		w.awaitEvent("Job", name, konductorv1.EventSkipped, "lease/report")
	}
	w.mustRelease(hold)
	w.waitLeaseFree("report")
	// A Job of a CronJob is deleted.
	hold = w.newParticipant("somebody").mustAcquire(konductorv1.KindLease, "report")
	suspend := true
	cronJob := &batchv1.CronJob{
		ObjectMeta: metav1.ObjectMeta{Name: "hourly"},
		Spec: batchv1.CronJobSpec{
			Schedule: "0 * * * *", Suspend: &suspend,
			JobTemplate: batchv1.JobTemplateSpec{ObjectMeta: metav1.ObjectMeta{Annotations: skip}, Spec: heldJob("", nil).Spec},
		},
	}
	w.createObjects(cronJob)
	job := heldJob("hourly-1", skip)
	controller := true
	job.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "CronJob", Name: "hourly", UID: cronJob.UID, Controller: &controller}}
	w.createObjects(job)
	w.waitUntil("the deletion of the skipped job", func() bool {
		err := w.client.Get(w.ctx, client.ObjectKeyFromObject(job), &batchv1.Job{})
		return apierrors.IsNotFound(err)
	})
	w.awaitEvent("CronJob", "hourly", konductorv1.EventSkipped, "hourly-1")
	w.mustRelease(hold)
	w.waitLeaseFree("report")
}

// cronJobRun returns a Job of a CronJob, as its controller creates it.
func cronJobRun(cronJob *batchv1.CronJob, name string) *batchv1.Job {
	job := heldJob(name, maps.Clone(cronJob.Spec.JobTemplate.Annotations))
	job.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(cronJob, batchv1.SchemeGroupVersion.WithKind("CronJob"))}
	return job
}

func (w *testEnv) waitJobGone(name string) {
	w.Helper()
	w.waitUntil("the deletion of job "+name, func() bool {
		return apierrors.IsNotFound(w.client.Get(w.ctx, types.NamespacedName{Namespace: w.namespace, Name: name}, &batchv1.Job{}))
	})
}

// TestNewestRunTakesPlaceInQueue has three runs of a CronJob wait, and another Job behind the first of them.
func TestNewestRunTakesPlaceInQueue(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	w.createLease("report")
	checker := w.checkRevisions(konductorv1.KindLease, "report")
	w.checkPods(1)
	hold := w.newParticipant("somebody").mustAcquire(konductorv1.KindLease, "report")
	newest := holding("lease/report")
	newest[konductorv1.WhenBusyAnnotation] = konductorv1.WhenBusyNewest
	cronJob := w.heldCronJob("minutely", newest)
	w.createObjects(cronJob)
	w.createObjects(cronJobRun(cronJob, "minutely-1"))
	waitFor(w, "report", "waited for by one", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	w.createObjects(heldJob("other", holding("lease/report")))
	waitFor(w, "report", "waited for by two", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 2 })
	for i, older := range []string{"minutely-1", "minutely-2"} {
		w.createObjects(cronJobRun(cronJob, fmt.Sprint("minutely-", i+2)))
		w.waitJobGone(older)
		w.awaitEvent("CronJob", "minutely", konductorv1.EventSkipped, older)
	}
	waitFor(w, "report", "waited for by two", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 2 })
	w.mustRelease(hold)
	for _, name := range []string{"minutely-3", "other"} {
		job := w.waitJobState(name, konductorv1.HeldStarted)
		w.waitForPodOf(job)
		w.finishPods(job.UID, corev1.PodSucceeded)
	}
	w.waitLeaseFree("report")
	if got, want := checker.waitForGrants(3), []string{"somebody", "job/minutely-3", "job/other"}; !slices.Equal(got, want) {
		t.Errorf("granted to %v, want %v", got, want)
	}
}

// TestReplacedRunEndsFirst has a run of a CronJob replaced whose Pod ignores SIGTERM.
func TestReplacedRunEndsFirst(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	w.createLease("report")
	w.checkPods(1)
	replace := holding("lease/report")
	replace[konductorv1.WhenBusyAnnotation] = konductorv1.WhenBusyReplace
	cronJob := w.heldCronJob("minutely", replace)
	w.createObjects(cronJob)
	w.createObjects(cronJobRun(cronJob, "minutely-1"))
	first := w.waitJobState("minutely-1", konductorv1.HeldStarted)
	w.waitForPodOf(first)
	w.createObjects(cronJobRun(cronJob, "minutely-2"))
	w.waitJobGone("minutely-1")
	if l := getObject[*konductorv1.Lease](w, "report"); l.Status.Holder != "job/minutely-1" {
		t.Errorf("the lease is held by %q while a pod of the replaced run may be at work", l.Status.Holder)
	}
	w.finishPods(first.UID, corev1.PodFailed)
	second := w.waitJobState("minutely-2", konductorv1.HeldStarted)
	w.waitForPodOf(second)
	w.finishPods(second.UID, corev1.PodSucceeded)
	w.waitLeaseFree("report")
}

// TestBrokenHoldRestartsJobOnce breaks a hold of a semaphore that has other permits, of a Job whose Pod ends at once.
func TestBrokenHoldRestartsJobOnce(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	w.createSemaphore("db", 10)
	w.createObjects(heldJob("j", holding("semaphore/db")))
	job := w.waitJobState("j", konductorv1.HeldStarted)
	runs := map[types.UID]bool{w.waitForPodOf(job).UID: true}
	_, err := w.newParticipant("admin").BreakSemaphore(w.ctx, "db", konductor.WithHolder("job/j"))
	w.must(err)
	waitFor(w, "j", "suspended", func(j *batchv1.Job) bool { return *j.Spec.Suspend })
	stopped := time.Now()
	var freed time.Duration
	end := time.NewTimer(20 * time.Second)
	defer end.Stop()
	for over := false; !over; {
		if s := getObject[*konductorv1.Semaphore](w, "db"); freed == 0 && (len(s.Status.Holders) == 0 || s.Status.Holders[0].FencingToken != s.Status.FencingToken) {
			freed = time.Since(stopped)
		}
		for _, pod := range w.jobPods(job.UID) {
			runs[pod.UID] = true
			if pod.DeletionTimestamp != nil {
				w.finishPods(job.UID, corev1.PodSucceeded)
			}
		}
		select {
		case <-end.C:
			over = true
		case <-time.After(50 * time.Millisecond):
		}
	}
	if freed != 0 && freed < 4*time.Second {
		t.Errorf("the hold ended %s after the stop, in which the Job controller may still create a pod", freed)
	}
	if len(runs) != 2 {
		t.Errorf("the job ran %d times, want once before the break and once after it", len(runs))
	}
	if s := getObject[*konductorv1.Semaphore](w, "db"); s.Status.InUse != 1 {
		t.Errorf("%d permits are in use, want 1", s.Status.InUse)
	}
}

// TestClaimOfAnotherIsNoHoldOfJob has somebody create a claim of the name that the operator's claim for a Job will have.
func TestClaimOfAnotherIsNoHoldOfJob(t *testing.T) {
	w := newTestEnv(t)
	w.startJobOperator()
	w.createLease("report")
	w.createLease("free")
	hold := w.newParticipant("somebody").mustAcquire(konductorv1.KindLease, "report")
	annotations := holding("lease/report")
	annotations[konductorv1.AfterAnnotation] = "barrier/ready"
	w.createObjects(heldJob("j", annotations))
	job := w.waitJobState("j", konductorv1.HeldWaiting)
	name := konductorv1.ClaimName(konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: "report"}, "job/j", job.UID)
	w.createObjects(&konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: "free"}, Holder: "job/j", Permits: 1},
	})
	createBarrier(w, "ready", 1)
	w.must(w.newParticipant("e").ArriveBarrier(w.ctx, "ready"))
	waitFor(w, "report", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	if pods := w.jobPods(job.UID); len(pods) != 0 {
		t.Error("the job runs without its hold")
	}
	w.mustRelease(hold)
	w.waitForPodOf(w.waitJobState("j", konductorv1.HeldStarted))
}
