package controller

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// gates is the controller of Gates.
type gates struct {
	Deps
	left *lastSeen
	// namespaces reads Namespaces, for whether they allow gates to look into them.
	namespaces client.Reader
	// watched says that a change of a Namespace is noticed.
	watched bool
}

// lookAgain is how long after a look a gate looks again into a namespace that doesn't allow it, where nobody tells of the
// namespace's changes. It reads, and writes nothing.
const lookAgain = 5 * time.Second

// watchedByGates is the name of the cache index that finds the gates which look at an object.
const watchedByGates = "konductor.io/gate-conditions"

// SetupGates adds the controller of Gates to mgr, which works in those namespaces; in all when there are none. An operator
// of some namespaces may get each of them, but not watch them: that is a right on all there are.
func SetupGates(ctx context.Context, mgr ctrl.Manager, deps Deps, namespaces []string) error {
	r := &gates{Deps: deps, left: newLastSeen(), namespaces: deps.Client, watched: len(namespaces) == 0}
	if !r.watched {
		r.namespaces = deps.Live
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &konductorv1.Gate{}, watchedByGates, gateObjects); err != nil {
		return fmt.Errorf("indexing gates by their conditions: %w", err)
	}
	if err := r.remember(ctx, mgr.GetCache()); err != nil {
		return fmt.Errorf("setting up what gates remember: %w", err)
	}
	builder := ctrl.NewControllerManagedBy(mgr).
		Named(konductorv1.KindGate).
		For(&konductorv1.Gate{}).
		Watches(&batchv1.Job{}, r.gatesOn(konductorv1.GateOnJob)).
		Watches(&konductorv1.Barrier{}, r.gatesOn(konductorv1.GateOnBarrier)).
		Watches(&konductorv1.Lease{}, r.gatesOn(konductorv1.GateOnLease)).
		Watches(&konductorv1.Semaphore{}, r.gatesOn(konductorv1.GateOnSemaphore)).
		Watches(&konductorv1.Gate{}, r.gatesOn(konductorv1.GateOnGate)).
		WithOptions(controllerOptions())
	if r.watched {
		builder = builder.Watches(&corev1.Namespace{}, r.gatesInto())
	}
	return builder.Complete(r.observed(konductorv1.KindGate, r))
}

// Reconcile brings one Gate up to date with the objects that it looks at.
func (r *gates) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	gate := &konductorv1.Gate{}
	if err := r.Client.Get(ctx, req.NamespacedName, gate); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !gate.DeletionTimestamp.IsZero() {
		return reconcile.Result{}, nil
	}
	seen, err := r.look(ctx, gate)
	if err != nil {
		return reconcile.Result{}, err
	}
	d := rules.Gate(gate, seen, r.Clock.Now())
	if d.Delete {
		r.Recorder.Event(gate, corev1.EventTypeNormal, konductorv1.EventTTL, "the gate has reached its ttl and is deleted")
		return reconcile.Result{}, deleteExactly(ctx, r.Client, gate)
	}
	if d.Changed {
		if err := r.write(ctx, gate, d); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{RequeueAfter: r.after(d, seen)}, nil
}

// after returns when to look at a gate again if nothing happens before; 0 for never.
func (r *gates) after(d rules.GateDecision, seen []rules.Observed) time.Duration {
	denied := slices.ContainsFunc(seen, func(o rules.Observed) bool { return o.Denied })
	if r.watched || !denied || d.Status.Phase != konductorv1.GateWaiting || 0 < d.After && d.After < lookAgain {
		return d.After
	}
	return lookAgain
}

// write writes the decision. A conflict is no error: the version that caused it is on its way here.
func (r *gates) write(ctx context.Context, gate *konductorv1.Gate, d rules.GateDecision) error {
	next := gate.DeepCopy()
	next.Status = d.Status
	if err := r.Client.Status().Update(ctx, next); err != nil {
		return ignoreLost(err)
	}
	tracedLook(ctx).brings(string(next.Status.Phase), attribute.Int("konductor.met", int(next.Status.ConditionsMet)),
		attribute.Int("konductor.conditions", int(next.Status.ConditionsTotal)))
	if next.Status.Phase != gate.Status.Phase && next.Status.Phase != konductorv1.GateWaiting {
		after := r.Clock.Now().Server.Sub(next.CreationTimestamp.Time)
		r.Metrics.stoppedWaiting(konductorv1.KindGate, string(next.Status.Phase), after)
		log.FromContext(ctx).Info("the gate has stopped waiting", "phase", next.Status.Phase, "met", next.Status.ConditionsMet,
			"conditions", next.Status.ConditionsTotal, "waited", after.Round(time.Millisecond).String())
	}
	recordAll(r.Recorder, next, d.Events)
	return nil
}

