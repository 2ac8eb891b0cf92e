package benchenv

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// AwaitLease waits until condition is true for the lease.
func (s *Env) AwaitLease(ctx context.Context, key types.NamespacedName, condition func(*konductorv1.Lease) bool) error {
	return awaitObject(ctx, s, &konductorv1.LeaseList{}, key, condition)
}

// AwaitSemaphore waits until condition is true for the semaphore.
func (s *Env) AwaitSemaphore(ctx context.Context, key types.NamespacedName, condition func(*konductorv1.Semaphore) bool) error {
	return awaitObject(ctx, s, &konductorv1.SemaphoreList{}, key, condition)
}

// AwaitBarrier waits until condition is true for the barrier.
func (s *Env) AwaitBarrier(ctx context.Context, key types.NamespacedName, condition func(*konductorv1.Barrier) bool) error {
	return awaitObject(ctx, s, &konductorv1.BarrierList{}, key, condition)
}

// awaitObject watches one object, beginning with its present state.
func awaitObject[T client.Object](ctx context.Context, s *Env, list client.ObjectList, key types.NamespacedName, condition func(T) bool) error {
	err := AwaitObjects(ctx, s, list, key.Namespace, 1, condition, client.MatchingFields{"metadata.name": key.Name})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", key, err)
	}
	return nil
}

// AwaitObjects waits until condition has been true for n different objects of the namespace.
func AwaitObjects[T client.Object](ctx context.Context, s *Env, list client.ObjectList, namespace string, n int, condition func(T) bool, opts ...client.ListOption) error {
	found := map[types.UID]struct{}{}
	// The API server closes a watch whose client is too slow, and there are many objects.
	for len(found) < n {
		w, err := s.Objects.Watch(ctx, list, append(opts, client.InNamespace(namespace))...)
		if err != nil {
			return fmt.Errorf("%d of %d %T in %s are as awaited: %w", len(found), n, *new(T), namespace, err)
		}
		for e := range w.ResultChan() {
			if obj, ok := e.Object.(T); ok && e.Type != watch.Deleted && condition(obj) {
				found[obj.GetUID()] = struct{}{}
			}
			if len(found) >= n {
				break
			}
		}
		w.Stop()
		if ctx.Err() != nil {
			return fmt.Errorf("%d of %d %T in %s are as awaited: %w", len(found), n, *new(T), namespace, context.Cause(ctx))
		}
	}
	return nil
}

// CreateObjects creates n objects in parallel.
func (s *Env) CreateObjects(ctx context.Context, n int, object func(i int) client.Object) error {
	return ForEachParallel(ctx, n, func(ctx context.Context, i int) error { return s.Objects.Create(ctx, object(i)) })
}

// ForEachParallel calls f for 0 to n-1, maxParallel at a time.
func ForEachParallel(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallel)
	for i := range n {
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}

// namespaceControllerUser is the user that deletes everything in a terminating namespace. Any other user must annotate each claim
// before it deletes the hold of another.
const namespaceControllerUser = "system:serviceaccount:kube-system:namespace-controller"

// ClearNamespace deletes konductor's objects, the Jobs and the Pods of a namespace, as the end of the namespace would.
func (s *Env) ClearNamespace(ctx context.Context, namespace string) error {
	in := client.InNamespace(namespace)
	// First, since the operator claims again for a Job that waits.
	var jobs batchv1.JobList
	if err := s.Objects.List(ctx, &jobs, in); err != nil {
		return err
	}
	// By the default for Jobs, the garbage collector would have to write to each, and to its Pods.
	background := client.PropagationPolicy(metav1.DeletePropagationBackground)
	if err := ForEachParallel(ctx, len(jobs.Items), func(ctx context.Context, i int) error {
		return client.IgnoreNotFound(s.Objects.Delete(ctx, &jobs.Items[i], background))
	}); err != nil {
		return err
	}
	for _, kind := range []client.Object{
		&konductorv1.Claim{}, &konductorv1.Arrival{}, &konductorv1.Gate{}, &konductorv1.Barrier{}, &konductorv1.Lease{}, &konductorv1.Semaphore{},
	} {
		// With many objects the request times out. What was deleted by then stays deleted.
		err := s.namespaceControllerClient.DeleteAllOf(ctx, kind, in)
		for apierrors.IsTimeout(err) {
			err = s.namespaceControllerClient.DeleteAllOf(ctx, kind, in)
		}
		if err != nil {
			return err
		}
	}
	return s.Objects.DeleteAllOf(ctx, &corev1.Pod{}, in, client.GracePeriodSeconds(0))
}
