package controller

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/rules"
)

const (
	// finishedClaimTTL is how long an expired or refused claim is kept, so that its client, and people, can read the outcome.
	finishedClaimTTL = 10 * time.Minute
	// maxParallelRequests is how many requests to the API server one reconciliation makes at the same time.
	maxParallelRequests = 16
	// boundCheckTimeout is how long a reconciliation waits for answers about Pods before it serves the other claims.
	boundCheckTimeout = 2 * time.Second
	// reconcileBatchSize is how many claims are verified, refused, ended or deleted, or conditions written, before the next
	// decision or object: waiters must not wait until thousands of other claims have been refused.
	reconcileBatchSize = 64
	// maxRoundsPerReconcile is how often one reconciliation decides again because the state changed while it acted.
	maxRoundsPerReconcile = 8
)

// holdReconciler is the controller of Leases or of Semaphores: T is *Lease or *Semaphore.
type holdReconciler[T client.Object] struct {
	Deps
	kind       string
	claimCache *claimCache[T]
	jobStopper *jobStopper
	newObject  func() T
	// decide returns a copy of obj with its next status, and the actions that go with it.
	decide func(obj T, claims *rules.ClaimSet, revision uint64, now rules.Instant) (T, rules.HoldDecision)
	// holdersOf returns the holders of obj.
	holdersOf func(obj T) []konductorv1.Holder
}

// SetupLeases adds the controller of Leases to mgr.
func SetupLeases(mgr ctrl.Manager, deps Deps) error {
	return (&holdReconciler[*konductorv1.Lease]{
		Deps:       deps,
		kind:       konductorv1.KindLease,
		claimCache: newClaimCache[*konductorv1.Lease](konductorv1.KindLease),
		jobStopper: newJobStopper(&deps),
		newObject:  func() *konductorv1.Lease { return &konductorv1.Lease{} },
		decide: func(l *konductorv1.Lease, claims *rules.ClaimSet, revision uint64, now rules.Instant) (*konductorv1.Lease, rules.HoldDecision) {
			status, act := rules.DecideLease(l, claims, revision, now)
			next := l.DeepCopy()
			next.Status = status
			return next, act
		},
		holdersOf: func(l *konductorv1.Lease) []konductorv1.Holder { return l.Status.Holders() },
	}).setupWithManager(mgr)
}

// SetupSemaphores adds the controller of Semaphores to mgr.
func SetupSemaphores(mgr ctrl.Manager, deps Deps) error {
	return newSemaphoreReconciler(deps).setupWithManager(mgr)
}

func newSemaphoreReconciler(deps Deps) *holdReconciler[*konductorv1.Semaphore] {
	return &holdReconciler[*konductorv1.Semaphore]{
		Deps:       deps,
		kind:       konductorv1.KindSemaphore,
		claimCache: newClaimCache[*konductorv1.Semaphore](konductorv1.KindSemaphore),
		jobStopper: newJobStopper(&deps),
		newObject:  func() *konductorv1.Semaphore { return &konductorv1.Semaphore{} },
		decide: func(s *konductorv1.Semaphore, claims *rules.ClaimSet, revision uint64, now rules.Instant) (*konductorv1.Semaphore, rules.HoldDecision) {
			status, act := rules.DecideSemaphore(s, claims, revision, now)
			next := s.DeepCopy()
			next.Status = status
			return next, act
		},
		holdersOf: func(s *konductorv1.Semaphore) []konductorv1.Holder { return s.Status.Holders },
	}
}

// setupWithManager registers the watches. Workers start only when all watches have delivered the objects that existed at the
// start, so that the first decision knows every claim.
func (r *holdReconciler[T]) setupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named(r.kind).
		Watches(r.newObject(), r.enqueueOnlyWhenLeader(r.onTarget())).
		Watches(&konductorv1.Claim{}, r.enqueueOnlyWhenLeader(r.onClaim())).
		Watches(&corev1.Pod{}, r.enqueueOnlyWhenLeader(r.onPod())).
		Watches(&batchv1.Job{}, r.enqueueOnlyWhenLeader(r.onJob())).
		WatchesRawSource(r.enqueueAllOnElection(r.claimCache.allKeys)).
		WithOptions(controllerOptions()).
		Complete(r.instrument(r.kind, r))
}

