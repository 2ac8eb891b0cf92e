package konductor

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// CreateBarrier creates a barrier for expected participants. Options: WithQuorum, TimeOutAfter, ExpireAfter, DryRun.
func (c *Client) CreateBarrier(ctx context.Context, name string, expected int32, opts ...Option) (*konductorv1.Barrier, error) {
	o := collect(opts)
	b := NewBarrier(name, expected, opts...)
	b, err := c.objects.barriers.Create(ctx, b, metav1.CreateOptions{DryRun: o.dryRun})
	return b, c.explain(err, "create", plural(konductorv1.KindBarrier), name)
}

// NewBarrier returns the barrier that CreateBarrier creates.
func NewBarrier(name string, expected int32, opts ...Option) *konductorv1.Barrier {
	o := collect(opts)
	b := &konductorv1.Barrier{
		TypeMeta:   typeMeta(konductorv1.KindBarrier),
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       konductorv1.BarrierSpec{Expected: expected, Timeout: duration(o.waitAtMost), TTL: duration(o.expireAfter)},
	}
	if o.quorum != 0 {
		b.Spec.Quorum = &o.quorum
	}
	return b
}

// GetBarrier returns a barrier.
func (c *Client) GetBarrier(ctx context.Context, name string) (*konductorv1.Barrier, error) {
	return get(ctx, c, c.objects.barriers, konductorv1.KindBarrier, name)
}

// ListBarriers returns all barriers of the namespace.
func (c *Client) ListBarriers(ctx context.Context) (*konductorv1.BarrierList, error) {
	list, err := c.objects.barriers.List(ctx, metav1.ListOptions{})
	return list, c.explain(err, "list", plural(konductorv1.KindBarrier), "")
}

// DeleteBarrier deletes a barrier and with it its arrivals. Those who wait for it end with a *NotFoundError.
func (c *Client) DeleteBarrier(ctx context.Context, name string, opts ...Option) error {
	return remove(ctx, c, c.objects.barriers, konductorv1.KindBarrier, name, opts)
}

// ArriveBarrier arrives at a barrier. A participant counts once, so it does no harm to arrive again, and one may arrive
// at a barrier that is open already. Options: WithHolder, AsFailed, WithTimeout, FailIfMissing (a barrier that doesn't
// exist yet is waited for), DryRun.
//
// It returns a *TermsError when the participant has arrived before with another outcome: failed, and now well, or the
// other way round.
func (c *Client) ArriveBarrier(ctx context.Context, name string, opts ...Option) error {
	o := collect(opts)
	bounded, cancel := o.bounded(ctx)
	defer cancel()
	err := c.arrive(bounded, name, o, opts)
	return c.endedOr(bounded, o, ref(konductorv1.KindBarrier, name), "", err)
}

func (c *Client) arrive(ctx context.Context, name string, o options, opts []Option) error {
	remaining := o
	remaining.hasTimeout = o.lookOnce() // the limit in time is in ctx already
	var barrier *openable
	err := waitFor(ctx, c, c.objects.openables[konductorv1.KindBarrier], konductorv1.KindBarrier, name, remaining, func(b *openable) (bool, string, error) {
		barrier = b
		return true, "", nil
	})
	if err != nil {
		return err
	}
	participant, err := c.Participant(ctx, opts...)
	if err != nil {
		return err
	}
	arrival := &konductorv1.Arrival{
		ObjectMeta: metav1.ObjectMeta{
			Name:            konductorv1.ArrivalName(name, barrier.UID, participant),
			OwnerReferences: []metav1.OwnerReference{ownedBy(konductorv1.KindBarrier, barrier)},
		},
		Spec: konductorv1.ArrivalSpec{Barrier: name, Participant: participant, Failed: o.failed, Reason: o.reason, BoundTo: c.identity.bound()},
	}
	err = c.retry(ctx, func() error {
		_, err := c.objects.arrivals.Create(ctx, arrival, metav1.CreateOptions{DryRun: o.dryRun})
		return err
	})
	if apierrors.IsAlreadyExists(err) {
		return c.sameArrival(ctx, arrival)
	}
	return c.explain(err, "create", plural(konductorv1.KindArrival), arrival.Name)
}

// sameArrival checks that it was this participant who arrived before, and as it does now. Another may have made an arrival
// of this name.
func (c *Client) sameArrival(ctx context.Context, arrival *konductorv1.Arrival) error {
	before, err := get(ctx, c, c.objects.arrivals, konductorv1.KindArrival, arrival.Name)
	if err != nil {
		return err
	}
	if before.Spec.Barrier != arrival.Spec.Barrier || before.Spec.Participant != arrival.Spec.Participant {
		return fmt.Errorf("arrival %s is not that of %s at %s but of %s: whoever may break %s can delete it; until then use another holder",
			before.Name, arrival.Spec.Participant, ref(konductorv1.KindBarrier, arrival.Spec.Barrier),
			owner(before.Spec.Participant, before.Spec.BoundTo), ref(konductorv1.KindBarrier, before.Spec.Barrier))
	}
	if before.Spec.Failed != arrival.Spec.Failed {
		return &TermsError{
			Object: ref(konductorv1.KindBarrier, arrival.Spec.Barrier), Holder: arrival.Spec.Participant,
			Difference: fmt.Sprintf("failed: %t before, %t now", before.Spec.Failed, arrival.Spec.Failed),
		}
	}
	return nil
}

// WaitBarrier waits until a barrier is open. It returns a *FailedError as soon as the barrier has failed or timed out.
// Options: WithTimeout, FailIfMissing.
func (c *Client) WaitBarrier(ctx context.Context, name string, opts ...Option) error {
	return c.waitOpen(ctx, konductorv1.KindBarrier, name, opts)
}
