package controller

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

const (
	// checkDelay is the delay between a change and the check of its namespace, so that changes made together are seen together.
	checkDelay = 250 * time.Millisecond
	// minCheckInterval is the minimum time between two checks of a namespace. A check costs in proportion to the number of
	// objects, but delays no grant: it runs beside the controllers that grant.
	minCheckInterval = time.Second
	// checkPauseFactor is how many times longer than a check the pause after it is, so that the checks of a very large namespace
	// still take at most a twentieth of a core.
	checkPauseFactor = 20
)

// deadlockReconciler is the controller that finds wait cycles, a namespace at a time. It decides nothing about holds: it
// sets and removes the condition Deadlocked, and records Events about it.
type deadlockReconciler struct {
	Deps
	operatorNamespaces []string // to work in; all when empty
	prefilter          *deadlockPrefilter
	// lastObservedDeadlocks are the deadlocks found by the last check of each namespace. A lagging cache can show a deadlock
	// that doesn't exist, so only one that two checks in a row find is reported.
	lastObservedDeadlocks map[string]map[string]bool
}

// SetupDeadlocks adds the controller of deadlocks to mgr, for those namespaces; for all when there are none.
func SetupDeadlocks(mgr ctrl.Manager, deps Deps, namespaces []string) error {
	r := &deadlockReconciler{Deps: deps, operatorNamespaces: namespaces, prefilter: newDeadlockPrefilter(), lastObservedDeadlocks: map[string]map[string]bool{}}
	options := controllerOptions()
	options.MaxConcurrentReconciles = 1
	return ctrl.NewControllerManagedBy(mgr).
		Named("deadlock").
		Watches(&konductorv1.Gate{}, r.enqueueOnlyWhenLeader(r.onPrimitive())).
		Watches(&konductorv1.Barrier{}, r.enqueueOnlyWhenLeader(r.onPrimitive())).
		Watches(&konductorv1.Lease{}, r.enqueueOnlyWhenLeader(r.onPrimitive())).
		Watches(&konductorv1.Semaphore{}, r.enqueueOnlyWhenLeader(r.onPrimitive())).
		Watches(&konductorv1.Claim{}, r.enqueueOnlyWhenLeader(r.onClaimOrWorkload())).
		Watches(&corev1.Pod{}, r.enqueueOnlyWhenLeader(r.onClaimOrWorkload())).
		Watches(&batchv1.Job{}, r.enqueueOnlyWhenLeader(r.onClaimOrWorkload())).
		WatchesRawSource(r.enqueueAllOnElection(r.candidateNamespaces)).
		WithOptions(options).
		Complete(r.instrument("Deadlock", r))
}

// candidateNamespaces returns the namespaces in which a wait cycle is possible, or objects have the condition Deadlocked.
func (r *deadlockReconciler) candidateNamespaces(ctx context.Context) (namespaces []types.NamespacedName) {
	in := r.prefilter.namespacesToCheck()
	var gates konductorv1.GateList
	// The list comes from the cache, which fails only when the operator is being stopped.
	if err := r.Client.List(ctx, &gates, client.UnsafeDisableDeepCopy); err == nil {
		for i := range gates.Items {
			if dependsOnGates(&gates.Items[i]) {
				in[gates.Items[i].Namespace] = true
			}
		}
	}
	for namespace := range in {
		namespaces = append(namespaces, requestForNamespace(namespace).NamespacedName)
	}
	return namespaces
}

// Reconcile checks one namespace, together with those that its gates depend on.
func (r *deadlockReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	start := r.Clock.Now().Monotonic
	r.prefilter.recordCheck(req.Namespace, start, 0)
	s, err := r.snapshot(ctx, req.Namespace)
	if err != nil {
		return reconcile.Result{}, err
	}
	// The time for writing the results counts as well.
	defer func() { r.prefilter.recordCheck(req.Namespace, start, r.Clock.Now().Monotonic-start) }()
	found := waitgraph.Analyze(s).Deadlocks()
	confirmed := found[:0:0]
	observed := map[string]bool{}
	for _, d := range found {
		key := deadlockKey(d)
		observed[key] = true
		if r.lastObservedDeadlocks[req.Namespace][key] {
			confirmed = append(confirmed, d)
		}
	}
	r.lastObservedDeadlocks[req.Namespace] = observed
	if len(observed) == 0 {
		delete(r.lastObservedDeadlocks, req.Namespace)
	}
	more, err := r.updateConditions(ctx, s, found, confirmed)
	if err != nil {
		return reconcile.Result{}, err
	}
	if more || len(confirmed) < len(found) {
		return reconcile.Result{RequeueAfter: minCheckInterval}, nil
	}
	return reconcile.Result{}, nil
}

