package konductor

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// CreateLease creates a lease. Options: WithTTL, WithMaxPriority, DryRun.
func (c *Client) CreateLease(ctx context.Context, name string, opts ...CreateTargetOption) (*konductorv1.Lease, error) {
	o := applyOptions(opts)
	l, err := create(ctx, c, c.clients.leases, newLease(name, o), metav1.CreateOptions{DryRun: o.dryRun})
	return l, c.explain(err, "create", groupResource(konductorv1.KindLease), name)
}

// NewLease returns the lease that CreateLease creates.
func NewLease(name string, opts ...TargetOption) *konductorv1.Lease {
	return newLease(name, applyOptions(opts))
}

func newLease(name string, o options) *konductorv1.Lease {
	return &konductorv1.Lease{
		TypeMeta:   typeMeta(konductorv1.KindLease),
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       konductorv1.LeaseSpec{TTL: durationOrNil(o.ttl), MaxPriority: o.maxPriority},
	}
}

// GetLease returns a lease, or a *NotFoundError.
func (c *Client) GetLease(ctx context.Context, name string) (*konductorv1.Lease, error) {
	return getInteractive(ctx, c, c.clients.leases, konductorv1.KindLease, name)
}

// ListLeases returns all leases of the namespace.
func (c *Client) ListLeases(ctx context.Context) (*konductorv1.LeaseList, error) {
	return listInteractive(ctx, c, c.clients.leases, konductorv1.KindLease, metav1.ListOptions{})
}

// DeleteLease deletes a lease. A hold on it is lost, and waiters get a *NotFoundError. Options: OnlyUID, UnlessHeld,
// DryRun.
func (c *Client) DeleteLease(ctx context.Context, name string, opts ...DeleteTargetOption) error {
	return deleteUnlessHeld(ctx, c, c.clients.leases, konductorv1.KindLease, name, applyOptions(opts), func() (metaObject, string, error) {
		l, err := c.GetLease(ctx, name)
		if err != nil {
			return nil, "", err
		}
		return l, l.Status.Holder, nil
	})
}

// BreakLease revokes the hold on a lease by deleting its Claim, and returns the name of its holder. The holder is notified,
// but may act on the hold until then. If nobody holds the lease, if the options exclude the hold, or if it ends by itself
// at that moment, BreakLease revokes nothing and returns a *NotFoundError. Options: WithHolder (only if that is the
// holder), OnlyClaims, DryRun.
func (c *Client) BreakLease(ctx context.Context, name string, opts ...BreakOption) (holder string, err error) {
	o := applyOptions(opts)
	l, err := c.GetLease(ctx, name)
	if err != nil {
		return "", err
	}
	holders := l.Status.Holders()
	if len(holders) == 0 {
		return "", c.notHeldError(konductorv1.KindLease, name, "nobody holds %s")
	}
	held := holders[0]
	holder = held.Name
	switch {
	case o.holder != "" && o.holder != holder:
		return "", c.notHeldError(konductorv1.KindLease, name, o.holder+" doesn't hold %s, "+holder+" does: no hold was broken")
	case !o.matchesHold(holder, held.ClaimUID):
		return "", c.notHeldError(konductorv1.KindLease, name, "%s was granted again in the meantime, to "+holder+": no hold was broken")
	}
	broken, err := c.breakHold(ctx, konductorv1.KindLease, name, held.Claim, held.ClaimUID, o)
	switch {
	case err != nil:
		return "", err
	case !broken:
		return "", c.notHeldError(konductorv1.KindLease, name, holder+" no longer holds %s: no hold was broken")
	}
	return holder, nil
}
