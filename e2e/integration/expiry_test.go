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

func TestHoldLostBeforeNextGrant(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db")
	checker := w.checkRevisions(konductorv1.KindLease, "db")
	holder, wire := w.newHookedParticipant("holder")
	hold := holder.mustAcquire(konductorv1.KindLease, "db", konductor.WithTTL(shortTTL))
	// The guarantee is about this order: first the holder learns of the loss, then another gets the lease.
	order := make(chan string, 2)
	go func() { <-hold.Lost(); order <- "lost" }()
	waitFor(w, "db", "held", func(l *konductorv1.Lease) bool { return l.Status.Holder == "holder" })
	wire.failRequests(func(*http.Request) bool { return true })
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, lease)
	go func() { checker.waitForGrantsOrTestEnd(2); order <- "granted" }()

	if got := []string{<-order, <-order}; !cmp.Equal(got, []string{"lost", "granted"}) {
		t.Errorf("order of events: %v", got)
	}
	var lost *konductor.LostError
	if cause := context.Cause(hold.Context()); !errors.As(cause, &lost) || !strings.Contains(lost.Reason, "could not be renewed within its ttl of 6s") {
		t.Errorf("the cause of the end is %v", cause)
	}
	wire.failRequests(nil)
	requireErrorAs[*konductor.LostError](w, hold.Release(w.ctx))
	w.mustRelease(next.mustSucceed())
	w.awaitEvent("Lease", "db", konductorv1.EventExpired, "holder")
}

func TestReleaseOfExpiredHold(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	for what, release := range map[string]func(*testParticipant, *konductor.Hold) error{
		"by the hold": func(_ *testParticipant, hold *konductor.Hold) error { return hold.Release(w.ctx) },
		"by another process": func(holder *testParticipant, _ *konductor.Hold) error {
			return holder.ReleaseLease(w.ctx, "db", konductor.WithHolder("holder"))
		},
	} {
		holder, wire := w.newHookedParticipant("holder")
		hold := holder.mustAcquire(konductorv1.KindLease, "db", konductor.Detached())
		waitFor(w, "db", "held", func(l *konductorv1.Lease) bool { return l.Status.Holder == "holder" })
		// The releasing process has read the claim, and is then stopped until its hold has expired.
		var once sync.Once
		wire.setRequestHook(func(req *http.Request) error {
			if req.Method != http.MethodDelete {
				return nil
			}
			once.Do(func() {
				claim := &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: path.Base(req.URL.Path)}}
				fragment := client.RawPatch("application/merge-patch+json", []byte(`{"status":{"phase":"Expired","message":"slept"}}`))
				if err := w.client.Status().Patch(w.ctx, claim, fragment); err != nil {
					t.Errorf("%s: %v", what, err)
				}
			})
			return nil
		})
		var lost *konductor.LostError
		if err := release(holder, hold); !errors.As(err, &lost) || lost.Reason != "slept" {
			t.Errorf("%s: got %v, want to be told that the hold was lost", what, err)
		}
		waitGone(w, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Namespace: w.namespace, Name: holder.claimName(konductorv1.KindLease, getObject[*konductorv1.Lease](w, "db"))}})
	}
}

func TestRenewalExtendsHold(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db", konductor.WithTTL(shortTTL))
	checker := w.checkRevisions(konductorv1.KindLease, "db")
	hold := w.newParticipant("holder").mustAcquire(konductorv1.KindLease, "db")
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, lease)
	waitFor(w, w.newParticipant("holder").claimName(konductorv1.KindLease, lease), "renewed often", func(c *konductorv1.Claim) bool { return c.Spec.Renewals >= 6 })
	next.mustBePending()
	select {
	case <-hold.Lost():
		t.Fatal(context.Cause(hold.Context()))
	default:
	}
	w.mustRelease(hold)
	w.mustRelease(next.mustSucceed())
	if diff := cmp.Diff([]string{"holder", "next"}, checker.grantedHolders()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestHoldOutlivesAcquireContext(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db", konductor.WithTTL(shortTTL))
	ctx, cancel := context.WithCancel(w.ctx)
	hold := w.newParticipant("holder").startAcquireWithContext(ctx, konductorv1.KindLease, "db").mustSucceed()
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, lease)
	claim := w.newParticipant("holder").claimName(konductorv1.KindLease, lease)

	// As on SIGTERM, the context tells the work to stop, which takes a while. Until it has, no other participant may begin.
	cancel()
	w.waitClosed(hold.Context().Done(), "the end of the hold's context")
	before := getObject[*konductorv1.Claim](w, claim).Spec.Renewals
	waitFor(w, claim, "renewed further", func(c *konductorv1.Claim) bool { return c.Spec.Renewals >= before+4 })
	next.mustBePending()
	select {
	case <-hold.Lost():
		t.Error("the hold was lost")
	default:
	}
	w.must(hold.Release(context.WithoutCancel(ctx)))
	w.mustRelease(next.mustSucceed())
}

