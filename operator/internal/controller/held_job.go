package controller

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"

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

// heldJobReconciler is the controller of held Jobs: Jobs that their annotations keep suspended until they may start.
//
// The only write that starts a Job is conditional on the version of the Job that the decision was made for, and names the tokens
// of its holds. jobStopper writes to the Job before it lets a hold of it end. So a Job never starts with a hold that has ended,
// whichever operator decides, and however old its cache is.
type heldJobReconciler struct {
	heldWorkloadClient
	jobStopper *jobStopper
}

// heldJobController is the name of the controller of held Jobs, in logs and metrics.
const heldJobController = "HeldJob"

// SetupHeldJobs adds the controller of held Jobs to mgr.
func SetupHeldJobs(ctx context.Context, mgr ctrl.Manager, deps Deps) error {
	r := &heldJobReconciler{newHeldWorkloadClient(deps), newJobStopper(&deps)}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &batchv1.Job{}, heldJobIndex, indexHeldJobs); err != nil {
		return fmt.Errorf("indexing held jobs by what they wait for: %w", err)
	}
	if err := setupJobLimits(mgr, &deps); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named(heldJobController).
		Watches(&batchv1.Job{}, r.enqueueOnlyWhenLeader(r.onJob())).
		Watches(&konductorv1.Claim{}, r.enqueueOnlyWhenLeader(onClaimOf(konductorv1.KindJob))).
		Watches(&konductorv1.Gate{}, r.enqueueOnlyWhenLeader(onWaitedFor(konductorv1.KindGate, konductorv1.KindJob, r.heldJobKeys))).
		Watches(&konductorv1.Barrier{}, r.enqueueOnlyWhenLeader(onWaitedFor(konductorv1.KindBarrier, konductorv1.KindJob, r.heldJobKeys))).
		Watches(&konductorv1.Lease{}, r.enqueueOnlyWhenLeader(onWaitedFor(konductorv1.KindLease, konductorv1.KindJob, r.heldJobKeys))).
		Watches(&konductorv1.Semaphore{}, r.enqueueOnlyWhenLeader(onWaitedFor(konductorv1.KindSemaphore, konductorv1.KindJob, r.heldJobKeys))).
		WatchesRawSource(r.enqueueAllOnElection(func(ctx context.Context) []types.NamespacedName { return r.heldJobKeys(ctx, anyHeldWorkload) })).
		WithOptions(controllerOptions()).
		Complete(r.instrument(heldJobController, r))
}

// Reconcile brings one held Job up to date: it claims what the Job is to hold, starts it when it may run, stops it when it has
// lost a hold, and arrives for it when it has finished.
func (r *heldJobReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	err := r.forDeleted(req.NamespacedName, func(obj client.Object) error {
		job, ok := obj.(*batchv1.Job)
		if !ok {
			return nil
		}
		workload, err := rules.ParseWorkload(job.Annotations)
		if err != nil {
			return nil //nolint:nilerr // It can't arrive.
		}
		_, err = r.arrive(ctx, asHeldJob(job), &rules.HeldWorkload{Workload: workload, Failed: hasJobFailed(job)}, asHeldJob(job).participant())
		return err
	})
	if err != nil {
		return reconcile.Result{}, err
	}
	job := &batchv1.Job{}
	if err := r.Client.Get(ctx, req.NamespacedName, job); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	result, err := r.reconcileJob(ctx, job)
	if err != nil || !hasWhenBusy(job, konductorv1.WhenBusyNewest) || !isWaiting(job) {
		return result, err
	}
	// It may have taken the place of older ones by now.
	for _, sibling := range r.listSiblings(ctx, job) {
		if isWaiting(sibling) && isNewer(job, sibling) {
			if _, err := r.reconcileJob(ctx, sibling); err != nil {
				return reconcile.Result{}, err
			}
		}
	}
	return result, nil
}

