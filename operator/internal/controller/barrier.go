package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// barrierReconciler is the controller of Barriers.
type barrierReconciler struct {
	Deps

	mu            sync.Mutex
	arrivalCaches map[types.NamespacedName]*arrivalCache
}

// SetupBarriers adds the controller of Barriers to mgr.
func SetupBarriers(mgr ctrl.Manager, deps Deps) error {
	r := &barrierReconciler{Deps: deps, arrivalCaches: map[types.NamespacedName]*arrivalCache{}}
	return ctrl.NewControllerManagedBy(mgr).
		Named(konductorv1.KindBarrier).
		Watches(&konductorv1.Barrier{}, r.enqueueOnlyWhenLeader(r.onBarrier())).
		Watches(&konductorv1.Arrival{}, r.enqueueOnlyWhenLeader(r.onArrival())).
		WatchesRawSource(r.enqueueAllOnElection(r.allKeys)).
		WithOptions(controllerOptions()).
		Complete(r.instrument(konductorv1.KindBarrier, r))
}

// Reconcile brings one Barrier up to date with its arrivals.
func (r *barrierReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	cache := r.arrivalCacheFor(req.NamespacedName)
	barrier := &konductorv1.Barrier{}
	if err := r.Client.Get(ctx, req.NamespacedName, barrier); apierrors.IsNotFound(err) {
		r.removeUnusedCache(req.NamespacedName)
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, err
	}
	barrier = cache.latest(barrier)
	now := r.Clock.Now()
	if delay := cache.writeDelay(now); delay > 0 && cache.cannotChangePhase(barrier) {
		return reconcile.Result{RequeueAfter: delay}, nil
	}
	var present []rules.Arrival
	if barrier.Status.Phase != konductorv1.BarrierOpen { // later arrivals change nothing once it is open
		if delay := cache.recountDelay(now); delay > 0 {
			return reconcile.Result{RequeueAfter: delay}, nil
		}
		present = cache.arrivalsInOrder(barrier.UID)
	}
	d := rules.DecideBarrier(barrier, present, now)
	if isNewTimeout(barrier, d) {
		// "Nobody else has arrived in time" can become untrue: an arrival's watch event may be on its way.
		present, err := r.listArrivalsLive(ctx, req.NamespacedName)
		if err != nil {
			return reconcile.Result{}, err
		}
		d = rules.DecideBarrier(barrier, present.arrivalsInOrder(barrier.UID), now)
	}
	if d.Delete {
		r.Recorder.Event(barrier, "Normal", konductorv1.EventTTL, "the barrier has reached its ttlAfterFinished and is deleted")
		return reconcile.Result{}, deleteIfUnchanged(ctx, r.Client, barrier)
	}
	if !d.Changed {
		return reconcile.Result{RequeueAfter: d.RequeueAfter}, nil
	}
	if delay := cache.writeDelay(now); !d.Urgent && delay > 0 {
		return reconcile.Result{RequeueAfter: rules.MinNonZero(d.RequeueAfter, delay)}, nil
	}
	written, err := r.updateStatus(ctx, cache, barrier, d)
	if err == nil && !written {
		return reconcile.Result{RequeueAfter: statusBatchInterval}, nil
	}
	return reconcile.Result{RequeueAfter: d.RequeueAfter}, err
}

// isNewTimeout reports whether the decision times the barrier out.
func isNewTimeout(barrier *konductorv1.Barrier, d rules.BarrierDecision) bool {
	return d.Status.Phase == konductorv1.BarrierTimeout && barrier.Status.Phase != konductorv1.BarrierTimeout
}

// PageSize is how many objects are listed at a time where there may be very many. Their writers decide how large they are:
// up to 1.5 MB each, before the unused fields are stripped.
const PageSize = 50

// listArrivalsLive lists the arrivals from the API server, whatever the watch has delivered so far.
func (r *barrierReconciler) listArrivalsLive(ctx context.Context, key types.NamespacedName) (*arrivalCache, error) {
	cache := newArrivalCache()
	for next := ""; ; {
		arrivals := &konductorv1.ArrivalList{}
		err := r.APIReader.List(ctx, arrivals, client.InNamespace(key.Namespace), client.MatchingFields{"spec.barrier": key.Name},
			client.Limit(PageSize), client.Continue(next))
		if err != nil {
			return nil, fmt.Errorf("listing the arrivals of barrier %s: %w", key, err)
		}
		for i := range arrivals.Items {
			if arrivals.Items[i].DeletionTimestamp == nil {
				cache.addArrival(&arrivals.Items[i])
			}
		}
		if next = arrivals.Continue; next == "" {
			return cache, nil
		}
	}
}

