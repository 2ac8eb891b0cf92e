package controller

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/rules"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// heldPodReconciler is the controller of held Pods: Pods that their annotations keep behind a scheduling gate until they may start.
//
// The claims of a Pod end with it, as those that koncli makes in a Pod. Nothing stops a Pod that has lost a hold, so the end of a
// hold and the start of its Pod need no order.
type heldPodReconciler struct {
	heldWorkloadClient
}

// heldPodController is the name of the controller of held Pods, in logs and metrics.
const heldPodController = "HeldPod"

// heldPodIndex is the name of the cache index of held Pods that have not finished, as heldJobIndex.
const heldPodIndex = "konductor.io/held-pods"

// SetupHeldPods adds the controller of held Pods to mgr.
func SetupHeldPods(ctx context.Context, mgr ctrl.Manager, deps Deps) error {
	r := &heldPodReconciler{newHeldWorkloadClient(deps)}
	if err := mgr.GetFieldIndexer().IndexField(ctx, &corev1.Pod{}, heldPodIndex, indexHeldPods); err != nil {
		return fmt.Errorf("indexing held pods by what they wait for: %w", err)
	}
	return ctrl.NewControllerManagedBy(mgr).
		Named(heldPodController).
		Watches(&corev1.Pod{}, r.enqueueOnlyWhenLeader(r.onPod())).
		Watches(&konductorv1.Claim{}, r.enqueueOnlyWhenLeader(onClaimOf(konductorv1.KindPod))).
		Watches(&konductorv1.Gate{}, r.enqueueOnlyWhenLeader(onWaitedFor(konductorv1.KindGate, konductorv1.KindPod, r.heldPodKeys))).
		Watches(&konductorv1.Barrier{}, r.enqueueOnlyWhenLeader(onWaitedFor(konductorv1.KindBarrier, konductorv1.KindPod, r.heldPodKeys))).
		Watches(&konductorv1.Lease{}, r.enqueueOnlyWhenLeader(onWaitedFor(konductorv1.KindLease, konductorv1.KindPod, r.heldPodKeys))).
		Watches(&konductorv1.Semaphore{}, r.enqueueOnlyWhenLeader(onWaitedFor(konductorv1.KindSemaphore, konductorv1.KindPod, r.heldPodKeys))).
		WatchesRawSource(r.enqueueAllOnElection(func(ctx context.Context) []types.NamespacedName { return r.heldPodKeys(ctx, anyHeldWorkload) })).
		WithOptions(controllerOptions()).
		Complete(r.instrument(heldPodController, r))
}

// isHeldPod reports whether the annotations of a Pod concern the operator.
func isHeldPod(pod *corev1.Pod) bool {
	return (rules.Waits(pod.Annotations) || pod.Annotations[konductorv1.ArriveAnnotation] != "") && pod.Labels[konductorv1.HeldLabel] != konductorv1.HeldFinished
}

func indexHeldPods(obj client.Object) []string {
	pod, ok := obj.(*corev1.Pod)
	if !ok || !isHeldPod(pod) {
		return nil
	}
	return append(workloadIndexEntries(pod.Annotations, pod.Labels[konductorv1.HeldLabel] != konductorv1.HeldStarted), anyHeldWorkload)
}

// heldPodKeys returns the keys of the held Pods with that index entry.
func (r *heldPodReconciler) heldPodKeys(ctx context.Context, entry string, options ...client.ListOption) (keys []types.NamespacedName) {
	var list corev1.PodList
	// The cache fails only when the operator is being stopped.
	if err := r.Client.List(ctx, &list, append(options, client.MatchingFields{heldPodIndex: entry}, client.UnsafeDisableDeepCopy)...); err != nil {
		return nil
	}
	for i := range list.Items {
		keys = append(keys, client.ObjectKeyFromObject(&list.Items[i]))
	}
	return keys
}

// onPod enqueues a held Pod that was created or has changed.
func (r *heldPodReconciler) onPod() handler.EventHandler {
	return newEventHandler(func(obj client.Object, q requestQueue) {
		if pod, ok := obj.(*corev1.Pod); ok && isHeldPod(pod) {
			q.Add(requestFor(obj))
		}
	}, func(obj client.Object, q requestQueue) {
		if pod, ok := obj.(*corev1.Pod); ok && isHeldPod(pod) && pod.Annotations[konductorv1.ArriveAnnotation] != "" && isPodFinished(pod) {
			r.rememberDeleted(pod)
			q.Add(requestFor(obj))
		}
	})
}

