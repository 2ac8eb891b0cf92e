package controller

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

const (
	// keepFinishedClaims is how long a claim that has expired or was refused is kept, so that its client, and people,
	// can see what became of it.
	keepFinishedClaims = 10 * time.Minute
	// tellAtOnce is how many claims are told at the same time.
	tellAtOnce = 16
	// endAtOnce is how many claims are refused or deleted before the object is decided on again: whoever waits for it must not
	// wait until thousands of others have been told that they don't get it.
	endAtOnce = 64
	// maxRounds is how often one reconciliation decides again because something has changed under its hands.
	maxRounds = 8
)

// Deps is what every controller works with.
type Deps struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// Live reads from the API server.
	Live client.Reader
	// Recorder records Events.
	Recorder record.EventRecorder
	// Clock tells the time.
	Clock Clock
	// Metrics counts what happens.
	Metrics *Metrics
	// Traces makes traces of it; nil for none.
	Traces *Traces
}

// observed returns r with each of its runs measured and traced.
func (d *Deps) observed(controller string, r reconcile.Reconciler) reconcile.Reconciler {
	return d.Metrics.timed(controller, d.Traces.traced(controller, r))
}

// holds is the controller of Leases or of Semaphores: T is *Lease or *Semaphore.
type holds[T client.Object] struct {
	Deps
	kind   string
	ledger *ledger[T]
	empty  func() T
	// decide returns obj with its next status, and what to do besides.
	decide func(obj T, claims *rules.Claims, revision uint64, now rules.Now) (T, rules.HoldActions)
	// holders returns who holds obj.
	holders func(obj T) []konductorv1.SemaphoreHolder
}

// controllerOptions lets a replica that is not the leader follow all watches too, so that it can go on at once when the
// leader is gone. What failed is tried again soon, however long it has been failing: by default an object would have to
// wait as long again as the API server was away, up to a quarter of an hour, and with it everyone in its queue.
func controllerOptions() controller.Options {
	const firstPause, longestPause = 5 * time.Millisecond, 5 * time.Second
	warm := true
	return controller.Options{
		MaxConcurrentReconciles: 8,
		EnableWarmup:            &warm,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstPause, longestPause),
	}
}

// SetupLeases adds the controller of Leases to mgr.
func SetupLeases(mgr ctrl.Manager, deps Deps) error {
	return (&holds[*konductorv1.Lease]{
		Deps:   deps,
		kind:   konductorv1.KindLease,
		ledger: newLedger[*konductorv1.Lease](konductorv1.KindLease),
		empty:  func() *konductorv1.Lease { return &konductorv1.Lease{} },
		decide: func(l *konductorv1.Lease, claims *rules.Claims, revision uint64, now rules.Now) (*konductorv1.Lease, rules.HoldActions) {
			status, act := rules.Lease(l, claims, revision, now)
			next := l.DeepCopy()
			next.Status = status
			return next, act
		},
		holders: func(l *konductorv1.Lease) []konductorv1.SemaphoreHolder { return rules.LeaseHolders(&l.Status) },
	}).setup(mgr)
}

// SetupSemaphores adds the controller of Semaphores to mgr.
func SetupSemaphores(mgr ctrl.Manager, deps Deps) error { return newSemaphores(deps).setup(mgr) }

func newSemaphores(deps Deps) *holds[*konductorv1.Semaphore] {
	return &holds[*konductorv1.Semaphore]{
		Deps:   deps,
		kind:   konductorv1.KindSemaphore,
		ledger: newLedger[*konductorv1.Semaphore](konductorv1.KindSemaphore),
		empty:  func() *konductorv1.Semaphore { return &konductorv1.Semaphore{} },
		decide: func(s *konductorv1.Semaphore, claims *rules.Claims, revision uint64, now rules.Now) (*konductorv1.Semaphore, rules.HoldActions) {
			status, act := rules.Semaphore(s, claims, revision, now)
			next := s.DeepCopy()
			next.Status = status
			return next, act
		},
		holders: func(s *konductorv1.Semaphore) []konductorv1.SemaphoreHolder { return s.Status.Holders },
	}
}

// setup wires the watches. Workers start only when all of them have delivered what was there at the start, so that the
// first decision knows every claim.
func (r *holds[T]) setup(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named(r.kind).
		Watches(r.empty(), r.onObject()).
		Watches(&konductorv1.Claim{}, r.onClaim()).
		Watches(&corev1.Pod{}, r.onPod()).
		WithOptions(controllerOptions()).
		Complete(r.observed(r.kind, r))
}

