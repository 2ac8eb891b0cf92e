package controller

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// newFakeClient returns a client of a fake API server with these objects.
func newFakeClient(t *testing.T, objects ...client.Object) client.Client {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(konductorv1.AddToScheme(scheme), batchv1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).
		WithStatusSubresource(&konductorv1.Semaphore{}, &konductorv1.Claim{}).Build()
}

// newTestSemaphoreReconciler returns a controller with one API server as its cache and another for live reads.
func newTestSemaphoreReconciler(t *testing.T, cached, live client.Client) *holdReconciler[*konductorv1.Semaphore] {
	t.Helper()
	metrics, err := NewMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	return newSemaphoreReconciler(Deps{Client: cached, APIReader: live, Recorder: record.NewFakeRecorder(100), Metrics: metrics, Clock: fixedClock{}})
}

func newTestSemaphore(uid types.UID, version string, permits int32) *konductorv1.Semaphore {
	return &konductorv1.Semaphore{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "s", UID: uid, ResourceVersion: version, Generation: 1},
		Spec:       konductorv1.SemaphoreSpec{Permits: permits},
	}
}

func newTestSemaphoreClaim(uid types.UID, permits int32, phase konductorv1.ClaimPhase) *konductorv1.Claim {
	return &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "c", UID: "c", ResourceVersion: "5"},
		Spec:       konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: "s", UID: uid}, Holder: "c", Permits: permits},
		Status:     konductorv1.ClaimStatus{Phase: phase, FencingToken: 3},
	}
}

// observeAndReconcile lets the controller observe the claim and reconcile its semaphore, and returns the claim after that;
// nil: it was deleted.
func observeAndReconcile(t *testing.T, r *holdReconciler[*konductorv1.Semaphore], claim *konductorv1.Claim) *konductorv1.Claim {
	t.Helper()
	r.claimCache.observeClaim(claim, rules.Instant{})
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

func TestRefusalReadsSemaphoreLive(t *testing.T) {
	for what, c := range map[string]struct {
		live int32
		want konductorv1.ClaimPhase
	}{
		"the cache has not heard that there are enough permits now": {6, ""},
		"there still are too few":                                   {2, konductorv1.ClaimRefused},
	} {
		t.Run(what, func(t *testing.T) {
			claim := newTestSemaphoreClaim("1", 6, "")
			cached := newFakeClient(t, newTestSemaphore("1", "10", 2), claim)
			r := newTestSemaphoreReconciler(t, cached, cached)
			// The operator has reconciled it before, and has nothing to write now.
			key := types.NamespacedName{Namespace: "default", Name: "s"}
			if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
				t.Fatal(err)
			}
			if c.live != 2 {
				r.APIReader = newFakeClient(t, newTestSemaphore("1", "100", c.live))
			}
			if got := observeAndReconcile(t, r, claim); got == nil || got.Status.Phase != c.want {
				t.Errorf("the claim is %+v, want phase %q", got, c.want)
			}
		})
	}
}

func TestStaleTargetClaimsEnd(t *testing.T) {
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
			claim := newTestSemaphoreClaim(c.madeFor, 1, c.phase)
			cached, live := []client.Object{claim}, []client.Object{}
			if c.cached != "" {
				cached, live = append(cached, newTestSemaphore(c.cached, "10", 2)), append(live, newTestSemaphore(c.live, "20", 2))
			}
			got, phase := observeAndReconcile(t, newTestSemaphoreReconciler(t, newFakeClient(t, cached...), newFakeClient(t, live...)), claim), deleted
			if got != nil {
				phase = got.Status.Phase
			}
			if phase != c.want {
				t.Errorf("the claim is %s, want %s", phase, c.want)
			}
		})
	}
}

func TestFailedPodCheckDelaysOnlyClaimsOfThatPod(t *testing.T) {
	const fails, ended = "fails", "ended"
	object := newTestSemaphore("1", "", 1)
	claims := map[string]*konductorv1.Claim{}
	objects := []client.Object{object, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "runs", UID: "runs"}}}
	for i, pod := range []string{fails, ended, "runs"} {
		c := newTestSemaphoreClaim("1", 1, "")
		c.Name, c.UID, c.ResourceVersion, c.Spec.Holder, c.Status.FencingToken = pod, types.UID(pod), "", pod, 0
		c.CreationTimestamp = metav1.NewTime(time.Unix(int64(i), 0))
		c.Spec.BoundTo = &konductorv1.BoundObject{Kind: konductorv1.KindPod, Name: pod, UID: types.UID(pod)}
		claims[pod] = c
		objects = append(objects, c)
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(konductorv1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	failing := true
	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(object, claims[fails]).
		WithInterceptorFuncs(interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, obj client.Object, o ...client.GetOption) error {
			if key.Name == fails && failing {
				if _, ok := obj.(*corev1.Pod); ok {
					return errors.New("it can't be looked at")
				}
			}
			return c.Get(ctx, key, obj, o...)
		}}).Build()
	r := newTestSemaphoreReconciler(t, api, api)
	for name := range claims {
		seen := &konductorv1.Claim{}
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(claims[name]), seen); err != nil {
			t.Fatal(err)
		}
		r.claimCache.observeClaim(seen, rules.Instant{})
	}
	reconcileOnce := func() (holders []string, err error) {
		_, err = r.Reconcile(t.Context(), reconcile.Request{NamespacedName: client.ObjectKeyFromObject(object)})
		now := &konductorv1.Semaphore{}
		if err := api.Get(t.Context(), client.ObjectKeyFromObject(object), now); err != nil {
			t.Fatal(err)
		}
		for _, h := range now.Status.Holders {
			holders = append(holders, h.Name)
		}
		return holders, err
	}
	holders, err := reconcileOnce()
	if err == nil || !slices.Equal(holders, []string{"runs"}) {
		t.Errorf("while one Pod can't be looked at %v hold, and the error is %v", holders, err)
	}
	// The Pod is gone. Its claim was first in the queue, and must not be granted once that is known.
	failing = false
	r.claimCache.recordBoundEnded("runs")
	if holders, err = reconcileOnce(); err != nil || len(holders) != 0 {
		t.Errorf("once it can be looked at %v hold, and the error is %v", holders, err)
	}
}