// reconcileJob does that for one Job, which it doesn't modify.
func (r *heldJobReconciler) reconcileJob(ctx context.Context, job *batchv1.Job) (reconcile.Result, error) {
	if !isHeldJob(job) || job.Labels[konductorv1.HeldLabel] == konductorv1.HeldFinished {
		return reconcile.Result{}, nil
	}
	if isOtherControllers(job) {
		if !isJobFinished(job) {
			r.warnNotHeld(job, otherController(job)+" writes spec.suspend of this job, so konductor doesn't hold it, and doesn't arrive for it: annotate its Pod template instead, or call koncli in its containers")
		}
		return reconcile.Result{}, nil
	}
	limits, gone, err := r.limitsOf(ctx, r.Client, job.Namespace, limitRefs(job))
	if err != nil {
		return reconcile.Result{}, err
	}
	workload, err := rules.ParseLimitedWorkload(job.Annotations, limits)
	if err != nil {
		r.warnNotHeld(job, err.Error())
		return reconcile.Result{}, nil
	}
	view, err := r.observe(ctx, job, workload)
	if err != nil {
		return reconcile.Result{}, err
	}
	if view.NeedlessClaims, err = r.needlessClaims(ctx, job, workload.Holds, gone); err != nil {
		return reconcile.Result{}, err
	}
	d := rules.DecideJob(view, r.Clock.Now())
	if d.Start || d.CreateClaim != nil || len(d.DeleteClaims) > 0 && view.State != konductorv1.HeldStarted {
		// A limit that the cache doesn't have may just be too young for it.
		if found, _, err := r.limitsOf(ctx, r.APIReader, job.Namespace, gone); err != nil || len(found) > 0 {
			return reconcile.Result{RequeueAfter: cacheLag}, err
		}
	}
	if view.Finished || arriveEarly && view.State == konductorv1.HeldStarted {
		missing, err := r.arrive(ctx, asHeldJob(job), view, asHeldJob(job).participant())
		if err != nil || missing {
			return reconcile.Result{}, err // A barrier that is missing enqueues the Job when it is created.
		}
	}
	if d.UnlockTemplate {
		return reconcile.Result{}, r.unlockTemplate(ctx, job)
	}
	if written, err := r.updateJob(ctx, job, view, d); err != nil || !written {
		return reconcile.Result{}, err
	}
	recordEvents(r.Recorder, job, d.Events)
	var position *konductorv1.QueuePosition
	if d.CreateClaim != nil && workload.WhenBusy == konductorv1.WhenBusyNewest {
		position = r.inheritedPosition(ctx, job, *d.CreateClaim)
	}
	if err := r.writeClaims(ctx, asHeldJob(job), &workload, &d, position); err != nil {
		return reconcile.Result{}, err
	}
	if d.ReplaceRunning {
		if err := r.deleteReplaced(ctx, job); err != nil {
			return reconcile.Result{}, err
		}
	}
	if d.State == konductorv1.HeldSkipped && cronJobOf(job) != nil {
		return reconcile.Result{}, r.deleteSkipped(ctx, job, d)
	}
	return reconcile.Result{RequeueAfter: d.RequeueAfter}, nil
}

func asHeldJob(job *batchv1.Job) heldObject { return heldObject{job, konductorv1.KindJob} }

// isHeldJob reports whether the annotations of a Job concern the operator.
func isHeldJob(job *batchv1.Job) bool {
	return rules.IsHeldWorkload(job.Annotations) || job.Annotations[konductorv1.ArriveAnnotation] != ""
}

// isOtherControllers reports whether another controller decides when the Job runs, and the operator has not begun to hold it.
func isOtherControllers(job *batchv1.Job) bool {
	return otherController(job) != "" && job.Labels[konductorv1.HeldLabel] == ""
}

// otherController returns who else writes spec.suspend of the Job, or runs it; empty: nobody.
func otherController(job *batchv1.Job) string {
	owner := metav1.GetControllerOf(job)
	switch {
	case job.Labels[rules.KueueQueueLabel] != "":
		return "Kueue"
	case job.Spec.ManagedBy != nil && *job.Spec.ManagedBy != batchv1.JobControllerName:
		return *job.Spec.ManagedBy
	case owner != nil && owner.Kind == "JobSet":
		return owner.Kind + " " + owner.Name
	default:
		return ""
	}
}

func cronJobOf(job *batchv1.Job) *metav1.OwnerReference {
	if owner := metav1.GetControllerOf(job); owner != nil && konductorv1.IsA(owner.APIVersion, owner.Kind, batchv1.SchemeGroupVersion.WithKind("CronJob").GroupKind()) {
		return owner
	}
	return nil
}

func (r *heldJobReconciler) warnNotHeld(job *batchv1.Job, message string) {
	r.Recorder.Event(job, corev1.EventTypeWarning, konductorv1.EventNotHeld, message)
}

