package integration

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (w *testEnv) createLease(name string, opts ...konductor.TargetOption) *konductorv1.Lease {
	w.Helper()
	l := konductor.NewLease(name, opts...)
	w.createObjects(l)
	return l
}

func (w *testEnv) createSemaphore(name string, permits int32, opts ...konductor.TargetOption) *konductorv1.Semaphore {
	w.Helper()
	s := konductor.NewSemaphore(name, permits, opts...)
	w.createObjects(s)
	return s
}

// enqueue makes the participant acquire in the background and returns when its claim exists, so that later ones are behind it.
func (a *testParticipant) enqueue(kind string, target client.Object, opts ...konductor.AcquireSemaphoreOption) *future[*konductor.Hold] {
	a.env.Helper()
	return a.enqueueWithContext(a.env.ctx, kind, target, opts...)
}

func (a *testParticipant) enqueueWithContext(ctx context.Context, kind string, target client.Object, opts ...konductor.AcquireSemaphoreOption) *future[*konductor.Hold] {
	a.env.Helper()
	f := a.startAcquireWithContext(ctx, kind, target.GetName(), opts...)
	waitFor(a.env, a.claimName(kind, target), "made", func(*konductorv1.Claim) bool { return true })
	return f
}

// releaseEachWhenGranted releases each hold as soon as it is granted, in whatever order that is, and waits for all.
func releaseEachWhenGranted(w *testEnv, queued []*future[*konductor.Hold]) {
	w.Helper()
	done := make([]*future[struct{}], len(queued))
	for i, f := range queued {
		done[i] = runAsyncErr(w, func() error {
			<-f.done
			if f.err != nil {
				return f.err
			}
			return f.value.Release(w.ctx)
		})
	}
	for _, d := range done {
		d.mustSucceed()
	}
}

func TestQueueOrder(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db")
	checker := w.checkRevisions(konductorv1.KindLease, "db")
	first := w.newParticipant("first").mustAcquire(konductorv1.KindLease, "db")

	// Twenty in a row, all within a second or two, so that many have the same creation time.
	var queued []*future[*konductor.Hold]
	want := map[int32][]string{}
	for i := range int32(20) {
		priority := i % 3
		name := fmt.Sprintf("p%d-%02d", priority, i)
		want[priority] = append(want[priority], name)
		queued = append(queued, w.newParticipant(name).enqueue(konductorv1.KindLease, lease, konductor.WithPriority(priority)))
	}
	w.mustRelease(first)
	releaseEachWhenGranted(w, queued)

	order := slices.Concat([]string{"first"}, want[2], want[1], want[0])
	if diff := cmp.Diff(order, checker.waitForGrants(len(order))); diff != "" {
		t.Errorf("order of grants (-want +got):\n%s", diff)
	}
}

func TestQueueOrderSurvivesOperatorRestart(t *testing.T) {
	w := newTestEnv(t)
	lease := w.createLease("db")
	checker := w.checkRevisions(konductorv1.KindLease, "db")
	op := w.startOperator()
	first := w.newParticipant("first").mustAcquire(konductorv1.KindLease, "db")
	order := []string{"first"}
	var queued []*future[*konductor.Hold]
	for _, name := range numberedNames("w", 10) {
		order = append(order, name)
		queued = append(queued, w.newParticipant(name).enqueue(konductorv1.KindLease, lease))
		if len(queued) == 5 {
			op.stop()
		}
	}
	w.startOperator()
	w.mustRelease(first)
	releaseEachWhenGranted(w, queued)
	if diff := cmp.Diff(order, checker.waitForGrants(len(order))); diff != "" {
		t.Errorf("order of grants (-want +got):\n%s", diff)
	}
}

func TestRetriedAcquire(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	checker := w.checkRevisions(konductorv1.KindLease, "db")
	// Detached: the process ends and leaves the hold behind. Each participant is another process of the same name.
	first := w.newParticipant("job").mustAcquire(konductorv1.KindLease, "db", konductor.Detached(), konductor.WithTTL(time.Hour))
	again := w.newParticipant("job").mustAcquire(konductorv1.KindLease, "db", konductor.Detached(), konductor.WithTTL(time.Hour))
	if first.Token() != again.Token() {
		t.Errorf("the token was %d and is %d now", first.Token(), again.Token())
	}
	byDefault := w.newParticipant("job").mustAcquire(konductorv1.KindLease, "db", konductor.Detached())
	if byDefault.Token() != first.Token() || byDefault.TTL() != time.Hour {
		t.Errorf("without terms it got token %d, ttl %s", byDefault.Token(), byDefault.TTL())
	}
	for what, opts := range map[string][]konductor.AcquireSemaphoreOption{
		"ttl: 1h0m0s before, 1m0s now": {konductor.WithTTL(time.Minute)},
		"priority: 0 before, 5 now":    {konductor.WithTTL(time.Hour), konductor.WithPriority(5)},
	} {
		err := requireErrorAs[*konductor.TermsError](w, w.newParticipant("job").startAcquire(konductorv1.KindLease, "db", opts...).mustFail())
		if err.Difference != what {
			t.Errorf("the difference is %q, want %q", err.Difference, what)
		}
	}
	if diff := cmp.Diff([]string{"job"}, checker.grantedHolders()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestTooManyPermitsRefused(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	s := w.createSemaphore("api", 2)
	err := requireErrorAs[*konductor.RefusedError](w, w.newParticipant("a").startAcquire(konductorv1.KindSemaphore, "api", konductor.WithPermits(3)).mustFail())
	if want := "semaphore/api refused the claim: asks for 3 permits, but spec.permits is 2: ask for fewer or raise it"; err.Error() != want {
		t.Errorf("the error is %q, want %q", err, want)
	}
	// A waiter that can't be served any more after a resize is refused as well.
	hold := w.newParticipant("b").mustAcquire(konductorv1.KindSemaphore, "api", konductor.WithPermits(2))
	waiter := w.newParticipant("c").enqueue(konductorv1.KindSemaphore, s, konductor.WithPermits(2))
	_, resized := w.newParticipant("admin").ResizeSemaphore(w.ctx, "api", 1)
	w.must(resized)
	requireErrorAs[*konductor.RefusedError](w, waiter.mustFail())
	w.mustRelease(hold)
	waitGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: w.newParticipant("c").claimName(konductorv1.KindSemaphore, s)}})
}

