package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// lease creates a lease.
func (w *world) lease(name string, opts ...konductor.Option) *konductorv1.Lease {
	w.Helper()
	l := konductor.NewLease(name, opts...)
	w.create(l)
	return l
}

// semaphore creates a semaphore.
func (w *world) semaphore(name string, permits int32, opts ...konductor.Option) *konductorv1.Semaphore {
	w.Helper()
	s := konductor.NewSemaphore(name, permits, opts...)
	w.create(s)
	return s
}

// queue makes the actor acquire in the background and returns when its claim is there, so that who queues next is behind it.
func (a *actor) queue(kind string, target client.Object, opts ...konductor.Option) *future[*konductor.Hold] {
	a.w.Helper()
	return a.queueWith(a.w.ctx, kind, target, opts...)
}

func (a *actor) queueWith(ctx context.Context, kind string, target client.Object, opts ...konductor.Option) *future[*konductor.Hold] {
	a.w.Helper()
	f := a.acquiringWith(ctx, kind, target.GetName(), opts...)
	is(a.w, a.claimName(kind, target), "made", func(*konductorv1.Claim) bool { return true })
	return f
}

// serveInTurn releases each hold as soon as it is granted, in whatever order that is, and waits for all.
func serveInTurn(w *world, queued []*future[*konductor.Hold]) {
	w.Helper()
	done := make([]*future[struct{}], len(queued))
	for i, f := range queued {
		done[i] = waiting(w, func() error {
			<-f.done
			if f.err != nil {
				return f.err
			}
			return f.value.Release(w.ctx)
		})
	}
	for _, d := range done {
		d.must()
	}
}

func TestTheQueueIsServedByPriorityAndThenInOrderOfCreation(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease := w.lease("db")
	witness := w.witness(konductorv1.KindLease, "db")
	first := w.someone("first").acquire(konductorv1.KindLease, "db")

	// Twenty in a row, all within a second or two, so that creation times alone don't tell them apart.
	var queued []*future[*konductor.Hold]
	want := map[int32][]string{}
	for i := range int32(20) {
		priority := i % 3
		name := fmt.Sprintf("p%d-%02d", priority, i)
		want[priority] = append(want[priority], name)
		queued = append(queued, w.someone(name).queue(konductorv1.KindLease, lease, konductor.WithPriority(priority)))
	}
	w.release(first)
	serveInTurn(w, queued)

	order := slices.Concat([]string{"first"}, want[2], want[1], want[0])
	if diff := cmp.Diff(order, witness.awaitGrants(len(order))); diff != "" {
		t.Errorf("order of grants (-want +got):\n%s", diff)
	}
}

func TestTheOrderOfTheQueueSurvivesAnOperatorRestart(t *testing.T) {
	w := newWorld(t)
	lease := w.lease("db")
	witness := w.witness(konductorv1.KindLease, "db")
	op := w.operator()
	first := w.someone("first").acquire(konductorv1.KindLease, "db")
	order := []string{"first"}
	var queued []*future[*konductor.Hold]
	for _, name := range numbered("w", 10) {
		order = append(order, name)
		queued = append(queued, w.someone(name).queue(konductorv1.KindLease, lease))
		if len(queued) == 5 {
			op.stop()
		}
	}
	w.operator()
	w.release(first)
	serveInTurn(w, queued)
	if diff := cmp.Diff(order, witness.awaitGrants(len(order))); diff != "" {
		t.Errorf("order of grants (-want +got):\n%s", diff)
	}
}

