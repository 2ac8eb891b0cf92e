package integration

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// manual creates a claim as somebody writes it by hand, in as few words as possible and without an owner.
func (w *world) manual(text string) *konductorv1.Claim {
	w.Helper()
	claim := &konductorv1.Claim{}
	w.ok(yaml.Unmarshal([]byte(text), claim))
	w.create(claim)
	return claim
}

// renew acknowledges, or prolongs, the hold of a claim that was made by hand.
func (w *world) renew(claim string, renewals string) {
	w.Helper()
	w.patchSpec(&konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: claim}}, `{"renewals":`+renewals+`}`)
}

func isClaim(w *world, name string, phase konductorv1.ClaimPhase) *konductorv1.Claim {
	w.Helper()
	return is(w, name, string(phase), func(c *konductorv1.Claim) bool { return c.Status.Phase == phase })
}

func TestDeletingALeaseEndsItsHolderAndItsWaiters(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	for _, kind := range []string{konductorv1.KindLease, konductorv1.KindSemaphore} {
		t.Run(kind, func(t *testing.T) {
			w := *w
			w.TB = t
			var hold *konductor.Hold
			var waiter *future[*konductor.Hold]
			if kind == konductorv1.KindLease {
				lease := w.lease("x")
				hold = w.in(w.pod("holder-l")).acquire(kind, "x")
				waiter = w.someone("waiter").queue(kind, lease)
				w.ok(w.someone("admin").DeleteLease(w.ctx, "x"))
			} else {
				s := w.semaphore("x", 1)
				hold = w.in(w.pod("holder-s")).acquire(kind, "x")
				waiter = w.someone("waiter").queue(kind, s)
				w.ok(w.someone("admin").DeleteSemaphore(w.ctx, "x"))
			}
			w.closes(hold.Lost(), "the loss of the hold")
			wants[*konductor.LostError](&w, hold.Release(w.ctx))
			if err := wants[*konductor.NotFoundError](&w, waiter.fails()); !err.Deleted || err.Kind != kind {
				t.Errorf("%v does not say that the %s was deleted", err, kind)
			}
		})
	}
}

func TestALeaseMayBeCreatedAfterTheAcquireBegan(t *testing.T) {
	w := newWorld(t)
	w.operator()
	a := w.someone("early")
	lease, semaphore := a.acquiring(konductorv1.KindLease, "db"), a.acquiring(konductorv1.KindSemaphore, "api")
	a.awaitSentence("waiting for lease/db to be created")
	a.awaitSentence("waiting for semaphore/api to be created")
	wants[*konductor.NotFoundError](w, w.someone("strict").acquiring(konductorv1.KindLease, "db", konductor.FailIfMissing()).fails())
	w.lease("db")
	w.semaphore("api", 1)
	w.release(lease.must())
	w.release(semaphore.must())
}

