package integration

import (
	"context"
	"errors"
	"net/http"
	"path"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// shortTTL is long enough for renewals to come in time on a busy machine.
const shortTTL = 6 * time.Second

func TestAHoldThatCantBeRenewedIsLostBeforeAnotherGetsIt(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease := w.lease("db")
	witness := w.witness(konductorv1.KindLease, "db")
	holder, wire := w.someoneWired("holder")
	hold := holder.acquire(konductorv1.KindLease, "db", konductor.WithTTL(shortTTL))
	// The order of what follows is the promise: first the holder knows, then another has it.
	order := make(chan string, 2)
	go func() { <-hold.Lost(); order <- "lost" }()
	is(w, "db", "held", func(l *konductorv1.Lease) bool { return l.Status.Holder == "holder" })
	wire.cutFor(func(*http.Request) bool { return true })
	next := w.someone("next").queue(konductorv1.KindLease, lease)
	go func() { witness.awaitGrantsQuietly(2); order <- "granted" }()

	if got := []string{<-order, <-order}; !cmp.Equal(got, []string{"lost", "granted"}) {
		t.Errorf("order of events: %v", got)
	}
	var lost *konductor.LostError
	if cause := context.Cause(hold.Context()); !errors.As(cause, &lost) || !strings.Contains(lost.Reason, "could not be renewed within its ttl of 6s") {
		t.Errorf("the cause of the end is %v", cause)
	}
	wire.cutFor(nil)
	wants[*konductor.LostError](w, hold.Release(w.ctx))
	w.release(next.must())
	w.awaitEvent("Lease", "db", konductorv1.EventExpired, "holder")
}

func TestAReleaseAfterTheEndOfTheHoldSaysSo(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.lease("db")
	for what, release := range map[string]func(*actor, *konductor.Hold) error{
		"by the hold": func(_ *actor, hold *konductor.Hold) error { return hold.Release(w.ctx) },
		"by another process": func(holder *actor, _ *konductor.Hold) error {
			return holder.ReleaseLease(w.ctx, "db", konductor.WithHolder("holder"))
		},
	} {
		holder, wire := w.someoneWired("holder")
		hold := holder.acquire(konductorv1.KindLease, "db", konductor.Detached())
		is(w, "db", "held", func(l *konductorv1.Lease) bool { return l.Status.Holder == "holder" })
		// The releasing process has looked, and is then stopped until its time is over.
		var once sync.Once
		wire.onRequest(func(req *http.Request) error {
			if req.Method != http.MethodDelete {
				return nil
			}
			once.Do(func() {
				claim := &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: path.Base(req.URL.Path)}}
				fragment := client.RawPatch("application/merge-patch+json", []byte(`{"status":{"phase":"Expired","message":"slept"}}`))
				if err := w.objects.Status().Patch(w.ctx, claim, fragment); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			})
			return nil
		})
		var lost *konductor.LostError
		if err := release(holder, hold); !errors.As(err, &lost) || lost.Reason != "slept" {
			t.Errorf("%s: got %v, want to be told that the hold was lost", what, err)
		}
		isGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: holder.claimName(konductorv1.KindLease, get[*konductorv1.Lease](w, "db"))}})
	}
}

