package konductor

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// CreateSemaphore creates a semaphore with that many permits, 0 to 1 000 000. Options: WithTTL,
// WithMaxPriority, DryRun.
func (c *Client) CreateSemaphore(ctx context.Context, name string, permits int32, opts ...CreateTargetOption) (*konductorv1.Semaphore, error) {
	o := applyOptions(opts)
	s, err := create(ctx, c, c.clients.semaphores, newSemaphore(name, permits, o), metav1.CreateOptions{DryRun: o.dryRun})
	return s, c.explain(err, "create", groupResource(konductorv1.KindSemaphore), name)
}

// NewSemaphore returns the semaphore that CreateSemaphore creates.
func NewSemaphore(name string, permits int32, opts ...TargetOption) *konductorv1.Semaphore {
	return newSemaphore(name, permits, applyOptions(opts))
}

func newSemaphore(name string, permits int32, o options) *konductorv1.Semaphore {
	return &konductorv1.Semaphore{
		TypeMeta:   typeMeta(konductorv1.KindSemaphore),
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       konductorv1.SemaphoreSpec{Permits: permits, TTL: durationOrNil(o.ttl), MaxPriority: o.maxPriority},
	}
}

// GetSemaphore returns a semaphore, or a *NotFoundError.
func (c *Client) GetSemaphore(ctx context.Context, name string) (*konductorv1.Semaphore, error) {
	return getInteractive(ctx, c, c.clients.semaphores, konductorv1.KindSemaphore, name)
}

// ListSemaphores returns all semaphores of the namespace.
func (c *Client) ListSemaphores(ctx context.Context) (*konductorv1.SemaphoreList, error) {
	return listInteractive(ctx, c, c.clients.semaphores, konductorv1.KindSemaphore, metav1.ListOptions{})
}

// ResizeSemaphore sets the number of permits. 0 pauses the semaphore. No holder loses a permit. Options: OnlyUID,
// OnlyFromPermits, DryRun.
func (c *Client) ResizeSemaphore(ctx context.Context, name string, permits int32, opts ...ResizeOption) (*konductorv1.Semaphore, error) {
	if name == "" {
		return nil, errNameRequired
	}
	o := applyOptions(opts)
	outcomeUnknown := false
	for {
		s, retry, err := c.resizeOnce(ctx, name, permits, o, &outcomeUnknown)
		if !retry {
			return s, err
		}
	}
}

// resizeOnce patches a semaphore if it is as the options require. retry says that it has changed between the read and the
// patch. outcomeUnknown is set once the answer to a patch was lost: the patch may have been carried out.
func (c *Client) resizeOnce(ctx context.Context, name string, permits int32, o options, outcomeUnknown *bool) (s *konductorv1.Semaphore, retry bool, err error) {
	metadata := map[string]any{}
	if o.onlyUID != "" {
		metadata["uid"] = o.onlyUID
	}
	if o.onlyFromPermits != nil {
		now, err := c.GetSemaphore(ctx, name)
		switch {
		case err != nil:
			return nil, false, err
		case o.onlyUID != "" && now.UID != o.onlyUID:
			return nil, false, c.replacedError(konductorv1.KindSemaphore, name)
		case *outcomeUnknown && now.Spec.Permits == permits:
			return now, false, nil
		case now.Spec.Permits != *o.onlyFromPermits:
			return nil, false, &ConflictError{
				Object:  ref(konductorv1.KindSemaphore, name),
				Message: fmt.Sprintf("%s in namespace %s now has %d permits, not %d: nothing was done", ref(konductorv1.KindSemaphore, name), c.namespace, now.Spec.Permits, *o.onlyFromPermits),
			}
		}
		metadata["resourceVersion"] = now.ResourceVersion
	}
	patch, err := json.Marshal(map[string]any{"metadata": metadata, "spec": map[string]any{"permits": permits}})
	if err != nil {
		return nil, false, err
	}
	changed := false // by another, so that the same patch can't succeed any more
	err = c.retryInteractive(ctx, func(ctx context.Context) (err error) {
		s, err = c.clients.semaphores.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{DryRun: o.dryRun})
		if len(metadata) > 0 && apierrors.IsConflict(err) {
			changed = true
			return nil
		}
		*outcomeUnknown = *outcomeUnknown || o.dryRun == nil && mayHaveBeenApplied(err)
		return err
	})
	switch {
	case isUIDMismatch(err):
		return nil, false, c.replacedError(konductorv1.KindSemaphore, name)
	case changed:
		return nil, true, nil
	default:
		return s, false, c.explain(err, "patch", groupResource(konductorv1.KindSemaphore), name)
	}
}

// BreakSemaphore revokes holds on a semaphore by deleting their Claims: those of the holder that WithHolder names, in all
// Pods, or without it those of all holders. It returns the revoked holds, in the order in which they were granted. The
// holders are notified, but may act on their holds until then. It returns a *NotFoundError if there is no such hold, or
// none any more. Options: WithHolder, OnlyClaims, DryRun.
func (c *Client) BreakSemaphore(ctx context.Context, name string, opts ...BreakOption) (taken []konductorv1.Holder, err error) {
	o := applyOptions(opts)
	s, err := c.GetSemaphore(ctx, name)
	if err != nil {
		return nil, err
	}
	for _, h := range s.Status.Holders {
		if !o.matchesHold(h.Name, h.ClaimUID) {
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
	case o.onlyClaims != nil:
		return nil, c.notHeldError(konductorv1.KindSemaphore, name, "the holds on %s have changed in the meantime: no hold was broken")
	case o.holder != "":
		return nil, c.notHeldError(konductorv1.KindSemaphore, name, o.holder+" doesn't hold any permit of %s")
	default:
		return nil, c.notHeldError(konductorv1.KindSemaphore, name, "nobody holds any permit of %s")
	}
}

// DeleteSemaphore deletes a semaphore. Holds on it are lost, and waiters get a *NotFoundError. Options: OnlyUID,
// UnlessHeld, DryRun.
func (c *Client) DeleteSemaphore(ctx context.Context, name string, opts ...DeleteTargetOption) error {
	return deleteUnlessHeld(ctx, c, c.clients.semaphores, konductorv1.KindSemaphore, name, applyOptions(opts), func() (metaObject, string, error) {
		s, err := c.GetSemaphore(ctx, name)
		if err != nil || len(s.Status.Holders) == 0 {
			return s, "", err
		}
		return s, s.Status.Holders[0].Name, nil
	})
}