func TestAClaimWrittenByHandIsServedLikeAnyOther(t *testing.T) {
	w := newWorld(t)
	w.operator()
	// The claim comes before the lease: manifests arrive in any order.
	w.manual(`
metadata: {name: by-hand}
spec:
  target: {kind: Lease, name: db}
  holder: somebody`)
	w.lease("db")
	witness := w.witness(konductorv1.KindLease, "db")
	granted := isClaim(w, "by-hand", konductorv1.ClaimGranted)
	w.renew("by-hand", "1")
	held := is(w, "db", "held", func(l *konductorv1.Lease) bool { return l.Status.Holder == "somebody" })
	if held.Status.FencingToken != granted.Status.FencingToken {
		t.Errorf("the claim has token %d, the lease %d", granted.Status.FencingToken, held.Status.FencingToken)
	}
	w.manual(`
metadata: {name: second}
spec:
  target: {kind: Lease, name: db}
  holder: another`)
	w.delete(granted)
	isClaim(w, "second", konductorv1.ClaimGranted)
	if diff := cmp.Diff([]string{"somebody", "another"}, witness.awaitGrants(2)); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestClaimsWithoutOwnerSurviveTheirLeaseAsWaitersButNotAsHolders(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease := w.lease("db")
	w.witness(konductorv1.KindLease, "db")
	claim := func(name string) {
		w.manual("metadata: {name: " + name + "}\nspec: {target: {kind: Lease, name: db}, holder: " + name + ", ttl: 1h}")
	}
	claim("holder")
	isClaim(w, "holder", konductorv1.ClaimGranted)
	w.renew("holder", "1")
	claim("waiter")
	w.delete(lease)
	ended := isClaim(w, "holder", konductorv1.ClaimExpired)
	if want := "Lease db was deleted"; ended.Status.Message != want {
		t.Errorf("the message is %q, want %q", ended.Status.Message, want)
	}
	w.lease("db")
	isClaim(w, "waiter", konductorv1.ClaimGranted)
	if get[*konductorv1.Claim](w, "holder").Status.Phase != konductorv1.ClaimExpired {
		t.Error("the former holder has come back")
	}
}

func TestNoClaimIsToldOfAGrantThatWasNotWritten(t *testing.T) {
	w := newWorld(t)
	// The lease goes in the very moment in which the operator has decided to grant it.
	config, wire := w.wired(w.operators)
	lease := konductor.NewLease("db")
	var once sync.Once
	wire.onRequest(func(req *http.Request) error {
		if req.Method == http.MethodPut && strings.HasSuffix(req.URL.Path, "/leases/db/status") {
			once.Do(func() {
				if err := w.objects.Delete(w.ctx, lease.DeepCopy()); err != nil {
					w.Error(err)
				}
			})
		}
		return nil
	})
	w.manual("metadata: {name: claim}\nspec: {target: {kind: Lease, name: db}, holder: a, ttl: 1h}")
	var told []int64
	watching := waiting(w, func() error {
		return follow(w.ctx, w.objects, w.namespace, "claim", func(c *konductorv1.Claim, _ bool) bool {
			if token := c.Status.FencingToken; token != 0 && !slices.Contains(told, token) {
				told = append(told, token)
			}
			return c.Spec.Renewals > 0
		})
	})
	w.witness(konductorv1.KindLease, "db")
	w.create(lease)
	w.operatorWith(func(o *operator.Options) { o.Config = config })
	isGone(w, lease)
	// That nothing happens shows nowhere, but that something else happens after it.
	w.lease("other")
	w.release(w.someone("b").acquire(konductorv1.KindLease, "other"))
	if phase := get[*konductorv1.Claim](w, "claim").Status.Phase; phase != konductorv1.ClaimPending {
		t.Fatalf("the claim on a lease that is gone is %s", phase)
	}
	w.lease("db")
	isClaim(w, "claim", konductorv1.ClaimGranted)
	w.renew("claim", "1")
	watching.must()
	if diff := cmp.Diff([]int64{get[*konductorv1.Lease](w, "db").Status.FencingToken}, told); diff != "" {
		t.Errorf("tokens that the claim was told (-want +got):\n%s", diff)
	}
}

func TestAWaiterIsNotConfusedByARecreatedLease(t *testing.T) {
	w := newWorld(t)
	w.operator()
	lease := w.lease("db")
	w.witness(konductorv1.KindLease, "db")
	hold := w.someone("holder").acquire(konductorv1.KindLease, "db", konductor.WithTTL(time.Hour))
	waiter := w.someone("waiter").queue(konductorv1.KindLease, lease)
	w.delete(lease)
	again := w.lease("db")
	// Whoever acquires now is on the new one; those of before learn that theirs is gone.
	next := w.someone("next").acquire(konductorv1.KindLease, "db")
	w.closes(hold.Lost(), "the loss of the hold")
	wants[*konductor.NotFoundError](w, waiter.fails())
	if next.Token() <= hold.Token() {
		t.Errorf("the token went from %d to %d", hold.Token(), next.Token())
	}
	if uid := get[*konductorv1.Lease](w, "db").UID; uid != again.UID {
		t.Errorf("the lease is %s", uid)
	}
	w.release(next)
}