// updateJob writes the decision to the Job if that has not changed since, and reports whether it is written.
func (r *heldJobReconciler) updateJob(ctx context.Context, job *batchv1.Job, view *rules.HeldWorkload, d rules.WorkloadDecision) (bool, error) {
	if d.State == view.State && !d.Suspend && !d.Start {
		return true, nil
	}
	metadata := map[string]any{"resourceVersion": job.ResourceVersion, "uid": job.UID}
	if d.State != view.State {
		metadata["labels"] = map[string]any{konductorv1.HeldLabel: valueOrNull(d.State)}
	}
	if d.State == konductorv1.HeldStopping && view.State == konductorv1.HeldStarted {
		metadata["annotations"] = map[string]any{konductorv1.ReleasedTokensAnnotation: rules.FormatReleasedTokens(releasedTokens(view))}
	}
	patch := map[string]any{"metadata": metadata}
	switch {
	case d.Start:
		spec := map[string]any{"suspend": false}
		tokens := map[string]any{}
		for annotation := range job.Spec.Template.Annotations {
			if rules.IsToken(annotation) {
				tokens[annotation] = nil // of a run before
			}
		}
		for annotation, token := range tokenAnnotations(view.Holds, d.Tokens) {
			tokens[annotation] = token
		}
		if len(tokens) > 0 {
			spec["template"] = map[string]any{"metadata": map[string]any{"annotations": tokens}}
		}
		patch["spec"] = spec
	case d.Suspend:
		patch["spec"] = map[string]any{"suspend": true}
	}
	data, err := json.Marshal(patch)
	if err != nil {
		return false, fmt.Errorf("encoding a patch: %w", err)
	}
	target := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: job.Name}}
	err = r.Client.Patch(ctx, target, client.RawPatch(types.MergePatchType, data))
	switch {
	case apierrors.IsConflict(err), apiclient.IsObjectNotFound(err):
		return false, nil // The watch event that says why is on its way.
	case err != nil:
		return false, fmt.Errorf("updating job %s: %w", job.Name, err)
	}
	if d.State != view.State {
		log.FromContext(ctx).V(1).Info("job changed", "from", view.State, "to", d.State)
	}
	return true, nil
}

// releasedTokens returns the tokens with which a Job that is being stopped can't be started any more.
func releasedTokens(view *rules.HeldWorkload) map[string]int64 {
	released := maps.Clone(view.Released)
	released[rules.ReleasedJob] = 1
	for i, claim := range view.Claims {
		if claim != nil && !claim.Foreign {
			object := view.Holds[i].String()
			released[object] = max(released[object], claim.Token)
		}
	}
	return released
}

// unlockTemplate removes status.startTime of a suspended Job that ran before. Until Kubernetes 1.35 the Job controller leaves it,
// and the API server then doesn't let the template be changed.
func (r *heldJobReconciler) unlockTemplate(ctx context.Context, job *batchv1.Job) error {
	patch := fmt.Sprintf(`{"metadata":{"uid":%q,"resourceVersion":%q},"status":{"startTime":null}}`, job.UID, job.ResourceVersion)
	target := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: job.Name}}
	err := r.Client.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, []byte(patch)))
	if err := ignoreNotFoundOrConflict(err); err != nil {
		return fmt.Errorf("removing the start time of job %s: %w", job.Name, err)
	}
	return nil
}

// deleteSkipped deletes a skipped Job of a CronJob, which would only pile up, and tells the CronJob.
func (r *heldJobReconciler) deleteSkipped(ctx context.Context, job *batchv1.Job, d rules.WorkloadDecision) error {
	owner := cronJobOf(job)
	cronJob := &batchv1.CronJob{
		TypeMeta:   metav1.TypeMeta{APIVersion: owner.APIVersion, Kind: owner.Kind},
		ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: owner.Name, UID: owner.UID},
	}
	for _, e := range d.Events {
		r.Recorder.Event(cronJob, corev1.EventTypeWarning, e.Reason, "job "+job.Name+": "+e.Message)
	}
	background := metav1.DeletePropagationBackground
	return ignoreNotFoundOrConflict(r.Client.Delete(ctx, job, client.Preconditions{UID: &job.UID}, client.PropagationPolicy(background)))
}
