package controller

import (
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// server is an API server with these objects in it.
func server(t *testing.T, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := konductorv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithStatusSubresource(&konductorv1.Semaphore{}, &konductorv1.Claim{}).Build()
}

// semaphores is a controller whose cache is one API server and whose live reads go to another.
func semaphores(t *testing.T, cached, live client.Client) *holds[*konductorv1.Semaphore] {
	t.Helper()
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return newSemaphores(Deps{Client: cached, Live: live, Recorder: record.NewFakeRecorder(100), Metrics: metrics, Clock: stoppedClock{}})
}

func sem(uid types.UID, version string, permits int32) *konductorv1.Semaphore {
	return &konductorv1.Semaphore{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s", UID: uid, ResourceVersion: version, Generation: 1},
		Spec:       konductorv1.SemaphoreSpec{Permits: permits},
	}
}

func claimOnSemaphore(uid types.UID, permits int32, phase konductorv1.ClaimPhase) *konductorv1.Claim {
	return &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c", UID: "c", ResourceVersion: "5", OwnerReferences: []metav1.OwnerReference{{
			APIVersion: konductorv1.GroupVersion().String(), Kind: konductorv1.KindSemaphore, Name: "s", UID: uid,
		}}},
		Spec:   konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: "s"}, Holder: "c", Permits: permits},
		Status: konductorv1.ClaimStatus{Phase: phase, FencingToken: 3},
	}
}

// reconcileWith lets the controller see the claim and then decide about its semaphore, and returns what became of the
// claim; nil: it was deleted.
func reconcileWith(t *testing.T, r *holds[*konductorv1.Semaphore], claim *konductorv1.Claim) *konductorv1.Claim {
	t.Helper()
	r.ledger.observe(claim, rules.Now{})
	key := types.NamespacedName{Namespace: "default", Name: "s"}
	if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
		t.Fatal(err)
	}
	now := &konductorv1.Claim{}
	err := r.Client.Get(t.Context(), client.ObjectKeyFromObject(claim), now)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return now
}

func TestAClaimIsRefusedByTheSemaphoreAsItIsAndNotAsItWas(t *testing.T) {
	for what, c := range map[string]struct {
		live int32
		want konductorv1.ClaimPhase
	}{
		"the cache has not heard that there are enough permits now": {6, ""},
		"there still are too few":                                   {2, konductorv1.ClaimRefused},
	} {
		t.Run(what, func(t *testing.T) {
			claim := claimOnSemaphore("1", 6, "")
			cached := server(t, sem("1", "10", 2), claim)
			r := semaphores(t, cached, cached)
			// The operator has looked at it before, and has nothing to write now.
			key := types.NamespacedName{Namespace: "default", Name: "s"}
			if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
				t.Fatal(err)
			}
			if c.live != 2 {
				r.Live = server(t, sem("1", "100", c.live))
			}
			if got := reconcileWith(t, r, claim); got == nil || got.Status.Phase != c.want {
				t.Errorf("the claim is %+v, want phase %q", got, c.want)
			}
		})
	}
}

func TestClaimsOnAFormerObjectOfTheSameNameEndWithIt(t *testing.T) {
	const deleted = konductorv1.ClaimPhase("deleted")
	for what, c := range map[string]struct {
		madeFor, cached, live types.UID
		phase, want           konductorv1.ClaimPhase
	}{
		"who holds is told":                               {"1", "2", "2", konductorv1.ClaimGranted, konductorv1.ClaimExpired},
		"who waits is sent away":                          {"1", "2", "2", konductorv1.ClaimPending, deleted},
		"who waits for one that the cache has not, stays": {"2", "1", "2", konductorv1.ClaimPending, konductorv1.ClaimPending},
		"who waits for one that is gone is sent away":     {"1", "", "", konductorv1.ClaimPending, deleted},
		"who holds one that is gone is told":              {"1", "", "", konductorv1.ClaimGranted, konductorv1.ClaimExpired},
	} {
		t.Run(what, func(t *testing.T) {
			claim := claimOnSemaphore(c.madeFor, 1, c.phase)
			cached, live := []client.Object{claim}, []client.Object{}
			if c.cached != "" {
				cached, live = append(cached, sem(c.cached, "10", 2)), append(live, sem(c.live, "20", 2))
			}
			got, phase := reconcileWith(t, semaphores(t, server(t, cached...), server(t, live...)), claim), deleted
			if got != nil {
				phase = got.Status.Phase
			}
			if phase != c.want {
				t.Errorf("the claim is %s, want %s", phase, c.want)
			}
		})
	}
}