// Reconcile brings one Lease or Semaphore up to date: it ends the holds that are over, grants what is free, and tells
// the claims concerned.
func (r *holds[T]) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	a := r.ledger.account(req.NamespacedName)
	if err := r.lookAtPods(ctx, req.Namespace, a); err != nil {
		return reconcile.Result{}, err
	}
	for range maxRounds {
		obj := r.empty()
		if err := r.Client.Get(ctx, req.NamespacedName, obj); apierrors.IsNotFound(err) {
			after, err := r.objectGone(ctx, req.NamespacedName, a)
			return reconcile.Result{RequeueAfter: after}, err
		} else if err != nil {
			return reconcile.Result{}, err
		}
		obj = a.newer(obj)
		if !obj.GetDeletionTimestamp().IsZero() {
			return reconcile.Result{}, nil
		}
		after, again, err := r.round(ctx, a, obj)
		if err != nil {
			// Once the object is gone there is nothing to decide. The news of it is on its way here.
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		if !again {
			return reconcile.Result{RequeueAfter: after}, nil
		}
	}
	return reconcile.Result{RequeueAfter: informWithin}, nil
}

// round decides once and acts on it. again means that what it acted on has changed and must be decided anew.
func (r *holds[T]) round(ctx context.Context, a *account[T], obj T) (after time.Duration, again bool, err error) {
	revision, err := revisionOf(obj)
	if err != nil {
		return 0, false, err
	}
	now := r.Clock.Now()
	a.mu.Lock()
	a.claims.SetTarget(obj.GetUID())
	next, act := r.decide(obj, a.claims, revision, now)
	for _, c := range act.Adopted {
		a.claims.Granted(c.UID, now.Elapsed)
	}
	// Only claims of which this decision knows that their Pod has ended: one whose hold it has not ended yet must stay
	// until the next has.
	ended := maps.Clone(a.ended)
	a.mu.Unlock()

	changed, err := r.expire(ctx, a, obj, act.Expire)
	if err != nil || changed {
		return 0, changed, err
	}
	after = act.After
	if changed, err = r.verify(ctx, a, client.ObjectKeyFromObject(obj), act.Verify); err != nil || changed {
		return 0, changed, err
	}
	if len(act.Verify) > 0 {
		// These claims exist, and the watch will show them soon.
		after = sooner(after, informWithin)
	}
	written := false
	if act.Changed {
		hold := a.holdBack(now)
		if !act.Urgent && hold > 0 {
			return sooner(after, hold), false, nil
		}
		if tellsFirst {
			if changed, err = r.tell(ctx, a, client.ObjectKeyFromObject(obj), act.Tell); err != nil || changed {
				return 0, changed, err
			}
		}
		if written, err = r.write(ctx, a, next, act); err != nil || !written {
			return 0, !written, err
		}
		// Events are for people. Those who wait for the grant are told first.
		defer recordAll(r.Recorder, next, act.Events)
	}
	if changed, err = r.tell(ctx, a, client.ObjectKeyFromObject(obj), act.Tell); err != nil || changed {
		return 0, changed, err
	}
	if len(act.Refuse) > 0 && !written {
		// A refusal is for good, and no write has shown yet that it doesn't rest on what was long ago.
		if fresh, err := r.fresh(ctx, a, obj); err != nil || !fresh {
			return 0, !fresh, err
		}
	}
	refused := act.Refuse[:min(len(act.Refuse), endAtOnce)]
	if err := r.refuse(ctx, a, obj, refused); err != nil {
		return 0, false, err
	}
	if err := r.disown(ctx, a, obj, act.Disown); err != nil {
		return 0, false, err
	}
	if err := r.endFormer(ctx, a, obj, act.Former); err != nil {
		return 0, false, err
	}
	cleanup, err := r.cleanUp(ctx, obj.GetNamespace(), a, ended)
	return sooner(after, cleanup), len(refused) < len(act.Refuse), err
}

