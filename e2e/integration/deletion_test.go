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

// createClaimYAML creates a hand-written claim, with as few fields as possible and without an owner.
func (w *testEnv) createClaimYAML(text string) *konductorv1.Claim {
	w.Helper()
	claim := &konductorv1.Claim{}
	w.must(yaml.Unmarshal([]byte(text), claim))
	w.createObjects(claim)
	return claim
}

// setRenewals acknowledges, or renews, the hold of a hand-written claim.
func (w *testEnv) setRenewals(claim string, renewals string) {
	w.Helper()
	w.patchSpec(&konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Name: claim}}, `{"renewals":`+renewals+`}`)
}

func waitClaimPhase(w *testEnv, name string, phase konductorv1.ClaimPhase) *konductorv1.Claim {
	w.Helper()
	return waitFor(w, name, string(phase), func(c *konductorv1.Claim) bool { return c.Status.Phase == phase })
}

func TestDeleteTargetEndsHoldersAndWaiters(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	for _, kind := range []string{konductorv1.KindLease, konductorv1.KindSemaphore} {
		t.Run(kind, func(t *testing.T) {
			w := *w
			w.TB = t
			var hold *konductor.Hold
			var waiter *future[*konductor.Hold]
			if kind == konductorv1.KindLease {
				lease := w.createLease("x")
				hold = w.newPodParticipant(w.createPod("holder-l")).mustAcquire(kind, "x")
				waiter = w.newParticipant("waiter").enqueue(kind, lease)
				w.must(w.newParticipant("admin").DeleteLease(w.ctx, "x"))
			} else {
				s := w.createSemaphore("x", 1)
				hold = w.newPodParticipant(w.createPod("holder-s")).mustAcquire(kind, "x")
				waiter = w.newParticipant("waiter").enqueue(kind, s)
				w.must(w.newParticipant("admin").DeleteSemaphore(w.ctx, "x"))
			}
			w.waitClosed(hold.Lost(), "the loss of the hold")
			requireErrorAs[*konductor.LostError](&w, hold.Release(w.ctx))
			if err := requireErrorAs[*konductor.NotFoundError](&w, waiter.mustFail()); !err.Deleted || err.Kind != kind {
				t.Errorf("%v does not say that the %s was deleted", err, kind)
			}
		})
	}
}

func TestAcquireBeforeTargetExists(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	a := w.newParticipant("early")
	lease, semaphore := a.startAcquire(konductorv1.KindLease, "db"), a.startAcquire(konductorv1.KindSemaphore, "api")
	a.waitForNotification("waiting for lease/db to be created")
	a.waitForNotification("waiting for semaphore/api to be created")
	requireErrorAs[*konductor.NotFoundError](w, w.newParticipant("strict").startAcquire(konductorv1.KindLease, "db", konductor.FailIfMissing()).mustFail())
	w.createLease("db")
	w.createSemaphore("api", 1)
	w.mustRelease(lease.mustSucceed())
	w.mustRelease(semaphore.mustSucceed())
}

func TestHandWrittenClaim(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	// The claim is created before the lease: manifests may be applied in any order.
	w.createClaimYAML(`
metadata: {name: by-hand}
spec:
  target: {kind: Lease, name: db}
  holder: somebody`)
	w.createLease("db")
	checker := w.checkRevisions(konductorv1.KindLease, "db")
	granted := waitClaimPhase(w, "by-hand", konductorv1.ClaimGranted)
	w.setRenewals("by-hand", "1")
	held := waitFor(w, "db", "held", func(l *konductorv1.Lease) bool { return l.Status.Holder == "somebody" })
	if held.Status.FencingToken != granted.Status.FencingToken {
		t.Errorf("the claim has token %d, the lease %d", granted.Status.FencingToken, held.Status.FencingToken)
	}
	w.createClaimYAML(`
metadata: {name: second}
spec:
  target: {kind: Lease, name: db}
  holder: another`)
	w.deleteObjects(granted)
	waitClaimPhase(w, "second", konductorv1.ClaimGranted)
	if diff := cmp.Diff([]string{"somebody", "another"}, checker.waitForGrants(2)); diff != "" {
		t.Errorf("grants (-want +got):\n%s", diff)
	}
}