func TestARetriedAcquireGetsTheSameHoldAndOtherTermsAnError(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.lease("db")
	witness := w.witness(konductorv1.KindLease, "db")
	// Detached: the process ends and leaves the hold behind. Each someone is another process of the same name.
	first := w.someone("job").acquire(konductorv1.KindLease, "db", konductor.Detached(), konductor.WithTTL(time.Hour))
	again := w.someone("job").acquire(konductorv1.KindLease, "db", konductor.Detached(), konductor.WithTTL(time.Hour))
	if first.Token() != again.Token() {
		t.Errorf("the token was %d and is %d now", first.Token(), again.Token())
	}
	byDefault := w.someone("job").acquire(konductorv1.KindLease, "db", konductor.Detached())
	if byDefault.Token() != first.Token() || byDefault.TTL() != time.Hour {
		t.Errorf("without terms it got token %d, ttl %s", byDefault.Token(), byDefault.TTL())
	}
	for what, opts := range map[string][]konductor.Option{
		"ttl: 1h0m0s before, 1m0s now": {konductor.WithTTL(time.Minute)},
		"priority: 0 before, 5 now":    {konductor.WithTTL(time.Hour), konductor.WithPriority(5)},
	} {
		err := wants[*konductor.TermsError](w, w.someone("job").acquiring(konductorv1.KindLease, "db", opts...).fails())
		if err.Difference != what {
			t.Errorf("the difference is %q, want %q", err.Difference, what)
		}
	}
	if diff := cmp.Diff([]string{"job"}, witness.granted()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestAskingForMorePermitsThanThereAreIsRefused(t *testing.T) {
	w := newWorld(t)
	w.operator()
	s := w.semaphore("api", 2)
	err := wants[*konductor.RefusedError](w, w.someone("a").acquiring(konductorv1.KindSemaphore, "api", konductor.WithPermits(3)).fails())
	if want := "semaphore/api refused the claim: asks for 3 permits of 2: ask for fewer or raise spec.permits"; err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
	// Who waits and can't be served any more after a resize learns it as well.
	hold := w.someone("b").acquire(konductorv1.KindSemaphore, "api", konductor.WithPermits(2))
	waiter := w.someone("c").queue(konductorv1.KindSemaphore, s, konductor.WithPermits(2))
	_, resized := w.someone("admin").ResizeSemaphore(w.ctx, "api", 1)
	w.ok(resized)
	wants[*konductor.RefusedError](w, waiter.fails())
	w.release(hold)
	isGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: w.someone("c").claimName(konductorv1.KindSemaphore, s)}})
}

func TestWithoutWaitingAnAcquireIsGrantedOrBusyAtOnce(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease, s := w.lease("db"), w.semaphore("api", 2)
	look := konductor.WithTimeout(0)
	hold := w.someone("a").acquire(konductorv1.KindLease, "db", look)
	wants[*konductor.BusyError](w, w.someone("b").acquiring(konductorv1.KindLease, "db", look).fails())
	isGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: w.someone("b").claimName(konductorv1.KindLease, lease)}})
	w.release(hold)
	w.release(w.someone("b").acquire(konductorv1.KindLease, "db", look))

	// Two of three permits are not enough for two more, but for one.
	w.someone("a").acquire(konductorv1.KindSemaphore, s.Name, look)
	wants[*konductor.BusyError](w, w.someone("b").acquiring(konductorv1.KindSemaphore, "api", look, konductor.WithPermits(2)).fails())
	w.someone("c").acquire(konductorv1.KindSemaphore, "api", look)
	wants[*konductor.NotFoundError](w, w.someone("a").acquiring(konductorv1.KindLease, "missing", look).fails())
}

func TestATimedOutWaiterLeavesTheQueue(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease := w.lease("db")
	hold := w.someone("a").acquire(konductorv1.KindLease, "db")
	err := wants[*konductor.TimeoutError](w, w.someone("b").acquiring(konductorv1.KindLease, "db", konductor.WithTimeout(2*time.Second)).fails())
	if err.Object != "lease/db" {
		t.Errorf("it timed out waiting for %s", err.Object)
	}
	isGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: w.someone("b").claimName(konductorv1.KindLease, lease)}})
	is(w, "db", "without waiters", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 0 })
	w.release(hold)
}