func TestRenewalKeepsAHoldForManyTimesItsTTL(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease := w.lease("db", konductor.WithTTL(shortTTL))
	witness := w.witness(konductorv1.KindLease, "db")
	hold := w.someone("holder").acquire(konductorv1.KindLease, "db")
	next := w.someone("next").queue(konductorv1.KindLease, lease)
	is(w, w.someone("holder").claimName(konductorv1.KindLease, lease), "renewed often", func(c *konductorv1.Claim) bool { return c.Spec.Renewals >= 6 })
	next.pending()
	select {
	case <-hold.Lost():
		t.Fatal(context.Cause(hold.Context()))
	default:
	}
	w.release(hold)
	w.release(next.must())
	if diff := cmp.Diff([]string{"holder", "next"}, witness.granted()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestAHoldIsKeptUntilReleasedWhenTheContextOfItsAcquireEnds(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease := w.lease("db", konductor.WithTTL(shortTTL))
	ctx, cancel := context.WithCancel(w.ctx)
	hold := w.someone("holder").acquiringWith(ctx, konductorv1.KindLease, "db").must()
	next := w.someone("next").queue(konductorv1.KindLease, lease)
	claim := w.someone("holder").claimName(konductorv1.KindLease, lease)

	// As SIGTERM does it: the work is told to stop by its context, and takes a while to do so. Until it has, nobody else
	// may begin.
	cancel()
	w.closes(hold.Context().Done(), "the end of the hold's context")
	before := get[*konductorv1.Claim](w, claim).Spec.Renewals
	is(w, claim, "renewed further", func(c *konductorv1.Claim) bool { return c.Spec.Renewals >= before+4 })
	next.pending()
	select {
	case <-hold.Lost():
		t.Error("the hold was lost")
	default:
	}
	w.ok(hold.Release(context.WithoutCancel(ctx)))
	w.release(next.must())
}

func TestAnUnacknowledgedGrantLapsesAfterFifteenSeconds(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease := w.lease("db")
	witness := w.witness(konductorv1.KindLease, "db")
	hold := w.someone("first").acquire(konductorv1.KindLease, "db")
	// The laptop was closed while it waited: its claim is there, and nobody behind it.
	w.create(&konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Name: "laptop"},
		Spec: konductorv1.ClaimSpec{
			Target: konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: "db"}, Holder: "laptop", TTL: konductorv1.NewDuration(time.Hour),
		},
	})
	last := w.someone("last").queue(konductorv1.KindLease, lease)
	w.release(hold)
	is(w, "laptop", "granted", func(c *konductorv1.Claim) bool { return c.Status.Phase == konductorv1.ClaimGranted })
	granted := time.Now()

	w.release(last.must())
	if took := time.Since(granted); took < konductorv1.AcknowledgeWithin-time.Second {
		t.Errorf("the grant lapsed after %s", took)
	}
	lapsed := get[*konductorv1.Claim](w, "laptop")
	if want := "the grant was not acknowledged within 15s"; lapsed.Status.Message != want {
		t.Errorf("the message is %q, want %q", lapsed.Status.Message, want)
	}
	if diff := cmp.Diff([]string{"first", "laptop", "last"}, witness.granted()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestADetachedHoldIsRenewedAndReleasedByLaterProcesses(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease := w.lease("db")
	w.witness(konductorv1.KindLease, "db")
	w.someone("script").acquire(konductorv1.KindLease, "db", konductor.Detached(), konductor.WithTTL(time.Hour))
	later := w.someone("script")
	w.ok(later.RenewLease(w.ctx, "db", later.as(nil)...))
	w.ok(later.RenewLease(w.ctx, "db", later.as(nil)...))
	if n := get[*konductorv1.Claim](w, later.claimName(konductorv1.KindLease, lease)).Spec.Renewals; n < 3 {
		t.Errorf("it was renewed %d times", n)
	}
	w.ok(later.ReleaseLease(w.ctx, "db", later.as(nil)...))
	is(w, "db", "free", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseAvailable })

	lost := wants[*konductor.LostError](w, later.RenewLease(w.ctx, "db", later.as(nil)...))
	if want := "the hold on lease/db was lost: script doesn't hold it"; lost.Error() != want {
		t.Errorf("the error is %q, want %q", lost, want)
	}
	missing := wants[*konductor.NotFoundError](w, later.ReleaseLease(w.ctx, "db", later.as(nil)...))
	if !strings.Contains(missing.Error(), "script neither holds lease/db nor waits for it") {
		t.Errorf("the error is %q", missing)
	}
	wants[*konductor.NotFoundError](w, later.ReleaseLease(w.ctx, "no-such-lease"))
}

