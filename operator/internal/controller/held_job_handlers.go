package controller

import (
	"context"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// heldJobIndex is the name of the cache index that finds the held Jobs that wait for a gate or barrier, or arrive at a barrier.
// The entry anyHeldJob has all Jobs that are held and have not finished.
const heldJobIndex = "konductor.io/held-jobs"

// anyHeldJob is the index entry of all held Jobs that have not finished.
const anyHeldJob = "*"

func indexHeldJobs(obj client.Object) []string {
	job, ok := obj.(*batchv1.Job)
	if !ok || !isHeldJob(job) || job.Labels[konductorv1.HeldLabel] == konductorv1.HeldFinished {
		return nil
	}
	entries := []string{anyHeldJob}
	if job.Labels[konductorv1.HeldLabel] == konductorv1.HeldSkipped {
		return entries
	}
	if owner := cronJobOf(job); owner != nil {
		entries = append(entries, ownerIndexKey(owner.UID))
	}
	workload, err := rules.ParseWorkload(job.Annotations)
	if err != nil {
		return entries
	}
	if job.Labels[konductorv1.HeldLabel] != konductorv1.HeldStarted {
		for _, ref := range workload.After {
			entries = append(entries, ref.String())
		}
		for i := range workload.Holds {
			entries = append(entries, workload.Holds[i].String())
		}
		for _, limit := range rules.LimitsOf(job.Annotations) {
			entries = append(entries, limit.String())
		}
	}
	for _, barrier := range workload.Arrive {
		entries = append(entries, rules.WorkloadRef{Kind: konductorv1.KindBarrier, Name: barrier}.String())
	}
	return entries
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

// allKeys returns the keys of all held Jobs that have not finished.
func (r *heldJobReconciler) allKeys(ctx context.Context) (keys []types.NamespacedName) {
	for _, job := range r.listHeldJobs(ctx, anyHeldJob) {
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
		q.Add(requestFor(obj))
	}, func(obj client.Object, q requestQueue) {
		job, ok := obj.(*batchv1.Job)
		if !ok || job.Annotations[konductorv1.ArriveAnnotation] == "" || job.Labels[konductorv1.HeldLabel] == konductorv1.HeldFinished || !isJobFinished(job) {
			return
		}
		r.mu.Lock()
		if r.isLeader() && len(r.deletedFinished) < maxDeletedFinished {
			r.deletedFinished[client.ObjectKeyFromObject(obj)] = job
		}
		r.mu.Unlock()
		q.Add(requestFor(obj))
	})
}

// maxDeletedFinished bounds heldJobReconciler.deletedFinished.
const maxDeletedFinished = 1000

// onClaim enqueues the Job of a claim.
func (r *heldJobReconciler) onClaim() handler.EventHandler {
	enqueue := func(obj client.Object, q requestQueue) {
		claim, ok := obj.(*konductorv1.Claim)
		if ok && claim.Spec.BoundTo != nil && claim.Spec.BoundTo.Kind == konductorv1.KindJob {
			q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: claim.Namespace, Name: claim.Spec.BoundTo.Name}})
		}
	}
	return newEventHandler(enqueue, enqueue)
}

// onWaitedFor enqueues the Jobs that wait for a gate or barrier which was created, has changed its phase, or was deleted, and for
// a lease or semaphore which was created, or whose spec has changed: it may admit what it has refused before.
func (r *heldJobReconciler) onWaitedFor(kind string) handler.EventHandler {
	enqueue := func(ctx context.Context, obj client.Object, q requestQueue) {
		ref := rules.WorkloadRef{Kind: kind, Name: obj.GetName()}
		for _, job := range r.listHeldJobs(ctx, ref.String(), client.InNamespace(obj.GetNamespace())) {
			q.Add(requestFor(&job))
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q requestQueue) { enqueue(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q requestQueue) {
			if phaseOf(e.ObjectOld) != phaseOf(e.ObjectNew) || e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || e.ObjectOld.GetUID() != e.ObjectNew.GetUID() {
				enqueue(ctx, e.ObjectNew, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q requestQueue) { enqueue(ctx, e.Object, q) },
	}
}

// phaseOf returns the phase of a gate or barrier.
func phaseOf(obj client.Object) string {
	switch o := obj.(type) {
	case *konductorv1.Gate:
		return string(o.Status.Phase)
	case *konductorv1.Barrier:
		return string(o.Status.Phase)
	default:
		return ""
	}
}
