package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// arrive makes the participants arrive one after the other.
func arrive(w *world, barrier string, participants ...string) {
	w.Helper()
	for _, p := range participants {
		w.ok(w.someone(p).ArriveBarrier(w.ctx, barrier, konductor.WithHolder(p)))
	}
}

// barrierOf creates a barrier.
func barrierOf(w *world, name string, expected int32, opts ...konductor.Option) {
	w.Helper()
	_, err := w.someone("creator").CreateBarrier(w.ctx, name, expected, opts...)
	w.ok(err)
}

// waitBarrier waits for a barrier in the background.
func waitBarrier(w *world, name string, opts ...konductor.Option) *future[struct{}] {
	w.Helper()
	a := w.someone("waiter")
	return waiting(w, func() error { return a.WaitBarrier(w.ctx, name, opts...) })
}

func isBarrier(w *world, name string, phase konductorv1.BarrierPhase) *konductorv1.Barrier {
	w.Helper()
	return is(w, name, string(phase), func(b *konductorv1.Barrier) bool { return b.Status.Phase == phase })
}

func TestABarrierOpensAtItsQuorumAndLetsLateComersIn(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 5, konductor.WithQuorum(3))
	waiter := waitBarrier(w, "stage")
	arrive(w, "stage", "a", "b")
	is(w, "stage", "filled with 2", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 2 })
	waiter.pending()

	arrive(w, "stage", "c")
	waiter.must()
	opened := isBarrier(w, "stage", konductorv1.BarrierOpen)
	if diff := cmp.Diff([]string{"a", "b", "c"}, opened.Status.Arrivals); diff != "" {
		t.Errorf("arrivals in order (-want +got):\n%s", diff)
	}
	arrive(w, "stage", "late")
	waitBarrier(w, "stage").must()
}

func TestAParticipantCountsOnceHoweverOftenItArrives(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 2)
	arrive(w, "stage", "a", "a", "a")
	// An arrival made by hand under another name is the same participant all the same.
	w.create(&konductorv1.Arrival{
		ObjectMeta: metav1.ObjectMeta{Name: "by-hand"},
		Spec:       konductorv1.ArrivalSpec{Barrier: "stage", Participant: "a"},
	})
	waiter := waitBarrier(w, "stage")
	is(w, "stage", "filled with 1", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	waiter.pending()
	arrive(w, "stage", "b")
	waiter.must()
	if got := isBarrier(w, "stage", konductorv1.BarrierOpen).Status.Arrived; got != 2 {
		t.Errorf("arrived = %d, want 2", got)
	}
}

func TestAParticipantThatArrivedFailedCantArriveWell(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 2, konductor.WithQuorum(1))
	a := w.someone("a")
	w.ok(a.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("a"), konductor.AsFailed("disk full")))
	w.ok(a.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("a"), konductor.AsFailed("disk full")))
	wants[*konductor.TermsError](w, a.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("a")))
}

func TestABarrierFailsAtOnceWhenTheQuorumIsOutOfReach(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 3, konductor.WithQuorum(2), konductor.TimeOutAfter(time.Hour))
	waiter := waitBarrier(w, "stage")
	a := w.someone("a")
	w.ok(a.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("a"), konductor.AsFailed("disk full")))
	is(w, "stage", "one failed", func(b *konductorv1.Barrier) bool { return b.Status.Failed == 1 })
	waiter.pending()
	w.ok(a.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("b"), konductor.AsFailed("no route to the database")))

	err := wants[*konductor.FailedError](w, waiter.fails())
	want := "barrier/stage failed: 0 of 3 participants have arrived, 2 are enough, 2 failed: the quorum of 2 can't be reached any more; last to fail: b (no route to the database)"
	if err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
	w.awaitEvent("Barrier", "stage", konductorv1.EventFailed, "no route to the database")
}

func TestABarrierTimesOutAndWaitsAgainWhenTheTimeoutIsRaised(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 2, konductor.TimeOutAfter(time.Second))
	arrive(w, "stage", "a")
	err := wants[*konductor.FailedError](w, waitBarrier(w, "stage").fails())
	if err.Phase != string(konductorv1.BarrierTimeout) {
		t.Errorf("the phase is %s", err.Phase)
	}
	// Who comes too late doesn't count, and it doesn't open.
	arrive(w, "stage", "b")
	isBarrier(w, "stage", konductorv1.BarrierTimeout)

	w.patchSpec(&konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "stage"}}, `{"expected":3,"timeout":"1h"}`)
	isBarrier(w, "stage", konductorv1.BarrierWaiting)
	waiter := waitBarrier(w, "stage")
	arrive(w, "stage", "c")
	waiter.must()
}

func TestABarrierOpensWhenFewerAreExpected(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 3)
	arrive(w, "stage", "a", "b")
	waiter := waitBarrier(w, "stage")
	is(w, "stage", "filled with 2", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 2 })
	waiter.pending()
	w.patchSpec(&konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "stage"}}, `{"expected":2}`)
	waiter.must()

	// An open barrier stays open, whatever is expected then.
	w.patchSpec(&konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "stage"}}, `{"expected":9}`)
	b := is(w, "stage", "looked at again", func(b *konductorv1.Barrier) bool { return b.Status.ObservedGeneration == b.Generation })
	if b.Status.Phase != konductorv1.BarrierOpen {
		t.Errorf("the phase is %s", b.Status.Phase)
	}
}