// Reconcile brings one Lease or Semaphore up to date: it ends the holds that are over, grants free permits, and notifies the
// claims concerned. If a Pod or Job can't be read, only its own claims keep waiting.
func (r *holdReconciler[T]) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	a := r.claimCache.targetState(req.NamespacedName)
	more, err := r.verifyContradicted(ctx, req.NamespacedName, a)
	if err != nil {
		return reconcile.Result{}, err
	}
	recheck, boundErr := r.checkBoundObjects(ctx, req.Namespace, a)
	result, err := r.decideUntilStable(ctx, req, a)
	if err = errors.Join(err, boundErr); err != nil {
		return reconcile.Result{}, err
	}
	result.RequeueAfter = rules.MinNonZero(result.RequeueAfter, recheck)
	if more {
		result.RequeueAfter = time.Millisecond
	}
	return result, nil
}

// verifyContradicted reads from the API server the claims whose watch events contradict the cache
// (rules.ClaimSet.Contradicts). more says that claims are left for the next reconciliation.
func (r *holdReconciler[T]) verifyContradicted(ctx context.Context, key types.NamespacedName, a *targetState[T]) (more bool, err error) {
	a.mu.Lock()
	var contradicted []rules.ClaimRef
	for uid, name := range a.contradicted {
		if more = len(contradicted) == reconcileBatchSize; more {
			break
		}
		contradicted = append(contradicted, rules.ClaimRef{Name: name, UID: uid})
	}
	a.mu.Unlock()
	_, err = r.verifyClaims(ctx, a, key, contradicted)
	return more, err
}

// decideUntilStable decides and acts until nothing changes any more.
func (r *holdReconciler[T]) decideUntilStable(ctx context.Context, req reconcile.Request, a *targetState[T]) (reconcile.Result, error) {
	for range maxRoundsPerReconcile {
		obj := r.newObject()
		if err := r.Client.Get(ctx, req.NamespacedName, obj); apierrors.IsNotFound(err) {
			after, err := r.reconcileDeletedTarget(ctx, req.NamespacedName, a)
			return reconcile.Result{RequeueAfter: after}, err
		} else if err != nil {
			return reconcile.Result{}, err
		}
		obj = a.latest(obj)
		after, again, err := r.decideOnce(ctx, a, obj)
		if err != nil {
			// Once the object is gone there is nothing to decide. Its watch event is on its way.
			return reconcile.Result{}, client.IgnoreNotFound(err)
		}
		if !again {
			return reconcile.Result{RequeueAfter: after}, nil
		}
	}
	return reconcile.Result{RequeueAfter: statusBatchInterval}, nil
}

