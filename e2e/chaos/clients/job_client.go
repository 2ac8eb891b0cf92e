package clients

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
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
	for over := false; !over && ctx.Err() == nil; {
		c.newRun(working).follow(ctx)
		select {
		case <-working:
			over = true
		default:
		}
	}
	last := c.newRun(working)
	last.disturbance = nothing
	last.follow(ctx)
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
	*JobClient
	job         *batchv1.Job
	holds       []string // as KIND/NAME
	working     <-chan struct{}
	disturbance disturbance
	fails       bool
	workFor     time.Duration
	disturbAt   time.Duration // after the first Pod was seen

	startedAt  time.Time               // when the first Pod was seen
	seen       map[types.UID]time.Time // when each Pod was first seen
	deletingAt map[types.UID]time.Time // when it was first seen being deleted
	disturbed  bool
	unpaused   bool
	deleted    bool
}

func (c *JobClient) newRun(working <-chan struct{}) *jobRun {
	c.requestCount++
	r := &jobRun{
		JobClient: c, working: working, disturbance: disturbance(c.rng.IntN(int(disturbances))), fails: c.oneIn(5),
		workFor: c.randomDuration(10*time.Millisecond, 500*time.Millisecond), disturbAt: c.randomDuration(0, 300*time.Millisecond),
		seen: map[types.UID]time.Time{}, deletingAt: map[types.UID]time.Time{},
	}
	var annotation []string
	if leases := c.env.Leases; len(leases) > 0 && c.oneIn(2) {
		name := leases[c.rng.IntN(len(leases))]
		r.holds = append(r.holds, konductorv1.KindLease+"/"+name)
		annotation = append(annotation, "lease/"+name)
	}
	if len(r.holds) == 0 || c.oneIn(3) {
		names := sortedKeys(c.env.Semaphores)
		name := names[c.rng.IntN(len(names))]
		r.holds = append(r.holds, konductorv1.KindSemaphore+"/"+name)
		annotation = append(annotation, fmt.Sprintf("semaphore/%s:%d", name, 1+c.rng.IntN(2)))
	}
	suspend, noRetry, parallelism := true, int32(0), 1+c.rng.Int32N(2)
	r.job = &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: c.env.Namespace, Name: fmt.Sprintf("%s-%d", c.name, c.requestCount),
			Annotations: map[string]string{konductorv1.HoldAnnotation: strings.Join(annotation, ",")},
		},
		Spec: batchv1.JobSpec{
			Suspend: &suspend, BackoffLimit: &noRetry, Parallelism: &parallelism, Completions: &parallelism,
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{
					Annotations: map[string]string{revisions.HoldsAnnotation: strings.Join(r.holds, ",")}, Finalizers: []string{slowPodFinalizer},
				},
				Spec: corev1.PodSpec{
					NodeName: "no-kubelet", RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "none"}},
				},
			},
		},
	}
	return r
}

// follow creates the Job and does what its node would, until the Job and its Pods are gone. Errors are those of an API server that
// is away: everything is tried again.
func (r *jobRun) follow(ctx context.Context) {
	for _, hold := range r.holds {
		kind, name, _ := strings.Cut(hold, "/")
		pending := r.env.Recorder.Begin(history.Op{
			Client: r.name, Namespace: r.env.Namespace, Action: history.Acquire, Kind: kind, Object: name, Holder: "job/" + r.job.Name,
		})
		// Nobody tells this client. Whether the Job was granted the hold is seen in the revisions.
		defer pending.Complete(history.Unknown, "held job", 0, "")
	}
	for created := false; !created; {
		err := r.env.Objects.Create(ctx, r.job.DeepCopy())
		if created = err == nil || apierrors.IsAlreadyExists(err); !created && !Sleep(ctx, 100*time.Millisecond) {
			return
		}
	}
	const poll = 30 * time.Millisecond
	for Sleep(ctx, poll) {
		if r.step(ctx) {
			return
		}
	}
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
		r.deleteJob(ctx, metav1.DeletePropagationBackground)
	} else if !r.startedAt.IsZero() && time.Since(r.startedAt) > r.disturbAt {
		r.disturb(ctx, job)
	}
	return false
}

// servePod does what the kubelet would with one Pod.
func (r *jobRun) servePod(ctx context.Context, pod *corev1.Pod, jobGone bool) {
	if r.seen[pod.UID].IsZero() {
		r.seen[pod.UID] = time.Now()
	}
	finished := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
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
	case !controllerutil.ContainsFinalizer(pod, slowPodFinalizer) && (pod.DeletionTimestamp != nil || jobGone):
		_ = r.env.Objects.Delete(ctx, pod, client.GracePeriodSeconds(0))
	case jobGone && pod.DeletionTimestamp == nil && finished:
		_ = r.env.Objects.Delete(ctx, pod, client.GracePeriodSeconds(0))
	}
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
