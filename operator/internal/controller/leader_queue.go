package controller

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

// isLeader reports whether this replica is the leader.
func (d *Deps) isLeader() bool {
	select {
	case <-d.Elected:
		return true
	default:
		return d.Elected == nil
	}
}

// enqueueOnlyWhenLeader passes events on to a handler, but drops what it enqueues on a standby replica: nothing would take
// it out of the queue before the replica is elected, if it ever is, and the queue would keep the name of every object there
// ever was. On election everything is enqueued (enqueueAllOnElection).
func (d *Deps) enqueueOnlyWhenLeader(h handler.EventHandler) handler.EventHandler {
	to := func(q requestQueue) requestQueue {
		if d.isLeader() {
			return q
		}
		return &leaderOnlyQueue{q, d}
	}
	return handler.Funcs{
		CreateFunc:  func(ctx context.Context, e event.CreateEvent, q requestQueue) { h.Create(ctx, e, to(q)) },
		UpdateFunc:  func(ctx context.Context, e event.UpdateEvent, q requestQueue) { h.Update(ctx, e, to(q)) },
		DeleteFunc:  func(ctx context.Context, e event.DeleteEvent, q requestQueue) { h.Delete(ctx, e, to(q)) },
		GenericFunc: func(ctx context.Context, e event.GenericEvent, q requestQueue) { h.Generic(ctx, e, to(q)) },
	}
}

// leaderOnlyQueue is the queue of a standby replica. It checks leadership for each item: by then the handler has recorded
// the event, so that a dropped item is among the keys that enqueueAllOnElection lists.
type leaderOnlyQueue struct {
	requestQueue
	deps *Deps
}

func (u *leaderOnlyQueue) Add(item reconcile.Request) {
	if u.deps.isLeader() {
		u.requestQueue.Add(item)
	}
}

func (u *leaderOnlyQueue) AddAfter(item reconcile.Request, after time.Duration) {
	if u.deps.isLeader() {
		u.requestQueue.AddAfter(item, after)
	}
}

func (u *leaderOnlyQueue) AddRateLimited(item reconcile.Request) {
	if u.deps.isLeader() {
		u.requestQueue.AddRateLimited(item)
	}
}

// enqueueAllOnElection enqueues all keys when this replica becomes the leader.
func (d *Deps) enqueueAllOnElection(allKeys func(context.Context) []types.NamespacedName) source.Source {
	return source.Func(func(ctx context.Context, q requestQueue) error {
		go func() {
			select {
			case <-d.Elected:
			case <-ctx.Done():
				return
			}
			for _, key := range allKeys(ctx) {
				q.Add(reconcile.Request{NamespacedName: key})
			}
		}()
		return nil
	})
}