// Reconcile brings one held Pod up to date: it claims what the Pod is to hold, removes its scheduling gate when it may run, and
// arrives for it when it has finished.
func (r *heldPodReconciler) Reconcile(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
	err := r.forDeleted(req.NamespacedName, func(obj client.Object) error {
		pod, ok := obj.(*corev1.Pod)
		if !ok {
			return nil
		}
		workload, err := rules.ParseWorkload(pod.Annotations)
		if err != nil {
			return nil //nolint:nilerr // It can't arrive.
		}
		_, err = r.arriveFor(ctx, pod, viewPod(pod, workload))
		return err
	})
	if err != nil {
		return reconcile.Result{}, err
	}
	pod := &corev1.Pod{}
	if err := r.Client.Get(ctx, req.NamespacedName, pod); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	if !isHeldPod(pod) {
		return reconcile.Result{}, nil
	}
	workload, err := rules.ParseWorkload(pod.Annotations)
	if err != nil {
		r.Recorder.Event(pod, corev1.EventTypeWarning, konductorv1.EventNotHeld, err.Error())
		return reconcile.Result{}, nil
	}
	view := viewPod(pod, workload)
	if !view.Finished && view.State != konductorv1.HeldStarted {
		if err := r.observeWorkload(ctx, asHeldPod(pod), view); err != nil {
			return reconcile.Result{}, err
		}
	}
	d := rules.DecidePod(view, r.Clock.Now())
	if view.Finished || arriveEarly && view.State == konductorv1.HeldStarted {
		missing, err := r.arriveFor(ctx, pod, view)
		if err != nil || missing {
			return reconcile.Result{}, err // A barrier that is missing enqueues the Pod when it is created.
		}
	}
	if written, err := r.updatePod(ctx, pod, view, d); err != nil || !written {
		return reconcile.Result{}, err
	}
	recordEvents(r.Recorder, pod, d.Events)
	if err := r.writeClaims(ctx, asHeldPod(pod), &workload, &d, nil); err != nil {
		return reconcile.Result{}, err
	}
	return reconcile.Result{RequeueAfter: d.RequeueAfter}, nil
}

func asHeldPod(pod *corev1.Pod) heldObject { return heldObject{pod, konductorv1.KindPod} }

// viewPod returns what a Pod itself says.
func viewPod(pod *corev1.Pod, w rules.Workload) *rules.HeldWorkload {
	return &rules.HeldWorkload{
		Workload: w, Kind: "pod", State: pod.Labels[konductorv1.HeldLabel], Created: pod.CreationTimestamp.Time,
		Suspended: waitgraph.HasHoldGate(&pod.Spec),
		Finished:  isPodFinished(pod), Failed: pod.Status.Phase == corev1.PodFailed, Deleting: pod.DeletionTimestamp != nil, Released: map[string]int64{},
	}
}

// arriveFor arrives for a finished Pod. A failed Pod of a Job doesn't arrive: the Job may run another in its place.
func (r *heldPodReconciler) arriveFor(ctx context.Context, pod *corev1.Pod, view *rules.HeldWorkload) (missing bool, err error) {
	if view.Failed && konductorv1.ControllingJob(pod) != nil {
		return false, nil
	}
	return r.arrive(ctx, asHeldPod(pod), view, waitgraph.ParticipantName(pod))
}

// updatePod writes the decision to the Pod if that has not changed since, and reports whether it is written. The other scheduling
// gates stay.
func (r *heldPodReconciler) updatePod(ctx context.Context, pod *corev1.Pod, view *rules.HeldWorkload, d rules.WorkloadDecision) (bool, error) {
	if d.State == view.State && !d.Start {
		return true, nil
	}
	metadata := map[string]any{"resourceVersion": pod.ResourceVersion, "uid": pod.UID, "labels": map[string]any{konductorv1.HeldLabel: valueOrNull(d.State)}}
	patch := map[string]any{"metadata": metadata}
	if d.Start {
		if tokens := tokenAnnotations(view.Holds, d.Tokens); len(tokens) > 0 {
			metadata["annotations"] = tokens
		}
		patch["spec"] = map[string]any{"schedulingGates": []any{map[string]any{"$patch": "delete", "name": konductorv1.HoldSchedulingGate}}}
	}
	data, err := json.Marshal(patch)
	if err != nil {
		return false, fmt.Errorf("encoding a patch: %w", err)
	}
	target := &corev1.Pod{}
	target.Namespace, target.Name = pod.Namespace, pod.Name
	err = r.Client.Patch(ctx, target, client.RawPatch(types.StrategicMergePatchType, data))
	switch {
	case apierrors.IsConflict(err), apiclient.IsObjectNotFound(err):
		return false, nil // The watch event that says why is on its way.
	case err != nil:
		return false, fmt.Errorf("updating pod %s: %w", pod.Name, err)
	}
	log.FromContext(ctx).V(1).Info("pod changed", "from", view.State, "to", d.State)
	return true, nil
}
