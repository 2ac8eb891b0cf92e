package controller

import (
	"cmp"
	"context"
	"fmt"
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

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// barriers is the controller of Barriers.
type barriers struct {
	Deps

	mu    sync.Mutex
	rolls map[types.NamespacedName]*attendance
}

// attendance is who has arrived at one Barrier.
type attendance struct {
	memory[*konductorv1.Barrier]

	mu       sync.Mutex
	exists   bool // the barrier itself has been seen, and has not been seen deleted
	arrivals map[types.UID]arrival
	failed   int // how many of them have failed
}

type arrival struct {
	rules.Arrival
	barrier  types.UID // of the Barrier it was made for; empty when it doesn't say
	revision uint64
}

func newAttendance() *attendance { return &attendance{arrivals: map[types.UID]arrival{}} }

// SetupBarriers adds the controller of Barriers to mgr.
func SetupBarriers(mgr ctrl.Manager, deps Deps) error {
	r := &barriers{Deps: deps, rolls: map[types.NamespacedName]*attendance{}}
	return ctrl.NewControllerManagedBy(mgr).
		Named(konductorv1.KindBarrier).
		Watches(&konductorv1.Barrier{}, r.onBarrier()).
		Watches(&konductorv1.Arrival{}, r.onArrival()).
		WithOptions(controllerOptions()).
		Complete(r.observed(konductorv1.KindBarrier, r))
}

// Reconcile brings one Barrier up to date with its arrivals.
func (r *barriers) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	roll := r.attendance(req.NamespacedName)
	barrier := &konductorv1.Barrier{}
	if err := r.Client.Get(ctx, req.NamespacedName, barrier); apierrors.IsNotFound(err) {
		r.drop(req.NamespacedName)
		return reconcile.Result{}, nil
	} else if err != nil {
		return reconcile.Result{}, err
	}
	barrier = roll.newer(barrier)
	if !barrier.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	now := r.Clock.Now()
	if hold := roll.holdBack(now); hold > 0 && roll.onlyFills(barrier) {
		return reconcile.Result{RequeueAfter: hold}, nil
	}
	d := rules.Barrier(barrier, roll.inOrder(barrier.UID), now)
	if timesOut(barrier, d) {
		// That nobody else has arrived in time is no fact that lasts: the news of it may be on its way.
		present, err := r.callRoll(ctx, req.NamespacedName)
		if err != nil {
			return reconcile.Result{}, err
		}
		d = rules.Barrier(barrier, present.inOrder(barrier.UID), now)
	}
	if d.Delete {
		r.Recorder.Event(barrier, "Normal", konductorv1.EventTTL, "the barrier has reached its ttl and is deleted")
		return reconcile.Result{}, deleteExactly(ctx, r.Client, barrier)
	}
	if !d.Changed {
		return reconcile.Result{RequeueAfter: d.After}, nil
	}
	if hold := roll.holdBack(now); !d.Urgent && hold > 0 {
		return reconcile.Result{RequeueAfter: sooner(d.After, hold)}, nil
	}
	return reconcile.Result{RequeueAfter: d.After}, r.write(ctx, roll, barrier, d)
}

// timesOut reports whether the decision is that the time is over.
func timesOut(barrier *konductorv1.Barrier, d rules.BarrierDecision) bool {
	return d.Status.Phase == konductorv1.BarrierTimeout && barrier.Status.Phase != konductorv1.BarrierTimeout
}

// callRoll asks the API server who has arrived, whatever the watch has shown so far.
func (r *barriers) callRoll(ctx context.Context, key types.NamespacedName) (*attendance, error) {
	arrivals := &konductorv1.ArrivalList{}
	if err := r.Live.List(ctx, arrivals, client.InNamespace(key.Namespace), client.MatchingFields{"spec.barrier": key.Name}); err != nil {
		return nil, fmt.Errorf("asking who has arrived at barrier %s: %w", key, err)
	}
	present := newAttendance()
	for i := range arrivals.Items {
		present.add(&arrivals.Items[i])
	}
	return present, nil
}

// write writes the decision. A conflict is no error: the version that caused it is on its way here.
func (r *barriers) write(ctx context.Context, roll *attendance, barrier *konductorv1.Barrier, d rules.BarrierDecision) error {
	next := barrier.DeepCopy()
	next.Status = d.Status
	if err := r.Client.Status().Update(ctx, next); err != nil {
		return ignoreLost(err)
	}
	now := r.Clock.Now()
	roll.wrote(next, now.Elapsed)
	r.Metrics.arrived(&barrier.Status, &next.Status)
	tracedLook(ctx).brings(string(next.Status.Phase), attribute.Int("konductor.arrived", int(next.Status.Arrived)),
		attribute.Int("konductor.failed", int(next.Status.Failed)), attribute.Int("konductor.expected", int(next.Spec.Expected)))
	if next.Status.Phase != barrier.Status.Phase && next.Status.Phase != konductorv1.BarrierWaiting {
		after := now.Server.Sub(next.CreationTimestamp.Time)
		r.Metrics.stoppedWaiting(konductorv1.KindBarrier, string(next.Status.Phase), after)
		log.FromContext(ctx).Info("the barrier has stopped waiting", "phase", next.Status.Phase, "arrived", next.Status.Arrived,
			"failed", next.Status.Failed, "expected", next.Spec.Expected, "waited", after.Round(time.Millisecond).String())
	}
	recordAll(r.Recorder, next, d.Events)
	return nil
}