// write makes the decision true: a compare-and-swap of the status, on which all grants rest. It returns false when
// somebody else wrote first, and the API server's error when the object is gone: then nothing was granted, and nobody may
// be told so.
func (r *holds[T]) write(ctx context.Context, a *account[T], next T, act rules.HoldActions) (bool, error) {
	err := r.Client.Status().Update(ctx, next)
	switch {
	case apierrors.IsConflict(err):
		r.Metrics.conflicts.WithLabelValues(r.kind).Inc()
		current := r.empty()
		if err := r.Live.Get(ctx, client.ObjectKeyFromObject(next), current); err != nil {
			return false, err
		}
		a.read(current)
		return false, nil
	case apierrors.IsInvalid(err) && !denied(err):
		// The API server guards the same limits. That it had to is a defect of ours.
		r.Metrics.violations.WithLabelValues(r.kind).Inc()
		return false, fmt.Errorf("the API server refused a status that breaks a promise: %w", err)
	case err != nil:
		return false, err
	}
	now := r.Clock.Now()
	a.wrote(next, now.Elapsed)
	a.mu.Lock()
	for _, c := range act.Granted {
		a.claims.Granted(c.UID, now.Elapsed)
	}
	a.claims.Settle(r.holders(next))
	a.mu.Unlock()
	r.Metrics.wrote(r.kind, &act, now)
	r.report(ctx, next, &act, now)
	return true, nil
}

// report logs what a written decision has granted and ended: what is out of the ordinary at the usual level, the rest, of
// which there may be very much, at that for debugging. The context's logger names the object. The trace, if there is one,
// has all of it.
func (r *holds[T]) report(ctx context.Context, next T, act *rules.HoldActions, now rules.Now) {
	usual := log.FromContext(ctx)
	debug := usual.V(1)
	look := tracedLook(ctx)
	for i := range act.Ended {
		e := &act.Ended[i]
		logger := usual
		if e.Reason == konductorv1.EventReleased {
			logger = debug
		}
		logger.Info("a hold has ended", "reason", e.Reason, "holder", e.Holder.Holder, "claim", e.Holder.Claim,
			"fencingToken", e.Holder.FencingToken, "held", heldFor(e, now).String())
		look.ends(e.Holder.Holder, e.Reason)
	}
	if len(act.Granted) == 0 || (!debug.Enabled() && look == nil) {
		return
	}
	tokens := map[types.UID]int64{}
	for _, h := range r.holders(next) {
		tokens[h.ClaimUID] = h.FencingToken
	}
	for _, c := range act.Granted {
		debug.Info("granted", "holder", c.Holder, "claim", c.Name, "fencingToken", tokens[c.UID], "waited", waited(c, now).String())
		look.grants(c.Holder, tokens[c.UID])
	}
}

// expire tells claims that their hold has run out, each on condition that it has not changed since it was looked at: a
// renewal that came in between makes the write fail, and the hold goes on. Once told, a claim can't be renewed any more
// and the hold can be given to another.
func (r *holds[T]) expire(ctx context.Context, a *account[T], obj T, verdicts []rules.Verdict) (changed bool, err error) {
	for _, v := range verdicts {
		status := konductorv1.ClaimStatus{Phase: konductorv1.ClaimExpired, Message: v.Message}
		if _, err := r.writeClaim(ctx, a, client.ObjectKeyFromObject(obj), v.Claim, status); err != nil {
			return changed, err
		}
		changed = true
	}
	return changed, nil
}

// verify looks at holders whose claim has not been seen, and takes note of those that are gone. changed says that more is
// known now than before.
func (r *holds[T]) verify(ctx context.Context, a *account[T], key types.NamespacedName, holders []konductorv1.SemaphoreHolder) (changed bool, err error) {
	for _, h := range holders {
		claim := &konductorv1.Claim{}
		err := r.Live.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: h.Claim}, claim)
		if err != nil && !apierrors.IsNotFound(err) {
			return changed, err
		}
		if target, mine := r.ledger.target(claim); err == nil && claim.UID == h.ClaimUID && mine && target == key {
			changed = r.ledger.answer(claim, r.Clock.Now()) || changed
			continue
		}
		a.mu.Lock()
		a.forgetUID(h.ClaimUID)
		a.mu.Unlock()
		changed = true
	}
	return changed, nil
}

