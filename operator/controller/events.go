package controller

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// watchHandler calls seen for an object that was added or has changed, and gone for one that was deleted.
func watchHandler(seen, gone func(client.Object, queue)) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) { seen(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() {
				gone(e.ObjectOld, q)
			}
			seen(e.ObjectNew, q)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { gone(e.Object, q) },
	}
}

// onObject hands the object itself to the controller, unless it is as we wrote it.
func (r *holds[T]) onObject() handler.EventHandler {
	return watchHandler(func(obj client.Object, q queue) {
		seen, ok := obj.(T)
		if !ok {
			return
		}
		key := client.ObjectKeyFromObject(obj)
		r.ledger.seen(key, r.holders(seen))
		if !r.ledger.account(key).isLast(seen) {
			q.Add(requestFor(obj))
		}
	}, func(obj client.Object, q queue) {
		r.ledger.gone(client.ObjectKeyFromObject(obj))
		q.Add(requestFor(obj))
	})
}

// isLast reports whether obj is the version that was written or read last.
func (m *memory[T]) isLast(obj T) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.known && m.last.GetUID() == obj.GetUID() && m.last.GetResourceVersion() == obj.GetResourceVersion()
}

// onClaim keeps the ledger and hands the claim's object to the controller when there is something to decide.
func (r *holds[T]) onClaim() handler.EventHandler {
	return watchHandler(func(obj client.Object, q queue) {
		claim, ok := obj.(*konductorv1.Claim)
		if !ok {
			return
		}
		if key, mine := r.ledger.target(claim); mine && r.ledger.observe(claim, r.Clock.Now()) {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}, func(obj client.Object, q queue) {
		claim, ok := obj.(*konductorv1.Claim)
		if !ok {
			return
		}
		if key, mine := r.ledger.forget(claim); mine {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	})
}

// onPod ends the holds of a Pod that has finished or is gone.
func (r *holds[T]) onPod() handler.EventHandler {
	end := func(pod types.UID, q queue) {
		for _, key := range r.ledger.endPod(pod) {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
	return watchHandler(func(obj client.Object, q queue) {
		if pod, ok := obj.(*corev1.Pod); ok && finished(pod) {
			end(pod.UID, q)
		}
	}, func(obj client.Object, q queue) {
		end(obj.GetUID(), q)
	})
}

func requestFor(obj client.Object) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKeyFromObject(obj)}
}