// onBarrier hands the barrier itself to the controller, unless it is as we wrote it.
func (r *barriers) onBarrier() handler.EventHandler {
	return watchHandler(func(obj client.Object, q queue) {
		b, ok := obj.(*konductorv1.Barrier)
		if !ok {
			return
		}
		r.mu.Lock()
		roll := r.locked(client.ObjectKeyFromObject(b))
		roll.setExists(true)
		r.mu.Unlock()
		if !roll.isLast(b) {
			q.Add(requestFor(obj))
		}
	}, func(obj client.Object, q queue) {
		key := client.ObjectKeyFromObject(obj)
		r.attendance(key).setExists(false)
		r.drop(key)
		q.Add(requestFor(obj))
	})
}

// onArrival keeps the attendance and hands the arrival's barrier to the controller.
func (r *barriers) onArrival() handler.EventHandler {
	note := func(take func(*attendance, *konductorv1.Arrival)) func(client.Object, queue) {
		return func(obj client.Object, q queue) {
			a, ok := obj.(*konductorv1.Arrival)
			if !ok {
				return
			}
			key := types.NamespacedName{Namespace: a.Namespace, Name: a.Spec.Barrier}
			r.mu.Lock()
			take(r.locked(key), a)
			r.mu.Unlock()
			r.drop(key)
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
	return watchHandler(note((*attendance).add), note((*attendance).remove))
}

func (r *barriers) attendance(key types.NamespacedName) *attendance {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.locked(key)
}

// locked returns the attendance of the barrier with that key. The caller holds r.mu.
func (r *barriers) locked(key types.NamespacedName) *attendance {
	roll, ok := r.rolls[key]
	if !ok {
		roll = newAttendance()
		r.rolls[key] = roll
	}
	return roll
}

// drop forgets the attendance of a barrier that is gone, unless arrivals are left that wait for one of its name.
func (r *barriers) drop(key types.NamespacedName) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if roll, ok := r.rolls[key]; ok && roll.unused() {
		delete(r.rolls, key)
	}
}

func (a *attendance) unused() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.arrivals) == 0 && !a.exists
}

// onlyFills reports whether nothing but the number of arrivals can have changed: too few have come for the barrier to
// open, however they are counted, and too few have failed for it to fail. To count them all at each arrival would make a
// barrier of n cost n².
func (a *attendance) onlyFills(b *konductorv1.Barrier) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return b.Status.Phase == konductorv1.BarrierWaiting && b.Status.ObservedGeneration == b.Generation &&
		len(a.arrivals) < int(b.Quorum()) && a.failed <= int(b.Spec.Expected-b.Quorum())
}

func (a *attendance) setExists(exists bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.exists = exists
}

func (a *attendance) add(obj *konductorv1.Arrival) {
	seen := arrival{Arrival: rules.Arrival{
		Participant: obj.Spec.Participant, Failed: obj.Spec.Failed, Reason: obj.Spec.Reason, Created: obj.CreationTimestamp.Time,
	}}
	if rev, err := revisionOf(obj); err == nil {
		seen.revision = rev
	}
	for _, owner := range obj.OwnerReferences {
		if owner.Kind == konductorv1.KindBarrier && owner.APIVersion == konductorv1.GroupVersion().String() {
			seen.barrier = owner.UID
		}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.arrivals[obj.UID]; ok {
		// A label may have been added. The order is that of creation.
		seen.revision = known.revision
	} else if seen.Failed {
		a.failed++
	}
	a.arrivals[obj.UID] = seen
}

func (a *attendance) remove(obj *konductorv1.Arrival) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.arrivals[obj.UID]; ok && known.Failed {
		a.failed--
	}
	delete(a.arrivals, obj.UID)
}

// inOrder returns the arrivals at the barrier with that UID, the first to arrive first. Arrivals at a former barrier of
// the same name don't count.
func (a *attendance) inOrder(barrier types.UID) []rules.Arrival {
	a.mu.Lock()
	all := make([]arrival, 0, len(a.arrivals))
	for _, seen := range a.arrivals {
		if seen.barrier == "" || seen.barrier == barrier {
			all = append(all, seen)
		}
	}
	a.mu.Unlock()
	slices.SortFunc(all, func(x, y arrival) int {
		return cmp.Or(x.Created.Compare(y.Created), cmp.Compare(x.revision, y.revision))
	})
	ordered := make([]rules.Arrival, len(all))
	for i := range all {
		ordered[i] = all[i].Arrival
	}
	return ordered
}
