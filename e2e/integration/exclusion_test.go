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

// room is what a lease or semaphore protects. It checks, from inside, what the witness checks from outside.
type room struct {
	w        *world
	permits  int64
	inside   atomic.Int64
	mostEver atomic.Int64

	mu     sync.Mutex
	tokens []int64
}

// enter works under a hold of n permits.
func (r *room) enter(h *konductor.Hold, n int64) {
	in := r.inside.Add(n)
	if in > r.permits {
		r.w.Errorf("%d permits of %d are in use at the same time, by %s among others", in, r.permits, h.Holder())
	}
	r.mostEver.Store(max(r.mostEver.Load(), in))
	r.mu.Lock()
	r.tokens = append(r.tokens, h.Token())
	r.mu.Unlock()
	runtime.Gosched()
	select {
	case <-h.Lost():
		r.w.Errorf("%s lost its hold: %v", h.Holder(), context.Cause(h.Context()))
	default:
	}
	r.inside.Add(-n)
}

// hammer lets people acquire, work and release, turns times each, all at the same time.
func hammer(w *world, r *room, people []*actor, turns int, kind, name string, permitsOf func(turn int) int32) error {
	var all errgroup.Group
	for _, p := range people {
		all.Go(func() error {
			acquire := p.AcquireLease
			if kind == konductorv1.KindSemaphore {
				acquire = p.AcquireSemaphore
			}
			for turn := range turns {
				n := permitsOf(turn)
				hold, err := acquire(w.ctx, name, p.as([]konductor.Option{konductor.WithPermits(n), konductor.WithTTL(patience)})...)
				if err != nil {
					return fmt.Errorf("%s, turn %d: %w", p.name, turn, err)
				}
				r.enter(hold, int64(n))
				if err := hold.Release(w.ctx); err != nil {
					return fmt.Errorf("%s, turn %d: %w", p.name, turn, err)
				}
			}
			return nil
		})
	}
	return all.Wait()
}

func one(int) int32 { return 1 }

func numbered(name string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprintf("%s-%02d", name, i)
	}
	return names
}

func TestALeaseHasOneHolderAtATimeUnderManyContenders(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.create(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "db"}})
	witness := w.witness(konductorv1.KindLease, "db")
	r := &room{w: w, permits: 1}

	const people, turns = 12, 8
	w.ok(hammer(w, r, w.people(numbered("p", people)...), turns, konductorv1.KindLease, "db", one))

	if !slices.IsSorted(r.tokens) {
		t.Errorf("the tokens did not grow from holder to holder: %v", r.tokens)
	}
	if got := len(witness.awaitGrants(people * turns)); got != people*turns {
		t.Errorf("%d grants were made for %d holds", got, people*turns)
	}
	witness.awaitIdle()
}

func TestASemaphoreNeverHasMoreHoldersThanPermits(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.create(&konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "api"}, Spec: konductorv1.SemaphoreSpec{Permits: 3}})
	witness := w.witness(konductorv1.KindSemaphore, "api")
	r := &room{w: w, permits: 3}

	const people, turns = 12, 8
	w.ok(hammer(w, r, w.people(numbered("p", people)...), turns, konductorv1.KindSemaphore, "api", func(turn int) int32 { return int32(turn%3) + 1 }))

	if got := len(witness.awaitGrants(people * turns)); got != people*turns {
		t.Errorf("%d grants were made for %d holds", got, people*turns)
	}
	if r.mostEver.Load() < 2 {
		t.Error("permits were never in use at the same time: the test shows nothing")
	}
	witness.awaitIdle()
}

func TestTwoOperatorsAtOnceMakeNoHolderTooMany(t *testing.T) {
	w := newWorld(t)
	first, second := w.operator(), w.operator()
	w.create(
		&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "db"}},
		&konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "api"}, Spec: konductorv1.SemaphoreSpec{Permits: 2}},
	)
	lease, semaphore := w.witness(konductorv1.KindLease, "db"), w.witness(konductorv1.KindSemaphore, "api")
	const people, turns = 6, 6
	ps, qs := w.people(numbered("p", people)...), w.people(numbered("q", people)...)
	var both errgroup.Group
	both.Go(func() error {
		return hammer(w, &room{w: w, permits: 1}, ps, turns, konductorv1.KindLease, "db", one)
	})
	both.Go(func() error {
		return hammer(w, &room{w: w, permits: 2}, qs, turns, konductorv1.KindSemaphore, "api", one)
	})
	w.ok(both.Wait())
	// Two operators may grant a claim that is already being given back, but each hold that a client saw was one grant.
	lease.awaitGrants(people * turns)
	semaphore.awaitGrants(people * turns)
	lease.awaitIdle()
	semaphore.awaitIdle()
	if a, b := first.counter("konductor_grants_total"), second.counter("konductor_grants_total"); a == 0 || b == 0 {
		t.Logf("only one of the operators got to grant: %v and %v", a, b)
	}
}

