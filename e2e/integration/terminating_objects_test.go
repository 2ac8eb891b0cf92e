package integration

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

const testFinalizer = "example.com/kept"

// deleteWithFinalizer adds a finalizer to an object, and deletes it.
func (w *testEnv) deleteWithFinalizer(obj client.Object) {
	w.Helper()
	w.patchObject(obj, `{"metadata":{"finalizers":["`+testFinalizer+`"]}}`)
	w.deleteObjects(obj)
}

// removeFinalizers removes the finalizer.
func (w *testEnv) removeFinalizers(obj client.Object) {
	w.Helper()
	w.patchObject(obj, `{"metadata":{"finalizers":null}}`)
}

// isTerminating reports whether conditions say that the object is being deleted.
func isTerminating(conditions []metav1.Condition) bool {
	ready := meta.FindStatusCondition(conditions, konductorv1.ConditionReady)
	return ready != nil && ready.Status == metav1.ConditionFalse && ready.Reason == konductorv1.ReasonTerminating
}

// createClaimOn creates a claim on an object, as a client would that doesn't check the object.
func (w *testEnv) createClaimOn(name, kind string, target client.Object) *konductorv1.Claim {
	w.Helper()
	claim := &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: kind, Name: target.GetName(), UID: target.GetUID()}, Holder: name, TTL: konductorv1.NewDuration(time.Hour)},
	}
	w.createObjects(claim)
	return claim
}

func TestTerminatingTarget(t *testing.T) {
	for _, kind := range []string{konductorv1.KindLease, konductorv1.KindSemaphore} {
		t.Run(kind, func(t *testing.T) {
			w := newTestEnv(t)
			w.startOperator()
			var obj client.Object
			create := func() {
				if kind == konductorv1.KindLease {
					obj = w.createLease("x")
				} else {
					obj = w.createSemaphore("x", 1)
				}
			}
			create()
			checker := w.checkRevisions(kind, "x")
			w.createClaimOn("holder", kind, obj)
			waitClaimPhase(w, "holder", konductorv1.ClaimGranted)
			w.setRenewals("holder", "1")
			waiter := w.createClaimOn("waiter", kind, obj)
			w.createClaimYAML("metadata: {name: without-owner}\nspec: {target: {kind: " + kind + ", name: x}, holder: without-owner, ttl: 1h}")
			w.deleteWithFinalizer(obj)
			ended := waitClaimPhase(w, "holder", konductorv1.ClaimExpired)
			if want := kind + " x was deleted"; ended.Status.Message != want {
				t.Errorf("the holder is told %q, want %q", ended.Status.Message, want)
			}
			waitGone(w, waiter)
			waitGone(w, w.createClaimOn("late", kind, obj))
			over := func(holder string, waiting int32, conditions []metav1.Condition) bool {
				return holder == "" && waiting == 1 && isTerminating(conditions)
			}
			if kind == konductorv1.KindLease {
				waitFor(w, "x", "over", func(l *konductorv1.Lease) bool {
					return over(l.Status.Holder, l.Status.Waiting, l.Status.Conditions)
				})
			} else {
				waitFor(w, "x", "over", func(s *konductorv1.Semaphore) bool {
					return len(s.Status.Holders) == 0 && over("", s.Status.Waiting, s.Status.Conditions)
				})
			}
			kubeconfig := w.writeKubeconfig(w.adminKubeconfig, nil)
			lower := strings.ToLower(kind)
			for _, args := range []string{"status " + lower + "/x", "status all", "why " + lower + "/x", "graph"} {
				if got := w.runKoncli(kubeconfig, strings.Fields(args)...); !strings.Contains(strings.ToLower(got.Stdout), "being deleted") {
					t.Errorf("%s says\n%s%s", args, got.Stdout, got.Stderr)
				}
			}
			w.startDashboard(sharedCluster, 160, 24).waitForText("it is being deleted, blocked by finalizers: " + testFinalizer).typeKeys("q").expectExit(0)

			w.removeFinalizers(obj)
			switch former := obj.(type) {
			case *konductorv1.Lease:
				waitGone(w, former)
			case *konductorv1.Semaphore:
				waitGone(w, former)
			}
			create()
			waitClaimPhase(w, "without-owner", konductorv1.ClaimGranted)
			if got := strings.Join(checker.waitForGrants(2), " "); got != "holder without-owner" {
				t.Errorf("granted to %s", got)
			}
		})
	}
}

