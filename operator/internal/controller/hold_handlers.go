package controller

import (
	"context"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

type requestQueue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// newEventHandler returns a handler that calls onChange for an added or changed object, and onDelete for a deleted one. An
// update with another UID is a deletion and a change.
func newEventHandler(onChange, onDelete func(client.Object, requestQueue)) handler.EventHandler {
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q requestQueue) { onChange(e.Object, q) },
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q requestQueue) {
			if e.ObjectOld.GetUID() != e.ObjectNew.GetUID() {
				onDelete(e.ObjectOld, q)
			}
			onChange(e.ObjectNew, q)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q requestQueue) { onDelete(e.Object, q) },
	}
}

// onTarget records the object and enqueues it, unless it is the version in the write cache.
func (r *holdReconciler[T]) onTarget() handler.EventHandler {
	return newEventHandler(func(obj client.Object, q requestQueue) {
		target, ok := obj.(T)
		if !ok {
			return
		}
		key := client.ObjectKeyFromObject(obj)
		r.claimCache.recordTarget(key, r.holdersOf(target))
		if !r.claimCache.targetState(key).isStoredVersion(target) {
			q.Add(requestFor(obj))
		}
	}, func(obj client.Object, q requestQueue) {
		r.claimCache.recordTargetDeleted(client.ObjectKeyFromObject(obj))
		q.Add(requestFor(obj))
	})
}

// onClaim updates the claim cache, and enqueues the claim's object if anything changed.
func (r *holdReconciler[T]) onClaim() handler.EventHandler {
	return newEventHandler(func(obj client.Object, q requestQueue) {
		claim, ok := obj.(*konductorv1.Claim)
		if !ok {
			return
		}
		if key, mine := r.claimCache.targetKey(claim); mine && r.claimCache.observeClaim(claim, r.Clock.Now()) {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}, func(obj client.Object, q requestQueue) {
		claim, ok := obj.(*konductorv1.Claim)
		if !ok {
			return
		}
		if key, mine := r.claimCache.removeClaim(claim); mine {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	})
}

// onPod records the end of a Pod that has finished or is gone, and enqueues the objects that its claims are on.
func (r *holdReconciler[T]) onPod() handler.EventHandler {
	handlePodEnd := func(pod types.UID, q requestQueue) {
		for _, key := range r.claimCache.recordBoundEnded(pod) {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
	return newEventHandler(func(obj client.Object, q requestQueue) {
		if pod, ok := obj.(*corev1.Pod); ok && isPodFinished(pod) {
			handlePodEnd(pod.UID, q)
		}
	}, func(obj client.Object, q requestQueue) {
		handlePodEnd(obj.GetUID(), q)
	})
}

// onJob records the end of a Job that has finished or is gone, and enqueues the objects that its claims are on. When a Job is
// gone its Pods may still run.
func (r *holdReconciler[T]) onJob() handler.EventHandler {
	enqueue := func(keys []types.NamespacedName, q requestQueue) {
		for _, key := range keys {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
	return newEventHandler(func(obj client.Object, q requestQueue) {
		if job, ok := obj.(*batchv1.Job); ok && isJobFinished(job) {
			enqueue(r.claimCache.recordBoundEnded(job.UID), q)
		}
	}, func(obj client.Object, q requestQueue) {
		enqueue(r.claimCache.recordJobDeleted(obj.GetName(), obj.GetUID()), q)
	})
}

func requestFor(obj client.Object) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKeyFromObject(obj)}
}