func TestUnacknowledgedGrantExpires(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db")
	checker := w.checkRevisions(konductorv1.KindLease, "db")
	hold := w.newParticipant("first").mustAcquire(konductorv1.KindLease, "db")
	// The laptop was closed while it waited: its claim exists, but no process.
	w.createObjects(&konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Name: "laptop"},
		Spec: konductorv1.ClaimSpec{
			Target: konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: "db"}, Holder: "laptop", TTL: konductorv1.NewDuration(time.Hour),
		},
	})
	last := w.newParticipant("last").enqueue(konductorv1.KindLease, lease)
	w.mustRelease(hold)
	waitFor(w, "laptop", "granted", func(c *konductorv1.Claim) bool { return c.Status.Phase == konductorv1.ClaimGranted })
	granted := time.Now()

	w.mustRelease(last.mustSucceed())
	if took := time.Since(granted); took < konductorv1.AcknowledgeWithin-time.Second {
		t.Errorf("the grant lapsed after %s", took)
	}
	lapsed := getObject[*konductorv1.Claim](w, "laptop")
	if want := "the grant was not acknowledged within 15s"; lapsed.Status.Message != want {
		t.Errorf("the message is %q, want %q", lapsed.Status.Message, want)
	}
	if diff := cmp.Diff([]string{"first", "laptop", "last"}, checker.grantedHolders()); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestDetachedHoldRenewAndRelease(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db")
	w.checkRevisions(konductorv1.KindLease, "db")
	w.newParticipant("script").mustAcquire(konductorv1.KindLease, "db", konductor.Detached(), konductor.WithTTL(time.Hour))
	later := w.newParticipant("script")
	w.must(later.RenewLease(w.ctx, "db", later.asHolder()))
	w.must(later.RenewLease(w.ctx, "db", later.asHolder()))
	if n := getObject[*konductorv1.Claim](w, later.claimName(konductorv1.KindLease, lease)).Spec.Renewals; n < 3 {
		t.Errorf("it was renewed %d times", n)
	}
	w.must(later.ReleaseLease(w.ctx, "db", later.asHolder()))
	waitFor(w, "db", "free", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseAvailable })

	lost := requireErrorAs[*konductor.LostError](w, later.RenewLease(w.ctx, "db", later.asHolder()))
	if want := "the hold on lease/db was lost: script doesn't hold it"; lost.Error() != want {
		t.Errorf("the error is %q, want %q", lost, want)
	}
	missing := requireErrorAs[*konductor.NotFoundError](w, later.ReleaseLease(w.ctx, "db", later.asHolder()))
	if !strings.Contains(missing.Error(), "script has no hold on lease/db and is not queued") {
		t.Errorf("the error is %q", missing)
	}
	requireErrorAs[*konductor.NotFoundError](w, later.ReleaseLease(w.ctx, "no-such-lease"))
}

func TestDetachedHoldExpires(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db")
	w.checkRevisions(konductorv1.KindLease, "db")
	script := w.newParticipant("script")
	script.mustAcquire(konductorv1.KindLease, "db", konductor.Detached(), konductor.WithTTL(2*time.Second))
	w.mustRelease(w.newParticipant("next").enqueue(konductorv1.KindLease, lease).mustSucceed())
	requireErrorAs[*konductor.LostError](w, script.RenewLease(w.ctx, "db", script.asHolder()))
	requireErrorAs[*konductor.LostError](w, script.ReleaseLease(w.ctx, "db", script.asHolder()))
	// The rest of the old hold doesn't prevent a new one.
	w.mustRelease(script.mustAcquire(konductorv1.KindLease, "db"))
}