// decideOnce decides once and acts on the decision. again means that the state it acted on has changed, so that it must be
// called again.
func (r *holdReconciler[T]) decideOnce(ctx context.Context, a *targetState[T], obj T) (after time.Duration, again bool, err error) {
	revision, err := rules.Revision(obj)
	if err != nil {
		return 0, false, err
	}
	now := r.Clock.Now()
	a.mu.Lock()
	a.claims.SetTargetUID(obj.GetUID())
	next, act := r.decide(obj, a.claims, revision, now)
	for _, c := range act.Adopted {
		a.claims.RecordGrant(c.UID, now.Monotonic)
	}
	// Take only the claims whose Pod this decision knows to have ended. A claim whose hold it has not ended yet must stay until
	// the next decision has.
	ended := deletionBatch(a.boundEndedClaims)
	a.mu.Unlock()

	changed, err := r.expireClaims(ctx, a, obj, act.Expire)
	if err != nil || changed {
		return 0, changed, err
	}
	after = act.RequeueAfter
	if changed, err = r.verifyClaims(ctx, a, client.ObjectKeyFromObject(obj), act.Verify); err != nil || changed {
		return 0, changed, err
	}
	if len(act.Verify) > 0 {
		// These claims exist, and the watch will show them soon.
		after = rules.MinNonZero(after, statusBatchInterval)
	}
	// A Job that can't be stopped keeps only its own hold.
	changed, stopErr := r.stopJobs(ctx, a, obj, act.StopJobs)
	if changed {
		return 0, true, nil
	}
	defer func() { err = errors.Join(err, stopErr) }()
	if len(act.StopJobs) > 0 {
		after = rules.MinNonZero(after, stoppingJobPollInterval)
	}
	written := false
	if act.Changed {
		delay := a.writeDelay(now)
		if !act.Urgent && delay > 0 {
			return rules.MinNonZero(after, delay), false, nil
		}
		if notifyBeforeGrant {
			if changed, err = r.notifyHolders(ctx, a, client.ObjectKeyFromObject(obj), act.Notify); err != nil || changed {
				return 0, changed, err
			}
		}
		if written, err = r.updateStatus(ctx, a, next, act); err != nil || !written {
			return 0, !written, err
		}
		// Events are for people. The waiters are notified first.
		defer recordEvents(r.Recorder, next, act.Events)
	}
	if changed, err = r.notifyHolders(ctx, a, client.ObjectKeyFromObject(obj), act.Notify); err != nil || changed {
		return 0, changed, err
	}
	if len(act.Refuse) > 0 && !written {
		// A refusal is final, and no write has shown yet that it doesn't rest on an outdated object.
		if fresh, err := r.isCurrent(ctx, a, obj); err != nil || !fresh {
			return 0, !fresh, err
		}
	}
	refused := act.Refuse[:min(len(act.Refuse), reconcileBatchSize)]
	if err := r.refuseClaims(ctx, a, obj, refused); err != nil {
		return 0, false, err
	}
	// Other objects need the worker as well: the rest of a long list is left for the next reconciliation.
	unrecorded, stale := act.RevokeUnrecorded[:min(len(act.RevokeUnrecorded), reconcileBatchSize)], act.StaleTarget[:min(len(act.StaleTarget), reconcileBatchSize)]
	if len(unrecorded)+len(stale) < len(act.RevokeUnrecorded)+len(act.StaleTarget) {
		after = rules.MinNonZero(after, statusBatchInterval)
	}
	if err := r.revokeUnrecorded(ctx, a, obj, unrecorded); err != nil {
		return 0, false, err
	}
	if err := r.endStaleTargetClaims(ctx, a, obj, stale); err != nil {
		return 0, false, err
	}
	cleanup, err := r.deleteFinishedClaims(ctx, obj.GetNamespace(), a, ended)
	return rules.MinNonZero(after, cleanup), len(refused) < len(act.Refuse), err
}

// updateStatus writes the decision: a compare-and-swap of the status, on which all grants rest. It returns false on a
// conflict, and the API server's error if the object is gone. In both cases nothing was granted and no client may be
// notified.
func (r *holdReconciler[T]) updateStatus(ctx context.Context, a *targetState[T], next T, act rules.HoldDecision) (bool, error) {
	err := r.Client.Status().Update(ctx, next)
	switch {
	case apierrors.IsConflict(err):
		r.Metrics.conflicts.WithLabelValues(r.kind).Inc()
		current := r.newObject()
		if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(next), current); err != nil {
			return false, err
		}
		a.recordRead(current)
		return false, nil
	case apierrors.IsInvalid(err) && !apiclient.IsDeniedByAdmission(err):
		// The API server validates the same limits. If it has to reject a status, that is a bug here.
		r.Metrics.invariantViolations.WithLabelValues(r.kind).Inc()
		return false, fmt.Errorf("API server rejected a status that violates an invariant: %w", err)
	case err != nil:
		return false, err
	}
	now := r.Clock.Now()
	a.recordWrite(next, now.Monotonic)
	a.mu.Lock()
	for _, c := range act.Granted {
		a.claims.RecordGrant(c.UID, now.Monotonic)
	}
	a.claims.PruneTombstones(r.holdersOf(next))
	a.mu.Unlock()
	r.Metrics.recordHoldDecision(r.kind, &act, now)
	r.logAndTraceDecision(ctx, next, &act, now)
	return true, nil
}

