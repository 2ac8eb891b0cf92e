package controller

import (
	"context"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// heldJobIndex is the name of the cache index that finds the held Jobs that wait for a gate or barrier, or arrive at a barrier.
// The entry anyHeldWorkload has all Jobs that are held and have not finished.
const heldJobIndex = "konductor.io/held-jobs"

// anyHeldWorkload is the index entry of all held Jobs, or Pods, that have not finished.
const anyHeldWorkload = "*"

func indexHeldJobs(obj client.Object) []string {
	job, ok := obj.(*batchv1.Job)
	if !ok || !isHeldJob(job) || job.Labels[konductorv1.HeldLabel] == konductorv1.HeldFinished {
		return nil
	}
	entries := []string{anyHeldWorkload}
	if job.Labels[konductorv1.HeldLabel] == konductorv1.HeldSkipped {
		return entries
	}
	if owner := cronJobOf(job); owner != nil {
		entries = append(entries, ownerIndexKey(owner.UID))
	}
	return append(entries, workloadIndexEntries(job.Annotations, job.Labels[konductorv1.HeldLabel] != konductorv1.HeldStarted)...)
}

// listHeldJobs returns the held Jobs with that index entry. They must not be modified.
func (r *heldJobReconciler) listHeldJobs(ctx context.Context, entry string, options ...client.ListOption) []batchv1.Job {
	var list batchv1.JobList
	// The cache fails only when the operator is being stopped.
	if err := r.Client.List(ctx, &list, append(options, client.MatchingFields{heldJobIndex: entry}, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil
	}
	return list.Items
}

// heldJobKeys returns the keys of the held Jobs with that index entry.
func (r *heldJobReconciler) heldJobKeys(ctx context.Context, entry string, options ...client.ListOption) (keys []types.NamespacedName) {
	for _, job := range r.listHeldJobs(ctx, entry, options...) {
		keys = append(keys, client.ObjectKeyFromObject(&job))
	}
	return keys
}

// onJob enqueues a held Job that was created or has changed.
func (r *heldJobReconciler) onJob() handler.EventHandler {
	return newEventHandler(func(obj client.Object, q requestQueue) {
		job, ok := obj.(*batchv1.Job)
		if !ok || !isHeldJob(job) || job.Labels[konductorv1.HeldLabel] == konductorv1.HeldFinished {
			return
		}
		if isJobFinished(job) && job.Annotations[konductorv1.ArriveAnnotation] == "" {
			q.AddAfter(requestFor(obj), finishedJobDelay)
			return
		}
		q.Add(requestFor(obj))
	}, func(obj client.Object, q requestQueue) {
		job, ok := obj.(*batchv1.Job)
		if !ok || job.Annotations[konductorv1.ArriveAnnotation] == "" || job.Labels[konductorv1.HeldLabel] == konductorv1.HeldFinished || !isJobFinished(job) || isOtherControllers(job) {
			return
		}
		r.rememberDeleted(job)
		q.Add(requestFor(obj))
	})
}

// finishedJobDelay is how long the label of a finished Job that arrives nowhere waits. The writes by which others get what it held
// come first.
const finishedJobDelay = 100 * time.Millisecond
