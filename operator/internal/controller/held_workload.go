package controller

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"

	batchv1 "k8s.io/api/batch/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// heldObject is a held Job or Pod.
type heldObject struct {
	client.Object
	kind string // KindJob or KindPod
}

// participant returns the name under which it holds, and arrives unless it is a Pod of a Job.
func (o heldObject) participant() string { return strings.ToLower(o.kind) + "/" + o.GetName() }

// claimName returns the name of its claim for a hold. The claim names no UID of its target: a workload goes on waiting when the
// lease or semaphore is deleted and created again.
func (o heldObject) claimName(hold rules.WorkloadHold) string {
	return konductorv1.ClaimName(konductorv1.ClaimTarget{Kind: hold.Kind, Name: hold.Name}, o.participant(), o.GetUID())
}

func (o heldObject) boundObject() *konductorv1.BoundObject {
	return &konductorv1.BoundObject{Kind: o.kind, Name: o.GetName(), UID: o.GetUID()}
}

// ownerReferences returns the owners of its claims. That of a Pod has none: with a foreground deletion the garbage collector would
// delete it, and so end the hold, while the Pod still runs. The claims of a Pod that has ended are deleted by the hold controllers.
func (o heldObject) ownerReferences() []metav1.OwnerReference {
	if o.kind == konductorv1.KindPod {
		return nil
	}
	return []metav1.OwnerReference{{APIVersion: batchv1.SchemeGroupVersion.String(), Kind: o.kind, Name: o.GetName(), UID: o.GetUID()}}
}

// isClaimFor reports whether a claim is the one that the operator makes for a hold of this object. Anybody who may create claims
// could make another of that name. Only the operator may bind one to a Job, and only it and the Pod itself to a Pod.
func (o heldObject) isClaimFor(claim *konductorv1.Claim, hold rules.WorkloadHold) bool {
	bound := claim.Spec.BoundTo
	return bound != nil && bound.Kind == o.kind && bound.UID == o.GetUID() && claim.Spec.Target.Kind == hold.Kind &&
		claim.Spec.Target.Name == hold.Name && (hold.Limit || claim.Spec.Permits == hold.Permits)
}

// heldWorkloadClient reads what held Jobs and Pods wait for, and claims and arrives for them.
type heldWorkloadClient struct {
	Deps

	mu sync.Mutex
	// deletedFinished are those that were deleted soon after they had finished, and have not arrived yet.
	deletedFinished map[types.NamespacedName]client.Object
}

func newHeldWorkloadClient(deps Deps) heldWorkloadClient {
	return heldWorkloadClient{Deps: deps, deletedFinished: map[types.NamespacedName]client.Object{}}
}

// holdTarget is what the controllers of held workloads read of a Lease or Semaphore.
type holdTarget struct {
	exists      bool
	permits     int32
	maxPriority *int32
	holders     []konductorv1.Holder
}

// freePermits returns how many permits are not held.
func (t *holdTarget) freePermits() int32 {
	free := t.permits
	for i := range t.holders {
		free -= t.holders[i].Permits
	}
	return free
}

// tokenOf returns the fencing token with which a claim holds it; 0: it doesn't.
func (t *holdTarget) tokenOf(claim types.UID) int64 {
	for i := range t.holders {
		if t.holders[i].ClaimUID == claim {
			return t.holders[i].FencingToken
		}
	}
	return 0
}

// getTarget reads a Lease or Semaphore from the cache. One that doesn't exist is no error. The holders, which may be a thousand, must
// not be modified.
func (c *heldWorkloadClient) getTarget(ctx context.Context, namespace string, ref rules.WorkloadRef) (holdTarget, error) {
	return c.readTarget(ctx, c.Client, namespace, ref)
}

func (c *heldWorkloadClient) readTarget(ctx context.Context, from client.Reader, namespace string, ref rules.WorkloadRef) (holdTarget, error) {
	key := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	if ref.Kind == konductorv1.KindLease {
		lease := &konductorv1.Lease{}
		if err := from.Get(ctx, key, lease, client.UnsafeDisableDeepCopy); err != nil {
			return holdTarget{}, client.IgnoreNotFound(err)
		}
		return holdTarget{true, 1, lease.Spec.MaxPriority, lease.Status.Holders()}, nil
	}
	semaphore := &konductorv1.Semaphore{}
	if err := from.Get(ctx, key, semaphore, client.UnsafeDisableDeepCopy); err != nil {
		return holdTarget{}, client.IgnoreNotFound(err)
	}
	return holdTarget{true, semaphore.Spec.Permits, semaphore.Spec.MaxPriority, semaphore.Status.Holders}, nil
}

