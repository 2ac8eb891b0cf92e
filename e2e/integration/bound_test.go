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

func TestAPodsHoldIsBoundToItAndNeedsNoTTL(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	lease := w.lease("db")
	pod := w.pod("migration")
	hold := w.in(pod).acquire(konductorv1.KindLease, "db")
	if hold.Holder() != "migration" || hold.TTL() != 0 {
		t.Errorf("held by %q with ttl %s, want by the pod and without one", hold.Holder(), hold.TTL())
	}
	claim := get[*konductorv1.Claim](w, w.in(pod).claimName(konductorv1.KindLease, lease))
	want := &konductorv1.BoundObject{Kind: "Pod", Name: "migration", UID: pod.UID}
	if diff := cmp.Diff(want, claim.Spec.BoundTo); diff != "" {
		t.Errorf("bound to (-want +got):\n%s", diff)
	}
}

func TestAHoldEndsWithItsPod(t *testing.T) {
	ends := map[string]func(w *world){
		"when it has succeeded": func(w *world) { w.podBecomes("holder", corev1.PodSucceeded) },
		"when it has failed":    func(w *world) { w.podBecomes("holder", corev1.PodFailed) },
		"when it is deleted":    func(w *world) { w.podDies("holder") },
		"when another of its name has taken its place": func(w *world) {
			w.podDies("holder")
			w.pod("holder")
		},
	}
	for when, end := range ends {
		t.Run(when, func(t *testing.T) {
			w := newWorld(t)
			w.operator()
			w.withWorkers()
			lease := w.lease("db")
			w.witness(konductorv1.KindLease, "db")
			holder := w.in(w.pod("holder"))
			hold := holder.acquire(konductorv1.KindLease, "db")
			next := w.someone("next").queue(konductorv1.KindLease, lease)

			end(w)

			taken := next.must()
			w.closes(hold.Lost(), "the loss of the hold")
			// Its claim goes too, so that nothing is left of it.
			isGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: holder.claimName(konductorv1.KindLease, lease)}})
			w.awaitEvent("Lease", "db", konductorv1.EventPodEnded, "holder")
			w.release(taken)
		})
	}
}

func TestAWaiterWhosePodIsGoneLeavesTheQueue(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	lease := w.lease("db")
	witness := w.witness(konductorv1.KindLease, "db")
	hold := w.someone("first").acquire(konductorv1.KindLease, "db")
	waiter := w.in(w.pod("waiter")).queue(konductorv1.KindLease, lease)
	finished := w.in(w.pod("finished")).queue(konductorv1.KindLease, lease)
	last := w.someone("last").queue(konductorv1.KindLease, lease)
	is(w, "db", "waited for by three", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 3 })

	w.podDies("waiter")
	w.podBecomes("finished", corev1.PodSucceeded)
	is(w, "db", "waited for by one", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	w.release(hold)
	w.release(last.must())
	waiter.fails()
	finished.fails()
	if diff := cmp.Diff([]string{"first", "last"}, witness.granted()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestAPodThatEndedWhileNoOperatorRanLosesItsHoldWhenOneStarts(t *testing.T) {
	w := newWorld(t)
	op := w.operator()
	w.withWorkers()
	lease, s := w.lease("db"), w.semaphore("api", 1)
	w.witness(konductorv1.KindLease, "db")
	w.witness(konductorv1.KindSemaphore, "api")
	w.in(w.pod("deleted")).acquire(konductorv1.KindLease, "db")
	w.in(w.pod("finished")).acquire(konductorv1.KindSemaphore, "api")
	op.stop()
	w.podDies("deleted")
	w.podBecomes("finished", corev1.PodFailed)
	next := w.someone("next").queue(konductorv1.KindLease, lease)
	other := w.someone("other").queue(konductorv1.KindSemaphore, s)
	w.operator()
	w.release(next.must())
	w.release(other.must())
}

func TestTwoPodsThatCallThemselvesTheSameQueueBehindEachOther(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	w.lease("db")
	witness := w.witness(konductorv1.KindLease, "db")
	same := konductor.WithHolder("the-migration")
	first := w.in(w.pod("a")).acquire(konductorv1.KindLease, "db", same)
	second := w.in(w.pod("b")).acquiring(konductorv1.KindLease, "db", same)
	is(w, "db", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	second.pending()
	w.release(first)
	hold := second.must()
	if hold.Token() <= first.Token() {
		t.Errorf("the second token, %d, is not larger than the first, %d", hold.Token(), first.Token())
	}
	w.release(hold)
	witness.awaitGrants(2)
}

func TestARestartedContainerOfAPodFindsItsHold(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	w.lease("db", konductor.WithTTL(time.Hour))
	pod := w.pod("migration")
	first := w.in(pod).acquire(konductorv1.KindLease, "db")
	again := w.in(pod).acquire(konductorv1.KindLease, "db")
	if first.Token() != again.Token() {
		t.Errorf("the token was %d and is %d now", first.Token(), again.Token())
	}
	w.release(again)
	w.closes(first.Lost(), "the first process's loss")
}

func TestAPodsArrivalOutlivesIt(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	barrierOf(w, "stage", 2)
	pod := w.pod("participant")
	w.ok(w.in(pod).ArriveBarrier(w.ctx, "stage"))
	w.podDies("participant")
	arrive(w, "stage", "other")
	waitBarrier(w, "stage").must()
	arrived := isBarrier(w, "stage", konductorv1.BarrierOpen).Status.Arrivals
	if diff := cmp.Diff([]string{"pod/participant", "other"}, arrived); diff != "" {
		t.Errorf("arrivals (-want +got):\n%s", diff)
	}
}

func TestThirtyPodsTakeTurnsAndNoPermitLeaksWhenTheyDie(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	s := w.semaphore("api", 4)
	witness := w.witness(konductorv1.KindSemaphore, "api")
	const pods = 30
	var queued []*future[*konductor.Hold]
	for i := range pods {
		queued = append(queued, w.in(w.pod(fmt.Sprintf("pod-%02d", i))).queue(konductorv1.KindSemaphore, s))
	}
	// No Pod ever releases: each just dies, some while holding and some while waiting, and by three different ways.
	for i := range pods {
		name := fmt.Sprintf("pod-%02d", i)
		if i%5 != 4 {
			if !queued[i].wait(patience) {
				t.Fatalf("%s was not served", name)
			}
		}
		switch i % 3 {
		case 0:
			w.podDies(name)
		case 1:
			w.podBecomes(name, corev1.PodSucceeded)
		default:
			w.podBecomes(name, corev1.PodFailed)
		}
	}
	witness.awaitIdle()
	free := is(w, "api", "free and unwaited for", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 0 && s.Status.Waiting == 0 })
	if free.Status.Available != 4 {
		t.Errorf("%d permits are free, want 4", free.Status.Available)
	}
}
