package konductor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// RenewLease prolongs the hold that an earlier, Detached acquire of the same identity left. It returns a *LostError when
// there is none any more. Options: WithHolder, DryRun.
func (c *Client) RenewLease(ctx context.Context, name string, opts ...Option) error {
	return c.renew(ctx, konductorv1.KindLease, name, opts)
}

// RenewSemaphore does for a semaphore what RenewLease does for a lease.
func (c *Client) RenewSemaphore(ctx context.Context, name string, opts ...Option) error {
	return c.renew(ctx, konductorv1.KindSemaphore, name, opts)
}

func (c *Client) renew(ctx context.Context, kind, name string, opts []Option) error {
	t, claim, err := c.ownClaim(ctx, kind, name, opts)
	var none *NotFoundError
	if errors.As(err, &none) && none.Kind == konductorv1.KindClaim {
		return &LostError{Object: t.ref(), Reason: c.Holder(opts...) + " doesn't hold it"}
	}
	if err != nil {
		return err
	}
	if claim.Status.Phase == konductorv1.ClaimPending {
		return fmt.Errorf("%s waits for %s and doesn't hold it yet: there is nothing to renew", claim.Spec.Holder, t.ref())
	}
	if o := collect(opts); o.dryRun != nil {
		_, err := c.renewClaim(ctx, claim.Name, claim.UID, claim.Spec.Renewals+1, o.dryRun...)
		if over := endOfClaim(err); over != "" {
			return &LostError{Object: t.ref(), Reason: over}
		}
		return c.explain(err, "patch", plural(konductorv1.KindClaim), claim.Name)
	}
	hold := c.newHold(ctx, t, claim, time.Now(), options{})
	defer hold.end(nil)
	return hold.Renew(ctx)
}

// ReleaseLease gives back what an earlier, Detached acquire of the same identity left. It returns a *NotFoundError when
// there is nothing, and a *LostError when the hold had expired. Options: WithHolder, DryRun.
func (c *Client) ReleaseLease(ctx context.Context, name string, opts ...Option) error {
	return c.release(ctx, konductorv1.KindLease, name, opts)
}

// ReleaseSemaphore does for a semaphore what ReleaseLease does for a lease.
func (c *Client) ReleaseSemaphore(ctx context.Context, name string, opts ...Option) error {
	return c.release(ctx, konductorv1.KindSemaphore, name, opts)
}

func (c *Client) release(ctx context.Context, kind, name string, opts []Option) error {
	t, claim, err := c.ownClaim(ctx, kind, name, opts)
	var none *NotFoundError
	if errors.As(err, &none) && none.Kind == konductorv1.KindClaim {
		none.Message = fmt.Sprintf("%s neither holds %s nor waits for it%s", c.Holder(opts...), t.ref(), c.heldBy(ctx, kind, name))
	}
	if err != nil {
		return err
	}
	if o := collect(opts); o.dryRun != nil {
		return c.explain(c.deleteClaim(ctx, claim.Name, claim.UID, o.dryRun...), "delete", plural(konductorv1.KindClaim), claim.Name)
	}
	over, err := c.releaseClaim(ctx, claim.Name, claim.UID, claim.ResourceVersion)
	if err != nil {
		return c.explain(err, "get,delete", plural(konductorv1.KindClaim), claim.Name)
	}
	if claim.Status.Phase == konductorv1.ClaimExpired {
		over = claim.Status.Message
	}
	if over != "" {
		return &LostError{Object: t.ref(), Reason: over}
	}
	return nil
}

// heldBy says who holds an object, for one who doesn't; nothing when that can't be told.
func (c *Client) heldBy(ctx context.Context, kind, name string) string {
	var holders []string
	if kind == konductorv1.KindLease {
		if l, err := c.GetLease(ctx, name); err == nil && l.Status.Holder != "" {
			holders = append(holders, l.Status.Holder)
		}
	} else if s, err := c.GetSemaphore(ctx, name); err == nil {
		for i := range s.Status.Holders {
			holders = append(holders, s.Status.Holders[i].Holder)
		}
	}
	const named = 3
	switch {
	case len(holders) == 0:
		return ""
	case len(holders) > named:
		holders = append(holders[:named], fmt.Sprintf("%d more", len(holders)-named))
	}
	return fmt.Sprintf("; it is held by %s, and only a break takes it away from others", strings.Join(holders, ", "))
}

// ownClaim returns the claim of this identity on an object that must exist.
func (c *Client) ownClaim(ctx context.Context, kind, name string, opts []Option) (target, *konductorv1.Claim, error) {
	o := collect(opts)
	o.failIfMissing = true
	t, err := c.findTarget(ctx, kind, name, o)
	if err != nil {
		return t, nil, err
	}
	claimName := konductorv1.ClaimName(t.claimTarget(), t.object.GetUID(), c.Holder(opts...), c.identity.podUID)
	claim, err := get(ctx, c, c.objects.claims, konductorv1.KindClaim, claimName)
	return t, claim, err
}
