package controller

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/rules"
)

// checkBoundObjects checks the Pods and Jobs of new claims, and the Pods of deleted Jobs. A Pod that is missing in the cache may
// just be too young for it, so only the API server can confirm its absence. Claims whose Pod or Job can't be read, and those of
// a deleted Job while Pods of it may still run, are not granted. They are checked again after the time that is returned, or, on
// an error, at the next reconciliation.
func (r *holdReconciler[T]) checkBoundObjects(ctx context.Context, namespace string, a *targetState[T]) (time.Duration, error) {
	a.mu.Lock()
	unchecked := a.uncheckedBound
	a.uncheckedBound = map[types.UID]boundObject{}
	a.mu.Unlock()
	claims := map[boundObject][]types.UID{} // a Pod may have thousands of claims
	for claim, bound := range unchecked {
		claims[bound] = append(claims[bound], claim)
	}
	ctx, cancel := context.WithTimeout(ctx, boundCheckTimeout)
	defer cancel()
	type outcome struct {
		state boundState
		err   error
	}
	outcomes := make(chan outcome, len(claims))
	var group errgroup.Group
	group.SetLimit(maxParallelRequests)
	for bound, claimUIDs := range claims {
		group.Go(func() error {
			state, err := r.readBoundState(ctx, namespace, bound)
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, claim := range claimUIDs {
				known := err == nil && state != boundDeletedRunning
				a.claims.SetBoundKnown(claim, known)
				if _, presence := a.claims.Find(claim); !known && presence == rules.ExistenceConfirmed {
					a.uncheckedBound[claim] = bound
				}
				if err == nil && state == boundEnded {
					a.recordBoundEnded(claim)
				}
			}
			outcomes <- outcome{state, err}
			return nil
		})
	}
	_ = group.Wait() // all errors are in outcomes, so that the first doesn't hide the others
	close(outcomes)
	var after time.Duration
	var failed error
	for o := range outcomes {
		if o.err != nil {
			failed = o.err
		} else if o.state == boundDeletedRunning {
			after = stoppingJobPollInterval
		}
	}
	return after, failed
}

// boundState is the state of a Pod or Job that a claim is bound to.
type boundState int

const (
	boundExists boundState = iota
	// boundEnded means that the claim's hold, if it has one, is over.
	boundEnded
	// boundDeletedRunning means that the Job is gone and that Pods of it may still run.
	boundDeletedRunning
)

func (r *holdReconciler[T]) readBoundState(ctx context.Context, namespace string, bound boundObject) (boundState, error) {
	key := types.NamespacedName{Namespace: namespace, Name: bound.name}
	if bound.kind == konductorv1.KindPod {
		ended, err := isPodFinishedOrGone(ctx, r.Client, r.APIReader, key, bound.uid)
		if ended {
			return boundEnded, err
		}
		return boundExists, err
	}
	job, err := getJob(ctx, r.Client, r.APIReader, key, bound.uid)
	switch {
	case err != nil:
		return boundExists, err
	case job != nil && !isJobFinished(job):
		return boundExists, nil
	case job != nil:
		return boundEnded, nil
	}
	if !r.jobStopper.startCheckIfDue(bound.uid) {
		return boundDeletedRunning, nil
	}
	stopped, err := r.jobStopper.areDeletedJobPodsGone(ctx, namespace, bound.uid)
	if err == nil && !stopped {
		return boundDeletedRunning, nil
	}
	return boundEnded, err
}

// isPodFinishedOrGone reports whether the Pod of that name and UID has finished or is gone.
func isPodFinishedOrGone(ctx context.Context, cached, live client.Reader, key types.NamespacedName, uid types.UID) (bool, error) {
	pod := &corev1.Pod{}
	err := cached.Get(ctx, key, pod)
	if err != nil || pod.UID != uid {
		pod = &corev1.Pod{}
		err = live.Get(ctx, key, pod)
	}
	if apiclient.IsObjectNotFound(err) {
		return true, nil
	}
	if err != nil {
		return false, fmt.Errorf("getting pod %s: %w", key, err)
	}
	return pod.UID != uid || isPodFinished(pod), nil
}

// isPodFinished reports whether no container of the Pod will run any more.
func isPodFinished(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// getJob returns the Job of that name and UID, or nil if it is gone. Only the API server can confirm that.
func getJob(ctx context.Context, cached, live client.Reader, key types.NamespacedName, uid types.UID) (*batchv1.Job, error) {
	job := &batchv1.Job{}
	if err := cached.Get(ctx, key, job); err == nil && job.UID == uid {
		return job, nil
	}
	return getLiveJob(ctx, live, key, uid)
}

// getLiveJob returns the Job of that name and UID from the API server, or nil if it is gone.
func getLiveJob(ctx context.Context, live client.Reader, key types.NamespacedName, uid types.UID) (*batchv1.Job, error) {
	job := &batchv1.Job{}
	err := live.Get(ctx, key, job)
	if apiclient.IsObjectNotFound(err) || err == nil && job.UID != uid {
		return nil, nil //nolint:nilnil // There is none.
	}
	if err != nil {
		return nil, fmt.Errorf("getting job %s: %w", key, err)
	}
	return job, nil
}

// isJobFinished reports whether the Job has completed or failed. The Job controller says so only when all Pods have ended.
func isJobFinished(job *batchv1.Job) bool {
	for _, c := range job.Status.Conditions {
		if (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) && c.Status == corev1.ConditionTrue {
			return true
		}
	}
	return false
}
