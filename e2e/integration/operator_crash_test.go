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

func TestHoldsAndWaitersSurviveOperatorRestart(t *testing.T) {
	w := newTestEnv(t)
	op := w.startOperator()
	lease, s := w.createLease("db", konductor.WithTTL(time.Hour)), w.createSemaphore("api", 2, konductor.WithTTL(time.Hour))
	onLease, onSemaphore := w.checkRevisions(konductorv1.KindLease, "db"), w.checkRevisions(konductorv1.KindSemaphore, "api")
	leaseHold := w.newParticipant("l0").mustAcquire(konductorv1.KindLease, "db")
	one := w.newParticipant("s0").mustAcquire(konductorv1.KindSemaphore, "api")
	two := w.newParticipant("s1").mustAcquire(konductorv1.KindSemaphore, "api")
	leaseWaiter := w.newParticipant("l1").enqueue(konductorv1.KindLease, lease)
	semaphoreWaiter := w.newParticipant("s2").enqueue(konductorv1.KindSemaphore, s)
	waitFor(w, "db", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })

	op.stop()
	// Without an operator: a holder releases, one more waiter queues, and one gives up.
	w.mustRelease(one)
	late := w.newParticipant("l2").enqueue(konductorv1.KindLease, lease)
	ctx, cancel := context.WithCancel(w.ctx)
	quitter := w.newParticipant("s3").enqueueWithContext(ctx, konductorv1.KindSemaphore, s)
	cancel()
	quitter.mustFail()
	semaphoreWaiter.mustBePending()

	w.startOperator()
	third := semaphoreWaiter.mustSucceed()
	leaseWaiter.mustBePending()
	for _, h := range []*konductor.Hold{leaseHold, two} {
		select {
		case <-h.Lost():
			t.Errorf("%s lost its hold: %v", h.Holder(), context.Cause(h.Context()))
		default:
		}
	}
	w.mustRelease(leaseHold)
	w.mustRelease(leaseWaiter.mustSucceed())
	w.mustRelease(late.mustSucceed())
	w.mustRelease(two)
	w.mustRelease(third)
	if diff := cmp.Diff([]string{"l0", "l1", "l2"}, onLease.waitForGrants(3)); diff != "" {
		t.Errorf("grants of the lease (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"s0", "s1", "s2"}, onSemaphore.waitForGrants(3)); diff != "" {
		t.Errorf("grants of the semaphore (-want +got):\n%s", diff)
	}
	onLease.waitIdle()
	onSemaphore.waitIdle()
}

