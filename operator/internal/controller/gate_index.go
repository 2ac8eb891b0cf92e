package controller

import (
	"context"

	"github.com/LogicIQ/konductor/internal/rules"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// gateConditionIndex is the name of the cache index that finds the gates with a condition on an object.
const gateConditionIndex = "konductor.io/gate-conditions"

// indexGateConditions returns the index entries of a gate: the objects of its conditions, and the namespaces of those
// elsewhere.
func indexGateConditions(obj client.Object) []string {
	gate, ok := obj.(*konductorv1.Gate)
	if !ok || gate.Status.Phase == konductorv1.GateOpen {
		return nil
	}
	var entries []string
	for i := range gate.Spec.Conditions {
		c := &gate.Spec.Conditions[i]
		namespace := conditionNamespace(gate, c)
		if namespace != gate.Namespace {
			entries = append(entries, gateIndexKey("Namespace", "", namespace))
		}
		// While the namespace doesn't allow it, changes of the object don't matter to the gate.
		if !rules.IsConditionDenied(gate, i) {
			entries = append(entries, gateIndexKey(string(c.Type), namespace, c.Name))
		}
	}
	return entries
}

func gateIndexKey(kind, namespace, name string) string {
	return kind + "/" + namespace + "/" + name
}

// listByIndexKey returns the gates with that index entry. They must not be modified.
func (r *gateReconciler) listByIndexKey(ctx context.Context, entry string) []konductorv1.Gate {
	return r.listCached(ctx, client.MatchingFields{gateConditionIndex: entry})
}

// listCached returns gates from the cache without copying them: thousands may depend on one object, and each change of it
// lists them.
func (r *gateReconciler) listCached(ctx context.Context, options ...client.ListOption) []konductorv1.Gate {
	var list konductorv1.GateList
	// The cache fails only when the operator is being stopped.
	if err := r.Client.List(ctx, &list, append(options, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil
	}
	return list.Items
}

// allKeys returns the keys of all gates.
func (r *gateReconciler) allKeys(ctx context.Context) (keys []types.NamespacedName) {
	for _, gate := range r.listCached(ctx) {
		keys = append(keys, client.ObjectKeyFromObject(&gate))
	}
	return keys
}

// onConditionObject enqueues the gates with a condition on a changed object of that type, and records the last state of a
// deleted one.
func (r *gateReconciler) onConditionObject(kind konductorv1.GateConditionType) handler.EventHandler {
	enqueue := func(ctx context.Context, obj client.Object, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		for _, gate := range r.listByIndexKey(ctx, gateIndexKey(string(kind), obj.GetNamespace(), obj.GetName())) {
			q.Add(requestFor(&gate))
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(ctx, e.Object, q)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(ctx, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			// Recorded here too, so that it happens before the gates are reconciled.
			r.recordDeletedState(ctx, kind, e.Object)
			enqueue(ctx, e.Object, q)
			if gate, ok := e.Object.(*konductorv1.Gate); ok {
				r.deletedStates.removeGate(gate.UID)
			}
		},
	}
}

// onNamespace enqueues the gates with a condition on an object in a changed namespace.
func (r *gateReconciler) onNamespace() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, obj client.Object) (requests []reconcile.Request) {
		for _, gate := range r.listByIndexKey(ctx, gateIndexKey("Namespace", "", obj.GetName())) {
			requests = append(requests, requestFor(&gate))
		}
		return requests
	})
}
