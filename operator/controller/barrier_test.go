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

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// stoppedClock is a Clock that stands still.
type stoppedClock rules.Now

func (c stoppedClock) Now() rules.Now { return rules.Now(c) }

func TestABarrierTimesOutOnlyWhenTheAPIServerKnowsOfNobodyMoreEither(t *testing.T) {
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
			// No watch has shown anything to this controller.
			r := &barriers{rolls: map[client.ObjectKey]*attendance{}, Deps: Deps{
				Client: api, Live: api, Recorder: record.NewFakeRecorder(10), Metrics: metrics,
				Clock: stoppedClock{Server: created.Add(11 * time.Second)},
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