func TestTerminatingBarrier(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 2)
	arriveInOrder(w, "stage", "a")
	b := waitFor(w, "stage", "with one", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	w.createGate("ready", condition{Type: konductorv1.GateOnBarrier, Name: "stage"})
	waitGatePhase(w, "ready", konductorv1.GateWaiting, "barrier/stage is waiting")
	w.deleteWithFinalizer(b)
	waitGatePhase(w, "ready", konductorv1.GateWaiting, "barrier/stage is being deleted")
	w.createObjects(&konductorv1.Arrival{
		ObjectMeta: metav1.ObjectMeta{Name: "late"},
		Spec:       konductorv1.ArrivalSpec{Barrier: "stage", BarrierUID: b.UID, Participant: "b"},
	})
	over := waitFor(w, "stage", "over", func(b *konductorv1.Barrier) bool { return isTerminating(b.Status.Conditions) })
	w.removeFinalizers(over)
	waitGone(w, over)
	createBarrier(w, "stage", 1)
	arriveInOrder(w, "stage", "c")
	waitBarrierPhase(w, "stage", konductorv1.BarrierOpen)
	waitGatePhase(w, "ready", konductorv1.GateOpen, "1 of 1")
	if over.Status.Phase != konductorv1.BarrierWaiting {
		t.Errorf("the former barrier was %s", over.Status.Phase)
	}
}

func TestTerminatingGate(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	gate := w.createGate("ready", jobCondition("load"))
	waitGatePhase(w, "ready", konductorv1.GateWaiting, "job/load not found")
	w.deleteWithFinalizer(gate)
	w.createJob("load")
	w.finishJob("load", batchv1.JobComplete)
	waitFor(w, "ready", "over", func(g *konductorv1.Gate) bool {
		return isTerminating(g.Status.Conditions) && g.Status.Phase == konductorv1.GateWaiting
	})
	w.removeFinalizers(gate)
	waitGone(w, gate)
	w.createGate("ready", jobCondition("load"))
	waitGatePhase(w, "ready", konductorv1.GateOpen, "1 of 1")
}

func TestGateOnTerminatingJob(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	for _, name := range []string{"running", "complete", "failed"} {
		w.createJob(name)
	}
	w.finishJob("complete", batchv1.JobComplete)
	w.finishJob("failed", batchv1.JobFailed)
	for _, name := range []string{"running", "complete", "failed"} {
		job := getObject[*batchv1.Job](w, name)
		w.patchObject(job, `{"metadata":{"finalizers":["`+testFinalizer+`"]}}`)
		w.must(w.client.Delete(w.ctx, job, client.PropagationPolicy(metav1.DeletePropagationForeground)))
		w.createGate(name, jobCondition(name))
	}
	waitGatePhase(w, "complete", konductorv1.GateOpen, "1 of 1")
	waitGatePhase(w, "running", konductorv1.GateWaiting, "job/running is being deleted")
	waitGatePhase(w, "failed", konductorv1.GateWaiting, "job/failed is being deleted")
	for _, name := range []string{"running", "complete", "failed"} {
		w.removeFinalizers(getObject[*batchv1.Job](w, name))
	}
	waitGatePhase(w, "running", konductorv1.GateWaiting, "job/running not found")
}

// TestTerminatingPodKeepsHold deletes a Pod in the foreground while its program still runs.
func TestTerminatingPodKeepsHold(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	w.createLease("db")
	// It has a node: the Pod garbage collector ends a Pod that is being deleted and has none.
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "worker-1"}, Spec: podSpec(workerAccount)}
	pod.Spec.NodeName = testNode
	w.createObjects(pod)
	w.setPodPhase("worker-1", corev1.PodRunning)
	hold := w.newPodParticipant(pod).mustAcquire(konductorv1.KindLease, "db")
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, getObject[*konductorv1.Lease](w, "db"))
	w.patchObject(pod, `{"metadata":{"finalizers":["`+testFinalizer+`"]}}`)
	w.must(w.client.Delete(w.ctx, pod, client.PropagationPolicy(metav1.DeletePropagationForeground), client.GracePeriodSeconds(0)))
	waitFor(w, "worker-1", "being deleted", func(p *corev1.Pod) bool { return p.DeletionTimestamp != nil })
	// Nothing shows that the operator has finished without an effect, except the effect of a later change.
	w.createLease("other")
	w.mustRelease(w.newParticipant("b").mustAcquire(konductorv1.KindLease, "other"))
	next.mustBePending()
	if l := getObject[*konductorv1.Lease](w, "db"); l.Status.FencingToken != hold.Token() {
		t.Fatalf("the lease went to %s while its holder runs", l.Status.Holder)
	}
	w.setPodPhase("worker-1", corev1.PodSucceeded)
	w.mustRelease(next.mustSucceed())
	w.removeFinalizers(getObject[*corev1.Pod](w, "worker-1"))
}

func TestParticipantNameOtherJobGroup(t *testing.T) {
	w := newTestEnv(t)
	w.createWorkerAccount()
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "task-0", OwnerReferences: []metav1.OwnerReference{{
		APIVersion: "batch.volcano.sh/v1alpha1", Kind: "Job", Name: "load", UID: "1", Controller: ptr.To(true),
	}}}, Spec: podSpec(workerAccount)}
	w.createObjects(pod)
	if got := participantName(w, w.newPodParticipant(pod)); got != "pod/task-0" {
		t.Errorf("the participant is %s", got)
	}
	if got := participantName(w, w.newPodParticipant(pod), konductor.WithHolder("me")); got != "me" {
		t.Errorf("the participant is %s", got)
	}
}