func TestWaitingEndsWhenTheBarrierIsDeleted(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 2)
	isBarrier(w, "stage", konductorv1.BarrierWaiting)
	a, wire := w.someoneWired("waiter")
	waiter := waiting(w, func() error { return a.WaitBarrier(w.ctx, "stage") })
	wire.awaitAnswer("WATCH", "/barriers")
	w.ok(w.someone("admin").DeleteBarrier(w.ctx, "stage"))
	if err := wants[*konductor.NotFoundError](w, waiter.fails()); !err.Deleted {
		t.Errorf("%v does not say that it was deleted", err)
	}
}

func TestABarrierMayBeCreatedAfterItsWaitersAndParticipants(t *testing.T) {
	w := newWorld(t)
	w.operator()
	early := w.someone("early")
	arriving := waiting(w, func() error { return early.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("early")) })
	waiter := w.someone("waiter")
	opens := waiting(w, func() error { return waiter.WaitBarrier(w.ctx, "stage") })
	early.awaitSentence("waiting for barrier/stage to be created")
	waiter.awaitSentence("waiting for barrier/stage to be created")
	wants[*konductor.NotFoundError](w, w.someone("strict").WaitBarrier(w.ctx, "stage", konductor.FailIfMissing()))

	barrierOf(w, "stage", 1)
	arriving.must()
	opens.must()
}

func TestWaitingForABarrierEndsAtItsTimeLimitAndWhenCancelled(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 2)
	arrive(w, "stage", "a")
	is(w, "stage", "filled with 1", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	err := wants[*konductor.TimeoutError](w, waitBarrier(w, "stage", konductor.WithTimeout(2*time.Second)).fails())
	if want := "timed out after 2s waiting for barrier/stage: 1 of 2 participants have arrived"; err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
	err = wants[*konductor.TimeoutError](w, waitBarrier(w, "stage", konductor.WithTimeout(0)).fails())
	if want := "barrier/stage is not there yet: 1 of 2 participants have arrived"; err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
	wants[*konductor.TimeoutError](w, waitBarrier(w, "missing", konductor.WithTimeout(2*time.Second)).fails())
	wants[*konductor.TimeoutError](w, w.someone("a").ArriveBarrier(w.ctx, "missing", konductor.WithTimeout(2*time.Second)))
	wants[*konductor.NotFoundError](w, waitBarrier(w, "missing", konductor.WithTimeout(0)).fails())
}

func TestABarrierIsDeletedAfterItsTTLWithItsArrivals(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 1, konductor.ExpireAfter(time.Second))
	b := get[*konductorv1.Barrier](w, "stage")
	a, wire := w.someoneWired("waiter")
	waiter := waiting(w, func() error { return a.WaitBarrier(w.ctx, "stage") })
	wire.awaitAnswer("WATCH", "/barriers")
	arrive(w, "stage", "a")
	waiter.must()
	isGone(w, b)
	isGone(w, &konductorv1.Arrival{ObjectMeta: metav1.ObjectMeta{Name: konductorv1.ArrivalName("stage", b.UID, "a")}})
}

func TestTwoHundredArriveAtOnceAndAllGoOn(t *testing.T) {
	w := newWorld(t)
	w.operator()
	const n = 200
	barrierOf(w, "stage", n)
	clients := make([]*actor, 8)
	for i := range clients {
		clients[i] = w.someone("")
	}
	var all errgroup.Group
	for i := range n {
		who := konductor.WithHolder(fmt.Sprintf("participant-%d", i))
		all.Go(func() error {
			c := clients[i%len(clients)]
			if err := c.ArriveBarrier(w.ctx, "stage", who); err != nil {
				return err
			}
			return c.WaitBarrier(w.ctx, "stage")
		})
	}
	w.ok(all.Wait())
	b := isBarrier(w, "stage", konductorv1.BarrierOpen)
	if b.Status.Arrived != n || len(b.Status.Arrivals) != konductorv1.MaxListedArrivals {
		t.Errorf("%d have arrived and %d are listed", b.Status.Arrived, len(b.Status.Arrivals))
	}
}

func TestArrivalsFromBeforeTheOperatorStartedCount(t *testing.T) {
	w := newWorld(t)
	barrierOf(w, "stage", 3)
	arrive(w, "stage", "a", "b", "c")
	waiter := waitBarrier(w, "stage")
	w.operator()
	waiter.must()
	if diff := cmp.Diff([]string{"a", "b", "c"}, isBarrier(w, "stage", konductorv1.BarrierOpen).Status.Arrivals); diff != "" {
		t.Errorf("arrivals in order (-want +got):\n%s", diff)
	}
}

func TestArrivalsAtAFormerBarrierOfTheSameNameDontCount(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "stage", 2)
	arrive(w, "stage", "a")
	is(w, "stage", "filled with 1", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	w.ok(w.someone("admin").DeleteBarrier(w.ctx, "stage"))
	barrierOf(w, "stage", 2)
	arrive(w, "stage", "b")
	waiter := waitBarrier(w, "stage")
	is(w, "stage", "filled with 1", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	waiter.pending()
	// The same participant arrives at the new one as well.
	arrive(w, "stage", "a")
	waiter.must()
}
