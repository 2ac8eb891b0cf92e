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

// arriveInOrder makes the participants arrive one after the other.
func arriveInOrder(w *testEnv, barrier string, participants ...string) {
	w.Helper()
	for _, p := range participants {
		w.must(w.newParticipant(p).ArriveBarrier(w.ctx, barrier, konductor.WithHolder(p)))
	}
}

func createBarrier(w *testEnv, name string, expected int32, opts ...konductor.CreateBarrierOption) {
	w.Helper()
	_, err := w.newParticipant("creator").CreateBarrier(w.ctx, name, expected, opts...)
	w.must(err)
}

// startWaitBarrier waits for a barrier in the background.
func startWaitBarrier(w *testEnv, name string, opts ...konductor.WaitOption) *future[struct{}] {
	w.Helper()
	a := w.newParticipant("waiter")
	return runAsyncErr(w, func() error { return a.WaitBarrier(w.ctx, name, opts...) })
}

func waitBarrierPhase(w *testEnv, name string, phase konductorv1.BarrierPhase) *konductorv1.Barrier {
	w.Helper()
	return waitFor(w, name, string(phase), func(b *konductorv1.Barrier) bool { return b.Status.Phase == phase })
}

func TestBarrierOpensAtQuorum(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 5, konductor.WithQuorum(3))
	waiter := startWaitBarrier(w, "stage")
	arriveInOrder(w, "stage", "a", "b")
	waitFor(w, "stage", "filled with 2", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 2 })
	waiter.mustBePending()

	arriveInOrder(w, "stage", "c")
	waiter.mustSucceed()
	opened := waitBarrierPhase(w, "stage", konductorv1.BarrierOpen)
	if diff := cmp.Diff([]string{"a", "b", "c"}, opened.Status.Arrivals); diff != "" {
		t.Errorf("arrivals in order (-want +got):\n%s", diff)
	}
	arriveInOrder(w, "stage", "late")
	startWaitBarrier(w, "stage").mustSucceed()
}

func TestBarrierCountsParticipantOnce(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 2)
	arriveInOrder(w, "stage", "a", "a", "a")
	// An Arrival created directly under another name is of the same participant all the same.
	w.createObjects(&konductorv1.Arrival{
		ObjectMeta: metav1.ObjectMeta{Name: "by-hand"},
		Spec:       konductorv1.ArrivalSpec{Barrier: "stage", Participant: "a"},
	})
	waiter := startWaitBarrier(w, "stage")
	waitFor(w, "stage", "filled with 1", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	waiter.mustBePending()
	arriveInOrder(w, "stage", "b")
	waiter.mustSucceed()
	if got := waitBarrierPhase(w, "stage", konductorv1.BarrierOpen).Status.Arrived; got != 2 {
		t.Errorf("arrived = %d, want 2", got)
	}
}

func TestArriveAfterFailedArrival(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 2, konductor.WithQuorum(1))
	a := w.newParticipant("a")
	w.must(a.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("a"), konductor.AsFailed("disk full")))
	w.must(a.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("a"), konductor.AsFailed("disk full")))
	requireErrorAs[*konductor.TermsError](w, a.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("a")))
}

func TestBarrierFailsWhenQuorumUnreachable(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 3, konductor.WithQuorum(2), konductor.WithTimeoutAfterCreation(time.Hour))
	waiter := startWaitBarrier(w, "stage")
	a := w.newParticipant("a")
	w.must(a.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("a"), konductor.AsFailed("disk full")))
	waitFor(w, "stage", "one failed", func(b *konductorv1.Barrier) bool { return b.Status.Failed == 1 })
	waiter.mustBePending()
	w.must(a.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("b"), konductor.AsFailed("no route to the database")))

	err := requireErrorAs[*konductor.FailedError](w, waiter.mustFail())
	want := "barrier/stage failed: 0 of 3 participants have arrived (quorum 2), 2 failed: the quorum of 2 can't be reached any more; last to fail: b (no route to the database)"
	if err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
	w.awaitEvent("Barrier", "stage", konductorv1.EventFailed, "no route to the database")
}

func TestBarrierTimeoutRaised(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 2, konductor.WithTimeoutAfterCreation(time.Second))
	arriveInOrder(w, "stage", "a")
	err := requireErrorAs[*konductor.FailedError](w, startWaitBarrier(w, "stage").mustFail())
	if err.Phase != string(konductorv1.BarrierTimeout) {
		t.Errorf("the phase is %s", err.Phase)
	}
	// An arrival after the deadline doesn't count, and the barrier doesn't open.
	arriveInOrder(w, "stage", "b")
	waitBarrierPhase(w, "stage", konductorv1.BarrierTimeout)

	w.patchSpec(&konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "stage"}}, `{"expected":3,"timeout":"1h"}`)
	waitBarrierPhase(w, "stage", konductorv1.BarrierWaiting)
	waiter := startWaitBarrier(w, "stage")
	arriveInOrder(w, "stage", "c")
	waiter.mustSucceed()
}

