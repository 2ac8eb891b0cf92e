package clients

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// JobClient creates Jobs that the operator holds, one after the other, lets their Pods run for a while, and deletes, pauses or
// breaks some of them.
type JobClient struct {
	randomClient
}

// NewJobClient returns a client of that name whose decisions follow rng.
func NewJobClient(env *Env, name string, rng *rand.Rand) *JobClient {
	return &JobClient{randomClient{env: env, name: name, rng: rng}}
}

// Run runs Jobs until working is closed, and then one more, to show that it is served. Everything ends with ctx.
func (c *JobClient) Run(ctx context.Context, working <-chan struct{}) error {
	runHeld(ctx, working, func(undisturbed bool) {
		r := c.newRun()
		if undisturbed {
			r.disturbance = nothing
		}
		r.follow(ctx, "job/"+r.object, r.job.DeepCopy(), r.step)
	})
	return nil
}

// disturbance is what happens to a Job while it runs.
type disturbance int

const (
	nothing disturbance = iota
	deletion
	pause
	breaking
	disturbances
)

// jobRun is one Job, from its creation until it and its Pods are gone.
type jobRun struct {
	heldRun
	job         *batchv1.Job
	disturbance disturbance

	startedAt time.Time // when the first Pod was seen
	disturbed bool
	unpaused  bool
	deleted   bool
}

func (c *JobClient) newRun() *jobRun {
	r := &jobRun{heldRun: c.newHeldRun(), disturbance: disturbance(c.rng.IntN(int(disturbances)))}
	suspend, noRetry, parallelism := true, int32(0), 1+c.rng.Int32N(2)
	r.job = &batchv1.Job{
		ObjectMeta: r.objectMeta(),
		Spec: batchv1.JobSpec{
			Suspend: &suspend, BackoffLimit: &noRetry, Parallelism: &parallelism, Completions: &parallelism,
			Template: corev1.PodTemplateSpec{
				Spec: corev1.PodSpec{
					NodeName: "no-kubelet", RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "none"}},
				},
			},
		},
	}
	r.preparePod(&r.job.Spec.Template.ObjectMeta)
	return r
}

// step does what is due, and reports whether nothing is left.
func (r *jobRun) step(ctx context.Context) (over bool) {
	job := &batchv1.Job{}
	err := r.env.Objects.Get(ctx, client.ObjectKeyFromObject(r.job), job)
	gone := apierrors.IsNotFound(err)
	if err != nil && !gone {
		return false
	}
	if !gone {
		r.job.UID = job.UID
	}
	var pods corev1.PodList
	if r.env.Objects.List(ctx, &pods, client.InNamespace(r.env.Namespace), client.MatchingLabels{batchv1.JobNameLabel: r.job.Name}) != nil {
		return false
	}
	for i := range pods.Items {
		r.servePod(ctx, &pods.Items[i], gone)
	}
	if gone {
		return len(pods.Items) == 0
	}
	if len(pods.Items) > 0 && r.startedAt.IsZero() {
		r.startedAt = time.Now()
	}
	if isJobOver(job) {
		if r.isSettled(ctx, job) {
			r.deleteJob(ctx, metav1.DeletePropagationBackground)
		}
	} else if !r.startedAt.IsZero() && time.Since(r.startedAt) > r.disturbAt {
		r.disturb(ctx, job)
	}
	return false
}

// disturb deletes, pauses or breaks the Job, once; a paused Job goes on a little later.
func (r *jobRun) disturb(ctx context.Context, job *batchv1.Job) {
	if r.disturbed {
		if r.disturbance == pause && !r.unpaused && time.Since(r.startedAt) > r.disturbAt+r.workFor {
			r.unpaused = r.annotate(ctx, job, "null")
		}
		return
	}
	switch r.disturbance {
	case deletion:
		policies := []metav1.DeletionPropagation{metav1.DeletePropagationBackground, metav1.DeletePropagationForeground, metav1.DeletePropagationOrphan}
		r.disturbed = r.deleteJob(ctx, policies[r.rng.IntN(len(policies))])
	case pause:
		r.disturbed = r.annotate(ctx, job, `"true"`)
	case breaking:
		r.disturbed = r.breakHolds(ctx, job)
	default:
		r.disturbed = true
	}
}

func (r *jobRun) annotate(ctx context.Context, job *batchv1.Job, value string) bool {
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, konductorv1.PauseAnnotation, value)
	return r.env.Objects.Patch(ctx, job.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch))) == nil
}

func (r *jobRun) deleteJob(ctx context.Context, policy metav1.DeletionPropagation) bool {
	if r.deleted {
		return true
	}
	err := r.env.Objects.Delete(ctx, r.job, client.PropagationPolicy(policy))
	r.deleted = client.IgnoreNotFound(err) == nil
	return r.deleted
}

// breakHolds deletes the claims of the Job as somebody who breaks its holds does.
func (r *jobRun) breakHolds(ctx context.Context, job *batchv1.Job) bool {
	var claims konductorv1.ClaimList
	if r.env.Objects.List(ctx, &claims, client.InNamespace(r.env.Namespace)) != nil {
		return false
	}
	for i := range claims.Items {
		claim := &claims.Items[i]
		if bound := claim.Spec.BoundTo; bound == nil || bound.UID != job.UID {
			continue
		}
		patch := fmt.Sprintf(`{"metadata":{"uid":%q,"annotations":{%q:%q}}}`, claim.UID, konductorv1.BrokenByAnnotation, r.env.AdminUser)
		if err := r.env.Objects.Patch(ctx, claim.DeepCopy(), client.RawPatch(types.MergePatchType, []byte(patch))); err != nil {
			return apierrors.IsNotFound(err) || apierrors.IsConflict(err)
		}
		_ = r.env.Objects.Delete(ctx, claim, client.Preconditions{UID: &claim.UID})
	}
	return true
}

func isJobOver(job *batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}
