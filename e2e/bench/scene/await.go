package scene

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// AwaitLease waits until the lease satisfies is.
func (s *Scene) AwaitLease(ctx context.Context, key types.NamespacedName, is func(*konductorv1.Lease) bool) error {
	return await(ctx, s, &konductorv1.LeaseList{}, key, is)
}

// AwaitSemaphore waits until the semaphore satisfies is.
func (s *Scene) AwaitSemaphore(ctx context.Context, key types.NamespacedName, is func(*konductorv1.Semaphore) bool) error {
	return await(ctx, s, &konductorv1.SemaphoreList{}, key, is)
}

// AwaitBarrier waits until the barrier satisfies is.
func (s *Scene) AwaitBarrier(ctx context.Context, key types.NamespacedName, is func(*konductorv1.Barrier) bool) error {
	return await(ctx, s, &konductorv1.BarrierList{}, key, is)
}

// await watches one object, from how it is now.
func await[T client.Object](ctx context.Context, s *Scene, list client.ObjectList, key types.NamespacedName, is func(T) bool) error {
	err := AwaitAll(ctx, s, list, key.Namespace, 1, is, client.MatchingFields{"metadata.name": key.Name})
	if err != nil {
		return fmt.Errorf("waiting for %s: %w", key, err)
	}
	return nil
}

// AwaitAll waits until so many different objects of the namespace satisfy is.
func AwaitAll[T client.Object](ctx context.Context, s *Scene, list client.ObjectList, namespace string, n int, is func(T) bool, opts ...client.ListOption) error {
	found := map[types.UID]struct{}{}
	// The API server closes a watch whose client is too slow for it, and there are many objects.
	for len(found) < n {
		w, err := s.Objects.Watch(ctx, list, append(opts, client.InNamespace(namespace))...)
		if err != nil {
			return fmt.Errorf("%d of %d %T in %s are as awaited: %w", len(found), n, *new(T), namespace, err)
		}
		for e := range w.ResultChan() {
			if obj, ok := e.Object.(T); ok && e.Type != watch.Deleted && is(obj) {
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

// CreateAll creates objects, many at the same time.
func (s *Scene) CreateAll(ctx context.Context, n int, object func(i int) client.Object) error {
	return Each(ctx, n, func(ctx context.Context, i int) error { return s.Objects.Create(ctx, object(i)) })
}

// Each calls f for 0 to n-1, many at the same time.
func Each(ctx context.Context, n int, f func(ctx context.Context, i int) error) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range n {
		group.Go(func() error { return f(ctx, i) })
	}
	return group.Wait()
}

// namespaceController is who deletes everything in a namespace that is being deleted. Nobody else may end the holds of
// others without saying so in each.
const namespaceController = "system:serviceaccount:kube-system:namespace-controller"

// Clear deletes konductor's objects and the Pods of a namespace, as the end of the namespace would.
func (s *Scene) Clear(ctx context.Context, namespace string) error {
	in := client.InNamespace(namespace)
	for _, kind := range []client.Object{
		&konductorv1.Claim{}, &konductorv1.Arrival{}, &konductorv1.Gate{}, &konductorv1.Barrier{}, &konductorv1.Lease{}, &konductorv1.Semaphore{},
	} {
		// Many objects take longer than a request may. Those that are gone by then are gone.
		err := s.sweeper.DeleteAllOf(ctx, kind, in)
		for apierrors.IsTimeout(err) {
			err = s.sweeper.DeleteAllOf(ctx, kind, in)
		}
		if err != nil {
			return err
		}
	}
	return s.Objects.DeleteAllOf(ctx, &corev1.Pod{}, in, client.GracePeriodSeconds(0))
}
