package controller

import (
	"context"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// observe gathers what the decision about a Job needs.
func (r *heldJobReconciler) observe(ctx context.Context, job *batchv1.Job, w rules.Workload) (*rules.HeldWorkload, error) {
	view := &rules.HeldWorkload{
		Workload: w, State: job.Labels[konductorv1.HeldLabel], Created: job.CreationTimestamp.Time,
		Suspended: isSuspended(job), Finished: isJobFinished(job), Deleting: job.DeletionTimestamp != nil,
		Released:       rules.ParseReleasedTokens(job.Annotations[konductorv1.ReleasedTokensAnnotation]),
		TemplateLocked: job.Status.StartTime != nil, Kind: "job", Failed: hasJobFailed(job),
	}
	if view.Finished {
		return view, nil // Nothing else counts.
	}
	if err := r.observeWorkload(ctx, asHeldJob(job), view); err != nil {
		return nil, err
	}
	for i, claim := range view.Claims {
		// It may have been granted anew, after the object was deleted and created again: the Job doesn't run with that hold.
		if claim != nil && view.State == konductorv1.HeldStarted && claim.Token != startedWithToken(job, view.Holds[i].String()) {
			claim.Phase = konductorv1.ClaimExpired
		}
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
	refs := limitRefs(job) // They may be limits no longer.
	for i := range w.Holds {
		refs = append(refs, w.Holds[i].WorkloadRef)
	}
	for _, ref := range refs {
		target, err := r.getTarget(ctx, job.Namespace, ref)
		if err != nil {
			return false, err
		}
		if slices.ContainsFunc(target.holders, func(h konductorv1.Holder) bool { return h.Job != nil && h.Job.UID == job.UID }) {
			return true, nil
		}
	}
	return r.jobStopper.hasRunningPods(ctx, job.Namespace, job.UID)
}

func hasJobFailed(job *batchv1.Job) bool {
	return !arriveAsSuccess && slices.ContainsFunc(job.Status.Conditions, func(c batchv1.JobCondition) bool {
		return c.Type == batchv1.JobFailed && c.Status == corev1.ConditionTrue
	})
}
