package clients

import (
	"context"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// slowPodFinalizer keeps a Pod that is being deleted, as a program that ignores SIGTERM does.
const slowPodFinalizer = "chaos.konductor.io/slow"

// runHeld calls run, for one held workload each time, until working is closed, and then once more, undisturbed, to show that the
// client is served. Everything ends with ctx.
func runHeld(ctx context.Context, working <-chan struct{}, run func(undisturbed bool)) {
	for over := false; !over && ctx.Err() == nil; {
		run(false)
		select {
		case <-working:
			over = true
		default:
		}
	}
	run(true)
}

// heldRun is what is common to one held Job and one held Pod, from its creation until it is gone.
type heldRun struct {
	*randomClient
	object         string   // its name
	holds          []string // as KIND/NAME
	holdAnnotation string   // the same, as the operator reads it
	barrier        string   // the one where it arrives, and nobody else; empty: none
	barrierIsLate  bool     // the barrier is created only when it has finished
	barrierExists  bool
	fails          bool
	workFor        time.Duration
	disturbAt      time.Duration

	seen       map[types.UID]time.Time // when each Pod that may run was first seen
	deletingAt map[types.UID]time.Time // when it was first seen being deleted
}

func (p *randomClient) newHeldRun() heldRun {
	p.requestCount++
	r := heldRun{
		randomClient: p, object: fmt.Sprintf("%s-%d", p.name, p.requestCount), fails: p.oneIn(5),
		workFor: p.randomDuration(10*time.Millisecond, 500*time.Millisecond), disturbAt: p.randomDuration(0, 300*time.Millisecond),
		seen: map[types.UID]time.Time{}, deletingAt: map[types.UID]time.Time{},
	}
	var annotation []string
	if leases := p.env.Leases; len(leases) > 0 && p.oneIn(2) {
		name := leases[p.rng.IntN(len(leases))]
		r.holds = append(r.holds, konductorv1.KindLease+"/"+name)
		annotation = append(annotation, "lease/"+name)
	}
	if len(r.holds) == 0 || p.oneIn(3) {
		names := sortedKeys(p.env.Semaphores)
		name := names[p.rng.IntN(len(names))]
		r.holds = append(r.holds, konductorv1.KindSemaphore+"/"+name)
		annotation = append(annotation, fmt.Sprintf("semaphore/%s:%d", name, 1+p.rng.IntN(2)))
	}
	r.holdAnnotation = strings.Join(annotation, ",")
	if p.oneIn(2) {
		r.barrier, r.barrierIsLate = r.object, p.oneIn(4)
	}
	return r
}

// objectMeta returns the metadata of the held Job or Pod.
func (r *heldRun) objectMeta() metav1.ObjectMeta {
	annotations := map[string]string{konductorv1.HoldAnnotation: r.holdAnnotation}
	if r.barrier != "" {
		annotations[konductorv1.ArriveAnnotation] = "barrier/" + r.barrier
	}
	return metav1.ObjectMeta{Namespace: r.env.Namespace, Name: r.object, Annotations: annotations}
}

// preparePod adds to the metadata of a Pod what is to be held while it runs, and the finalizer.
func (r *heldRun) preparePod(pod *metav1.ObjectMeta) {
	metav1.SetMetaDataAnnotation(pod, revisions.HoldsAnnotation, strings.Join(r.holds, ","))
	pod.Finalizers = []string{slowPodFinalizer}
}

// follow creates the barrier and obj, and then calls step until it reports that nothing is left. Errors are those of an API server
// that is away: everything is tried again.
func (r *heldRun) follow(ctx context.Context, holder string, obj client.Object, step func(context.Context) (over bool)) {
	reason := history.Interrupted
	for _, hold := range r.holds {
		kind, name, _ := strings.Cut(hold, "/")
		pending := r.env.Recorder.Begin(history.Op{
			Client: r.name, Namespace: r.env.Namespace, Action: history.Acquire, Kind: kind, Object: name, Holder: holder,
		})
		// Nobody tells this client. Whether the hold was granted is seen in the revisions.
		defer func() { pending.Complete(history.Unknown, reason, 0, "") }()
	}
	for created := false; !created; {
		created = (r.barrierIsLate || r.createBarrier(ctx)) && r.create(ctx, obj)
		if !created && !Sleep(ctx, 100*time.Millisecond) {
			return
		}
	}
	const poll = 30 * time.Millisecond
	for Sleep(ctx, poll) {
		if step(ctx) {
			reason = "held workload"
			return
		}
	}
}

func (r *heldRun) create(ctx context.Context, obj client.Object) bool {
	obj.SetResourceVersion("")
	err := r.env.Objects.Create(ctx, obj)
	return err == nil || apierrors.IsAlreadyExists(err)
}

func (r *heldRun) createBarrier(ctx context.Context) bool {
	if r.barrier != "" && !r.barrierExists {
		r.barrierExists = r.create(ctx, &konductorv1.Barrier{
			ObjectMeta: metav1.ObjectMeta{Namespace: r.env.Namespace, Name: r.barrier}, Spec: konductorv1.BarrierSpec{Expected: 1},
		})
	}
	return r.barrier == "" || r.barrierExists
}

// isSettled reports whether obj, which has finished, has arrived if it is to. Deleted before, it might not arrive: that is a
// documented limit.
func (r *heldRun) isSettled(ctx context.Context, obj client.Object) bool {
	return r.createBarrier(ctx) && (r.barrier == "" || obj.GetLabels()[konductorv1.HeldLabel] == konductorv1.HeldFinished)
}

// servePod does what the kubelet would with a Pod that may run. isNeedless says that it is to be deleted when it has finished.
func (r *heldRun) servePod(ctx context.Context, pod *corev1.Pod, isNeedless bool) {
	if r.seen[pod.UID].IsZero() {
		r.seen[pod.UID] = time.Now()
	}
	finished := isPodOver(pod)
	if pod.DeletionTimestamp != nil && r.deletingAt[pod.UID].IsZero() {
		r.deletingAt[pod.UID] = time.Now()
	}
	switch {
	case !finished && pod.DeletionTimestamp == nil && time.Since(r.seen[pod.UID]) > r.workFor:
		pod.Status.Phase = corev1.PodSucceeded
		if r.fails {
			pod.Status.Phase = corev1.PodFailed
		}
		_ = r.env.Objects.Status().Update(ctx, pod)
	case controllerutil.ContainsFinalizer(pod, slowPodFinalizer) && (finished || pod.DeletionTimestamp != nil && time.Since(r.deletingAt[pod.UID]) > 2*r.workFor):
		controllerutil.RemoveFinalizer(pod, slowPodFinalizer)
		_ = r.env.Objects.Update(ctx, pod)
	case !controllerutil.ContainsFinalizer(pod, slowPodFinalizer) && (pod.DeletionTimestamp != nil || isNeedless):
		_ = r.env.Objects.Delete(ctx, pod, client.GracePeriodSeconds(0))
	case isNeedless && pod.DeletionTimestamp == nil && finished:
		_ = r.env.Objects.Delete(ctx, pod, client.GracePeriodSeconds(0))
	}
}

func isPodOver(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}