func TestOwnerlessClaimsWhenLeaseDeleted(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db")
	w.checkRevisions(konductorv1.KindLease, "db")
	claim := func(name string) {
		w.createClaimYAML("metadata: {name: " + name + "}\nspec: {target: {kind: Lease, name: db}, holder: " + name + ", ttl: 1h}")
	}
	claim("holder")
	waitClaimPhase(w, "holder", konductorv1.ClaimGranted)
	w.setRenewals("holder", "1")
	claim("waiter")
	w.deleteObjects(lease)
	ended := waitClaimPhase(w, "holder", konductorv1.ClaimExpired)
	if want := "Lease db was deleted"; ended.Status.Message != want {
		t.Errorf("the message is %q, want %q", ended.Status.Message, want)
	}
	w.createLease("db")
	waitClaimPhase(w, "waiter", konductorv1.ClaimGranted)
	if getObject[*konductorv1.Claim](w, "holder").Status.Phase != konductorv1.ClaimExpired {
		t.Error("the former holder has come back")
	}
}

func TestClaimNotNotifiedOfUnwrittenGrant(t *testing.T) {
	w := newTestEnv(t)
	// The lease is deleted right after the operator has decided to grant it.
	config, wire := w.hookTransport(w.operatorConfig)
	lease := konductor.NewLease("db")
	var once sync.Once
	wire.setRequestHook(func(req *http.Request) error {
		if req.Method == http.MethodPut && strings.HasSuffix(req.URL.Path, "/leases/db/status") {
			once.Do(func() {
				if err := w.client.Delete(w.ctx, lease.DeepCopy()); err != nil {
					w.Error(err)
				}
			})
		}
		return nil
	})
	w.createClaimYAML("metadata: {name: claim}\nspec: {target: {kind: Lease, name: db}, holder: a, ttl: 1h}")
	var told []int64
	watching := runAsyncErr(w, func() error {
		return watchObject(w.ctx, w.client, w.namespace, "claim", func(c *konductorv1.Claim, _ bool) bool {
			if token := c.Status.FencingToken; token != 0 && !slices.Contains(told, token) {
				told = append(told, token)
			}
			return c.Spec.Renewals > 0
		})
	})
	w.checkRevisions(konductorv1.KindLease, "db")
	w.createObjects(lease)
	w.startOperatorWith(func(o *operator.Options) { o.Config = config })
	waitGone(w, lease)
	// Nothing shows that the operator has finished without an effect, except the effect of a later change.
	w.createLease("other")
	w.mustRelease(w.newParticipant("b").mustAcquire(konductorv1.KindLease, "other"))
	if phase := getObject[*konductorv1.Claim](w, "claim").Status.Phase; phase != konductorv1.ClaimPending {
		t.Fatalf("the claim on a lease that is gone is %s", phase)
	}
	w.createLease("db")
	waitClaimPhase(w, "claim", konductorv1.ClaimGranted)
	w.setRenewals("claim", "1")
	watching.mustSucceed()
	if diff := cmp.Diff([]int64{getObject[*konductorv1.Lease](w, "db").Status.FencingToken}, told); diff != "" {
		t.Errorf("tokens that the claim was told (-want +got):\n%s", diff)
	}
}

func TestWaiterOfRecreatedLease(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	lease := w.createLease("db")
	w.checkRevisions(konductorv1.KindLease, "db")
	hold := w.newParticipant("holder").mustAcquire(konductorv1.KindLease, "db", konductor.WithTTL(time.Hour))
	waiter := w.newParticipant("waiter").enqueue(konductorv1.KindLease, lease)
	w.deleteObjects(lease)
	again := w.createLease("db")
	// New acquires are on the new lease; holders of the old one learn that their hold is lost.
	next := w.newParticipant("next").mustAcquire(konductorv1.KindLease, "db")
	w.waitClosed(hold.Lost(), "the loss of the hold")
	requireErrorAs[*konductor.NotFoundError](w, waiter.mustFail())
	if next.Token() <= hold.Token() {
		t.Errorf("the token went from %d to %d", hold.Token(), next.Token())
	}
	if uid := getObject[*konductorv1.Lease](w, "db").UID; uid != again.UID {
		t.Errorf("the lease is %s", uid)
	}
	w.mustRelease(next)
}
