package controller

import (
	"context"
	"fmt"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// gateReconciler is the controller of Gates.
type gateReconciler struct {
	Deps
	deletedStates *deletedStates
	writeThrottle statusWriteThrottle
	// namespaceReader reads Namespaces, for their annotation that allows gates of other namespaces.
	namespaceReader client.Reader
	// watchesNamespaces says whether Namespaces are watched.
	watchesNamespaces bool
}

// deniedNamespacePollInterval is how often a gate checks a namespace that doesn't allow it, where Namespaces can't be
// watched. A check only reads.
const deniedNamespacePollInterval = 5 * time.Second

// SetupGates adds the controller of Gates to mgr, for those namespaces; for all when there are none. An operator of some
// namespaces may get each of them, but not watch them: that takes a right on all namespaces.
func SetupGates(ctx context.Context, mgr ctrl.Manager, deps Deps, namespaces []string) error {
	r := &gateReconciler{Deps: deps, deletedStates: newDeletedStates(), namespaceReader: deps.Client, watchesNamespaces: len(namespaces) == 0}
	if !r.watchesNamespaces {
		r.namespaceReader = newTTLNamespaceReader(deps.APIReader, namespaces)
	}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &konductorv1.Gate{}, gateConditionIndex, indexGateConditions); err != nil {
		return fmt.Errorf("indexing gates by their conditions: %w", err)
	}
	if err := r.registerDeleteHandlers(ctx, mgr.GetCache()); err != nil {
		return fmt.Errorf("adding the delete handlers of gates: %w", err)
	}
	builder := ctrl.NewControllerManagedBy(mgr).
		Named(konductorv1.KindGate).
		Watches(&konductorv1.Gate{}, r.enqueueOnlyWhenLeader(&handler.EnqueueRequestForObject{})).
		Watches(&batchv1.Job{}, r.enqueueOnlyWhenLeader(r.onConditionObject(konductorv1.GateOnJob))).
		Watches(&konductorv1.Barrier{}, r.enqueueOnlyWhenLeader(r.onConditionObject(konductorv1.GateOnBarrier))).
		Watches(&konductorv1.Lease{}, r.enqueueOnlyWhenLeader(r.onConditionObject(konductorv1.GateOnLease))).
		Watches(&konductorv1.Semaphore{}, r.enqueueOnlyWhenLeader(r.onConditionObject(konductorv1.GateOnSemaphore))).
		Watches(&konductorv1.Gate{}, r.enqueueOnlyWhenLeader(r.onConditionObject(konductorv1.GateOnGate))).
		WatchesRawSource(r.enqueueAllOnElection(r.allKeys)).
		WithOptions(controllerOptions())
	if r.watchesNamespaces {
		builder = builder.Watches(&corev1.Namespace{}, r.enqueueOnlyWhenLeader(r.onNamespace()))
	}
	return builder.Complete(r.instrument(konductorv1.KindGate, r))
}

// Reconcile brings one Gate up to date with the objects of its conditions.
func (r *gateReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	gate := &konductorv1.Gate{}
	if err := r.Client.Get(ctx, req.NamespacedName, gate); err != nil {
		r.writeThrottle.removeGate(req.NamespacedName)
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	observed, err := r.observeConditions(ctx, r.Client, gate)
	if err != nil {
		return reconcile.Result{}, err
	}
	now := r.Clock.Now()
	d := rules.DecideGate(gate, observed, now)
	if d.Status.Phase == konductorv1.GateTimeout && gate.Status.Phase != konductorv1.GateTimeout {
		// "A condition isn't met in time" can become untrue: a watch event may be on its way.
		if observed, err = r.observeConditions(ctx, r.APIReader, gate); err != nil {
			return reconcile.Result{}, err
		}
		d = rules.DecideGate(gate, observed, now)
	}
	if d.Delete {
		r.Recorder.Event(gate, corev1.EventTypeNormal, konductorv1.EventTTL, "the gate has reached its ttlAfterFinished and is deleted")
		return reconcile.Result{}, deleteIfUnchanged(ctx, r.Client, gate)
	}
	if d.Changed && d.OnlyMessagesChanged {
		if left := r.writeThrottle.writeDelay(req.NamespacedName, len(gate.Spec.Conditions), now.Monotonic); left > 0 {
			return reconcile.Result{RequeueAfter: rules.MinNonZero(r.requeueAfter(d, observed), left)}, nil
		}
	}
	if d.Changed {
		r.writeThrottle.recordWrite(req.NamespacedName, now.Monotonic)
		if err := r.updateStatus(ctx, gate, d); err != nil {
			return reconcile.Result{}, err
		}
	}
	return reconcile.Result{RequeueAfter: r.requeueAfter(d, observed)}, nil
}

// requeueAfter returns when to reconcile a gate again if nothing happens before; zero: never.
func (r *gateReconciler) requeueAfter(d rules.GateDecision, observed []rules.Observation) time.Duration {
	denied := slices.ContainsFunc(observed, func(o rules.Observation) bool { return o.NamespaceDenied })
	if r.watchesNamespaces || !denied || d.Status.Phase != konductorv1.GateWaiting || 0 < d.RequeueAfter && d.RequeueAfter < deniedNamespacePollInterval {
		return d.RequeueAfter
	}
	return deniedNamespacePollInterval
}

// updateStatus writes the decision. A conflict is no error: the watch will deliver the version that caused it.
func (r *gateReconciler) updateStatus(ctx context.Context, gate *konductorv1.Gate, d rules.GateDecision) error {
	next := gate.DeepCopy()
	next.Status = d.Status
	if err := r.Client.Status().Update(ctx, next); err != nil {
		return ignoreNotFoundOrConflict(err)
	}
	reconcileSpanFromContext(ctx).recordPhase(string(next.Status.Phase), attribute.Int("konductor.met", int(next.Status.ConditionsMet)),
		attribute.Int("konductor.conditions", int(next.Status.ConditionsTotal)))
	if next.Status.Phase != gate.Status.Phase && next.Status.Phase != konductorv1.GateWaiting {
		age := r.Clock.Now().ServerTime.Sub(next.CreationTimestamp.Time)
		r.Metrics.recordOutcome(konductorv1.KindGate, string(next.Status.Phase), age)
		log.FromContext(ctx).Info("gate stopped waiting", "phase", next.Status.Phase, "met", next.Status.ConditionsMet,
			"conditions", next.Status.ConditionsTotal, "waited", age.Round(time.Millisecond).String())
	}
	recordEvents(r.Recorder, next, d.Events)
	return nil
}
