package controller

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/rules"
)

// checkBoundPods checks the Pods of new claims. A Pod that is missing in the cache may just be too young for it, so only the
// API server can confirm its absence. Claims of a Pod that can't be read are not granted, and the next reconciliation checks
// it again.
func (r *holdReconciler[T]) checkBoundPods(ctx context.Context, namespace string, a *targetState[T]) error {
	a.mu.Lock()
	unchecked := a.uncheckedPods
	a.uncheckedPods = map[types.UID]boundPod{}
	a.mu.Unlock()
	claims := map[boundPod][]types.UID{} // a Pod may have thousands of claims
	for claim, bound := range unchecked {
		claims[bound] = append(claims[bound], claim)
	}
	ctx, cancel := context.WithTimeout(ctx, podCheckTimeout)
	defer cancel()
	failures := make(chan error, len(claims))
	var group errgroup.Group
	group.SetLimit(maxParallelRequests)
	for bound, claimUIDs := range claims {
		group.Go(func() error {
			ended, err := isPodFinishedOrGone(ctx, r.Client, r.APIReader, types.NamespacedName{Namespace: namespace, Name: bound.name}, bound.uid)
			a.mu.Lock()
			defer a.mu.Unlock()
			for _, claim := range claimUIDs {
				a.claims.SetPodKnown(claim, err == nil)
				if _, presence := a.claims.Find(claim); err != nil && presence == rules.ExistenceConfirmed {
					a.uncheckedPods[claim] = bound
				}
				if err == nil && ended {
					a.recordPodEnded(claim)
				}
			}
			failures <- err
			return nil
		})
	}
	_ = group.Wait() // all errors are in failures, so that the first doesn't hide the others
	close(failures)
	var failed error
	for err := range failures {
		if err != nil {
			failed = err
		}
	}
	return failed
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
