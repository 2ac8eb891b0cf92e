package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func TestPodHoldIsBound(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	lease := w.createLease("db")
	pod := w.createPod("migration")
	hold := w.newPodParticipant(pod).mustAcquire(konductorv1.KindLease, "db")
	if hold.Holder() != "migration" || hold.TTL() != 0 {
		t.Errorf("held by %q with ttl %s, want by the pod and without one", hold.Holder(), hold.TTL())
	}
	claim := getObject[*konductorv1.Claim](w, w.newPodParticipant(pod).claimName(konductorv1.KindLease, lease))
	want := &konductorv1.BoundObject{Kind: "Pod", Name: "migration", UID: pod.UID}
	if diff := cmp.Diff(want, claim.Spec.BoundTo); diff != "" {
		t.Errorf("bound to (-want +got):\n%s", diff)
	}
}

func TestPodHoldEndsWithPod(t *testing.T) {
	ends := map[string]func(w *testEnv){
		"when it has succeeded": func(w *testEnv) { w.setPodPhase("holder", corev1.PodSucceeded) },
		"when it has failed":    func(w *testEnv) { w.setPodPhase("holder", corev1.PodFailed) },
		"when it is deleted":    func(w *testEnv) { w.killPod("holder") },
		"when another of its name has taken its place": func(w *testEnv) {
			w.killPod("holder")
			w.createPod("holder")
		},
	}
	for when, end := range ends {
		t.Run(when, func(t *testing.T) {
			w := newTestEnv(t)
			w.startOperator()
			w.createWorkerAccount()
			lease := w.createLease("db")
			w.checkRevisions(konductorv1.KindLease, "db")
			holder := w.newPodParticipant(w.createPod("holder"))
			hold := holder.mustAcquire(konductorv1.KindLease, "db")
			next := w.newParticipant("next").enqueue(konductorv1.KindLease, lease)

			end(w)

			taken := next.mustSucceed()
			w.waitClosed(hold.Lost(), "the loss of the hold")
			// Its claim is deleted too, so that nothing is left.
			waitGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: holder.claimName(konductorv1.KindLease, lease)}})
			w.awaitEvent("Lease", "db", konductorv1.EventPodEnded, "holder")
			w.mustRelease(taken)
		})
	}
}

func TestWaiterLeavesQueueWithPod(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	lease := w.createLease("db")
	checker := w.checkRevisions(konductorv1.KindLease, "db")
	hold := w.newParticipant("first").mustAcquire(konductorv1.KindLease, "db")
	waiter := w.newPodParticipant(w.createPod("waiter")).enqueue(konductorv1.KindLease, lease)
	finished := w.newPodParticipant(w.createPod("finished")).enqueue(konductorv1.KindLease, lease)
	last := w.newParticipant("last").enqueue(konductorv1.KindLease, lease)
	waitFor(w, "db", "waited for by three", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 3 })

	w.killPod("waiter")
	w.setPodPhase("finished", corev1.PodSucceeded)
	waitFor(w, "db", "waited for by one", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	w.mustRelease(hold)
	w.mustRelease(last.mustSucceed())
	waiter.mustFail()
	finished.mustFail()
	if diff := cmp.Diff([]string{"first", "last"}, checker.grantedHolders()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestPodEndedWhileNoOperatorRan(t *testing.T) {
	w := newTestEnv(t)
	op := w.startOperator()
	w.createWorkerAccount()
	lease, s := w.createLease("db"), w.createSemaphore("api", 1)
	w.checkRevisions(konductorv1.KindLease, "db")
	w.checkRevisions(konductorv1.KindSemaphore, "api")
	w.newPodParticipant(w.createPod("deleted")).mustAcquire(konductorv1.KindLease, "db")
	w.newPodParticipant(w.createPod("finished")).mustAcquire(konductorv1.KindSemaphore, "api")
	op.stop()
	w.killPod("deleted")
	w.setPodPhase("finished", corev1.PodFailed)
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, lease)
	other := w.newParticipant("other").enqueue(konductorv1.KindSemaphore, s)
	w.startOperator()
	w.mustRelease(next.mustSucceed())
	w.mustRelease(other.mustSucceed())
}

func TestTwoPodsWithSameHolderName(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	w.createLease("db")
	checker := w.checkRevisions(konductorv1.KindLease, "db")
	same := konductor.WithHolder("the-migration")
	first := w.newPodParticipant(w.createPod("a")).mustAcquire(konductorv1.KindLease, "db", same)
	second := w.newPodParticipant(w.createPod("b")).startAcquire(konductorv1.KindLease, "db", same)
	waitFor(w, "db", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	second.mustBePending()
	w.mustRelease(first)
	hold := second.mustSucceed()
	if hold.Token() <= first.Token() {
		t.Errorf("the second token, %d, is not larger than the first, %d", hold.Token(), first.Token())
	}
	w.mustRelease(hold)
	checker.waitForGrants(2)
}

func TestRestartedContainerFindsHold(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	w.createLease("db", konductor.WithTTL(time.Hour))
	pod := w.createPod("migration")
	first := w.newPodParticipant(pod).mustAcquire(konductorv1.KindLease, "db")
	again := w.newPodParticipant(pod).mustAcquire(konductorv1.KindLease, "db")
	if first.Token() != again.Token() {
		t.Errorf("the token was %d and is %d now", first.Token(), again.Token())
	}
	w.mustRelease(again)
	w.waitClosed(first.Lost(), "the first process's loss")
}

func TestArrivalOutlivesPod(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	createBarrier(w, "stage", 2)
	pod := w.createPod("participant")
	w.must(w.newPodParticipant(pod).ArriveBarrier(w.ctx, "stage"))
	w.killPod("participant")
	arriveInOrder(w, "stage", "other")
	startWaitBarrier(w, "stage").mustSucceed()
	arrived := waitBarrierPhase(w, "stage", konductorv1.BarrierOpen).Status.Arrivals
	if diff := cmp.Diff([]string{"pod/participant", "other"}, arrived); diff != "" {
		t.Errorf("arrivals (-want +got):\n%s", diff)
	}
}

func TestNoPermitLeaksWhenPodsDie(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	s := w.createSemaphore("api", 4)
	checker := w.checkRevisions(konductorv1.KindSemaphore, "api")
	const pods = 30
	var queued []*future[*konductor.Hold]
	for i := range pods {
		queued = append(queued, w.newPodParticipant(w.createPod(fmt.Sprintf("pod-%02d", i))).enqueue(konductorv1.KindSemaphore, s))
	}
	// No Pod ever releases: each just dies, some while holding and some while waiting, in three different ways.
	for i := range pods {
		name := fmt.Sprintf("pod-%02d", i)
		if i%5 != 4 {
			if !queued[i].waitUpTo(waitTimeout) {
				t.Fatalf("%s was not served", name)
			}
		}
		switch i % 3 {
		case 0:
			w.killPod(name)
		case 1:
			w.setPodPhase(name, corev1.PodSucceeded)
		default:
			w.setPodPhase(name, corev1.PodFailed)
		}
	}
	checker.waitIdle()
	free := waitFor(w, "api", "free and unwaited for", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 0 && s.Status.Waiting == 0 })
	if free.Status.Available != 4 {
		t.Errorf("%d permits are free, want 4", free.Status.Available)
	}
}
