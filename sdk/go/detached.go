package konductor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// RenewLease prolongs the hold that an earlier Detached acquire of the same identity left. It returns a *LostError if there
// is none any more. Options: WithHolder, OnlyUID, DryRun.
func (c *Client) RenewLease(ctx context.Context, name string, opts ...DetachedHoldOption) error {
	return c.renewDetached(ctx, konductorv1.KindLease, name, applyOptions(opts))
}

// RenewSemaphore does for a semaphore what RenewLease does for a lease.
func (c *Client) RenewSemaphore(ctx context.Context, name string, opts ...DetachedHoldOption) error {
	return c.renewDetached(ctx, konductorv1.KindSemaphore, name, applyOptions(opts))
}

func (c *Client) renewDetached(ctx context.Context, kind, name string, o options) error {
	t, claim, err := c.getOwnClaim(ctx, kind, name, o)
	var none *NotFoundError
	if errors.As(err, &none) && none.Kind == konductorv1.KindClaim {
		return &LostError{Object: t.ref(), Reason: cmp.Or(none.Message, c.holderFor(o)+" doesn't hold it")}
	}
	if err != nil {
		return err
	}
	if claim.Status.Phase == konductorv1.ClaimPending && t.lastObservedClaimUID != claim.UID {
		return fmt.Errorf("%s waits for %s and doesn't hold it yet: there is nothing to renew", claim.Spec.Holder, t.ref())
	}
	if o.dryRun != nil {
		_, err := c.renewClaim(ctx, claim.Name, claim.UID, claim.Status.FencingToken, claim.Spec.Renewals+1, o.dryRun...)
		if endReason := claimEndReason(err); endReason != "" {
			return &LostError{Object: t.ref(), Reason: endReason}
		}
		return c.explain(err, "patch", groupResource(konductorv1.KindClaim), claim.Name)
	}
	hold := c.newHold(ctx, t, claim, time.Now(), options{})
	defer hold.shutdown(nil)
	return hold.Renew(ctx)
}

// ReleaseLease releases the hold that an earlier Detached acquire of the same identity left. It returns a *NotFoundError if
// there is none, and a *LostError if the hold had expired. Options: WithHolder, OnlyUID, DryRun.
func (c *Client) ReleaseLease(ctx context.Context, name string, opts ...DetachedHoldOption) error {
	return c.releaseDetached(ctx, konductorv1.KindLease, name, applyOptions(opts))
}

// ReleaseSemaphore does for a semaphore what ReleaseLease does for a lease.
func (c *Client) ReleaseSemaphore(ctx context.Context, name string, opts ...DetachedHoldOption) error {
	return c.releaseDetached(ctx, konductorv1.KindSemaphore, name, applyOptions(opts))
}

func (c *Client) releaseDetached(ctx context.Context, kind, name string, o options) error {
	t, claim, err := c.getOwnClaim(ctx, kind, name, o)
	var none *NotFoundError
	if errors.As(err, &none) && none.Kind == konductorv1.KindClaim {
		if none.Message != "" {
			return none
		}
		none.Message = fmt.Sprintf("%s has no hold on %s and is not queued%s", c.holderFor(o), t.ref(), c.describeHolders(ctx, kind, name))
	}
	if err != nil {
		return err
	}
	if o.dryRun != nil {
		return c.explain(c.deleteClaim(ctx, claim.Name, claim.UID, o.dryRun...), "delete", groupResource(konductorv1.KindClaim), claim.Name)
	}
	endReason, err := c.releaseClaim(ctx, claim.Name, claim.UID, claim.ResourceVersion)
	if err != nil {
		return c.explain(err, "get,delete", groupResource(konductorv1.KindClaim), claim.Name)
	}
	if claim.Status.Phase == konductorv1.ClaimExpired {
		endReason = claim.Status.Message
	}
	if endReason != "" {
		return &LostError{Object: t.ref(), Reason: endReason}
	}
	return nil
}

// describeHolders names the holders of an object, for a client that is none of them; empty: nobody holds it, or it is
// unknown.
func (c *Client) describeHolders(ctx context.Context, kind, name string) string {
	var holders []string
	if kind == konductorv1.KindLease {
		if l, err := c.GetLease(ctx, name); err == nil && l.Status.Holder != "" {
			holders = append(holders, l.Status.Holder)
		}
	} else if s, err := c.GetSemaphore(ctx, name); err == nil {
		for i := range s.Status.Holders {
			holders = append(holders, s.Status.Holders[i].Name)
		}
	}
	const named = 3
	switch {
	case len(holders) == 0:
		return ""
	case len(holders) > named:
		holders = append(holders[:named], fmt.Sprintf("%d more", len(holders)-named))
	}
	return fmt.Sprintf("; held by %s (only a break can end the hold of another holder)", strings.Join(holders, ", "))
}

// getOwnClaim returns the claim of this identity on an object, which must exist.
func (c *Client) getOwnClaim(ctx context.Context, kind, name string, o options) (target, *konductorv1.Claim, error) {
	o.failIfMissing = true
	t, err := c.awaitTarget(ctx, kind, name, o)
	if err != nil {
		return t, nil, err
	}
	if o.onlyUID != "" && t.object.GetUID() != o.onlyUID {
		return t, nil, c.replacedError(kind, name)
	}
	claimName := konductorv1.ClaimName(t.claimTarget(), c.holderFor(o), c.identity.podUID)
	claim, err := get(ctx, c, c.clients.claims, konductorv1.KindClaim, claimName)
	var none *NotFoundError
	if errors.As(err, &none) && o.holder == "" && c.identity.pod == "" && c.identity.host != c.Holder() {
		// Outside of Pods, earlier versions used the host's name alone as the holder. Another machine may have the same
		// name.
		former := konductorv1.ClaimName(t.claimTarget(), c.identity.host, "")
		if _, formerErr := get(ctx, c, c.clients.claims, konductorv1.KindClaim, former); formerErr == nil {
			none.Message = fmt.Sprintf("%s has no claim on %s, but %s has one, created by an earlier version on this machine or by another machine with that name: if it is yours, set the holder to %s",
				c.Holder(), t.ref(), c.identity.host, c.identity.host)
		}
	}
	return t, claim, err
}