func TestADetachedHoldEndsWithItsTTL(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease := w.lease("db")
	w.witness(konductorv1.KindLease, "db")
	script := w.someone("script")
	script.acquire(konductorv1.KindLease, "db", konductor.Detached(), konductor.WithTTL(2*time.Second))
	w.release(w.someone("next").queue(konductorv1.KindLease, lease).must())
	wants[*konductor.LostError](w, script.RenewLease(w.ctx, "db", script.as(nil)...))
	wants[*konductor.LostError](w, script.ReleaseLease(w.ctx, "db", script.as(nil)...))
	// What is left of the old hold is no obstacle to a new one.
	w.release(script.acquire(konductorv1.KindLease, "db"))
}

func TestABrokenHoldIsLostAndTheNextIsServed(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	lease := w.lease("db")
	w.witness(konductorv1.KindLease, "db")
	hold := w.in(w.pod("holder")).acquire(konductorv1.KindLease, "db")
	next := w.someone("next").queue(konductorv1.KindLease, lease)
	is(w, "db", "held by the pod", func(l *konductorv1.Lease) bool { return l.Status.Holder == "holder" })

	whose, err := w.someone("admin").BreakLease(w.ctx, "db")
	w.ok(err)
	if whose != "holder" {
		t.Errorf("it was taken from %q", whose)
	}
	w.closes(hold.Lost(), "the loss of the hold")
	wants[*konductor.LostError](w, hold.Release(w.ctx))
	w.release(next.must())
	is(w, "db", "free", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseAvailable })
	_, err = w.someone("admin").BreakLease(w.ctx, "db")
	if e := wants[*konductor.NotFoundError](w, err); e.Error() != "nobody holds lease/db in namespace "+w.namespace {
		t.Errorf("the error is %q", e)
	}
}

func TestAReleaseWithAContextThatIsOverStillReleases(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	w.lease("db")
	hold := w.in(w.pod("holder")).acquire(konductorv1.KindLease, "db")
	is(w, "db", "held", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseHeld })
	over, cancel := context.WithCancel(w.ctx)
	cancel()
	w.ok(hold.Release(over))
	is(w, "db", "free", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseAvailable })
	w.ok(hold.Release(w.ctx))
}

func TestAReleaseThatDidNotGetThroughIsMadeUpFor(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	lease := w.lease("db")
	// The Pod lives on, so that nothing else would ever end its hold.
	config, wire := w.wired(w.podConfig(w.pod("holder")))
	holder := w.actorWith(config, "")
	hold := holder.acquire(konductorv1.KindLease, "db")
	next := w.someone("next").queue(konductorv1.KindLease, lease)
	wire.cutFor(isWrite)
	over, cancel := context.WithCancel(w.ctx)
	cancel()
	if err := hold.Release(over); !errors.Is(err, context.Canceled) {
		t.Fatalf("it returned %v", err)
	}
	next.pending()
	wire.cutFor(nil)
	w.release(next.must())
	w.release(holder.acquire(konductorv1.KindLease, "db"))
}

func TestAnAcquireThatTimedOutLeavesNoClaimThoughItsAnswerWasLost(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	w.lease("db")
	// The claim is made, but the API server's answer doesn't come, nor that to anything else for a while.
	config, wire := w.wired(w.podConfig(w.pod("caller")))
	caller := w.actorWith(config, "")
	ctx, cancel := context.WithCancel(w.ctx)
	var once sync.Once
	wire.onAnswer(func(req *http.Request) error {
		if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "/claims") {
			return nil
		}
		once.Do(func() {
			wire.cutFor(func(*http.Request) bool { return true })
			cancel()
		})
		return errCut
	})
	acquiring := caller.acquiringWith(ctx, konductorv1.KindLease, "db")
	if err := acquiring.fails(); !errors.Is(err, context.Canceled) {
		t.Fatalf("it returned %v", err)
	}
	wire.onAnswer(nil)
	wire.cutFor(nil)
	is(w, "db", "free of claims", func(l *konductorv1.Lease) bool {
		return l.Status.Phase == konductorv1.LeaseAvailable && l.Status.FencingToken > 0
	})
	w.release(caller.acquire(konductorv1.KindLease, "db"))
}