// observePrerequisite returns the state of a gate or barrier. What is missing is waited for.
func (c *heldWorkloadClient) observePrerequisite(ctx context.Context, namespace string, ref rules.WorkloadRef) (state rules.Prerequisite, err error) {
	key := types.NamespacedName{Namespace: namespace, Name: ref.Name}
	phase := ""
	if ref.Kind == konductorv1.KindGate {
		gate := &konductorv1.Gate{}
		err = c.Client.Get(ctx, key, gate, client.UnsafeDisableDeepCopy)
		phase, state.Open = string(gate.Status.Phase), gate.Status.Phase == konductorv1.GateOpen && gate.DeletionTimestamp == nil
	} else {
		barrier := &konductorv1.Barrier{}
		err = c.Client.Get(ctx, key, barrier, client.UnsafeDisableDeepCopy)
		phase, state.Open = string(barrier.Status.Phase), barrier.Status.Phase == konductorv1.BarrierOpen && barrier.DeletionTimestamp == nil
	}
	switch {
	case apierrors.IsNotFound(err):
		return rules.Prerequisite{Missing: true}, nil
	case err != nil:
		return rules.Prerequisite{}, err
	case phase == string(konductorv1.BarrierFailed) || phase == string(konductorv1.BarrierTimeout):
		state.Failed = true
	}
	if !state.Open {
		state.Message = fmt.Sprintf("%s is in phase %s", ref, phase)
	}
	return state, nil
}

// observeClaim returns the claim of a Job or Pod for a hold of target; nil: there is none. Before a started Job is stopped because
// of it, the API server confirms what the cache says.
func (c *heldWorkloadClient) observeClaim(ctx context.Context, o heldObject, hold rules.WorkloadHold, target holdTarget, started bool) (*rules.WorkloadClaim, error) {
	key := types.NamespacedName{Namespace: o.GetNamespace(), Name: o.claimName(hold)}
	claim := &konductorv1.Claim{}
	err := c.Client.Get(ctx, key, claim)
	if started && (apierrors.IsNotFound(err) || err == nil && (claim.Status.Phase != konductorv1.ClaimGranted || claim.DeletionTimestamp != nil)) {
		claim = &konductorv1.Claim{}
		err = c.APIReader.Get(ctx, key, claim)
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil //nolint:nilnil // There is none.
	case err != nil:
		return nil, fmt.Errorf("getting claim %s: %w", key.Name, err)
	}
	observed := &rules.WorkloadClaim{
		Name: claim.Name, UID: claim.UID, Phase: claim.Status.Phase, Token: claim.Status.FencingToken, Message: claim.Status.Message,
		Deleting: claim.DeletionTimestamp != nil, Foreign: !o.isClaimFor(claim, hold),
	}
	if observed.Phase == konductorv1.ClaimGranted {
		return observed, nil
	}
	if observed.Phase == konductorv1.ClaimPending || observed.Phase == "" {
		// The status of the target is written first, and is what counts.
		if started && target.tokenOf(claim.UID) == 0 {
			if target, err = c.readTarget(ctx, c.APIReader, o.GetNamespace(), hold.WorkloadRef); err != nil {
				return nil, err
			}
		}
		if token := target.tokenOf(claim.UID); token > 0 {
			observed.Phase, observed.Token = konductorv1.ClaimGranted, token
			return observed, nil
		}
	}
	observed.Busy = target.exists && claim.Spec.Permits > target.freePermits()
	permits := claim.Spec.Permits
	if hold.Limit {
		permits = hold.Permits
	}
	observed.Retry = observed.Phase == konductorv1.ClaimRefused && target.exists && permits <= target.permits &&
		(target.maxPriority == nil || claim.Spec.Priority <= *target.maxPriority)
	return observed, nil
}

