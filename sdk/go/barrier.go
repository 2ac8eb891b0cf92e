package konductor

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// CreateBarrier creates a barrier for that many expected participants, 1 to 1 000 000. Options: WithQuorum,
// WithTimeoutAfterCreation, WithTTLAfterFinished, DryRun.
func (c *Client) CreateBarrier(ctx context.Context, name string, expected int32, opts ...CreateBarrierOption) (*konductorv1.Barrier, error) {
	o := applyOptions(opts)
	b, err := create(ctx, c, c.clients.barriers, newBarrier(name, expected, o), metav1.CreateOptions{DryRun: o.dryRun})
	return b, c.explain(err, "create", groupResource(konductorv1.KindBarrier), name)
}

// NewBarrier returns the barrier that CreateBarrier creates.
func NewBarrier(name string, expected int32, opts ...BarrierOption) *konductorv1.Barrier {
	return newBarrier(name, expected, applyOptions(opts))
}

func newBarrier(name string, expected int32, o options) *konductorv1.Barrier {
	b := &konductorv1.Barrier{
		TypeMeta:   typeMeta(konductorv1.KindBarrier),
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       konductorv1.BarrierSpec{Expected: expected, Timeout: durationOrNil(o.timeoutAfterCreation), TTLAfterFinished: durationOrNil(o.ttlAfterFinished)},
	}
	if o.quorum != 0 {
		b.Spec.Quorum = &o.quorum
	}
	return b
}

// GetBarrier returns a barrier, or a *NotFoundError.
func (c *Client) GetBarrier(ctx context.Context, name string) (*konductorv1.Barrier, error) {
	return getInteractive(ctx, c, c.clients.barriers, konductorv1.KindBarrier, name)
}

// ListBarriers returns all barriers of the namespace.
func (c *Client) ListBarriers(ctx context.Context) (*konductorv1.BarrierList, error) {
	return listInteractive(ctx, c, c.clients.barriers, konductorv1.KindBarrier, metav1.ListOptions{})
}

// DeleteBarrier deletes a barrier and with it its arrivals. Waiters get a *NotFoundError. Options: OnlyUID, DryRun.
func (c *Client) DeleteBarrier(ctx context.Context, name string, opts ...DeleteOption) error {
	return deleteObject(ctx, c, c.clients.barriers, konductorv1.KindBarrier, name, applyOptions(opts))
}

// ArriveBarrier arrives at a barrier. It waits for a barrier that doesn't exist yet. A participant counts once, so arriving
// again does no harm, and it may arrive at a barrier that is open already. Options: WithHolder, AsFailed, WithTimeout,
// FailIfMissing, OnlyUID, DryRun.
//
// It returns a *TermsError if the participant has arrived before with another outcome: failed and now not, or the other way
// round.
func (c *Client) ArriveBarrier(ctx context.Context, name string, opts ...ArriveOption) error {
	o := applyOptions(opts)
	bounded, cancel := o.withCallTimeout(ctx)
	defer cancel()
	err := c.arrive(bounded, name, o)
	return c.contextErrorOr(bounded, o, ref(konductorv1.KindBarrier, name), "", err)
}

// HasArrived reports whether a participant has arrived at a barrier, and not as failed. It returns a *NotFoundError if the barrier
// doesn't exist.
func (c *Client) HasArrived(ctx context.Context, name, participant string) (bool, error) {
	barrier, err := c.GetBarrier(ctx, name)
	if err != nil {
		return false, err
	}
	arrival, err := get(ctx, c, c.clients.arrivals, konductorv1.KindArrival, konductorv1.ArrivalName(name, barrier.UID, participant))
	var missing *NotFoundError
	if errors.As(err, &missing) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return arrival.Spec.BarrierUID == barrier.UID && arrival.Spec.Participant == participant && !arrival.Spec.Failed, nil
}

func (c *Client) arrive(ctx context.Context, name string, o options) error {
	remaining := o
	remaining.hasTimeout = o.isNonBlocking() // ctx has the timeout already
	var barrier *partialOpenable
	err := waitFor(ctx, c, c.clients.openableReaders[konductorv1.KindBarrier], konductorv1.KindBarrier, name, remaining, func(b *partialOpenable) (bool, string, error) {
		barrier = b
		return true, "", nil
	})
	if err != nil {
		return err
	}
	if o.onlyUID != "" && barrier.UID != o.onlyUID {
		return c.replacedError(konductorv1.KindBarrier, name)
	}
	participant, err := c.participantFor(ctx, o)
	if err != nil {
		return err
	}
	arrival := &konductorv1.Arrival{
		ObjectMeta: metav1.ObjectMeta{
			Name:            konductorv1.ArrivalName(name, barrier.UID, participant),
			OwnerReferences: []metav1.OwnerReference{ownerReference(konductorv1.KindBarrier, barrier)},
		},
		Spec: konductorv1.ArrivalSpec{
			Barrier: name, BarrierUID: barrier.UID, Participant: participant, Failed: o.arriveFailed, Reason: o.failedReason, BoundTo: c.identity.boundPod(),
		},
	}
	if err := c.annotateCreatedBy(ctx, &arrival.ObjectMeta); err != nil {
		return err
	}
	// Canceling the request would leave it unknown whether the participant has arrived.
	extended, cancel := withGracePeriod(ctx, cleanupGracePeriod)
	defer cancel()
	outcomeUnknown := false
	err = c.retryWithBackoff(ctx, extended, &backoff{nonBlocking: o.isNonBlocking()}, func(ctx context.Context) error {
		_, err := c.clients.arrivals.Create(ctx, arrival.DeepCopy(), metav1.CreateOptions{DryRun: o.dryRun})
		outcomeUnknown = outcomeUnknown || mayHaveBeenApplied(err)
		return err
	})
	if apierrors.IsAlreadyExists(err) {
		if err = c.checkExistingArrival(ctx, arrival); err == nil && !outcomeUnknown {
			c.notify(fmt.Sprintf("%s has already arrived at %s; it counts only once", participant, ref(konductorv1.KindBarrier, name)))
		}
		return err
	}
	c.createdBy.resetIfForbidden(err)
	return c.explain(err, "create", groupResource(konductorv1.KindArrival), arrival.Name)
}

// checkExistingArrival checks that the existing arrival is this participant's, with the same outcome. Somebody else may
// have created an arrival of this name.
func (c *Client) checkExistingArrival(ctx context.Context, arrival *konductorv1.Arrival) error {
	before, err := get(ctx, c, c.clients.arrivals, konductorv1.KindArrival, arrival.Name)
	if err != nil {
		return err
	}
	if before.Spec.Barrier != arrival.Spec.Barrier || before.Spec.Participant != arrival.Spec.Participant {
		return fmt.Errorf("arrival %s at %s belongs to %s, not to %s: use another holder, or ask someone with the right to break %s to delete it",
			before.Name, ref(konductorv1.KindBarrier, arrival.Spec.Barrier), holderDisplayName(before.Spec.Participant, before.Spec.BoundTo),
			arrival.Spec.Participant, ref(konductorv1.KindBarrier, before.Spec.Barrier))
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
func (c *Client) WaitBarrier(ctx context.Context, name string, opts ...WaitOption) error {
	return c.waitOpen(ctx, konductorv1.KindBarrier, name, applyOptions(opts))
}
