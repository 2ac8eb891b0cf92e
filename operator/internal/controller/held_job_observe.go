package controller

import (
	"context"
	"fmt"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// observe gathers what the decision about a Job needs.
func (r *heldJobReconciler) observe(ctx context.Context, job *batchv1.Job, w rules.Workload) (*rules.HeldJob, error) {
	view := &rules.HeldJob{
		Workload: w, State: job.Labels[konductorv1.HeldLabel], Created: job.CreationTimestamp.Time,
		Suspended: isSuspended(job), Finished: isJobFinished(job), Deleting: job.DeletionTimestamp != nil,
		Released:       rules.ParseReleasedTokens(job.Annotations[konductorv1.ReleasedTokensAnnotation]),
		TemplateLocked: job.Status.StartTime != nil,
	}
	for _, c := range job.Status.Conditions {
		view.Failed = view.Failed || c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue
	}
	if view.Finished {
		return view, nil // Nothing else counts.
	}
	for _, ref := range w.After {
		state, err := r.observePrerequisite(ctx, job.Namespace, ref)
		if err != nil {
			return nil, err
		}
		view.Prerequisites = append(view.Prerequisites, state)
	}
	for _, hold := range w.Holds {
		claim, err := r.observeClaim(ctx, job, hold, view.State == konductorv1.HeldStarted)
		if err != nil {
			return nil, err
		}
		view.Claims = append(view.Claims, claim)
	}
	if w.WhenBusy == konductorv1.WhenBusyNewest {
		view.SupersededBy = r.supersededBy(ctx, job, view)
	}
	if view.State == konductorv1.HeldStopping {
		var err error
		if view.HoldsLeft, err = r.hasHoldsLeft(ctx, job, w); err != nil {
			return nil, err
		}
	}
	return view, nil
}

// hasHoldsLeft reports whether a lease or semaphore still lists the Job as a holder, or Pods of it may still run.
func (r *heldJobReconciler) hasHoldsLeft(ctx context.Context, job *batchv1.Job, w rules.Workload) (bool, error) {
	for i := range w.Holds {
		target, err := r.getTarget(ctx, job.Namespace, w.Holds[i].WorkloadRef)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(target.holders, func(h konductorv1.Holder) bool { return h.Job != nil && h.Job.UID == job.UID }) {
			return true, nil
		}
	}
	return r.jobStopper.hasRunningPods(ctx, job.Namespace, job.UID)
}

// holdTarget is what the controller of held Jobs reads of a Lease or Semaphore.
type holdTarget struct {
	exists      bool
	permits     int32
	maxPriority *int32
	holders     []konductorv1.Holder
}

// freePermits returns how many permits are not held.
func (t *holdTarget) freePermits() int32 {
	free := t.permits
	for i := range t.holders {
		free -= t.holders[i].Permits
	}
	return free
}

// getTarget reads a Lease or Semaphore from the cache. One that doesn't exist is no error.
func (r *heldJobReconciler) getTarget(ctx context.Context, namespace string, ref rules.WorkloadRef) (holdTarget, error) {
	key := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	if ref.Kind == konductorv1.KindLease {
		lease := &konductorv1.Lease{}
		if err := r.Client.Get(ctx, key, lease); err != nil {
			return holdTarget{}, client.IgnoreNotFound(err)
		}
		return holdTarget{true, 1, lease.Spec.MaxPriority, lease.Status.Holders()}, nil
	}
	semaphore := &konductorv1.Semaphore{}
	if err := r.Client.Get(ctx, key, semaphore); err != nil {
		return holdTarget{}, client.IgnoreNotFound(err)
	}
	return holdTarget{true, semaphore.Spec.Permits, semaphore.Spec.MaxPriority, semaphore.Status.Holders}, nil
}

// observePrerequisite returns the state of a gate or barrier. What is missing is waited for.
func (r *heldJobReconciler) observePrerequisite(ctx context.Context, namespace string, ref rules.WorkloadRef) (state rules.Prerequisite, err error) {
	key := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	phase := ""
	if ref.Kind == konductorv1.KindGate {
		gate := &konductorv1.Gate{}
		err = r.Client.Get(ctx, key, gate)
		phase, state.Open = string(gate.Status.Phase), gate.Status.Phase == konductorv1.GateOpen && gate.DeletionTimestamp == nil
	} else {
		barrier := &konductorv1.Barrier{}
		err = r.Client.Get(ctx, key, barrier)
		phase, state.Open = string(barrier.Status.Phase), barrier.Status.Phase == konductorv1.BarrierOpen && barrier.DeletionTimestamp == nil
	}
	switch {
	case apierrors.IsNotFound(err):
		return rules.Prerequisite{Missing: true}, nil
	case err != nil:
		return rules.Prerequisite{}, err
	case phase == string(konductorv1.BarrierFailed) || phase == string(konductorv1.BarrierTimeout):
		state.Failed = true
	}
	if !state.Open {
		state.Message = fmt.Sprintf("%s is in phase %s", ref, phase)
	}
	return state, nil
}

// observeClaim returns the Job's claim for a hold; nil: there is none. Before a started Job is stopped because of it, the API
// server confirms what the cache says.
func (r *heldJobReconciler) observeClaim(ctx context.Context, job *batchv1.Job, hold rules.WorkloadHold, started bool) (*rules.JobClaim, error) {
	key := types.NamespacedName{Namespace: job.Namespace, Name: jobClaimName(job, hold)}
	claim := &konductorv1.Claim{}
	err := r.Client.Get(ctx, key, claim)
	if started && (apierrors.IsNotFound(err) || err == nil && (claim.Status.Phase != konductorv1.ClaimGranted || claim.DeletionTimestamp != nil)) {
		claim = &konductorv1.Claim{}
		err = r.APIReader.Get(ctx, key, claim)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // There is none.
	case err != nil:
		return nil, fmt.Errorf("getting claim %s: %w", key.Name, err)
	}
	observed := &rules.JobClaim{
		Name: claim.Name, UID: claim.UID, Phase: claim.Status.Phase, Token: claim.Status.FencingToken, Message: claim.Status.Message,
		Deleting: claim.DeletionTimestamp != nil, Foreign: !isClaimFor(claim, job, hold),
	}
	if observed.Phase == konductorv1.ClaimGranted {
		return observed, nil
	}
	target, err := r.getTarget(ctx, job.Namespace, hold.WorkloadRef)
	if err != nil {
		return nil, err
	}
	observed.Busy = target.exists && claim.Spec.Permits > target.freePermits()
	observed.Retry = observed.Phase == konductorv1.ClaimRefused && target.exists && claim.Spec.Permits <= target.permits &&
		(target.maxPriority == nil || claim.Spec.Priority <= *target.maxPriority)
	return observed, nil
}

// isClaimFor reports whether a claim is the one that the operator makes for a hold of a Job. Anybody who may create claims could
// make another of that name. Only the operator may bind one to a Job.
func isClaimFor(claim *konductorv1.Claim, job *batchv1.Job, hold rules.WorkloadHold) bool {
	bound := claim.Spec.BoundTo
	return bound != nil && bound.Kind == konductorv1.KindJob && bound.UID == job.UID && claim.Spec.Target.Kind == hold.Kind &&
		claim.Spec.Target.Name == hold.Name && (hold.Limit || claim.Spec.Permits == hold.Permits)
}