// observeWorkload adds to a view what the workload waits for, and its claims.
func (c *heldWorkloadClient) observeWorkload(ctx context.Context, o heldObject, view *rules.HeldWorkload) error {
	for _, ref := range view.After {
		state, err := c.observePrerequisite(ctx, o.GetNamespace(), ref)
		if err != nil {
			return err
		}
		view.Prerequisites = append(view.Prerequisites, state)
	}
	for _, hold := range view.Holds {
		target, err := c.getTarget(ctx, o.GetNamespace(), hold.WorkloadRef)
		if err != nil {
			return err
		}
		claim, err := c.observeClaim(ctx, o, hold, target, view.State == konductorv1.HeldStarted)
		if err != nil {
			return err
		}
		view.Claims, view.MissingTargets = append(view.Claims, claim), append(view.MissingTargets, !target.exists)
	}
	return nil
}

// writeClaims deletes and creates the claims that a decision names. position is the place in the queue for a new one; nil: its own.
func (c *heldWorkloadClient) writeClaims(ctx context.Context, o heldObject, w *rules.Workload, d *rules.WorkloadDecision, position *konductorv1.QueuePosition) error {
	for _, old := range d.DeleteClaims {
		claim := &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: old.Name}}
		if err := deleteByUID(ctx, c.Client, claim, old.UID); err != nil {
			return fmt.Errorf("deleting claim %s: %w", old.Name, err)
		}
	}
	if d.CreateClaim == nil {
		return nil
	}
	hold := *d.CreateClaim
	claim := &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Namespace: o.GetNamespace(), Name: o.claimName(hold), OwnerReferences: o.ownerReferences()},
		Spec: konductorv1.ClaimSpec{
			Target: konductorv1.ClaimTarget{Kind: hold.Kind, Name: hold.Name}, Holder: o.participant(), Permits: hold.Permits, Priority: w.Priority,
			BoundTo: o.boundObject(), NoTTL: true, QueuePosition: position,
		},
	}
	if d.NoWait {
		claim.Spec.WhenBusy = konductorv1.BusyRefuse
	}
	if err := c.Client.Create(ctx, claim); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("creating claim %s: %w", claim.Name, err)
	}
	return nil
}

// tokenAnnotations returns the annotations by which Pods learn the fencing tokens of their holds.
func tokenAnnotations(holds []rules.WorkloadHold, tokens []int64) map[string]string {
	annotations := map[string]string{}
	for i, token := range tokens {
		text := strconv.FormatInt(token, 10)
		if i == 0 {
			annotations[konductorv1.FencingTokenAnnotation] = text
		}
		annotations[konductorv1.HoldTokenAnnotation(holds[i].Kind, holds[i].Name)] = text
	}
	return annotations
}

// valueOrNull returns the value of a merge patch that sets a string, or removes it if it is empty.
func valueOrNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

// maxDeletedFinished bounds heldWorkloadClient.deletedFinished.
const maxDeletedFinished = 1000

// rememberDeleted keeps a deleted object that has finished until it has arrived.
func (c *heldWorkloadClient) rememberDeleted(obj client.Object) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.isLeader() && len(c.deletedFinished) < maxDeletedFinished {
		c.deletedFinished[client.ObjectKeyFromObject(obj)] = obj
	}
}

// forDeleted calls arrive for an object that was deleted soon after it had finished, as by ttlSecondsAfterFinished.
func (c *heldWorkloadClient) forDeleted(key types.NamespacedName, arrive func(client.Object) error) error {
	c.mu.Lock()
	obj := c.deletedFinished[key]
	c.mu.Unlock()
	if obj == nil {
		return nil
	}
	if err := arrive(obj); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.deletedFinished, key)
	return nil
}

// arrive creates the arrivals of a finished Job or Pod under a name. missing says that a barrier doesn't exist yet.
func (c *heldWorkloadClient) arrive(ctx context.Context, o heldObject, view *rules.HeldWorkload, participant string) (missing bool, err error) {
	for _, name := range view.Arrive {
		barrier := &konductorv1.Barrier{}
		err := c.Client.Get(ctx, types.NamespacedName{Namespace: o.GetNamespace(), Name: name}, barrier)
		if apierrors.IsNotFound(err) {
			missing = true
			continue
		}
		if err != nil {
			return false, err
		}
		arrival := &konductorv1.Arrival{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: o.GetNamespace(), Name: konductorv1.ArrivalName(barrier.Name, barrier.UID, participant),
				OwnerReferences: []metav1.OwnerReference{{APIVersion: konductorv1.GroupVersion().String(), Kind: konductorv1.KindBarrier, Name: barrier.Name, UID: barrier.UID}},
			},
			Spec: konductorv1.ArrivalSpec{
				Barrier: barrier.Name, BarrierUID: barrier.UID, Participant: participant, Failed: view.Failed,
				BoundTo: o.boundObject(),
			},
		}
		if view.Failed {
			arrival.Spec.Reason = strings.ToLower(o.kind) + " " + o.GetName() + " failed"
		}
		if err := c.Client.Create(ctx, arrival); err != nil && !apierrors.IsAlreadyExists(err) {
			return false, fmt.Errorf("arriving at barrier %s: %w", name, err)
		}
	}
	return missing, nil
}

