package integration

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// criticalSection is what a lease or semaphore protects. It checks from inside what revisionChecker checks from outside.
type criticalSection struct {
	env             *testEnv
	permits         int64
	permitsInUse    atomic.Int64
	maxPermitsInUse atomic.Int64

	mu     sync.Mutex
	tokens []int64
}

// runUnderHold works under a hold of n permits.
func (r *criticalSection) runUnderHold(h *konductor.Hold, n int64) {
	in := r.permitsInUse.Add(n)
	if in > r.permits {
		r.env.Errorf("%d permits of %d are in use at the same time, by %s among others", in, r.permits, h.Holder())
	}
	r.maxPermitsInUse.Store(max(r.maxPermitsInUse.Load(), in))
	r.mu.Lock()
	r.tokens = append(r.tokens, h.Token())
	r.mu.Unlock()
	runtime.Gosched()
	select {
	case <-h.Lost():
		r.env.Errorf("%s lost its hold: %v", h.Holder(), context.Cause(h.Context()))
	default:
	}
	r.permitsInUse.Add(-n)
}

// contend lets participants acquire, work and release, turns times each, all at the same time.
func contend(w *testEnv, r *criticalSection, participants []*testParticipant, turns int, kind, name string, permitsOf func(turn int) int32) error {
	var all errgroup.Group
	for _, p := range participants {
		all.Go(func() error {
			for turn := range turns {
				n := permitsOf(turn)
				opts := []konductor.AcquireSemaphoreOption{konductor.WithTTL(waitTimeout)}
				if kind == konductorv1.KindSemaphore {
					opts = append(opts, konductor.WithPermits(n))
				}
				hold, err := p.acquire(w.ctx, kind, name, opts...)
				if err != nil {
					return fmt.Errorf("%s, turn %d: %w", p.name, turn, err)
				}
				r.runUnderHold(hold, int64(n))
				if err := hold.Release(w.ctx); err != nil {
					return fmt.Errorf("%s, turn %d: %w", p.name, turn, err)
				}
			}
			return nil
		})
	}
	return all.Wait()
}

func onePermit(int) int32 { return 1 }

func numberedNames(name string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%02d", name, i)
	}
	return names
}

func TestLeaseMutualExclusion(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createObjects(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "db"}})
	checker := w.checkRevisions(konductorv1.KindLease, "db")
	r := &criticalSection{env: w, permits: 1}

	const people, turns = 12, 8
	w.must(contend(w, r, w.newParticipants(numberedNames("p", people)...), turns, konductorv1.KindLease, "db", onePermit))

	if !slices.IsSorted(r.tokens) {
		t.Errorf("the tokens did not grow from holder to holder: %v", r.tokens)
	}
	if got := len(checker.waitForGrants(people * turns)); got != people*turns {
		t.Errorf("%d grants were made for %d holds", got, people*turns)
	}
	checker.waitIdle()
}

func TestSemaphorePermitLimit(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createObjects(&konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "api"}, Spec: konductorv1.SemaphoreSpec{Permits: 3}})
	checker := w.checkRevisions(konductorv1.KindSemaphore, "api")
	r := &criticalSection{env: w, permits: 3}

	const people, turns = 12, 8
	w.must(contend(w, r, w.newParticipants(numberedNames("p", people)...), turns, konductorv1.KindSemaphore, "api", func(turn int) int32 { return int32(turn%3) + 1 }))

	if got := len(checker.waitForGrants(people * turns)); got != people*turns {
		t.Errorf("%d grants were made for %d holds", got, people*turns)
	}
	if r.maxPermitsInUse.Load() < 2 {
		t.Error("permits were never in use at the same time: the test shows nothing")
	}
	checker.waitIdle()
}

func TestMutualExclusionWithTwoOperators(t *testing.T) {
	w := newTestEnv(t)
	first, second := w.startOperator(), w.startOperator()
	w.createObjects(
		&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "db"}},
		&konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "api"}, Spec: konductorv1.SemaphoreSpec{Permits: 2}},
	)
	lease, semaphore := w.checkRevisions(konductorv1.KindLease, "db"), w.checkRevisions(konductorv1.KindSemaphore, "api")
	const people, turns = 6, 6
	ps, qs := w.newParticipants(numberedNames("p", people)...), w.newParticipants(numberedNames("q", people)...)
	var both errgroup.Group
	both.Go(func() error {
		return contend(w, &criticalSection{env: w, permits: 1}, ps, turns, konductorv1.KindLease, "db", onePermit)
	})
	both.Go(func() error {
		return contend(w, &criticalSection{env: w, permits: 2}, qs, turns, konductorv1.KindSemaphore, "api", onePermit)
	})
	w.must(both.Wait())
	// Two operators may grant a claim that is already being released, but each hold that a client saw was one grant.
	lease.waitForGrants(people * turns)
	semaphore.waitForGrants(people * turns)
	lease.waitIdle()
	semaphore.waitIdle()
	if a, b := first.counterSum("konductor_grants_total"), second.counterSum("konductor_grants_total"); a == 0 || b == 0 {
		t.Logf("only one of the operators got to grant: %v and %v", a, b)
	}
}

