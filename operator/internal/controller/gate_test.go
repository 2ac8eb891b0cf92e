package controller

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

func TestGateTimeoutObservesConditionsLive(t *testing.T) {
	created := time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{konductorv1.AddToScheme, batchv1.AddToScheme, corev1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	job := func(status corev1.ConditionStatus) *batchv1.Job {
		return &batchv1.Job{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "j", UID: "2"},
			Status:     batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: batchv1.JobComplete, Status: status}}},
		}
	}
	for what, c := range map[string]struct {
		live corev1.ConditionStatus
		want konductorv1.GatePhase
	}{
		"a Job has completed, and the watch has not shown it yet": {corev1.ConditionTrue, konductorv1.GateOpen},
		"the Job has not completed":                               {corev1.ConditionFalse, konductorv1.GateTimeout},
	} {
		t.Run(what, func(t *testing.T) {
			gate := &konductorv1.Gate{
				ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "g", UID: "1", CreationTimestamp: metav1.NewTime(created)},
				Spec: konductorv1.GateSpec{
					Conditions: []konductorv1.GateCondition{{Type: konductorv1.GateOnJob, Name: "j"}}, Timeout: konductorv1.NewDuration(10 * time.Second),
				},
			}
			cached := fake.NewClientBuilder().WithScheme(scheme).WithStatusSubresource(gate).WithObjects(gate, job(corev1.ConditionFalse)).Build()
			live := fake.NewClientBuilder().WithScheme(scheme).WithObjects(job(c.live)).Build()
			metrics, err := NewMetrics(prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			r := &gateReconciler{deletedStates: newDeletedStates(), namespaceReader: cached, watchesNamespaces: true, Deps: Deps{
				Client: cached, APIReader: live, Recorder: record.NewFakeRecorder(10), Metrics: metrics, Clock: fixedClock{ServerTime: created.Add(11 * time.Second)},
			}}
			key := client.ObjectKeyFromObject(gate)
			if _, err := r.Reconcile(t.Context(), reconcile.Request{NamespacedName: key}); err != nil {
				t.Fatal(err)
			}
			if err := cached.Get(t.Context(), key, gate); err != nil {
				t.Fatal(err)
			}
			if gate.Status.Phase != c.want {
				t.Errorf("the gate is %s, want %s", gate.Status.Phase, c.want)
			}
		})
	}
}

func TestIndexGateConditions(t *testing.T) {
	gate := &konductorv1.Gate{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "g"},
		Spec: konductorv1.GateSpec{Conditions: []konductorv1.GateCondition{
			{Type: konductorv1.GateOnLease, Name: "own"}, {Type: konductorv1.GateOnLease, Name: "theirs", Namespace: "shop"},
		}},
	}
	want := func(entries ...string) {
		t.Helper()
		if diff := cmp.Diff(entries, indexGateConditions(gate)); diff != "" {
			t.Error(diff)
		}
	}
	want("Lease/default/own", "Namespace//shop", "Lease/shop/theirs")
	denied := rules.DecideGate(gate, []rules.Observation{{}, {NamespaceDenied: true}}, rules.Instant{})
	gate.Status = denied.Status
	want("Lease/default/own", "Namespace//shop")
	gate.Status = rules.DecideGate(gate, []rules.Observation{{}, {}}, rules.Instant{}).Status
	want("Lease/default/own", "Namespace//shop", "Lease/shop/theirs")
}

func TestStatusWriteThrottle(t *testing.T) {
	var throttle statusWriteThrottle
	gate := client.ObjectKey{Namespace: "default", Name: "g"}
	if left := throttle.writeDelay(gate, 100, time.Hour); left != 0 {
		t.Errorf("the first news waits for %s", left)
	}
	throttle.recordWrite(gate, time.Hour)
	if left := throttle.writeDelay(gate, 100, time.Hour+time.Second); left != 9*time.Second {
		t.Errorf("the next news waits for %s", left)
	}
	throttle.removeGate(gate)
	if len(throttle.lastWriteAt) != 0 {
		t.Error("it is not forgotten")
	}
}

// countingReader counts the reads.
type countingReader struct {
	client.Reader
	reads int
}

func (c *countingReader) Get(ctx context.Context, key client.ObjectKey, obj client.Object, opts ...client.GetOption) error {
	c.reads++
	return c.Reader.Get(ctx, key, obj, opts...)
}

func TestTTLNamespaceReaderCachesReads(t *testing.T) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	shop := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Annotations: map[string]string{konductorv1.AllowGatesAnnotation: "*"}}}
	live := &countingReader{Reader: fake.NewClientBuilder().WithScheme(scheme).WithObjects(shop).Build()}
	r := &gateReconciler{namespaceReader: newTTLNamespaceReader(live, []string{"default", "shop", "gone"})}
	for range 3 {
		for to, want := range map[string]bool{"shop": true, "gone": false, "elsewhere": false} {
			if got, err := r.isNamespaceAllowed(t.Context(), "default", to); got != want || err != nil {
				t.Errorf("%s: %t, %v", to, got, err)
			}
		}
	}
	if live.reads != 2 {
		t.Errorf("%d reads, want one for each of two namespaces", live.reads)
	}
}
