package controller

import (
	"context"
	"fmt"
	"strings"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/rules"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// observeConditions returns an observation for each condition of the gate, read through reader; nil for a gate that is open
// or being deleted.
func (r *gateReconciler) observeConditions(ctx context.Context, reader client.Reader, gate *konductorv1.Gate) ([]rules.Observation, error) {
	if gate.Status.Phase == konductorv1.GateOpen || gate.DeletionTimestamp != nil {
		return nil, nil
	}
	observed := make([]rules.Observation, len(gate.Spec.Conditions))
	for i := range gate.Spec.Conditions {
		c := &gate.Spec.Conditions[i]
		allowed, err := r.isNamespaceAllowed(ctx, gate.Namespace, conditionNamespace(gate, c))
		if err != nil {
			return nil, err
		}
		if !allowed {
			observed[i] = rules.Observation{NamespaceDenied: true}
			continue
		}
		if observed[i], err = getAndObserve(ctx, reader, c.Type, types.NamespacedName{Namespace: conditionNamespace(gate, c), Name: c.Name}); err != nil {
			return nil, err
		}
		if !observed[i].Found && !observed[i].Terminating {
			observed[i].DeletedState = r.deletedStates.lookup(gate.UID, gateIndexKey(string(c.Type), conditionNamespace(gate, c), c.Name))
		}
	}
	return observed, nil
}

// getAndObserve reads one object and returns its observation.
func getAndObserve(ctx context.Context, reader client.Reader, kind konductorv1.GateConditionType, key types.NamespacedName) (rules.Observation, error) {
	var obj client.Object
	switch kind {
	case konductorv1.GateOnJob:
		obj = &batchv1.Job{}
	case konductorv1.GateOnBarrier:
		obj = &konductorv1.Barrier{}
	case konductorv1.GateOnGate:
		obj = &konductorv1.Gate{}
	case konductorv1.GateOnLease:
		obj = &konductorv1.Lease{}
	case konductorv1.GateOnSemaphore:
		obj = &konductorv1.Semaphore{}
	default:
		return rules.Observation{}, fmt.Errorf("gate condition of unknown type %q", kind)
	}
	if err := reader.Get(ctx, key, obj, client.UnsafeDisableDeepCopy); apiclient.IsObjectNotFound(err) {
		return rules.Observation{}, nil
	} else if err != nil {
		return rules.Observation{}, fmt.Errorf("getting %s %s: %w", strings.ToLower(string(kind)), key, err)
	}
	observed := observe(obj)
	if obj.GetDeletionTimestamp() != nil {
		// It counts as deleted, in the state that it had reached by then.
		return rules.Observation{Terminating: true, DeletedState: &observed}, nil
	}
	return observed, nil
}

// observe returns the observation of an object.
func observe(obj client.Object) (seen rules.Observation) {
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

// observeJob returns a Job's observation by its conditions: counts of Pods say nothing about the Job as a whole.
func observeJob(job *batchv1.Job) rules.Observation {
	for _, c := range job.Status.Conditions {
		if c.Status != corev1.ConditionTrue {
			continue
		}
		switch c.Type {
		case batchv1.JobComplete:
			return rules.Observation{State: konductorv1.StateComplete, Description: "complete"}
		case batchv1.JobFailed:
			detail := "failed"
			if c.Reason != "" {
				detail += " (" + c.Reason + ")"
			}
			return rules.Observation{State: konductorv1.StateFailed, Description: detail}
		case batchv1.JobSuspended:
			return rules.Observation{Description: "suspended"}
		default:
			// The other conditions announce an end that has not come yet.
		}
	}
	return rules.Observation{Description: "not finished"}
}

// observePhase returns the observation of a Barrier or a Gate in that phase.
func observePhase(phase string) rules.Observation {
	switch phase {
	case "", string(konductorv1.BarrierWaiting):
		return rules.Observation{Description: "waiting"}
	case string(konductorv1.BarrierTimeout):
		return rules.Observation{State: konductorv1.StateTimeout, Description: "timed out"}
	default:
		return rules.Observation{State: konductorv1.GateState(phase), Description: strings.ToLower(phase)}
	}
}

func observeLease(l *konductorv1.Lease) rules.Observation {
	switch l.Status.Phase {
	case konductorv1.LeaseAvailable:
		return rules.Observation{State: konductorv1.StateAvailable, Description: "available"}
	case konductorv1.LeaseHeld:
		return rules.Observation{State: konductorv1.StateHeld, Description: "held by " + l.Status.Holder}
	default:
		return rules.Observation{Description: "new"}
	}
}

func observeSemaphore(s *konductorv1.Semaphore) rules.Observation {
	if s.Status.Phase == "" {
		return rules.Observation{Description: "new"}
	}
	if s.Status.Phase == konductorv1.SemaphoreFull {
		return rules.Observation{State: konductorv1.StateFull, Description: "full"}
	}
	return rules.Observation{State: konductorv1.StateAvailable, FreePermits: s.Status.Available, Description: fmt.Sprintf("available, %d permits are free", s.Status.Available)}
}

// isNamespaceAllowed reports whether gates of one namespace may have conditions on objects of another.
func (r *gateReconciler) isNamespaceAllowed(ctx context.Context, from, to string) (bool, error) {
	if from == to {
		return true, nil
	}
	namespace := &corev1.Namespace{}
	if err := r.namespaceReader.Get(ctx, types.NamespacedName{Name: to}, namespace); apierrors.IsNotFound(err) || apierrors.IsForbidden(err) {
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

// conditionNamespace returns the namespace of the object that a gate's condition names.
func conditionNamespace(gate *konductorv1.Gate, c *konductorv1.GateCondition) string {
	if c.Namespace != "" {
		return c.Namespace
	}
	return gate.Namespace
}

// registerDeleteHandlers registers handlers that record the last state of deleted objects, before the cache begins to fill:
// the controller's own handlers are added later, and a replica may count as ready before that.
func (r *gateReconciler) registerDeleteHandlers(ctx context.Context, from cache.Cache) error {
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
				r.recordDeletedState(ctx, kind, last)
			}
		}})
		if err != nil {
			return err
		}
	}
	return nil
}

// recordDeletedState records the last state of a deleted object for the gates with a condition on it.
func (r *gateReconciler) recordDeletedState(ctx context.Context, kind konductorv1.GateConditionType, last client.Object) {
	entry := gateIndexKey(string(kind), last.GetNamespace(), last.GetName())
	for _, gate := range r.listByIndexKey(ctx, entry) {
		r.deletedStates.record(&gate, entry, observe(last))
		now := &konductorv1.Gate{}
		if err := r.Client.Get(ctx, client.ObjectKeyFromObject(&gate), now, client.UnsafeDisableDeepCopy); err != nil || now.UID != gate.UID {
			// The gate was deleted meanwhile, and its states may have been removed before this one was recorded.
			r.deletedStates.removeGate(gate.UID)
		}
	}
}