func TestABadConnectionMakesNoHolderTooManyAndLeavesNobodyWaiting(t *testing.T) {
	w := newWorld(t)
	config, wire := w.wired(w.operators)
	w.operatorWith(func(o *operator.Options) { o.Config = config })
	// An operator that can't learn at its start what the API server serves ends, to be started again.
	wire.awaitAnswer("WATCH", "/claims")
	wire.bad(12)
	w.lease("db")
	w.semaphore("api", 2)
	lease, semaphore := w.witness(konductorv1.KindLease, "db"), w.witness(konductorv1.KindSemaphore, "api")
	people := make([]*actor, 6)
	for i := range people {
		people[i], wire = w.someoneWired(fmt.Sprintf("p%d", i))
		wire.bad(12)
	}
	const turns = 4
	var both errgroup.Group
	both.Go(func() error {
		return hammer(w, &room{w: w, permits: 1}, people, turns, konductorv1.KindLease, "db", one)
	})
	both.Go(func() error {
		return hammer(w, &room{w: w, permits: 2}, people, turns, konductorv1.KindSemaphore, "api", one)
	})
	w.ok(both.Wait())
	// Nothing is granted twice because an answer was lost, and nothing is left held.
	for _, witness := range []*witness{lease, semaphore} {
		if n := len(witness.awaitGrants(len(people) * turns)); n != len(people)*turns {
			t.Errorf("%s: %d grants were made for %d holds", witness.name, n, len(people)*turns)
		}
		witness.awaitIdle()
	}
}

func TestTokensGrowAcrossDeletionAndRecreation(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease, semaphore := w.witness(konductorv1.KindLease, "db"), w.witness(konductorv1.KindSemaphore, "api")
	var leaseTokens, semaphoreTokens []int64
	for range 4 {
		l := &konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "db"}}
		s := &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Name: "api"}, Spec: konductorv1.SemaphoreSpec{Permits: 2}}
		w.create(l, s)
		for _, p := range w.people("a", "b") {
			h := p.acquire(konductorv1.KindLease, "db")
			leaseTokens = append(leaseTokens, h.Token())
			w.release(h)
			semaphoreTokens = append(semaphoreTokens, p.acquire(konductorv1.KindSemaphore, "api").Token())
		}
		w.delete(l, s)
		isGone(w, l)
		isGone(w, s)
	}
	for name, tokens := range map[string][]int64{"lease": leaseTokens, "semaphore": semaphoreTokens} {
		for i := 1; i < len(tokens); i++ {
			if tokens[i] <= tokens[i-1] {
				t.Errorf("the tokens of the %s do not grow: %v", name, tokens)
				break
			}
		}
	}
	lease.awaitGrants(8)
	semaphore.awaitGrants(8)
}

func TestAnUnprotectedCounterUnderALeaseLosesNoUpdate(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.create(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "db"}})
	var counter atomic.Int64 // atomic only for the race detector: the update below is two steps
	const people, turns = 8, 5
	var all errgroup.Group
	for _, p := range w.people(numbered("p", people)...) {
		all.Go(func() error {
			for range turns {
				hold, err := p.AcquireLease(w.ctx, "db", p.as(nil)...)
				if err != nil {
					return err
				}
				v := counter.Load()
				// A look at the API server between reading and writing, as long as a real piece of work.
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
	w.ok(all.Wait())
	if counter.Load() != people*turns {
		t.Errorf("%d updates of %d are left", counter.Load(), people*turns)
	}
}

func TestOneClientServesManyGoroutinesOfOneIdentity(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.create(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "db"}})
	w.witness(konductorv1.KindLease, "db")
	r := &room{w: w, permits: 1}
	same := w.someone("same")
	people := make([]*actor, 8)
	for i := range people {
		people[i] = same
	}
	w.ok(hammer(w, r, people, 3, konductorv1.KindLease, "db", one))

	hold := same.acquire(konductorv1.KindLease, "db")
	_, err := same.AcquireLease(w.ctx, "db", same.as([]konductor.Option{konductor.WithTimeout(0)})...)
	wants[*konductor.BusyError](w, err)
	w.release(hold)
}