// updateStatus writes the decision. A conflict is no error, but nothing is written: either the watch will deliver the
// version that caused it, or the API server has lost the version in the write cache.
func (r *barrierReconciler) updateStatus(ctx context.Context, cache *arrivalCache, barrier *konductorv1.Barrier, d rules.BarrierDecision) (written bool, err error) {
	next := barrier.DeepCopy()
	next.Status = d.Status
	if err := r.Client.Status().Update(ctx, next); err != nil {
		cache.invalidate()
		return false, ignoreNotFoundOrConflict(err)
	}
	now := r.Clock.Now()
	cache.recordWrite(next, now.Monotonic)
	r.Metrics.recordNewArrivals(&barrier.Status, &next.Status)
	reconcileSpanFromContext(ctx).recordPhase(string(next.Status.Phase), attribute.Int("konductor.arrived", int(next.Status.Arrived)),
		attribute.Int("konductor.failed", int(next.Status.Failed)), attribute.Int("konductor.expected", int(next.Spec.Expected)))
	if next.Status.Phase != barrier.Status.Phase && next.Status.Phase != konductorv1.BarrierWaiting {
		age := now.ServerTime.Sub(next.CreationTimestamp.Time)
		r.Metrics.recordOutcome(konductorv1.KindBarrier, string(next.Status.Phase), age)
		log.FromContext(ctx).Info("barrier stopped waiting", "phase", next.Status.Phase, "arrived", next.Status.Arrived,
			"failed", next.Status.Failed, "expected", next.Spec.Expected, "waited", age.Round(time.Millisecond).String())
	}
	recordEvents(r.Recorder, next, d.Events)
	return true, nil
}

// onBarrier enqueues the barrier itself, unless it is the version that the controller wrote.
func (r *barrierReconciler) onBarrier() handler.EventHandler {
	return newEventHandler(func(obj client.Object, q requestQueue) {
		b, ok := obj.(*konductorv1.Barrier)
		if !ok {
			return
		}
		r.mu.Lock()
		cache := r.arrivalCacheLocked(client.ObjectKeyFromObject(b))
		cache.setBarrierExists(true)
		r.mu.Unlock()
		if !cache.isStoredVersion(b) {
			q.Add(requestFor(obj))
		}
	}, func(obj client.Object, q requestQueue) {
		key := client.ObjectKeyFromObject(obj)
		r.arrivalCacheFor(key).setBarrierExists(false)
		r.removeUnusedCache(key)
		q.Add(requestFor(obj))
	})
}

// onArrival updates the arrival cache and enqueues the arrival's barrier.
func (r *barrierReconciler) onArrival() handler.EventHandler {
	handle := func(apply func(*arrivalCache, *konductorv1.Arrival)) func(client.Object, requestQueue) {
		return func(obj client.Object, q requestQueue) {
			a, ok := obj.(*konductorv1.Arrival)
			if !ok {
				return
			}
			key := types.NamespacedName{Namespace: a.Namespace, Name: a.Spec.Barrier}
			apply := apply
			if a.DeletionTimestamp != nil {
				apply = (*arrivalCache).removeArrival
			}
			r.mu.Lock()
			apply(r.arrivalCacheLocked(key), a)
			r.mu.Unlock()
			r.removeUnusedCache(key)
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
	return newEventHandler(handle((*arrivalCache).addArrival), handle((*arrivalCache).removeArrival))
}

func (r *barrierReconciler) arrivalCacheFor(key types.NamespacedName) *arrivalCache {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.arrivalCacheLocked(key)
}

// allKeys returns the keys of all barriers that exist or have arrivals.
func (r *barrierReconciler) allKeys(context.Context) []types.NamespacedName {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.arrivalCaches))
}

// arrivalCacheLocked returns the arrival cache of the barrier with that key. The caller holds r.mu.
func (r *barrierReconciler) arrivalCacheLocked(key types.NamespacedName) *arrivalCache {
	cache, ok := r.arrivalCaches[key]
	if !ok {
		cache = newArrivalCache()
		r.arrivalCaches[key] = cache
	}
	return cache
}

// removeUnusedCache drops the arrival cache of a deleted barrier, unless it has arrivals that wait for one of that name.
func (r *barrierReconciler) removeUnusedCache(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if cache, ok := r.arrivalCaches[key]; ok && cache.isUnused() {
		delete(r.arrivalCaches, key)
	}
}
