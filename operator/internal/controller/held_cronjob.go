package controller

import (
	"cmp"
	"context"
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// ownerIndexKey returns the index entry of the held Jobs of a CronJob.
func ownerIndexKey(owner types.UID) string { return "owner/" + string(owner) }

// maxSiblings is how many Jobs of a CronJob are considered: usually two, but a Job may name any owner.
const maxSiblings = 100

// listSiblings returns the other held Jobs of the CronJob that a Job belongs to. They must not be modified.
func (r *heldJobReconciler) listSiblings(ctx context.Context, job *batchv1.Job) (siblings []*batchv1.Job) {
	owner := cronJobOf(job)
	if owner == nil {
		return nil
	}
	jobs := r.listHeldJobs(ctx, ownerIndexKey(owner.UID), client.InNamespace(job.Namespace), client.Limit(maxSiblings))
	for i := range jobs {
		if jobs[i].UID != job.UID && jobs[i].DeletionTimestamp == nil && !isJobFinished(&jobs[i]) {
			siblings = append(siblings, &jobs[i])
		}
	}
	return siblings
}

// isWaiting reports whether a held Job waits to be started.
func isWaiting(job *batchv1.Job) bool {
	state := job.Labels[konductorv1.HeldLabel]
	return isSuspended(job) && (state == "" || state == konductorv1.HeldWaiting)
}

// hasWhenBusy reports whether a Job has that value of WhenBusyAnnotation.
func hasWhenBusy(job *batchv1.Job, value string) bool {
	return job.Annotations[konductorv1.WhenBusyAnnotation] == value
}

// isNewer reports whether a was created after b. Names of a CronJob's Jobs grow with the time for which they are scheduled.
func isNewer(a, b *batchv1.Job) bool {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name)) > 0
}

// supersededBy returns the name of a newer Job that waits in the place of this one, or empty. The newer one has taken the place
// over when it has a claim wherever this one has.
func (r *heldJobReconciler) supersededBy(ctx context.Context, job *batchv1.Job, view *rules.HeldWorkload) string {
	for _, sibling := range r.listSiblings(ctx, job) {
		if !isWaiting(sibling) || !hasWhenBusy(sibling, konductorv1.WhenBusyNewest) || !isNewer(sibling, job) {
			continue
		}
		taken := true
		for i, claim := range view.Claims {
			key := types.NamespacedName{Namespace: job.Namespace, Name: asHeldJob(sibling).claimName(view.Holds[i])}
			taken = taken && (claim == nil || r.Client.Get(ctx, key, &konductorv1.Claim{}) == nil)
		}
		if taken {
			return sibling.Name
		}
	}
	return ""
}

// inheritedPosition returns the place in a queue that a Job takes over from older waiting Jobs of its CronJob; nil: from none.
func (r *heldJobReconciler) inheritedPosition(ctx context.Context, job *batchv1.Job, hold rules.WorkloadHold) (first *konductorv1.QueuePosition) {
	for _, sibling := range r.listSiblings(ctx, job) {
		if !isWaiting(sibling) || !hasWhenBusy(sibling, konductorv1.WhenBusyNewest) || isNewer(sibling, job) {
			continue
		}
		claim := &konductorv1.Claim{}
		key := types.NamespacedName{Namespace: job.Namespace, Name: asHeldJob(sibling).claimName(hold)}
		if r.Client.Get(ctx, key, claim) != nil || claim.Status.Phase == konductorv1.ClaimGranted {
			continue // A granted claim has no place in the queue any more.
		}
		created, revision := rules.PositionOf(claim)
		if first == nil || revision < uint64(first.Revision) {
			first = &konductorv1.QueuePosition{CreatedAt: metav1.NewTime(created), Revision: int64(revision)}
		}
	}
	return first
}

// deleteReplaced deletes the started Jobs of the CronJob. Their holds last until their last Pod has ended.
func (r *heldJobReconciler) deleteReplaced(ctx context.Context, job *batchv1.Job) error {
	for _, sibling := range r.listSiblings(ctx, job) {
		if sibling.Labels[konductorv1.HeldLabel] != konductorv1.HeldStarted || !hasWhenBusy(sibling, konductorv1.WhenBusyReplace) || isNewer(sibling, job) {
			continue
		}
		err := r.Client.Delete(ctx, sibling, client.Preconditions{UID: &sibling.UID}, client.PropagationPolicy(metav1.DeletePropagationBackground))
		if ignoreNotFoundOrConflict(err) != nil {
			return fmt.Errorf("deleting job %s: %w", sibling.Name, err)
		}
		r.Recorder.Event(sibling, corev1.EventTypeWarning, konductorv1.EventStopped, "the job is deleted: job "+job.Name+" replaces it")
	}
	return nil
}
