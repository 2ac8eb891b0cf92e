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
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/apis/waits"
)

const (
	// lookAfter is how long after a change a namespace is looked at, so that what changes together is seen together.
	lookAfter = 250 * time.Millisecond
	// lookApart is how long at least two looks at the same namespace are apart. A look costs in proportion to what is
	// there, and nothing is granted later for it: it runs beside the controllers that grant.
	lookApart = time.Second
	// lookShare is how many times longer than a look the pause after it is, so that where there is very much to look at, it
	// still takes a twentieth of a core at most.
	lookShare = 20
)

// deadlocks is the controller that finds circles of waits, a namespace at a time. It decides nothing about holds: it
// sets and removes the condition Deadlocked, and tells of it by Events.
type deadlocks struct {
	Deps
	namespaces []string // that the operator works in; all when empty
	stakes     *stakes
	// suspects are the deadlocks of the last look at each namespace. What lasts is no deadlock by accident of a cache that
	// lags, so that only what a second look finds again is reported.
	suspects map[string]map[string]bool
}

// SetupDeadlocks adds the controller of deadlocks to mgr, which works in those namespaces; in all when there are none.
func SetupDeadlocks(mgr ctrl.Manager, deps Deps, namespaces []string) error {
	r := &deadlocks{Deps: deps, namespaces: namespaces, stakes: newStakes(), suspects: map[string]map[string]bool{}}
	options := controllerOptions()
	options.MaxConcurrentReconciles = 1
	return ctrl.NewControllerManagedBy(mgr).
		Named("deadlock").
		Watches(&konductorv1.Gate{}, r.onPrimitive()).
		Watches(&konductorv1.Barrier{}, r.onPrimitive()).
		Watches(&konductorv1.Lease{}, r.onPrimitive()).
		Watches(&konductorv1.Semaphore{}, r.onPrimitive()).
		Watches(&konductorv1.Claim{}, r.onParticipant()).
		Watches(&corev1.Pod{}, r.onParticipant()).
		Watches(&batchv1.Job{}, r.onParticipant()).
		WithOptions(options).
		Complete(r.observed("Deadlock", r))
}

// Reconcile looks at one namespace, and at those that its gates look into.
func (r *deadlocks) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	began := r.Clock.Now().Elapsed
	r.stakes.looked(req.Namespace, began, 0)
	s, err := r.snapshot(ctx, req.Namespace)
	if err != nil {
		return reconcile.Result{}, err
	}
	found := waits.Analyze(s).Deadlocks()
	r.stakes.looked(req.Namespace, began, r.Clock.Now().Elapsed-began)
	confirmed := found[:0:0]
	suspects := map[string]bool{}
	for _, d := range found {
		key := signature(d)
		suspects[key] = true
		if r.suspects[req.Namespace][key] {
			confirmed = append(confirmed, d)
		}
	}
	r.suspects[req.Namespace] = suspects
	if len(suspects) == 0 {
		delete(r.suspects, req.Namespace)
	}
	if err := r.report(ctx, s, found, confirmed); err != nil {
		return reconcile.Result{}, err
	}
	if len(confirmed) < len(found) {
		return reconcile.Result{RequeueAfter: lookApart}, nil
	}
	return reconcile.Result{}, nil
}

// signature is the same for a deadlock of the same objects.
func signature(d *waits.Deadlock) string {
	var b strings.Builder
	for _, m := range d.Members {
		b.WriteString(m.Namespace + "/" + m.String() + " ")
	}
	return b.String()
}