// logAndTraceDecision logs the grants and the ended holds of a written decision: grants and releases, of which there may be
// very many, at debug level, other ends at the usual level. The context's logger names the object. The trace, if there is
// one, has all of them.
func (r *holdReconciler[T]) logAndTraceDecision(ctx context.Context, next T, act *rules.HoldDecision, now rules.Instant) {
	usual := log.FromContext(ctx)
	debug := usual.V(1)
	span := reconcileSpanFromContext(ctx)
	for i := range act.Ended {
		e := &act.Ended[i]
		logger := usual
		if e.Reason == konductorv1.EventReleased {
			logger = debug
		}
		logger.Info("hold ended", "reason", e.Reason, "holder", e.Holder.Name, "claim", e.Holder.Claim,
			"fencingToken", e.Holder.FencingToken, "held", endedHoldTime(e, now).String())
		span.recordHoldEnd(e.Holder.Name, e.Reason)
	}
	if len(act.Granted) == 0 || (!debug.Enabled() && span == nil) {
		return
	}
	tokens := map[types.UID]int64{}
	for _, h := range r.holdersOf(next) {
		tokens[h.ClaimUID] = h.FencingToken
	}
	for _, c := range act.Granted {
		debug.Info("granted", "holder", c.Holder, "claim", c.Name, "fencingToken", tokens[c.UID], "waited", claimWaitTime(c, now).String())
		span.recordGrant(c.Holder, tokens[c.UID])
	}
}

// expireClaims sets claims to Expired, each only if it has not changed since it was observed: a renewal in between makes the
// write fail, and the hold goes on. An expired claim can't be renewed any more, so its hold can be given to another.
func (r *holdReconciler[T]) expireClaims(ctx context.Context, a *targetState[T], obj T, verdicts []rules.Termination) (changed bool, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelRequests)
	for _, v := range verdicts {
		group.Go(func() error {
			status := konductorv1.ClaimStatus{Phase: konductorv1.ClaimExpired, Message: v.Message}
			_, err := r.updateClaimStatus(ctx, a, client.ObjectKeyFromObject(obj), v.Claim, status)
			return err
		})
	}
	return len(verdicts) > 0, group.Wait()
}

// verifyClaims reads from the API server claims that the status names and the watch has not shown, and records those that
// are gone. changed says that the cache knows more than before.
func (r *holdReconciler[T]) verifyClaims(ctx context.Context, a *targetState[T], key types.NamespacedName, claims []rules.ClaimRef) (changed bool, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelRequests)
	var learned atomic.Bool
	for _, c := range claims {
		group.Go(func() error {
			claim := &konductorv1.Claim{}
			err := r.APIReader.Get(ctx, types.NamespacedName{Namespace: key.Namespace, Name: c.Name}, claim)
			if err != nil && !apiclient.IsObjectNotFound(err) {
				return err
			}
			if target, mine := r.claimCache.targetKey(claim); err == nil && claim.UID == c.UID && mine && target == key {
				if r.claimCache.recordVerified(claim, r.Clock.Now()) {
					learned.Store(true)
				}
				return nil
			}
			a.mu.Lock()
			a.removeClaimUID(c.UID)
			a.mu.Unlock()
			learned.Store(true)
			return nil
		})
	}
	err = group.Wait()
	return learned.Load(), err
}

// stopJobs stops the Jobs of holds whose claim is deleted or has ended. changed says that such a hold is over.
func (r *holdReconciler[T]) stopJobs(ctx context.Context, a *targetState[T], obj T, holders []konductorv1.Holder) (changed bool, err error) {
	var group errgroup.Group // without a context that the first error cancels
	group.SetLimit(maxParallelRequests)
	var over atomic.Bool
	target := rules.WorkloadRef{Kind: r.kind, Name: obj.GetName()}.String()
	for i := range holders {
		group.Go(func() error {
			stopped, err := r.jobStopper.stop(ctx, obj.GetNamespace(), target, &holders[i])
			if err == nil && stopped {
				a.mu.Lock()
				a.claims.ObserveJobStopped(holders[i].ClaimUID)
				a.mu.Unlock()
				over.Store(true)
			}
			return err
		})
	}
	err = group.Wait()
	return over.Load(), err
}

