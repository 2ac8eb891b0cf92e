package clients

import (
	"context"
	"math/rand/v2"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// PodClient creates Pods that the operator holds, one after the other, lets them run for a while, and deletes some of them while
// they wait or run.
type PodClient struct {
	randomClient
}

// NewPodClient returns a client of that name whose decisions follow rng.
func NewPodClient(env *Env, name string, rng *rand.Rand) *PodClient {
	return &PodClient{randomClient{env: env, name: name, rng: rng}}
}

// Run runs Pods until working is closed, and then one more, to show that it is served. Everything ends with ctx.
func (c *PodClient) Run(ctx context.Context, working <-chan struct{}) error {
	runHeld(ctx, working, func(undisturbed bool) {
		r := c.newRun()
		if undisturbed {
			r.disturbance = noPodDeletion
		}
		r.follow(ctx, "pod/"+r.object, r.pod.DeepCopy(), r.step)
	})
	return nil
}

// podDisturbance is when a Pod is deleted.
type podDisturbance int

const (
	noPodDeletion podDisturbance = iota
	deletionFromCreation
	deletionFromStart
	podDisturbances
)

// podRun is one Pod, from its creation until it is gone.
type podRun struct {
	heldRun
	pod         *corev1.Pod
	disturbance podDisturbance
	createdAt   time.Time // when it was first seen
	startedAt   time.Time // when it was first seen without the scheduling gate
	deleted     bool
}

func (c *PodClient) newRun() *podRun {
	r := &podRun{heldRun: c.newHeldRun(), disturbance: podDisturbance(c.rng.IntN(int(podDisturbances)))}
	r.pod = &corev1.Pod{
		ObjectMeta: r.objectMeta(),
		Spec: corev1.PodSpec{
			SchedulingGates: []corev1.PodSchedulingGate{{Name: konductorv1.HoldSchedulingGate}},
			RestartPolicy:   corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "none"}},
		},
	}
	r.preparePod(&r.pod.ObjectMeta)
	return r
}

// step does what is due, and reports whether nothing is left.
func (r *podRun) step(ctx context.Context) (over bool) {
	pod := &corev1.Pod{}
	if err := r.env.Objects.Get(ctx, client.ObjectKeyFromObject(r.pod), pod); err != nil {
		return apierrors.IsNotFound(err)
	}
	waits := slices.Contains(pod.Spec.SchedulingGates, corev1.PodSchedulingGate{Name: konductorv1.HoldSchedulingGate})
	if r.createdAt.IsZero() {
		r.createdAt = time.Now()
	}
	if !waits && r.startedAt.IsZero() {
		r.startedAt = time.Now()
	}
	switch finished := isPodOver(pod); {
	case finished && !r.isSettled(ctx, pod):
	case !finished && !r.deleted && r.isDeletionDue():
		r.deleted = client.IgnoreNotFound(r.env.Objects.Delete(ctx, pod)) == nil
	case !waits || pod.DeletionTimestamp != nil:
		r.servePod(ctx, pod, finished)
	}
	return false
}

func (r *podRun) isDeletionDue() bool {
	from := map[podDisturbance]time.Time{deletionFromCreation: r.createdAt, deletionFromStart: r.startedAt}[r.disturbance]
	return !from.IsZero() && time.Since(from) > r.disturbAt
}