// tell writes into the claims of holders that they hold. changed says that one of them is not any more as it was.
func (r *holds[T]) tell(ctx context.Context, a *account[T], key types.NamespacedName, holders []konductorv1.SemaphoreHolder) (changed bool, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(tellAtOnce)
	var missed atomic.Bool
	for _, h := range holders {
		group.Go(func() error {
			a.mu.Lock()
			c, presence := a.claims.Find(h.ClaimUID)
			a.mu.Unlock()
			if presence != rules.Present {
				return nil
			}
			status := konductorv1.ClaimStatus{Phase: konductorv1.ClaimGranted, FencingToken: h.FencingToken, ExpiresAt: h.ExpiresAt}
			told, err := r.writeClaim(ctx, a, key, c, status)
			if !told {
				missed.Store(true)
			}
			return err
		})
	}
	err = group.Wait()
	return missed.Load(), err
}

// fresh reports whether obj is as the API server has it. If not, the account is up to date again.
func (r *holds[T]) fresh(ctx context.Context, a *account[T], obj T) (bool, error) {
	current := r.empty()
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(obj), current); err != nil {
		return false, err
	}
	a.read(current)
	return current.GetResourceVersion() == obj.GetResourceVersion(), nil
}

// refuse tells claims that they won't be granted.
func (r *holds[T]) refuse(ctx context.Context, a *account[T], obj T, verdicts []rules.Verdict) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(tellAtOnce)
	for _, v := range verdicts {
		group.Go(func() error {
			status := konductorv1.ClaimStatus{Phase: konductorv1.ClaimRefused, Message: v.Message}
			told, err := r.writeClaim(ctx, a, client.ObjectKeyFromObject(obj), v.Claim, status)
			if told {
				r.Metrics.refusals.WithLabelValues(r.kind).Inc()
				log.FromContext(ctx).V(1).Info("refused", "holder", v.Claim.Holder, "claim", v.Claim.Name, "why", v.Message)
			}
			return err
		})
	}
	return group.Wait()
}

// writeClaim writes the claim's status on condition that the claim is as it was last seen, and takes note of the
// result. It returns false when the claim has changed or is gone; the account is then up to date again.
func (r *holds[T]) writeClaim(ctx context.Context, a *account[T], key types.NamespacedName, c *rules.Claim, status konductorv1.ClaimStatus) (bool, error) {
	if status.FencingToken == 0 {
		status.FencingToken = c.Token
	}
	// Of what is sent here the API server takes the status alone. A patch would cost it more.
	claim := &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.Version}, Status: status,
	}
	err := r.Client.Status().Update(ctx, claim)
	switch {
	case err == nil:
		r.ledger.answer(claim, r.Clock.Now())
		return true, nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err), apierrors.IsInvalid(err) && !denied(err):
		_, err := r.verify(ctx, a, key, []konductorv1.SemaphoreHolder{{Claim: c.Name, ClaimUID: c.UID}})
		return false, err
	default:
		return false, fmt.Errorf("telling claim %s: %w", c.Name, err)
	}
}

// lookAtPods looks at the Pods of claims that are new. A Pod that the cache doesn't have may be too young for it, so
// only the API server's word counts for its absence.
func (r *holds[T]) lookAtPods(ctx context.Context, namespace string, a *account[T]) error {
	a.mu.Lock()
	todo := a.pods
	a.pods = map[types.UID]boundPod{}
	a.mu.Unlock()
	var failed error
	looked := map[boundPod]bool{} // a Pod may have thousands of claims
	for claim, bound := range todo {
		ended, known := looked[bound]
		var err error
		if !known {
			ended, err = podEnded(ctx, r.Client, r.Live, types.NamespacedName{Namespace: namespace, Name: bound.name}, bound.uid)
		}
		a.mu.Lock()
		switch {
		case err != nil:
			a.pods[claim] = bound
			failed = err
		case ended:
			a.endPodOf(claim)
			fallthrough
		default:
			looked[bound] = ended
		}
		a.mu.Unlock()
	}
	return failed
}

// podEnded reports whether the Pod of that name and UID has finished or is gone.
func podEnded(ctx context.Context, cached, live client.Reader, key types.NamespacedName, uid types.UID) (bool, error) {
	pod := &corev1.Pod{}
	err := cached.Get(ctx, key, pod)
	if err != nil || pod.UID != uid {
		pod = &corev1.Pod{}
		err = live.Get(ctx, key, pod)
	}
	if apierrors.IsNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("looking at pod %s: %w", key, err)
	}
	return pod.UID != uid || finished(pod), nil
}

// finished reports whether no container of the Pod will run any more.
func finished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// sooner returns the earlier of two waits, of which zero means none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || (b != 0 && b < a) {
		return b
	}
	return a
}