func TestNewOperatorRestartsTTL(t *testing.T) {
	w := newTestEnv(t)
	op := w.startOperator()
	lease := w.createLease("db")
	checker := w.checkRevisions(konductorv1.KindLease, "db")
	w.newParticipant("gone").mustAcquire(konductorv1.KindLease, "db", konductor.Detached(), konductor.WithTTL(shortTTL))
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, lease)
	// Most of the TTL passes under the first operator.
	waitFor(w, "db", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	expires := getObject[*konductorv1.Lease](w, "db").Status.ExpiresAt.Time
	timer := time.NewTimer(time.Until(expires) - 2*time.Second)
	<-timer.C
	next.mustBePending()
	op.stop()
	started := time.Now()
	w.startOperator()
	w.mustRelease(next.mustSucceed())
	if took := time.Since(started); took < shortTTL-time.Second {
		t.Errorf("the new operator gave the hold away after %s, before the ttl of %s", took, shortTTL)
	}
	if diff := cmp.Diff([]string{"gone", "next"}, checker.grantedHolders()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestUnnotifiedGrantIsCompleted(t *testing.T) {
	w := newTestEnv(t)
	lease, s := w.createLease("db"), w.createSemaphore("api", 1)
	onLease, onSemaphore := w.checkRevisions(konductorv1.KindLease, "db"), w.checkRevisions(konductorv1.KindSemaphore, "api")
	// The second in the queue was granted: a new decision of the operator would have granted the first.
	onL := []*future[*konductor.Hold]{w.newParticipant("a").enqueue(konductorv1.KindLease, lease), w.newParticipant("b").enqueue(konductorv1.KindLease, lease)}
	onS := []*future[*konductor.Hold]{w.newParticipant("a").enqueue(konductorv1.KindSemaphore, s), w.newParticipant("b").enqueue(konductorv1.KindSemaphore, s)}
	const token = 1 << 40 // no revision is that large
	granted := func(kind string, target metav1.Object, holder string) (string, types.UID) {
		name := konductorv1.ClaimName(konductorv1.ClaimTarget{Kind: kind, Name: target.GetName(), UID: target.GetUID()}, holder, "")
		return name, getObject[*konductorv1.Claim](w, name).UID
	}
	now := metav1.NowMicro()
	h := konductorv1.Holder{Name: "b", Permits: 1, FencingToken: token, AcquiredAt: now}
	h.Claim, h.ClaimUID = granted(konductorv1.KindLease, lease, "b")
	lease.Status = konductorv1.LeaseStatus{Phase: konductorv1.LeaseHeld}
	lease.Status.SetHolder(&h)
	w.must(w.client.Status().Update(w.ctx, lease))
	h.Claim, h.ClaimUID = granted(konductorv1.KindSemaphore, s, "b")
	s.Status = konductorv1.SemaphoreStatus{
		Phase: konductorv1.SemaphoreFull, InUse: 1, FencingToken: token, Holders: []konductorv1.Holder{h},
		ObservedGeneration: s.Generation,
	}
	w.must(w.client.Status().Update(w.ctx, s))

	w.startOperator()
	for what, f := range map[string][]*future[*konductor.Hold]{"lease": onL, "semaphore": onS} {
		hold := f[1].mustSucceed()
		if hold.Token() != token {
			t.Errorf("%s: the token is %d, want the one that was written, %d", what, hold.Token(), token)
		}
		f[0].mustBePending()
		w.mustRelease(hold)
		w.mustRelease(f[0].mustSucceed())
	}
	for _, checker := range []*revisionChecker{onLease, onSemaphore} {
		if diff := cmp.Diff([]string{"b", "a"}, checker.waitForGrants(2)); diff != "" {
			t.Errorf("grants of %s (-want +got):\n%s", checker.name, diff)
		}
	}
}

func TestHolderWithoutClaimIsReleased(t *testing.T) {
	w := newTestEnv(t)
	lease, s := w.createLease("db"), w.createSemaphore("api", 2)
	now := metav1.NowMicro()
	lease.Status = konductorv1.LeaseStatus{Phase: konductorv1.LeaseHeld, Holder: "ghost", Claim: "no-such", ClaimUID: "1", FencingToken: 1, AcquiredAt: &now}
	w.must(w.client.Status().Update(w.ctx, lease))
	// One claim is gone, and the other one was replaced by another of the same name.
	w.createClaimYAML("metadata: {name: reused}\nspec: {target: {kind: Semaphore, name: elsewhere}, holder: somebody}")
	s.Status = konductorv1.SemaphoreStatus{FencingToken: 2, Holders: []konductorv1.Holder{
		{Name: "ghost", Claim: "no-such", ClaimUID: "1", Permits: 1, FencingToken: 1, AcquiredAt: now},
		{Name: "former", Claim: "reused", ClaimUID: "2", Permits: 1, FencingToken: 2, AcquiredAt: now},
	}}
	w.must(w.client.Status().Update(w.ctx, s))
	onLease := w.newParticipant("a").enqueue(konductorv1.KindLease, lease)
	onSemaphore := w.newParticipant("a").enqueue(konductorv1.KindSemaphore, s, konductor.WithPermits(2))
	w.startOperator()
	w.mustRelease(onLease.mustSucceed())
	w.mustRelease(onSemaphore.mustSucceed())
}

func TestUnrecordedHoldIsRevoked(t *testing.T) {
	w := newTestEnv(t)
	w.createLease("db")
	op := w.startOperator()
	hold := w.newParticipant("a").mustAcquire(konductorv1.KindLease, "db")
	op.stop()
	// A user with the right to do so empties the status by hand.
	lease := getObject[*konductorv1.Lease](w, "db")
	lease.Status.SetHolder(nil)
	w.must(w.client.Status().Update(w.ctx, lease))
	w.startOperator()
	w.waitClosed(hold.Lost(), "the loss of the hold")
	w.mustRelease(w.newParticipant("b").mustAcquire(konductorv1.KindLease, "db"))
}

// maxWrites is up to which of its writes an operator crashes, one test for each. Serving three claims takes about as many.
const maxWrites = 14

func TestOperatorCrashAtEachWrite(t *testing.T) {
	for n := 1; n <= maxWrites; n++ {
		for _, before := range []bool{true, false} {
			when := "before"
			if !before {
				when = "after"
			}
			t.Run(fmt.Sprintf("%s write %d", when, n), func(t *testing.T) {
				w := newTestEnv(t)
				checkCrashAtWrite(w, n, before)
			})
		}
	}
}

// crashAtWrite makes an operator crash before or after its nth write from now on, and closes the channel then. From there on its
// requests all fail, so that it has no effect and observes nothing.
func (w *testEnv) crashAtWrite(op *hookedTransport, n int, before bool) (crashed <-chan struct{}) {
	dead := make(chan struct{})
	var mu sync.Mutex
	writes := 0
	crash := func(req *http.Request) error {
		mu.Lock()
		defer mu.Unlock()
		if !isWriteRequest(req) || strings.HasSuffix(req.URL.Path, "/events") || writes >= n {
			return nil
		}
		if writes++; writes < n {
			return nil
		}
		op.failRequests(func(*http.Request) bool { return true })
		close(dead)
		return errDisconnected
	}
	if before {
		op.setRequestHook(crash)
	} else {
		op.setResponseHook(crash)
	}
	return dead
}

// checkCrashAtWrite lets an operator crash before or after its nth write while three contend for a lease and for a semaphore of
// two permits, and another operator take over.
func checkCrashAtWrite(w *testEnv, n int, before bool) {
	w.Helper()
	lease, s := w.createLease("db"), w.createSemaphore("api", 2)
	onLease, onSemaphore := w.checkRevisions(konductorv1.KindLease, "db"), w.checkRevisions(konductorv1.KindSemaphore, "api")
	var served []*future[struct{}]
	for _, name := range []string{"a", "b", "c"} {
		for _, f := range []*future[*konductor.Hold]{
			w.newParticipant(name).enqueue(konductorv1.KindLease, lease), w.newParticipant(name).enqueue(konductorv1.KindSemaphore, s),
		} {
			served = append(served, runAsyncErr(w, func() error {
				<-f.done
				if f.err != nil {
					return f.err
				}
				return f.value.Release(w.ctx)
			}))
		}
	}
	config, wire := w.hookTransport(w.operatorConfig)
	dead := w.crashAtWrite(wire, n, before)
	first := w.startOperatorWith(func(o *operator.Options) { o.Config = config })
	everybody := make(chan struct{})
	go func() {
		for _, f := range served {
			<-f.done
		}
		close(everybody)
	}()
	// When all were served with fewer writes, the operator may still crash in what is left to do.
	select {
	case <-dead:
	case <-everybody:
	}
	first.cancel()
	w.startOperator()
	for _, f := range served {
		f.mustSucceed()
	}
	for _, checker := range []*revisionChecker{onLease, onSemaphore} {
		got := checker.waitForGrants(3)
		slices.Sort(got)
		if diff := cmp.Diff([]string{"a", "b", "c"}, got); diff != "" {
			w.Errorf("grants of %s (-want +got):\n%s", checker.name, diff)
		}
		checker.waitIdle()
	}
}

func TestOperatorRecoversQuicklyAfterOutage(t *testing.T) {
	w := newTestEnv(t)
	config, wire := w.hookTransport(w.operatorConfig)
	w.startOperatorWith(func(o *operator.Options) { o.Config = config })
	lease := w.createLease("db")
	w.checkRevisions(konductorv1.KindLease, "db")
	hold := w.newParticipant("a").mustAcquire(konductorv1.KindLease, "db")
	next := w.newParticipant("b").enqueue(konductorv1.KindLease, lease)
	wire.failRequests(isWriteRequest)
	w.mustRelease(hold)
	// With exponential backoff, the wait after the outage would be as long again.
	const outage = 21 * time.Second
	<-time.After(outage)
	next.mustBePending()
	wire.failRequests(nil)
	mended := time.Now()
	w.mustRelease(next.mustSucceed())
	if took := time.Since(mended); took > 12*time.Second {
		t.Errorf("it took %s to go on after %s of failures", took, outage)
	}
}

func TestLeaderHandoverOnStop(t *testing.T) {
	w := newTestEnv(t)
	elect := func(o *operator.Options) {
		o.LeaderElection, o.LeaderElectionNamespace = true, w.namespace
	}
	leader := w.startOperatorWith(elect)
	lease := w.createLease("db")
	w.checkRevisions(konductorv1.KindLease, "db")
	hold := w.newParticipant("a").mustAcquire(konductorv1.KindLease, "db")
	config, wire := w.hookTransport(w.operatorConfig)
	follower := w.startOperatorWith(func(o *operator.Options) { elect(o); o.Config = config })
	next := w.newParticipant("b").enqueue(konductorv1.KindLease, lease)
	wire.waitForResponse(http.MethodGet, "/leases/"+operator.LeaderElectionID)
	wire.waitForResponse("WATCH", "/claims")

	leader.stop()
	stopped := time.Now()
	w.mustRelease(hold)
	w.mustRelease(next.mustSucceed())
	// A leader that stops releases its Lease, so that the standby need not wait until it expires, which takes 15 s.
	if took := time.Since(stopped); took > 12*time.Second {
		t.Errorf("it took %s until the other took over", took)
	} else {
		t.Logf("the other took over within %s", took.Round(time.Millisecond))
	}
	if follower.counterSum("konductor_grants_total") != 1 {
		t.Errorf("the follower made %v grants", follower.counterSum("konductor_grants_total"))
	}
}