func TestAcquireWithoutWaiting(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease, s := w.createLease("db"), w.createSemaphore("api", 2)
	look := konductor.WithTimeout(0)
	hold := w.newParticipant("a").mustAcquire(konductorv1.KindLease, "db", look)
	requireErrorAs[*konductor.BusyError](w, w.newParticipant("b").startAcquire(konductorv1.KindLease, "db", look).mustFail())
	waitGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: w.newParticipant("b").claimName(konductorv1.KindLease, lease)}})
	w.mustRelease(hold)
	w.mustRelease(w.newParticipant("b").mustAcquire(konductorv1.KindLease, "db", look))

	// Two of three permits are not enough for two more, but for one.
	w.newParticipant("a").mustAcquire(konductorv1.KindSemaphore, s.Name, look)
	requireErrorAs[*konductor.BusyError](w, w.newParticipant("b").startAcquire(konductorv1.KindSemaphore, "api", look, konductor.WithPermits(2)).mustFail())
	w.newParticipant("c").mustAcquire(konductorv1.KindSemaphore, "api", look)
	requireErrorAs[*konductor.NotFoundError](w, w.newParticipant("a").startAcquire(konductorv1.KindLease, "missing", look).mustFail())
}

func TestTimedOutWaiterLeavesQueue(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db")
	hold := w.newParticipant("a").mustAcquire(konductorv1.KindLease, "db")
	err := requireErrorAs[*konductor.TimeoutError](w, w.newParticipant("b").startAcquire(konductorv1.KindLease, "db", konductor.WithTimeout(2*time.Second)).mustFail())
	if err.Object != "lease/db" {
		t.Errorf("it timed out waiting for %s", err.Object)
	}
	waitGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: w.newParticipant("b").claimName(konductorv1.KindLease, lease)}})
	waitFor(w, "db", "without waiters", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 0 })
	w.mustRelease(hold)
}