// deadlockKey returns the same key for deadlocks of the same objects.
func deadlockKey(d *waitgraph.Deadlock) string {
	var b strings.Builder
	for _, m := range d.Members {
		b.WriteString(m.Namespace + "/" + m.String() + " ")
	}
	return b.String()
}

// updateConditions sets the condition on the members of confirmed deadlocks, leaves it alone on those of unconfirmed ones,
// and removes it elsewhere. more says that writes are left for the next check: other namespaces need the worker too.
func (r *deadlockReconciler) updateConditions(ctx context.Context, s *waitgraph.Snapshot, found, confirmed []*waitgraph.Deadlock) (more bool, failed error) {
	confirmedDeadlocks := map[waitgraph.Ref]*waitgraph.Deadlock{}
	unconfirmed := map[waitgraph.Ref]bool{}
	for _, d := range found {
		for _, m := range d.Members {
			unconfirmed[m] = true
		}
	}
	for _, d := range confirmed {
		for _, m := range d.Members {
			confirmedDeadlocks[m] = d
		}
	}
	changed := map[*waitgraph.Deadlock]bool{}
	writes := 0
	forEachPrimitive(s, func(obj client.Object, kind string, conditions *[]metav1.Condition) {
		ref := waitgraph.Ref{Kind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
		d := confirmedDeadlocks[ref]
		if d == nil && unconfirmed[ref] {
			return
		}
		if writes == reconcileBatchSize {
			more = more || d != nil || meta.FindStatusCondition(*conditions, konductorv1.ConditionDeadlocked) != nil
			return
		}
		written, err := r.updateDeadlockedCondition(ctx, obj, *conditions, ref, d)
		failed = errors.Join(failed, err)
		if written {
			writes++
		}
		if written && d != nil {
			changed[d] = true
		}
	})
	r.recordWorkloadEvents(s, changed)
	return more, failed
}

// updateDeadlockedCondition sets or removes the condition of one object, and reports whether it wrote anything.
func (r *deadlockReconciler) updateDeadlockedCondition(ctx context.Context, obj client.Object, conditions []metav1.Condition, ref waitgraph.Ref, d *waitgraph.Deadlock) (bool, error) {
	before := meta.FindStatusCondition(conditions, konductorv1.ConditionDeadlocked)
	if d == nil && before == nil {
		return false, nil
	}
	next, ok := obj.DeepCopyObject().(client.Object)
	if !ok {
		return false, nil
	}
	to := conditionsOf(next)
	message := ""
	if d == nil {
		meta.RemoveStatusCondition(to, konductorv1.ConditionDeadlocked)
	} else {
		message = d.Message(ref)
		if !meta.SetStatusCondition(to, metav1.Condition{
			Type: konductorv1.ConditionDeadlocked, Status: metav1.ConditionTrue, Reason: d.Reason, Message: message,
			ObservedGeneration: obj.GetGeneration(), LastTransitionTime: metav1.NewTime(r.Clock.Now().ServerTime),
		}) {
			return false, nil
		}
	}
	if err := r.Client.Status().Update(ctx, next); apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return false, nil // the watch will deliver the version that caused the conflict, and enqueue the namespace again
	} else if err != nil {
		return false, err
	}
	logger := log.FromContext(ctx).WithValues("object", ref.String())
	switch {
	case d == nil:
		logger.Info("no longer in a wait cycle")
		r.Recorder.Event(next, corev1.EventTypeNormal, konductorv1.EventDeadlockGone, "no longer in a wait cycle")
	case before == nil || before.Message != message:
		logger.Info("in a wait cycle", "cycle", message)
		r.Recorder.Event(next, corev1.EventTypeWarning, konductorv1.EventDeadlocked, message)
	}
	return true, nil
}