func TestBarrierExpectedLowered(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 3)
	arriveInOrder(w, "stage", "a", "b")
	waiter := startWaitBarrier(w, "stage")
	waitFor(w, "stage", "filled with 2", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 2 })
	waiter.mustBePending()
	w.patchSpec(&konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "stage"}}, `{"expected":2}`)
	waiter.mustSucceed()

	// An open barrier stays open, even if more arrivals are expected later.
	w.patchSpec(&konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "stage"}}, `{"expected":9}`)
	b := waitFor(w, "stage", "looked at again", func(b *konductorv1.Barrier) bool { return b.Status.ObservedGeneration == b.Generation })
	if b.Status.Phase != konductorv1.BarrierOpen {
		t.Errorf("the phase is %s", b.Status.Phase)
	}
}

func TestWaitBarrierDeleted(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 2)
	waitBarrierPhase(w, "stage", konductorv1.BarrierWaiting)
	a, wire := w.newHookedParticipant("waiter")
	waiter := runAsyncErr(w, func() error { return a.WaitBarrier(w.ctx, "stage") })
	wire.waitForResponse("WATCH", "/barriers")
	w.must(w.newParticipant("admin").DeleteBarrier(w.ctx, "stage"))
	if err := requireErrorAs[*konductor.NotFoundError](w, waiter.mustFail()); !err.Deleted {
		t.Errorf("%v does not say that it was deleted", err)
	}
}

func TestBarrierCreatedAfterWaiters(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	early := w.newParticipant("early")
	arriving := runAsyncErr(w, func() error { return early.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("early")) })
	waiter := w.newParticipant("waiter")
	opens := runAsyncErr(w, func() error { return waiter.WaitBarrier(w.ctx, "stage") })
	early.waitForNotification("waiting for barrier/stage to be created")
	waiter.waitForNotification("waiting for barrier/stage to be created")
	requireErrorAs[*konductor.NotFoundError](w, w.newParticipant("strict").WaitBarrier(w.ctx, "stage", konductor.FailIfMissing()))

	createBarrier(w, "stage", 1)
	arriving.mustSucceed()
	opens.mustSucceed()
}

func TestWaitBarrierTimeout(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 2)
	arriveInOrder(w, "stage", "a")
	waitFor(w, "stage", "filled with 1", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	err := requireErrorAs[*konductor.TimeoutError](w, startWaitBarrier(w, "stage", konductor.WithTimeout(2*time.Second)).mustFail())
	if want := "timed out after 2s waiting for barrier/stage: 1 of 2 participants have arrived"; err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
	err = requireErrorAs[*konductor.TimeoutError](w, startWaitBarrier(w, "stage", konductor.WithTimeout(0)).mustFail())
	if want := "barrier/stage is not open: 1 of 2 participants have arrived"; err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
	requireErrorAs[*konductor.TimeoutError](w, startWaitBarrier(w, "missing", konductor.WithTimeout(2*time.Second)).mustFail())
	requireErrorAs[*konductor.TimeoutError](w, w.newParticipant("a").ArriveBarrier(w.ctx, "missing", konductor.WithTimeout(2*time.Second)))
	requireErrorAs[*konductor.NotFoundError](w, startWaitBarrier(w, "missing", konductor.WithTimeout(0)).mustFail())
}

func TestBarrierTTL(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 1, konductor.WithTTLAfterFinished(time.Second))
	b := getObject[*konductorv1.Barrier](w, "stage")
	a, wire := w.newHookedParticipant("waiter")
	waiter := runAsyncErr(w, func() error { return a.WaitBarrier(w.ctx, "stage") })
	wire.waitForResponse("WATCH", "/barriers")
	arriveInOrder(w, "stage", "a")
	waiter.mustSucceed()
	waitGone(w, b)
	waitGone(w, &konductorv1.Arrival{ObjectMeta: metav1.ObjectMeta{Name: konductorv1.ArrivalName("stage", b.UID, "a")}})
}

func TestBarrierManyConcurrentArrivals(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	const n = 200
	createBarrier(w, "stage", n)
	clients := make([]*testParticipant, 8)
	for i := range clients {
		clients[i] = w.newParticipant("")
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
	w.must(all.Wait())
	b := waitBarrierPhase(w, "stage", konductorv1.BarrierOpen)
	if b.Status.Arrived != n || len(b.Status.Arrivals) != konductorv1.MaxListedArrivals {
		t.Errorf("%d have arrived and %d are listed", b.Status.Arrived, len(b.Status.Arrivals))
	}
}

func TestArrivalsBeforeOperatorStart(t *testing.T) {
	w := newTestEnv(t)
	createBarrier(w, "stage", 3)
	arriveInOrder(w, "stage", "a", "b", "c")
	waiter := startWaitBarrier(w, "stage")
	w.startOperator()
	waiter.mustSucceed()
	if diff := cmp.Diff([]string{"a", "b", "c"}, waitBarrierPhase(w, "stage", konductorv1.BarrierOpen).Status.Arrivals); diff != "" {
		t.Errorf("arrivals in order (-want +got):\n%s", diff)
	}
}

func TestArrivalsAtRecreatedBarrier(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "stage", 2)
	arriveInOrder(w, "stage", "a")
	waitFor(w, "stage", "filled with 1", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	w.must(w.newParticipant("admin").DeleteBarrier(w.ctx, "stage"))
	createBarrier(w, "stage", 2)
	arriveInOrder(w, "stage", "b")
	waiter := startWaitBarrier(w, "stage")
	waitFor(w, "stage", "filled with 1", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	waiter.mustBePending()
	// The same participant arrives at the new barrier as well.
	arriveInOrder(w, "stage", "a")
	waiter.mustSucceed()
}