func TestBreakLease(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	lease := w.createLease("db")
	w.checkRevisions(konductorv1.KindLease, "db")
	hold := w.newPodParticipant(w.createPod("holder")).mustAcquire(konductorv1.KindLease, "db")
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, lease)
	waitFor(w, "db", "held by the pod", func(l *konductorv1.Lease) bool { return l.Status.Holder == "holder" })

	whose, err := w.newParticipant("admin").BreakLease(w.ctx, "db")
	w.must(err)
	if whose != "holder" {
		t.Errorf("it was taken from %q", whose)
	}
	w.waitClosed(hold.Lost(), "the loss of the hold")
	requireErrorAs[*konductor.LostError](w, hold.Release(w.ctx))
	w.mustRelease(next.mustSucceed())
	waitFor(w, "db", "free", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseAvailable })
	_, err = w.newParticipant("admin").BreakLease(w.ctx, "db")
	if e := requireErrorAs[*konductor.NotFoundError](w, err); e.Error() != "nobody holds lease/db in namespace "+w.namespace {
		t.Errorf("the error is %q", e)
	}
}

func TestReleaseWithCancelledContext(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	w.createLease("db")
	hold := w.newPodParticipant(w.createPod("holder")).mustAcquire(konductorv1.KindLease, "db")
	waitFor(w, "db", "held", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseHeld })
	over, cancel := context.WithCancel(w.ctx)
	cancel()
	w.must(hold.Release(over))
	waitFor(w, "db", "free", func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseAvailable })
	w.must(hold.Release(w.ctx))
}

func TestFailedReleaseIsRetried(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	lease := w.createLease("db")
	// The Pod keeps running, so that only the TTL can end its hold.
	config, wire := w.hookTransport(w.podTokenConfig(w.createPod("holder")))
	holder := w.newParticipantWithConfig(config, "")
	hold := holder.mustAcquire(konductorv1.KindLease, "db")
	next := w.newParticipant("next").enqueue(konductorv1.KindLease, lease)
	wire.failRequests(isWriteRequest)
	over, cancel := context.WithCancel(w.ctx)
	cancel()
	if err := hold.Release(over); !errors.Is(err, context.Canceled) {
		t.Fatalf("it returned %v", err)
	}
	next.mustBePending()
	wire.failRequests(nil)
	w.mustRelease(next.mustSucceed())
	w.mustRelease(holder.mustAcquire(konductorv1.KindLease, "db"))
}

func TestCancelledAcquireLeavesNoClaim(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	w.createLease("db")
	// The claim is created, but the API server's response is lost, and so are all others for a while.
	config, wire := w.hookTransport(w.podTokenConfig(w.createPod("caller")))
	caller := w.newParticipantWithConfig(config, "")
	ctx, cancel := context.WithCancel(w.ctx)
	var once sync.Once
	wire.setResponseHook(func(req *http.Request) error {
		if req.Method != http.MethodPost || !strings.HasSuffix(req.URL.Path, "/claims") {
			return nil
		}
		once.Do(func() {
			wire.failRequests(func(*http.Request) bool { return true })
			cancel()
		})
		return errDisconnected
	})
	acquiring := caller.startAcquireWithContext(ctx, konductorv1.KindLease, "db")
	if err := acquiring.mustFail(); !errors.Is(err, context.Canceled) {
		t.Fatalf("it returned %v", err)
	}
	wire.setResponseHook(nil)
	wire.failRequests(nil)
	waitFor(w, "db", "free of claims", func(l *konductorv1.Lease) bool {
		return l.Status.Phase == konductorv1.LeaseAvailable && l.Status.FencingToken > 0
	})
	w.mustRelease(caller.mustAcquire(konductorv1.KindLease, "db"))
}