func TestACancelledWaiterLeavesTheQueueAtOnce(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease := w.lease("db")
	witness := w.witness(konductorv1.KindLease, "db")
	hold := w.someone("a").acquire(konductorv1.KindLease, "db")
	ctx, cancel := context.WithCancel(w.ctx)
	b := w.someone("b").queueWith(ctx, konductorv1.KindLease, lease)
	c := w.someone("c").queue(konductorv1.KindLease, lease)
	is(w, "db", "waited for by two", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 2 })
	cancel()
	if err := b.fails(); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	is(w, "db", "waited for by one", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	w.release(hold)
	w.release(c.must())
	if diff := cmp.Diff([]string{"a", "c"}, witness.granted()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestALargeClaimIsOvertakenTenTimesAtTheMost(t *testing.T) {
	w := newWorld(t)
	w.operator()
	s := w.semaphore("api", 4)
	witness := w.witness(konductorv1.KindSemaphore, "api")
	blocker := w.someone("blocker").acquire(konductorv1.KindSemaphore, "api")
	large := w.someone("large").queue(konductorv1.KindSemaphore, s, konductor.WithPermits(4))
	var small []*future[*konductor.Hold]
	for _, name := range numbered("small", 15) {
		small = append(small, w.someone(name).queue(konductorv1.KindSemaphore, s))
	}
	// Three permits are free, so small ones pass, each making room for the next.
	overtaken := []*future[struct{}]{}
	for _, f := range small {
		overtaken = append(overtaken, waiting(w, func() error {
			<-f.done
			if f.err != nil {
				return f.err
			}
			return f.value.Release(w.ctx)
		}))
	}
	is(w, "api", "kept for the large claim", func(s *konductorv1.Semaphore) bool {
		return s.Status.Head != nil && s.Status.Head.Overtaken == 10 && len(s.Status.Holders) == 1
	})
	large.pending()
	w.release(blocker)
	w.release(large.must())
	for _, o := range overtaken {
		o.must()
	}
	order := witness.awaitGrants(17)
	if got := slices.Index(order, "large"); got != 11 {
		t.Errorf("the large claim was served as number %d: %v", got, order)
	}
}

func TestSeveralPermitsAreHeldAndGivenBackTogether(t *testing.T) {
	w := newWorld(t)
	w.operator()
	s := w.semaphore("api", 5)
	w.witness(konductorv1.KindSemaphore, "api")
	three := w.someone("three").acquire(konductorv1.KindSemaphore, "api", konductor.WithPermits(3))
	two := w.someone("two").acquire(konductorv1.KindSemaphore, "api", konductor.WithPermits(2))
	full := is(w, "api", "full", func(s *konductorv1.Semaphore) bool { return s.Status.Phase == konductorv1.SemaphoreFull })
	if full.Status.InUse != 5 || full.Status.Available != 0 {
		t.Errorf("in use %d, available %d", full.Status.InUse, full.Status.Available)
	}
	four := w.someone("four").queue(konductorv1.KindSemaphore, s, konductor.WithPermits(4))
	w.release(two)
	is(w, "api", "with 2 free", func(s *konductorv1.Semaphore) bool { return s.Status.Available == 2 })
	four.pending()
	w.release(three)
	w.release(four.must())
}

func TestResizingToNothingPausesAndBackResumesAtOnce(t *testing.T) {
	w := newWorld(t)
	w.operator()
	s := w.semaphore("api", 1)
	w.witness(konductorv1.KindSemaphore, "api")
	admin := w.someone("admin")
	resize := func(n int32) {
		t.Helper()
		_, err := admin.ResizeSemaphore(w.ctx, "api", n)
		w.ok(err)
	}
	hold := w.someone("a").acquire(konductorv1.KindSemaphore, "api")
	resize(0)
	paused := is(w, "api", "paused", func(s *konductorv1.Semaphore) bool { return s.Status.ObservedGeneration == s.Generation })
	if len(paused.Status.Holders) != 1 {
		t.Error("pausing has taken the permit away")
	}
	b := w.someone("b").queue(konductorv1.KindSemaphore, s)
	w.release(hold)
	is(w, "api", "idle", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 0 && s.Status.Waiting == 1 })
	b.pending()
	wants[*konductor.BusyError](w, w.someone("c").acquiring(konductorv1.KindSemaphore, "api", konductor.WithTimeout(0)).fails())

	start := time.Now()
	resize(1)
	hold = b.must()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s until the resize was noticed", took)
	}
	w.release(hold)
}

func TestLoweringPermitsBelowWhatIsInUseEvictsNobody(t *testing.T) {
	w := newWorld(t)
	w.operator()
	s := w.semaphore("api", 3)
	w.witness(konductorv1.KindSemaphore, "api")
	var holds []*konductor.Hold
	for _, p := range w.people("a", "b", "c") {
		holds = append(holds, p.acquire(konductorv1.KindSemaphore, "api"))
	}
	_, err := w.someone("admin").ResizeSemaphore(w.ctx, "api", 1)
	w.ok(err)
	lowered := is(w, "api", "looked at", func(s *konductorv1.Semaphore) bool { return s.Status.ObservedGeneration == s.Generation })
	if lowered.Status.InUse != 3 {
		t.Errorf("%d permits are in use, want 3", lowered.Status.InUse)
	}
	d := w.someone("d").queue(konductorv1.KindSemaphore, s)
	w.release(holds[0])
	w.release(holds[1])
	is(w, "api", "down to one", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 1 })
	d.pending()
	select {
	case <-holds[2].Lost():
		t.Error("the last holder was evicted")
	default:
	}
	w.release(holds[2])
	w.release(d.must())
}