// onClaim enqueues the Job or Pod of a claim.
func onClaimOf(kind string) handler.EventHandler {
	enqueue := func(obj client.Object, q requestQueue) {
		claim, ok := obj.(*konductorv1.Claim)
		if ok && claim.Spec.BoundTo != nil && claim.Spec.BoundTo.Kind == kind {
			q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: claim.Namespace, Name: claim.Spec.BoundTo.Name}})
		}
	}
	return newEventHandler(enqueue, enqueue)
}

// onWaitedFor enqueues the workloads of a kind that wait for a gate or barrier which was created, has changed its phase, or was
// deleted, and for a lease or semaphore which was created, or whose spec has changed: it may admit what it has refused before; and
// the workloads that were granted a hold, or that held what was deleted. list returns the workloads of a namespace that wait for an object.
func onWaitedFor(kind, workloadKind string, list func(ctx context.Context, entry string, options ...client.ListOption) []types.NamespacedName) handler.EventHandler {
	enqueueHolders := func(obj client.Object, holders []string, q requestQueue) {
		for _, holder := range holders {
			if name, ok := strings.CutPrefix(holder, strings.ToLower(workloadKind)+"/"); ok {
				q.Add(reconcile.Request{NamespacedName: types.NamespacedName{Namespace: obj.GetNamespace(), Name: name}})
			}
		}
	}
	enqueue := func(ctx context.Context, obj client.Object, q requestQueue) {
		ref := rules.WorkloadRef{Kind: kind, Name: obj.GetName()}
		for _, key := range list(ctx, ref.String(), client.InNamespace(obj.GetNamespace())) {
			q.Add(reconcile.Request{NamespacedName: key})
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, q requestQueue) { enqueue(ctx, e.Object, q) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q requestQueue) {
			enqueueHolders(e.ObjectNew, newHolders(e.ObjectOld, e.ObjectNew), q)
			if phaseOf(e.ObjectOld) != phaseOf(e.ObjectNew) || e.ObjectOld.GetGeneration() != e.ObjectNew.GetGeneration() || e.ObjectOld.GetUID() != e.ObjectNew.GetUID() {
				enqueue(ctx, e.ObjectNew, q)
			}
		},
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q requestQueue) {
			enqueue(ctx, e.Object, q)
			enqueueHolders(e.Object, holderNames(e.Object, 0), q)
		},
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

// newHolders returns the names of those who were granted a hold of a lease or semaphore since an older version.
func newHolders(older, newer client.Object) []string {
	switch o := older.(type) {
	case *konductorv1.Lease:
		return holderNames(newer, o.Status.FencingToken)
	case *konductorv1.Semaphore:
		return holderNames(newer, o.Status.FencingToken)
	default:
		return nil
	}
}

// holderNames returns the names of those who hold a lease or semaphore with a larger token.
func holderNames(obj client.Object, token int64) (names []string) {
	var holders []konductorv1.Holder
	switch o := obj.(type) {
	case *konductorv1.Lease:
		holders = o.Status.Holders()
	case *konductorv1.Semaphore:
		holders = o.Status.Holders
	}
	for i := range holders {
		if holders[i].FencingToken > token {
			names = append(names, holders[i].Name)
		}
	}
	return names
}

// workloadIndexEntries returns what the cache index of waiting workloads has for annotations.
func workloadIndexEntries(annotations map[string]string, waiting bool) (entries []string) {
	workload, err := rules.ParseWorkload(annotations)
	if err != nil {
		return nil
	}
	if waiting {
		for _, ref := range workload.After {
			entries = append(entries, ref.String())
		}
		for i := range workload.Holds {
			entries = append(entries, workload.Holds[i].String())
		}
		for _, limit := range rules.LimitsOf(annotations) {
			entries = append(entries, limit.String())
		}
	}
	for _, barrier := range workload.Arrive {
		entries = append(entries, rules.WorkloadRef{Kind: konductorv1.KindBarrier, Name: barrier}.String())
	}
	return entries
}
