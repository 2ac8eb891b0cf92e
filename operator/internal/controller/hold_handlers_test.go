package controller

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestStandbyReplicaEnqueuesNothing(t *testing.T) {
	acting := make(chan struct{})
	r := newSemaphoreReconciler(Deps{Clock: fixedClock{}, Elected: acting})
	q := workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[reconcile.Request]())
	defer q.ShutDown()
	claims := r.enqueueOnlyWhenLeader(r.onClaim())
	claim := func(on string) *konductorv1.Claim {
		c := newTestSemaphoreClaim("1", 1, "")
		c.UID, c.Spec.Target.Name = types.UID(on), on
		return c
	}
	for _, on := range []string{"stays", "goes", "gone"} {
		claims.Create(t.Context(), event.CreateEvent{Object: claim(on)}, q)
	}
	for _, on := range []string{"goes", "gone"} {
		claims.Delete(t.Context(), event.DeleteEvent{Object: claim(on)}, q)
	}
	if q.Len() != 0 || len(r.claimCache.targets) != 1 {
		t.Fatalf("%d are in the queue, and %d accounts are kept", q.Len(), len(r.claimCache.targets))
	}

	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	if err := r.enqueueAllOnElection(r.claimCache.allKeys).Start(ctx, q); err != nil {
		t.Fatal(err)
	}
	close(acting)
	next := func() types.NamespacedName {
		t.Helper()
		got := make(chan reconcile.Request, 1)
		go func() {
			item, _ := q.Get()
			q.Done(item)
			got <- item
		}()
		select {
		case item := <-got:
			return item.NamespacedName
		case <-time.After(30 * time.Second):
			t.Fatal("nothing is in the queue of a replica that acts")
			return types.NamespacedName{}
		}
	}
	if diff := cmp.Diff(types.NamespacedName{Namespace: "default", Name: "stays"}, next()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	claims.Create(t.Context(), event.CreateEvent{Object: claim("comes")}, q)
	if diff := cmp.Diff(types.NamespacedName{Namespace: "default", Name: "comes"}, next()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDeletedStatesDropRemovedConditions(t *testing.T) {
	left := newDeletedStates()
	gate := &konductorv1.Gate{}
	gate.UID, gate.Namespace = "g", "default"
	for _, job := range []string{"a", "b", "c"} {
		gate.Spec.Conditions = []konductorv1.GateCondition{{Type: konductorv1.GateOnJob, Name: job}}
		left.record(gate, gateIndexKey("Job", "default", job), observe(&konductorv1.Barrier{}))
	}
	if n := len(left.byGate["g"]); n != 1 || left.lookup("g", gateIndexKey("Job", "default", "c")) == nil {
		t.Errorf("%d objects are remembered: %v", n, left.byGate["g"])
	}
}
