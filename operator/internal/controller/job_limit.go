package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// cacheLag is how long a cache may lag behind the API server as a rule.
const cacheLag = 2 * time.Second

// limitsOf returns those of the objects that exist and have spec.appliesTo.jobs, with that, and the others.
func (r *heldJobReconciler) limitsOf(ctx context.Context, from client.Reader, namespace string, refs []rules.WorkloadRef) (limits map[rules.WorkloadRef]*konductorv1.JobLimit, others []rules.WorkloadRef, err error) {
	for _, ref := range refs {
		target := newHoldTarget(ref.Kind)
		err := from.Get(ctx, types.NamespacedName{Namespace: namespace, Name: ref.Name}, target)
		if client.IgnoreNotFound(err) != nil {
			return nil, nil, fmt.Errorf("getting %s: %w", ref, err)
		}
		limit := jobLimitOf(target)
		if err != nil || limit == nil || target.GetDeletionTimestamp() != nil {
			others = append(others, ref)
			continue
		}
		if limits == nil {
			limits = map[rules.WorkloadRef]*konductorv1.JobLimit{}
		}
		limits[ref] = limit
	}
	return limits, others, nil
}

func newHoldTarget(kind string) client.Object {
	if kind == konductorv1.KindLease {
		return &konductorv1.Lease{}
	}
	return &konductorv1.Semaphore{}
}

// jobLimitOf returns spec.appliesTo.jobs of a Lease or Semaphore; nil: it has none.
func jobLimitOf(obj client.Object) *konductorv1.JobLimit {
	switch o := obj.(type) {
	case *konductorv1.Lease:
		return o.Spec.AppliesTo.JobLimit()
	case *konductorv1.Semaphore:
		return o.Spec.AppliesTo.JobLimit()
	default:
		return nil
	}
}

// limitRefs returns the leases and semaphores that apply to a Job: those of its marks, and of a Job that was started those that it
// was started with. A limit that was gone then, and is there again, must not stop it.
func limitRefs(job *batchv1.Job) []rules.WorkloadRef {
	refs := rules.LimitsOf(job.Annotations)
	if state := job.Labels[konductorv1.HeldLabel]; state == konductorv1.HeldStarted || state == konductorv1.HeldStopping {
		refs = slices.DeleteFunc(refs, func(ref rules.WorkloadRef) bool { return tokenInTemplate(job, ref.Kind, ref.Name) == "" })
	}
	return refs
}

// tokenInTemplate returns the fencing token of a lease or semaphore with which a Job was started last; empty: without one.
func tokenInTemplate(job *batchv1.Job, kind, name string) string {
	return job.Spec.Template.Annotations[konductorv1.HoldTokenAnnotation(kind, name)]
}

// needlessClaims returns the Job's claims on objects which are limits no longer, and which its annotations don't name.
func (r *heldJobReconciler) needlessClaims(ctx context.Context, job *batchv1.Job, holds []rules.WorkloadHold, gone []rules.WorkloadRef) (claims []*rules.WorkloadClaim, err error) {
	for _, ref := range gone {
		if slices.ContainsFunc(holds, func(h rules.WorkloadHold) bool { return h.WorkloadRef == ref }) {
			continue
		}
		hold := rules.WorkloadHold{WorkloadRef: ref, Limit: true}
		claim, err := r.observeClaim(ctx, asHeldJob(job), hold, holdTarget{}, false)
		if err != nil {
			return nil, err
		}
		if claim != nil && !claim.Foreign {
			claims = append(claims, claim)
		}
	}
	return claims, nil
}

// jobLimitReconciler tells the Jobs that a new limit doesn't apply to, although its selector selects them, because they were
// created before the API server knew of it.
type jobLimitReconciler struct {
	Deps
	kind string
}

// setupJobLimits adds the controllers of limits to mgr.
func setupJobLimits(mgr ctrl.Manager, deps *Deps) error {
	for _, kind := range []string{konductorv1.KindLease, konductorv1.KindSemaphore} {
		r := &jobLimitReconciler{*deps, kind}
		enqueue := func(obj client.Object, q requestQueue) {
			if jobLimitOf(obj) != nil {
				q.AddAfter(requestFor(obj), cacheLag)
			}
		}
		err := ctrl.NewControllerManagedBy(mgr).Named("JobLimit"+kind).Watches(newHoldTarget(kind), handler.Funcs{
			CreateFunc: func(_ context.Context, e event.CreateEvent, q requestQueue) {
				// When an operator starts, it sees all of them.
				if r.Clock.Now().ServerTime.Sub(e.Object.GetCreationTimestamp().Time) < time.Minute {
					enqueue(e.Object, q)
				}
			},
			UpdateFunc: func(_ context.Context, e event.UpdateEvent, q requestQueue) {
				if e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() {
					enqueue(e.ObjectNew, q)
				}
			},
		}).Complete(r)
		if err != nil {
			return fmt.Errorf("adding the controller of limits: %w", err)
		}
	}
	return nil
}

const (
	// maxToldJobs is how many Jobs of a namespace a new limit is told to.
	maxToldJobs = 500
	// toldJobsPage is how many of them are read at a time: their metadata may be large.
	toldJobsPage = 20
)

// Reconcile records an Event on each Job that the limit selects and doesn't apply to.
func (r *jobLimitReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	obj := newHoldTarget(r.kind)
	if err := r.APIReader.Get(ctx, req.NamespacedName, obj); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	limit := jobLimitOf(obj)
	if limit == nil {
		return reconcile.Result{}, nil
	}
	selector, err := metav1.LabelSelectorAsSelector(&limit.Selector)
	if err != nil {
		return reconcile.Result{}, reconcile.TerminalError(err)
	}
	ref := rules.WorkloadRef{Kind: r.kind, Name: req.Name}
	jobs := &metav1.PartialObjectMetadataList{}
	jobs.SetGroupVersionKind(batchv1.SchemeGroupVersion.WithKind("JobList"))
	for range maxToldJobs / toldJobsPage {
		err = r.APIReader.List(ctx, jobs, client.InNamespace(req.Namespace), client.MatchingLabelsSelector{Selector: selector},
			client.Limit(toldJobsPage), client.Continue(jobs.Continue))
		if err != nil {
			return reconcile.Result{}, fmt.Errorf("listing jobs: %w", err)
		}
		for i := range jobs.Items {
			r.tell(ctx, &jobs.Items[i], ref)
		}
		if jobs.Continue == "" {
			break
		}
	}
	return reconcile.Result{}, nil
}

// tell records an Event on a Job that has not finished, unless the limit applies to it.
func (r *jobLimitReconciler) tell(ctx context.Context, job *metav1.PartialObjectMetadata, ref rules.WorkloadRef) {
	cached := &batchv1.Job{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(job), cached)
	if _, applies := job.Annotations[konductorv1.AppliesAnnotation(ref.Kind, ref.Name)]; applies || err != nil || isJobFinished(cached) {
		return
	}
	r.Recorder.Event(cached, corev1.EventTypeWarning, konductorv1.EventNotHeld,
		fmt.Sprintf("%s applies to jobs like this one, but not to this one, which was created before it: the job isn't held by it and doesn't count", ref))
}