// look gathers what is to be seen of the object of each condition.
func (r *gates) look(ctx context.Context, gate *konductorv1.Gate) ([]rules.Observed, error) {
	if gate.Status.Phase == konductorv1.GateOpen {
		return nil, nil
	}
	seen := make([]rules.Observed, len(gate.Spec.Conditions))
	for i := range gate.Spec.Conditions {
		c := &gate.Spec.Conditions[i]
		allowed, err := r.allowed(ctx, gate.Namespace, objectNamespace(gate, c))
		if err != nil {
			return nil, err
		}
		if !allowed {
			seen[i] = rules.Observed{Denied: true}
			continue
		}
		if seen[i], err = r.lookAt(ctx, c.Type, types.NamespacedName{Namespace: objectNamespace(gate, c), Name: c.Name}); err != nil {
			return nil, err
		}
		if !seen[i].Found {
			seen[i].Left = r.left.of(gate.UID, indexEntry(string(c.Type), objectNamespace(gate, c), c.Name))
		}
	}
	return seen, nil
}

// lookAt returns what is to be seen of one object.
func (r *gates) lookAt(ctx context.Context, kind konductorv1.GateConditionType, key types.NamespacedName) (rules.Observed, error) {
	obj := map[konductorv1.GateConditionType]client.Object{
		konductorv1.GateOnJob:       &batchv1.Job{},
		konductorv1.GateOnBarrier:   &konductorv1.Barrier{},
		konductorv1.GateOnGate:      &konductorv1.Gate{},
		konductorv1.GateOnLease:     &konductorv1.Lease{},
		konductorv1.GateOnSemaphore: &konductorv1.Semaphore{},
	}[kind]
	if obj == nil {
		return rules.Observed{}, fmt.Errorf("gate condition of unknown type %q", kind)
	}
	if err := r.Client.Get(ctx, key, obj); apierrors.IsNotFound(err) {
		return rules.Observed{}, nil
	} else if err != nil {
		return rules.Observed{}, fmt.Errorf("looking at %s %s: %w", strings.ToLower(string(kind)), key, err)
	}
	return observe(obj), nil
}

// observe says how an object stands.
func observe(obj client.Object) (seen rules.Observed) {
	switch o := obj.(type) {
	case *batchv1.Job:
		seen = observeJob(o)
	case *konductorv1.Barrier:
		seen = observePhase(string(o.Status.Phase))
	case *konductorv1.Gate:
		seen = observePhase(string(o.Status.Phase))
	case *konductorv1.Lease:
		seen = observeLease(o)
	case *konductorv1.Semaphore:
		seen = observeSemaphore(o)
	}
	seen.Found, seen.UID = true, string(obj.GetUID())
	return seen
}

// observeJob says how a Job stands by its conditions: counts of Pods say nothing about the Job as a whole.
func observeJob(job *batchv1.Job) rules.Observed {
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return rules.Observed{State: konductorv1.StateComplete, Detail: "complete"}
		case batchv1.JobFailed:
			detail := "failed"
			if c.Reason != "" {
				detail += " (" + c.Reason + ")"
			}
			return rules.Observed{State: konductorv1.StateFailed, Detail: detail}
		case batchv1.JobSuspended:
			return rules.Observed{Detail: "suspended"}
		default:
			// Others announce an end that has not come yet.
		}
	}
	return rules.Observed{Detail: "not finished"}
}

// observePhase says how a Barrier or a Gate stands.
func observePhase(phase string) rules.Observed {
	switch phase {
	case "", string(konductorv1.BarrierWaiting):
		return rules.Observed{Detail: "waiting"}
	case string(konductorv1.BarrierTimeout):
		return rules.Observed{State: konductorv1.StateTimeout, Detail: "timed out"}
	default:
		return rules.Observed{State: konductorv1.GateState(phase), Detail: strings.ToLower(phase)}
	}
}

func observeLease(l *konductorv1.Lease) rules.Observed {
	switch l.Status.Phase {
	case konductorv1.LeaseAvailable:
		return rules.Observed{State: konductorv1.StateAvailable, Detail: "available"}
	case konductorv1.LeaseHeld:
		return rules.Observed{State: konductorv1.StateHeld, Detail: "held by " + l.Status.Holder}
	default:
		return rules.Observed{Detail: "new"}
	}
}

func observeSemaphore(s *konductorv1.Semaphore) rules.Observed {
	if s.Status.Phase == "" {
		return rules.Observed{Detail: "new"}
	}
	if s.Status.Phase == konductorv1.SemaphoreFull {
		return rules.Observed{State: konductorv1.StateFull, Detail: "full"}
	}
	return rules.Observed{State: konductorv1.StateAvailable, Free: s.Status.Available, Detail: fmt.Sprintf("available, %d permits are free", s.Status.Available)}
}