// recordWorkloadEvents records an Event on the Pods and Jobs of changed deadlocks.
func (r *deadlockReconciler) recordWorkloadEvents(s *waitgraph.Snapshot, changed map[*waitgraph.Deadlock]bool) {
	deadlocksByMember := map[waitgraph.Ref]*waitgraph.Deadlock{}
	for d := range changed {
		for _, m := range d.Members {
			deadlocksByMember[m] = d
		}
	}
	if len(deadlocksByMember) == 0 {
		return
	}
	recordEvent := func(kind string, obj client.Object) {
		ref := waitgraph.Ref{Kind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
		if d := deadlocksByMember[ref]; d != nil {
			r.Recorder.Event(obj, corev1.EventTypeWarning, konductorv1.EventDeadlocked, d.Message(ref))
		}
	}
	for _, pod := range s.Pods {
		recordEvent(waitgraph.KindPod, pod)
	}
	for _, job := range s.Jobs {
		recordEvent(waitgraph.KindJob, job)
	}
}

// forEachPrimitive calls f with each Gate, Barrier, Lease and Semaphore of a snapshot.
func forEachPrimitive(s *waitgraph.Snapshot, f func(obj client.Object, kind string, conditions *[]metav1.Condition)) {
	for _, o := range s.Gates {
		f(o, konductorv1.KindGate, &o.Status.Conditions)
	}
	for _, o := range s.Barriers {
		f(o, konductorv1.KindBarrier, &o.Status.Conditions)
	}
	for _, o := range s.Leases {
		f(o, konductorv1.KindLease, &o.Status.Conditions)
	}
	for _, o := range s.Semaphores {
		f(o, konductorv1.KindSemaphore, &o.Status.Conditions)
	}
}

// conditionsOf returns the conditions of a Gate, Barrier, Lease or Semaphore; nil for any other object.
func conditionsOf(obj client.Object) *[]metav1.Condition {
	switch o := obj.(type) {
	case *konductorv1.Gate:
		return &o.Status.Conditions
	case *konductorv1.Barrier:
		return &o.Status.Conditions
	case *konductorv1.Lease:
		return &o.Status.Conditions
	case *konductorv1.Semaphore:
		return &o.Status.Conditions
	}
	return nil
}

// snapshot reads from the caches the objects of a namespace and of those that its gates depend on. They are not copied and
// must not be modified.
func (r *deadlockReconciler) snapshot(ctx context.Context, namespace string) (*waitgraph.Snapshot, error) {
	s := &waitgraph.Snapshot{Now: r.Clock.Now().ServerTime}
	visited := map[string]bool{namespace: true}
	for next := []string{namespace}; len(next) > 0; {
		n := next[0]
		next = next[1:]
		if len(r.operatorNamespaces) > 0 && !slices.Contains(r.operatorNamespaces, n) {
			continue
		}
		s.Namespaces = append(s.Namespaces, n)
		before := len(s.Gates)
		if err := r.addNamespace(ctx, s, n); err != nil {
			return nil, err
		}
		for _, g := range s.Gates[before:] {
			for _, other := range waitgraph.AllowedNamespaces(g) {
				if !visited[other] {
					visited[other] = true
					next = append(next, other)
				}
			}
		}
	}
	return s, nil
}

func (r *deadlockReconciler) addNamespace(ctx context.Context, s *waitgraph.Snapshot, namespace string) error {
	var (
		gates      konductorv1.GateList
		barriers   konductorv1.BarrierList
		leases     konductorv1.LeaseList
		semaphores konductorv1.SemaphoreList
		claims     konductorv1.ClaimList
		arrivals   konductorv1.ArrivalList
		pods       corev1.PodList
		jobs       batchv1.JobList
	)
	lists := []client.ObjectList{&gates, &barriers, &leases, &semaphores, &claims, &pods, &jobs}
	if r.prefilter.hasWaitingPods(namespace) {
		// Only Pods that wait by a command can be missing at a barrier.
		lists = append(lists, &arrivals)
	}
	for _, list := range lists {
		if err := r.Client.List(ctx, list, client.InNamespace(namespace), client.UnsafeDisableDeepCopy); err != nil {
			return err
		}
	}
	s.Gates = appendPointers(s.Gates, gates.Items)
	s.Barriers = appendPointers(s.Barriers, barriers.Items)
	s.Leases = appendPointers(s.Leases, leases.Items)
	s.Semaphores = appendPointers(s.Semaphores, semaphores.Items)
	s.Claims = appendPointers(s.Claims, claims.Items)
	s.Arrivals = appendPointers(s.Arrivals, arrivals.Items)
	s.Pods = appendPointers(s.Pods, pods.Items)
	s.Jobs = appendPointers(s.Jobs, jobs.Items)
	return nil
}

func appendPointers[T any](to []*T, items []T) []*T {
	for i := range items {
		to = append(to, &items[i])
	}
	return to
}