func TestMutualExclusionOnBadConnection(t *testing.T) {
	w := newTestEnv(t)
	config, wire := w.hookTransport(w.operatorConfig)
	w.startOperatorWith(func(o *operator.Options) { o.Config = config })
	// An operator that can't discover the API server's resources when it starts exits, to be restarted.
	wire.waitForResponse("WATCH", "/claims")
	wire.failRandomly(12)
	w.createLease("db")
	w.createSemaphore("api", 2)
	lease, semaphore := w.checkRevisions(konductorv1.KindLease, "db"), w.checkRevisions(konductorv1.KindSemaphore, "api")
	people := make([]*testParticipant, 6)
	for i := range people {
		people[i], wire = w.newHookedParticipant(fmt.Sprintf("p%d", i))
		wire.failRandomly(12)
	}
	const turns = 4
	var both errgroup.Group
	both.Go(func() error {
		return contend(w, &criticalSection{env: w, permits: 1}, people, turns, konductorv1.KindLease, "db", onePermit)
	})
	both.Go(func() error {
		return contend(w, &criticalSection{env: w, permits: 2}, people, turns, konductorv1.KindSemaphore, "api", onePermit)
	})
	w.must(both.Wait())
	// Nothing is granted twice because a response was lost, and nothing is left held.
	for _, checker := range []*revisionChecker{lease, semaphore} {
		if n := len(checker.waitForGrants(len(people) * turns)); n != len(people)*turns {
			t.Errorf("%s: %d grants were made for %d holds", checker.name, n, len(people)*turns)
		}
		checker.waitIdle()
	}
}

func TestFencingTokensGrowAcrossRecreation(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease, semaphore := w.checkRevisions(konductorv1.KindLease, "db"), w.checkRevisions(konductorv1.KindSemaphore, "api")
	var leaseTokens, semaphoreTokens []int64
	for range 4 {
		l := &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "db"}}
		s := &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "api"}, Spec: konductorv1.SemaphoreSpec{Permits: 2}}
		w.createObjects(l, s)
		for _, p := range w.newParticipants("a", "b") {
			h := p.mustAcquire(konductorv1.KindLease, "db")
			leaseTokens = append(leaseTokens, h.Token())
			w.mustRelease(h)
			semaphoreTokens = append(semaphoreTokens, p.mustAcquire(konductorv1.KindSemaphore, "api").Token())
		}
		w.deleteObjects(l, s)
		waitGone(w, l)
		waitGone(w, s)
	}
	for name, tokens := range map[string][]int64{"lease": leaseTokens, "semaphore": semaphoreTokens} {
		for i := 1; i < len(tokens); i++ {
			if tokens[i] <= tokens[i-1] {
				t.Errorf("the tokens of the %s do not grow: %v", name, tokens)
				break
			}
		}
	}
	lease.waitForGrants(8)
	semaphore.waitForGrants(8)
}

func TestLeaseProtectsCounter(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createObjects(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "db"}})
	var counter atomic.Int64 // atomic only for the race detector: the update below is two steps
	const people, turns = 8, 5
	var all errgroup.Group
	for _, p := range w.newParticipants(numberedNames("p", people)...) {
		all.Go(func() error {
			for range turns {
				hold, err := p.AcquireLease(w.ctx, "db", p.asHolder())
				if err != nil {
					return err
				}
				v := counter.Load()
				// A request between reading and writing takes as long as real work.
				if _, err := p.GetLease(w.ctx, "db"); err != nil {
					return err
				}
				counter.Store(v + 1)
				if err := hold.Release(w.ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	w.must(all.Wait())
	if counter.Load() != people*turns {
		t.Errorf("%d updates of %d are left", counter.Load(), people*turns)
	}
}

func TestOneClientManyGoroutines(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createObjects(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "db"}})
	w.checkRevisions(konductorv1.KindLease, "db")
	r := &criticalSection{env: w, permits: 1}
	same := w.newParticipant("same")
	people := make([]*testParticipant, 8)
	for i := range people {
		people[i] = same
	}
	w.must(contend(w, r, people, 3, konductorv1.KindLease, "db", onePermit))

	hold := same.mustAcquire(konductorv1.KindLease, "db")
	_, err := same.AcquireLease(w.ctx, "db", same.asHolder(), konductor.WithTimeout(0))
	requireErrorAs[*konductor.BusyError](w, err)
	w.mustRelease(hold)
}