// allowed reports whether gates of one namespace may look at objects in another.
func (r *gates) allowed(ctx context.Context, from, to string) (bool, error) {
	if from == to {
		return true, nil
	}
	namespace := &corev1.Namespace{}
	if err := r.namespaces.Get(ctx, types.NamespacedName{Name: to}, namespace); apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	for _, name := range strings.Split(namespace.Annotations[konductorv1.AllowGatesAnnotation], ",") {
		if name = strings.TrimSpace(name); name == "*" || name == from {
			return true, nil
		}
	}
	return false, nil
}

// objectNamespace returns the namespace of the object that a gate's condition names.
func objectNamespace(gate *konductorv1.Gate, c *konductorv1.GateCondition) string {
	if c.Namespace != "" {
		return c.Namespace
	}
	return gate.Namespace
}

// gateObjects returns the index entries of a gate: the objects it looks at, and the namespaces they are in.
func gateObjects(obj client.Object) []string {
	gate, ok := obj.(*konductorv1.Gate)
	if !ok || gate.Status.Phase == konductorv1.GateOpen {
		return nil
	}
	var entries []string
	for i := range gate.Spec.Conditions {
		c := &gate.Spec.Conditions[i]
		namespace := objectNamespace(gate, c)
		entries = append(entries, indexEntry(string(c.Type), namespace, c.Name))
		if namespace != gate.Namespace {
			entries = append(entries, indexEntry("Namespace", "", namespace))
		}
	}
	return entries
}

func indexEntry(kind, namespace, name string) string {
	return kind + "/" + namespace + "/" + name
}

// remember takes note of how objects stood when they were deleted, from when the cache begins to be filled: the controller's
// own handlers come later, and a replica counts as ready before.
func (r *gates) remember(ctx context.Context, from cache.Cache) error {
	for kind, obj := range map[konductorv1.GateConditionType]client.Object{
		konductorv1.GateOnJob: &batchv1.Job{}, konductorv1.GateOnBarrier: &konductorv1.Barrier{}, konductorv1.GateOnGate: &konductorv1.Gate{},
	} {
		informer, err := from.GetInformer(ctx, obj, cache.BlockUntilSynced(false))
		if err != nil {
			return err
		}
		_, err = informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{DeleteFunc: func(deleted any) {
			if missed, ok := deleted.(toolscache.DeletedFinalStateUnknown); ok {
				deleted = missed.Obj
			}
			if last, ok := deleted.(client.Object); ok {
				r.noteLast(ctx, kind, last)
			}
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// noteLast takes note of how an object of that type stood when it was deleted, for the gates that look at it.
func (r *gates) noteLast(ctx context.Context, kind konductorv1.GateConditionType, last client.Object) {
	entry := indexEntry(string(kind), last.GetNamespace(), last.GetName())
	for _, gate := range r.indexed(ctx, entry) {
		r.left.note(gate.UID, entry, observe(last))
	}
}

// gatesOn hands those gates to the controller that look at an object of that type which has changed, and takes note of how
// an object stood when it was deleted.
func (r *gates) gatesOn(kind konductorv1.GateConditionType) handler.EventHandler {
	enqueue := func(ctx context.Context, obj client.Object, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
		for _, gate := range r.indexed(ctx, indexEntry(string(kind), obj.GetNamespace(), obj.GetName())) {
			q.Add(requestFor(&gate))
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(ctx, e.Object, q)
		},
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			enqueue(ctx, e.ObjectNew, q)
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q workqueue.TypedRateLimitingInterface[reconcile.Request]) {
			// It is noted here too, so that it is before the gates are looked at.
			r.noteLast(ctx, kind, e.Object)
			enqueue(ctx, e.Object, q)
			if gate, ok := e.Object.(*konductorv1.Gate); ok {
				r.left.forget(gate.UID)
			}
		},
	}
}

// gatesInto hands those gates to the controller that look into a namespace which has changed.
func (r *gates) gatesInto() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, obj client.Object) (requests []reconcile.Request) {
		for _, gate := range r.indexed(ctx, indexEntry("Namespace", "", obj.GetName())) {
			requests = append(requests, requestFor(&gate))
		}
		return requests
	})
}

// indexed returns the gates with that index entry.
func (r *gates) indexed(ctx context.Context, entry string) []konductorv1.Gate {
	var list konductorv1.GateList
	// The list comes from the cache, which fails only when the operator is being stopped.
	if err := r.Client.List(ctx, &list, client.MatchingFields{watchedByGates: entry}); err != nil {
		return nil
	}
	return list.Items
}