func TestCancelledWaiterLeavesQueue(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db")
	checker := w.checkRevisions(konductorv1.KindLease, "db")
	hold := w.newParticipant("a").mustAcquire(konductorv1.KindLease, "db")
	ctx, cancel := context.WithCancel(w.ctx)
	b := w.newParticipant("b").enqueueWithContext(ctx, konductorv1.KindLease, lease)
	c := w.newParticipant("c").enqueue(konductorv1.KindLease, lease)
	waitFor(w, "db", "waited for by two", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 2 })
	cancel()
	if err := b.mustFail(); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	waitFor(w, "db", "waited for by one", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	w.mustRelease(hold)
	w.mustRelease(c.mustSucceed())
	if diff := cmp.Diff([]string{"a", "c"}, checker.grantedHolders()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestLargeClaimOvertakingLimit(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	s := w.createSemaphore("api", 4)
	checker := w.checkRevisions(konductorv1.KindSemaphore, "api")
	blocker := w.newParticipant("blocker").mustAcquire(konductorv1.KindSemaphore, "api")
	large := w.newParticipant("large").enqueue(konductorv1.KindSemaphore, s, konductor.WithPermits(4))
	var small []*future[*konductor.Hold]
	for _, name := range numberedNames("small", 15) {
		small = append(small, w.newParticipant(name).enqueue(konductorv1.KindSemaphore, s))
	}
	// Three permits are free, so small requests pass, each making room for the next.
	overtaken := []*future[struct{}]{}
	for _, f := range small {
		overtaken = append(overtaken, runAsyncErr(w, func() error {
			<-f.done
			if f.err != nil {
				return f.err
			}
			return f.value.Release(w.ctx)
		}))
	}
	waitFor(w, "api", "kept for the large claim", func(s *konductorv1.Semaphore) bool {
		return len(s.Status.Overtaken) == 1 && s.Status.Overtaken[0].Times == 10 && len(s.Status.Holders) == 1
	})
	large.mustBePending()
	w.mustRelease(blocker)
	w.mustRelease(large.mustSucceed())
	for _, o := range overtaken {
		o.mustSucceed()
	}
	order := checker.waitForGrants(17)
	if got := slices.Index(order, "large"); got != 11 {
		t.Errorf("the large claim was served as number %d: %v", got, order)
	}
}

func TestMultiplePermits(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	s := w.createSemaphore("api", 5)
	w.checkRevisions(konductorv1.KindSemaphore, "api")
	three := w.newParticipant("three").mustAcquire(konductorv1.KindSemaphore, "api", konductor.WithPermits(3))
	two := w.newParticipant("two").mustAcquire(konductorv1.KindSemaphore, "api", konductor.WithPermits(2))
	full := waitFor(w, "api", "full", func(s *konductorv1.Semaphore) bool { return s.Status.Phase == konductorv1.SemaphoreFull })
	if full.Status.InUse != 5 || full.Status.Available != 0 {
		t.Errorf("in use %d, available %d", full.Status.InUse, full.Status.Available)
	}
	four := w.newParticipant("four").enqueue(konductorv1.KindSemaphore, s, konductor.WithPermits(4))
	w.mustRelease(two)
	waitFor(w, "api", "with 2 free", func(s *konductorv1.Semaphore) bool { return s.Status.Available == 2 })
	four.mustBePending()
	w.mustRelease(three)
	w.mustRelease(four.mustSucceed())
}

func TestResizeToZeroAndBack(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	s := w.createSemaphore("api", 1)
	w.checkRevisions(konductorv1.KindSemaphore, "api")
	admin := w.newParticipant("admin")
	resize := func(n int32) {
		t.Helper()
		_, err := admin.ResizeSemaphore(w.ctx, "api", n)
		w.must(err)
	}
	hold := w.newParticipant("a").mustAcquire(konductorv1.KindSemaphore, "api")
	resize(0)
	paused := waitFor(w, "api", "paused", func(s *konductorv1.Semaphore) bool { return s.Status.ObservedGeneration == s.Generation })
	if len(paused.Status.Holders) != 1 {
		t.Error("pausing has taken the permit away")
	}
	b := w.newParticipant("b").enqueue(konductorv1.KindSemaphore, s)
	w.mustRelease(hold)
	waitFor(w, "api", "idle", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 0 && s.Status.Waiting == 1 })
	b.mustBePending()
	requireErrorAs[*konductor.BusyError](w, w.newParticipant("c").startAcquire(konductorv1.KindSemaphore, "api", konductor.WithTimeout(0)).mustFail())

	start := time.Now()
	resize(1)
	hold = b.mustSucceed()
	if took := time.Since(start); took > 10*time.Second {
		t.Errorf("it took %s until the resize was noticed", took)
	}
	w.mustRelease(hold)
}

func TestLowerPermitsBelowInUse(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	s := w.createSemaphore("api", 3)
	w.checkRevisions(konductorv1.KindSemaphore, "api")
	var holds []*konductor.Hold
	for _, p := range w.newParticipants("a", "b", "c") {
		holds = append(holds, p.mustAcquire(konductorv1.KindSemaphore, "api"))
	}
	_, err := w.newParticipant("admin").ResizeSemaphore(w.ctx, "api", 1)
	w.must(err)
	lowered := waitFor(w, "api", "looked at", func(s *konductorv1.Semaphore) bool { return s.Status.ObservedGeneration == s.Generation })
	if lowered.Status.InUse != 3 {
		t.Errorf("%d permits are in use, want 3", lowered.Status.InUse)
	}
	d := w.newParticipant("d").enqueue(konductorv1.KindSemaphore, s)
	w.mustRelease(holds[0])
	w.mustRelease(holds[1])
	waitFor(w, "api", "down to one", func(s *konductorv1.Semaphore) bool { return s.Status.InUse == 1 })
	d.mustBePending()
	select {
	case <-holds[2].Lost():
		t.Error("the last holder was evicted")
	default:
	}
	w.mustRelease(holds[2])
	w.mustRelease(d.mustSucceed())
}

func TestMaxPriority(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease, s := w.createLease("db", konductor.WithMaxPriority(5)), w.createSemaphore("api", 1, konductor.WithMaxPriority(0))
	for _, target := range []struct {
		kind     string
		object   client.Object
		priority int32
	}{{konductorv1.KindLease, lease, 5}, {konductorv1.KindSemaphore, s, 0}} {
		hold := w.newParticipant("allowed").mustAcquire(target.kind, target.object.GetName(), konductor.WithPriority(target.priority))
		err := w.newParticipant("above").startAcquire(target.kind, target.object.GetName(), konductor.WithPriority(target.priority+1)).mustFail()
		want := fmt.Sprintf("asks for priority %d: ask for at most %d, or raise spec.maxPriority", target.priority+1, target.priority)
		if refused := (*konductor.RefusedError)(nil); !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("the acquire ended with %v, want one refused because it %s", err, want)
		}
		w.mustRelease(hold)
	}
}
