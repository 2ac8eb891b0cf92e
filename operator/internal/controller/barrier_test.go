package controller

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// fixedClock is a Clock that always shows the same instant.
type fixedClock rules.Instant

func (c fixedClock) Now() rules.Instant { return rules.Instant(c) }

func TestBarrierTimeoutListsArrivalsLive(t *testing.T) {
	created := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	for what, c := range map[string]struct {
		arrived time.Time
		want    konductorv1.BarrierPhase
	}{
		"an arrival in time that the watch has not shown yet opens it": {created.Add(9 * time.Second), konductorv1.BarrierOpen},
		"an arrival that came too late does not":                       {created.Add(12 * time.Second), konductorv1.BarrierTimeout},
	} {
		t.Run(what, func(t *testing.T) {
			scheme := runtime.NewScheme()
			if err := konductorv1.AddToScheme(scheme); err != nil {
				t.Fatal(err)
			}
			barrier := &konductorv1.Barrier{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "stage", UID: "1", CreationTimestamp: metav1.NewTime(created)},
				Spec:       konductorv1.BarrierSpec{Expected: 1, Timeout: konductorv1.NewDuration(10 * time.Second)},
			}
			arrival := &konductorv1.Arrival{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a", UID: "2", CreationTimestamp: metav1.NewTime(c.arrived)},
				Spec:       konductorv1.ArrivalSpec{Barrier: "stage", Participant: "a"},
			}
			api := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(barrier).WithObjects(barrier, arrival).
				WithIndex(arrival, "spec.barrier", func(obj client.Object) []string { return []string{obj.(*konductorv1.Arrival).Spec.Barrier} }).Build()
			metrics, err := NewMetrics(prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			// No watch has delivered anything to this controller.
			r := &barrierReconciler{arrivalCaches: map[client.ObjectKey]*arrivalCache{}, Deps: Deps{
				Client: api, APIReader: api, Recorder: record.NewFakeRecorder(10), Metrics: metrics,
				Clock: fixedClock{ServerTime: created.Add(11 * time.Second)},
			}}
			key := client.ObjectKeyFromObject(barrier)
			if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
				t.Fatal(err)
			}
			if err := api.Get(t.Context(), key, barrier); err != nil {
				t.Fatal(err)
			}
			if barrier.Status.Phase != c.want {
				t.Errorf("the barrier is %s, want %s", barrier.Status.Phase, c.want)
			}
		})
	}
}
