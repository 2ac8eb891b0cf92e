package integration

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func TestHoldsAndWaitersOutliveTheOperator(t *testing.T) {
	w := newWorld(t)
	op := w.operator()
	lease, s := w.lease("db", konductor.WithTTL(time.Hour)), w.semaphore("api", 2, konductor.WithTTL(time.Hour))
	onLease, onSemaphore := w.witness(konductorv1.KindLease, "db"), w.witness(konductorv1.KindSemaphore, "api")
	leaseHold := w.someone("l0").acquire(konductorv1.KindLease, "db")
	one := w.someone("s0").acquire(konductorv1.KindSemaphore, "api")
	two := w.someone("s1").acquire(konductorv1.KindSemaphore, "api")
	leaseWaiter := w.someone("l1").queue(konductorv1.KindLease, lease)
	semaphoreWaiter := w.someone("s2").queue(konductorv1.KindSemaphore, s)
	is(w, "db", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })

	op.stop()
	// While none runs: one gives back, one more queues, and one gives up.
	w.release(one)
	late := w.someone("l2").queue(konductorv1.KindLease, lease)
	ctx, cancel := context.WithCancel(w.ctx)
	quitter := w.someone("s3").queueWith(ctx, konductorv1.KindSemaphore, s)
	cancel()
	quitter.fails()
	semaphoreWaiter.pending()

	w.operator()
	third := semaphoreWaiter.must()
	leaseWaiter.pending()
	for _, h := range []*konductor.Hold{leaseHold, two} {
		select {
		case <-h.Lost():
			t.Errorf("%s lost its hold: %v", h.Holder(), context.Cause(h.Context()))
		default:
		}
	}
	w.release(leaseHold)
	w.release(leaseWaiter.must())
	w.release(late.must())
	w.release(two)
	w.release(third)
	if diff := cmp.Diff([]string{"l0", "l1", "l2"}, onLease.awaitGrants(3)); diff != "" {
		t.Errorf("grants of the lease (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"s0", "s1", "s2"}, onSemaphore.awaitGrants(3)); diff != "" {
		t.Errorf("grants of the semaphore (-want +got):\n%s", diff)
	}
	onLease.awaitIdle()
	onSemaphore.awaitIdle()
}