// notifyHolders sets the claims of holders to Granted. changed says that a claim could not be written because it has changed
// or is gone.
func (r *holdReconciler[T]) notifyHolders(ctx context.Context, a *targetState[T], key types.NamespacedName, holders []konductorv1.Holder) (changed bool, err error) {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelRequests)
	var missed atomic.Bool
	for _, h := range holders {
		group.Go(func() error {
			a.mu.Lock()
			c, presence := a.claims.Find(h.ClaimUID)
			a.mu.Unlock()
			if presence != rules.ExistenceConfirmed {
				return nil
			}
			status := konductorv1.ClaimStatus{Phase: konductorv1.ClaimGranted, FencingToken: h.FencingToken, ExpiresAt: h.ExpiresAt}
			status.Conditions = rules.ClaimConditions(&status, h.AcquiredAt.Time)
			written, err := r.updateClaimStatus(ctx, a, key, c, status)
			if !written {
				missed.Store(true)
			}
			return err
		})
	}
	err = group.Wait()
	return missed.Load(), err
}

// isCurrent reports whether obj is the API server's version. If not, the write cache now has that version.
func (r *holdReconciler[T]) isCurrent(ctx context.Context, a *targetState[T], obj T) (bool, error) {
	current := r.newObject()
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(obj), current); err != nil {
		return false, err
	}
	a.recordRead(current)
	return current.GetResourceVersion() == obj.GetResourceVersion(), nil
}

// refuseClaims sets claims to Refused.
func (r *holdReconciler[T]) refuseClaims(ctx context.Context, a *targetState[T], obj T, verdicts []rules.Termination) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelRequests)
	for _, v := range verdicts {
		group.Go(func() error {
			status := konductorv1.ClaimStatus{Phase: konductorv1.ClaimRefused, Message: v.Message}
			written, err := r.updateClaimStatus(ctx, a, client.ObjectKeyFromObject(obj), v.Claim, status)
			if written {
				r.Metrics.refusals.WithLabelValues(r.kind).Inc()
				log.FromContext(ctx).V(1).Info("refused", "holder", v.Claim.Holder, "claim", v.Claim.Name, "why", v.Message)
			}
			return err
		})
	}
	return group.Wait()
}

// updateClaimStatus writes the claim's status if the claim has not changed since it was last observed, and records the
// response. It returns false if the claim has changed or is gone; the claim cache is then up to date again.
func (r *holdReconciler[T]) updateClaimStatus(ctx context.Context, a *targetState[T], key types.NamespacedName, c *rules.Claim, status konductorv1.ClaimStatus) (bool, error) {
	if status.FencingToken == 0 {
		status.FencingToken = c.Token
	}
	if status.Conditions == nil {
		status.Conditions = rules.ClaimConditions(&status, r.Clock.Now().ServerTime)
	}
	// The API server takes only the status from this object. A patch would cost it more.
	claim := &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: c.Name, UID: c.UID, ResourceVersion: c.ResourceVersion}, Status: status,
	}
	err := r.Client.Status().Update(ctx, claim)
	switch {
	case err == nil:
		r.claimCache.recordResponse(claim, r.Clock.Now())
		return true, nil
	case apierrors.IsNotFound(err), apierrors.IsConflict(err), apierrors.IsInvalid(err) && !apiclient.IsDeniedByAdmission(err):
		_, err := r.verifyClaims(ctx, a, key, []rules.ClaimRef{{Name: c.Name, UID: c.UID}})
		return false, err
	default:
		return false, fmt.Errorf("updating the status of claim %s: %w", c.Name, err)
	}
}