// report brings the conditions up to date: set where a deadlock is confirmed, left alone where one is suspected, removed
// where there is none.
func (r *deadlocks) report(ctx context.Context, s *waits.Snapshot, found, confirmed []*waits.Deadlock) error {
	wanted := map[waits.Ref]*waits.Deadlock{}
	undecided := map[waits.Ref]bool{}
	for _, d := range found {
		for _, m := range d.Members {
			undecided[m] = true
			if slices.Contains(confirmed, d) {
				wanted[m] = d
			}
		}
	}
	news := map[*waits.Deadlock]bool{}
	var failed error
	each(s, func(obj client.Object, kind string, conditions *[]metav1.Condition) {
		ref := waits.Ref{Kind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
		d := wanted[ref]
		if d == nil && undecided[ref] {
			return
		}
		written, err := r.mark(ctx, obj, *conditions, ref, d)
		failed = errors.Join(failed, err)
		if written && d != nil {
			news[d] = true
		}
	})
	for _, d := range confirmed {
		if news[d] {
			r.tellParticipants(s, d)
		}
	}
	return failed
}

// mark sets or removes the condition of one object, and reports whether that was news.
func (r *deadlocks) mark(ctx context.Context, obj client.Object, conditions []metav1.Condition, ref waits.Ref, d *waits.Deadlock) (bool, error) {
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
			ObservedGeneration: obj.GetGeneration(), LastTransitionTime: metav1.NewTime(r.Clock.Now().Server),
		}) {
			return false, nil
		}
	}
	if err := r.Client.Status().Update(ctx, next); apierrors.IsNotFound(err) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	logger := log.FromContext(ctx).WithValues("object", ref.String())
	switch {
	case d == nil:
		logger.Info("not in a circle of waits any more")
		r.Recorder.Event(next, corev1.EventTypeNormal, konductorv1.EventDeadlockGone, "it isn't in a circle of waits any more")
	case before == nil || before.Message != message:
		logger.Info("in a circle of waits", "circle", message)
		r.Recorder.Event(next, corev1.EventTypeWarning, konductorv1.EventDeadlocked, message)
	}
	return true, nil
}

// tellParticipants records an Event on the Pods and Jobs of a deadlock.
func (r *deadlocks) tellParticipants(s *waits.Snapshot, d *waits.Deadlock) {
	tell := func(kind string, obj client.Object) {
		ref := waits.Ref{Kind: kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
		if _, in := slices.BinarySearchFunc(d.Members, ref, waits.CompareRefs); in {
			r.Recorder.Event(obj, corev1.EventTypeWarning, konductorv1.EventDeadlocked, d.Message(ref))
		}
	}
	for _, pod := range s.Pods {
		tell(waits.KindPod, pod)
	}
	for _, job := range s.Jobs {
		tell(waits.KindJob, job)
	}
}

// each calls f with each object of a snapshot that has conditions of ours.
func each(s *waits.Snapshot, f func(obj client.Object, kind string, conditions *[]metav1.Condition)) {
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

// conditionsOf returns the conditions of a Gate, Barrier, Lease or Semaphore; nil of anything else.
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

// snapshot takes what is in a namespace, and in those that gates look into from there, from the caches. Nothing is copied
// that isn't written to.
func (r *deadlocks) snapshot(ctx context.Context, namespace string) (*waits.Snapshot, error) {
	s := &waits.Snapshot{Now: r.Clock.Now().Server}
	for next := []string{namespace}; len(next) > 0; {
		n := next[0]
		next = next[1:]
		if slices.Contains(s.Namespaces, n) || (len(r.namespaces) > 0 && !slices.Contains(r.namespaces, n)) {
			continue
		}
		s.Namespaces = append(s.Namespaces, n)
		if err := r.fill(ctx, s, n); err != nil {
			return nil, err
		}
		for _, g := range s.Gates {
			for i := range g.Spec.Conditions {
				if other := g.Spec.Conditions[i].Namespace; other != "" && g.Namespace == n {
					next = append(next, other)
				}
			}
		}
	}
	return s, nil
}

func (r *deadlocks) fill(ctx context.Context, s *waits.Snapshot, namespace string) error {
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
	if r.stakes.mayWait(namespace) {
		// Only those who wait by a command can be missed at a barrier.
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