func TestANewOperatorStartsEveryTTLAnew(t *testing.T) {
	w := newWorld(t)
	op := w.operator()
	lease := w.lease("db")
	witness := w.witness(konductorv1.KindLease, "db")
	w.someone("gone").acquire(konductorv1.KindLease, "db", konductor.Detached(), konductor.WithTTL(shortTTL))
	next := w.someone("next").queue(konductorv1.KindLease, lease)
	// Most of the TTL passes under the first operator.
	is(w, "db", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	expires := get[*konductorv1.Lease](w, "db").Status.ExpiresAt.Time
	timer := time.NewTimer(time.Until(expires) - 2*time.Second)
	<-timer.C
	next.pending()
	op.stop()
	started := time.Now()
	w.operator()
	w.release(next.must())
	if took := time.Since(started); took < shortTTL-time.Second {
		t.Errorf("the new operator gave the hold away after %s, before the ttl of %s", took, shortTTL)
	}
	if diff := cmp.Diff([]string{"gone", "next"}, witness.granted()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestAGrantThatWasWrittenButNotToldIsToldAndNotMadeAnew(t *testing.T) {
	w := newWorld(t)
	lease, s := w.lease("db"), w.semaphore("api", 1)
	onLease, onSemaphore := w.witness(konductorv1.KindLease, "db"), w.witness(konductorv1.KindSemaphore, "api")
	// The second in the queue was granted: had the operator decided anew it would have been the first.
	onL := []*future[*konductor.Hold]{w.someone("a").queue(konductorv1.KindLease, lease), w.someone("b").queue(konductorv1.KindLease, lease)}
	onS := []*future[*konductor.Hold]{w.someone("a").queue(konductorv1.KindSemaphore, s), w.someone("b").queue(konductorv1.KindSemaphore, s)}
	const token = 1 << 40 // no revision gets there
	granted := func(kind string, target metav1.Object, holder string) (string, types.UID) {
		name := konductorv1.ClaimName(konductorv1.ClaimTarget{Kind: kind, Name: target.GetName()}, target.GetUID(), holder, "")
		return name, get[*konductorv1.Claim](w, name).UID
	}
	now := metav1.NowMicro()
	lease.Status = konductorv1.LeaseStatus{Phase: konductorv1.LeaseHeld, Holder: "b", FencingToken: token, AcquiredAt: &now}
	lease.Status.Claim, lease.Status.ClaimUID = granted(konductorv1.KindLease, lease, "b")
	w.ok(w.objects.Status().Update(w.ctx, lease))
	h := konductorv1.SemaphoreHolder{Holder: "b", Permits: 1, FencingToken: token, AcquiredAt: now}
	h.Claim, h.ClaimUID = granted(konductorv1.KindSemaphore, s, "b")
	s.Status = konductorv1.SemaphoreStatus{
		Phase: konductorv1.SemaphoreFull, InUse: 1, FencingToken: token, Holders: []konductorv1.SemaphoreHolder{h},
		ObservedGeneration: s.Generation,
	}
	w.ok(w.objects.Status().Update(w.ctx, s))

	w.operator()
	for what, f := range map[string][]*future[*konductor.Hold]{"lease": onL, "semaphore": onS} {
		hold := f[1].must()
		if hold.Token() != token {
			t.Errorf("%s: the token is %d, want the one that was written, %d", what, hold.Token(), token)
		}
		f[0].pending()
		w.release(hold)
		w.release(f[0].must())
	}
	for _, witness := range []*witness{onLease, onSemaphore} {
		if diff := cmp.Diff([]string{"b", "a"}, witness.awaitGrants(2)); diff != "" {
			t.Errorf("grants of %s (-want +got):\n%s", witness.name, diff)
		}
	}
}

func TestAHolderWhoseClaimDoesNotExistIsFreed(t *testing.T) {
	w := newWorld(t)
	lease, s := w.lease("db"), w.semaphore("api", 2)
	now := metav1.NowMicro()
	lease.Status = konductorv1.LeaseStatus{Phase: konductorv1.LeaseHeld, Holder: "ghost", Claim: "no-such", ClaimUID: "1", FencingToken: 1, AcquiredAt: &now}
	w.ok(w.objects.Status().Update(w.ctx, lease))
	// One claim is gone, and of the other there is another of its name.
	w.manual("metadata: {name: reused}\nspec: {target: {kind: Semaphore, name: elsewhere}, holder: somebody}")
	s.Status = konductorv1.SemaphoreStatus{FencingToken: 2, Holders: []konductorv1.SemaphoreHolder{
		{Holder: "ghost", Claim: "no-such", ClaimUID: "1", Permits: 1, FencingToken: 1, AcquiredAt: now},
		{Holder: "former", Claim: "reused", ClaimUID: "2", Permits: 1, FencingToken: 2, AcquiredAt: now},
	}}
	w.ok(w.objects.Status().Update(w.ctx, s))
	onLease := w.someone("a").queue(konductorv1.KindLease, lease)
	onSemaphore := w.someone("a").queue(konductorv1.KindSemaphore, s, konductor.WithPermits(2))
	w.operator()
	w.release(onLease.must())
	w.release(onSemaphore.must())
}

func TestAHoldThatIsNotOnRecordIsTakenBack(t *testing.T) {
	w := newWorld(t)
	w.lease("db")
	op := w.operator()
	hold := w.someone("a").acquire(konductorv1.KindLease, "db")
	op.stop()
	// Somebody with the right to do so empties the status by hand.
	lease := get[*konductorv1.Lease](w, "db")
	lease.Status.Holder, lease.Status.Claim, lease.Status.ClaimUID = "", "", ""
	w.ok(w.objects.Status().Update(w.ctx, lease))
	w.operator()
	w.closes(hold.Lost(), "the loss of the hold")
	w.release(w.someone("b").acquire(konductorv1.KindLease, "db"))
}

// deaths is how many of an operator's first writes it dies at, one after the other. Serving three claims takes about as many.
const deaths = 14

func TestAnOperatorMayDieAtEachOfItsWrites(t *testing.T) {
	for n := 1; n <= deaths; n++ {
		for _, before := range []bool{true, false} {
			when := "before"
			if !before {
				when = "after"
			}
			t.Run(fmt.Sprintf("%s write %d", when, n), func(t *testing.T) {
				w := newWorld(t)
				dieAtWrite(w, n, before)
			})
		}
	}
}

// dieAtWrite lets an operator die before or after its nth write while three contend for a lease and for a semaphore of
// two permits, and another operator take over.
func dieAtWrite(w *world, n int, before bool) {
	w.Helper()
	lease, s := w.lease("db"), w.semaphore("api", 2)
	onLease, onSemaphore := w.witness(konductorv1.KindLease, "db"), w.witness(konductorv1.KindSemaphore, "api")
	var served []*future[struct{}]
	for _, name := range []string{"a", "b", "c"} {
		for _, f := range []*future[*konductor.Hold]{
			w.someone(name).queue(konductorv1.KindLease, lease), w.someone(name).queue(konductorv1.KindSemaphore, s),
		} {
			served = append(served, waiting(w, func() error {
				<-f.done
				if f.err != nil {
					return f.err
				}
				return f.value.Release(w.ctx)
			}))
		}
	}
	config, wire := w.wired(w.operators)
	dead := make(chan struct{})
	var mu sync.Mutex
	writes := 0
	die := func(req *http.Request) error {
		mu.Lock()
		defer mu.Unlock()
		if !isWrite(req) || strings.HasSuffix(req.URL.Path, "/events") || writes >= n {
			return nil
		}
		if writes++; writes < n {
			return nil
		}
		// From here on nothing that this operator does reaches anybody, and it doesn't learn of anything either.
		wire.cutFor(func(*http.Request) bool { return true })
		close(dead)
		return errCut
	}
	if before {
		wire.onRequest(die)
	} else {
		wire.onAnswer(die)
	}
	first := w.operatorWith(func(o *operator.Options) { o.Config = config })
	everybody := make(chan struct{})
	go func() {
		for _, f := range served {
			<-f.done
		}
		close(everybody)
	}()
	// When all were served with fewer writes, it may still die of what is left to do.
	select {
	case <-dead:
	case <-everybody:
	}
	first.cancel()
	w.operator()
	for _, f := range served {
		f.must()
	}
	for _, witness := range []*witness{onLease, onSemaphore} {
		got := witness.awaitGrants(3)
		slices.Sort(got)
		if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" {
			w.Errorf("grants of %s (-want +got):\n%s", witness.name, diff)
		}
		witness.awaitIdle()
	}
}

func TestAnOperatorThatFailedForLongGoesOnSoonWhenItCanAgain(t *testing.T) {
	w := newWorld(t)
	config, wire := w.wired(w.operators)
	w.operatorWith(func(o *operator.Options) { o.Config = config })
	lease := w.lease("db")
	w.witness(konductorv1.KindLease, "db")
	hold := w.someone("a").acquire(konductorv1.KindLease, "db")
	next := w.someone("b").queue(konductorv1.KindLease, lease)
	wire.cutFor(isWrite)
	w.release(hold)
	// An outage that doubling pauses would make last as long again.
	const outage = 21 * time.Second
	<-time.After(outage)
	next.pending()
	wire.cutFor(nil)
	mended := time.Now()
	w.release(next.must())
	if took := time.Since(mended); took > 12*time.Second {
		t.Errorf("it took %s to go on after %s of failures", took, outage)
	}
}

func TestAnotherOperatorTakesOverSoonWhenTheLeaderIsStopped(t *testing.T) {
	w := newWorld(t)
	elect := func(o *operator.Options) {
		o.LeaderElection, o.LeaderElectionNamespace = true, w.namespace
	}
	leader := w.operatorWith(elect)
	lease := w.lease("db")
	w.witness(konductorv1.KindLease, "db")
	hold := w.someone("a").acquire(konductorv1.KindLease, "db")
	config, wire := w.wired(w.operators)
	follower := w.operatorWith(func(o *operator.Options) { elect(o); o.Config = config })
	next := w.someone("b").queue(konductorv1.KindLease, lease)
	wire.awaitAnswer(http.MethodGet, "/leases/"+operator.LeaderElectionID)
	wire.awaitAnswer("WATCH", "/claims")

	leader.stop()
	stopped := time.Now()
	w.release(hold)
	w.release(next.must())
	// A leader that gives up its office says so: nobody has to wait for it to run out, which takes 15 s.
	if took := time.Since(stopped); took > 12*time.Second {
		t.Errorf("it took %s until the other took over", took)
	} else {
		t.Logf("the other took over within %s", took.Round(time.Millisecond))
	}
	if follower.counter("konductor_grants_total") != 1 {
		t.Errorf("the follower made %v grants", follower.counter("konductor_grants_total"))
	}
}
