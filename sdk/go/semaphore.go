package konductor

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// CreateSemaphore creates a semaphore with that many permits, 0 or more. Options: WithTTL, DryRun.
func (c *Client) CreateSemaphore(ctx context.Context, name string, permits int32, opts ...Option) (*konductorv1.Semaphore, error) {
	o := collect(opts)
	s, err := c.objects.semaphores.Create(ctx, NewSemaphore(name, permits, opts...), metav1.CreateOptions{DryRun: o.dryRun})
	return s, c.explain(err, "create", plural(konductorv1.KindSemaphore), name)
}

// NewSemaphore returns the semaphore that CreateSemaphore creates.
func NewSemaphore(name string, permits int32, opts ...Option) *konductorv1.Semaphore {
	o := collect(opts)
	return &konductorv1.Semaphore{
		TypeMeta:   typeMeta(konductorv1.KindSemaphore),
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       konductorv1.SemaphoreSpec{Permits: permits, TTL: duration(o.ttl)},
	}
}

// GetSemaphore returns a semaphore.
func (c *Client) GetSemaphore(ctx context.Context, name string) (*konductorv1.Semaphore, error) {
	return get(ctx, c, c.objects.semaphores, konductorv1.KindSemaphore, name)
}

// ListSemaphores returns all semaphores of the namespace.
func (c *Client) ListSemaphores(ctx context.Context) (*konductorv1.SemaphoreList, error) {
	list, err := c.objects.semaphores.List(ctx, metav1.ListOptions{})
	return list, c.explain(err, "list", plural(konductorv1.KindSemaphore), "")
}

// ResizeSemaphore sets how many permits there are. 0 pauses the semaphore. Nobody loses a permit by it.
func (c *Client) ResizeSemaphore(ctx context.Context, name string, permits int32, opts ...Option) (*konductorv1.Semaphore, error) {
	if name == "" {
		return nil, errNoName
	}
	o := collect(opts)
	patch := fmt.Appendf(nil, `{"spec":{"permits":%d}}`, permits)
	var s *konductorv1.Semaphore
	err := c.retry(ctx, func() (err error) {
		s, err = c.objects.semaphores.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{DryRun: o.dryRun})
		return err
	})
	return s, c.explain(err, "patch", plural(konductorv1.KindSemaphore), name)
}

// BreakSemaphore takes the permits of a semaphore away from the holder that WithHolder names, in whichever Pods it holds
// some, or without it from all holders, and returns which holds it took away, in the order in which they were granted. The
// holders learn of it, but may act on their holds until then. It returns a *NotFoundError when there is no such hold, or
// none any more. Options: WithHolder, OnlyClaims, DryRun.
func (c *Client) BreakSemaphore(ctx context.Context, name string, opts ...Option) (taken []konductorv1.SemaphoreHolder, err error) {
	o := collect(opts)
	s, err := c.GetSemaphore(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, h := range s.Status.Holders {
		if !o.breaks(h.Holder, h.ClaimUID) {
			continue
		}
		broken, err := c.breakHold(ctx, konductorv1.KindSemaphore, name, h.Claim, h.ClaimUID, o)
		if err != nil {
			return taken, err
		}
		if broken {
			taken = append(taken, h)
		}
	}
	switch {
	case len(taken) > 0:
		return taken, nil
	case o.claims != nil:
		return nil, c.notHeld(konductorv1.KindSemaphore, name, "the permits of %s have changed hands: nothing was taken away")
	case o.holder != "":
		return nil, c.notHeld(konductorv1.KindSemaphore, name, o.holder+" doesn't hold any permit of %s")
	default:
		return nil, c.notHeld(konductorv1.KindSemaphore, name, "nobody holds any permit of %s")
	}
}

// DeleteSemaphore deletes a semaphore. Holds on it are lost, and those who wait for it end with a *NotFoundError.
func (c *Client) DeleteSemaphore(ctx context.Context, name string, opts ...Option) error {
	return remove(ctx, c, c.objects.semaphores, konductorv1.KindSemaphore, name, opts)
}
