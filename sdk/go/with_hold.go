package konductor

import (
	"context"
	"errors"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// WithLease acquires the lease, calls work while it holds the lease, and then releases it, even if work panics. Work gets
// the hold's context, which ends when the hold is lost or ctx is done, and should return soon after that. HoldFromContext
// returns the hold, for its fencing token. Options: WithHolder, WithTTL, WithDefaultTTL, WithPriority, WithTimeout,
// FailIfMissing, StopWithin, OnRenewal.
//
// If the lease can't be acquired, WithLease returns that error, which is the one of AcquireLease, and doesn't call work.
// Otherwise it returns the error of work, joined with that of the release: a *LostError if the hold was lost before work
// returned, so that others may have held the lease meanwhile. As Hold.Release does, it waits out an API server that is
// unavailable for as long as ctx allows and up to 5 s longer.
func (c *Client) WithLease(ctx context.Context, name string, work func(ctx context.Context) error, opts ...AcquireAllOption) error {
	return c.withHold(ctx, konductorv1.KindLease, name, work, applyOptions(opts))
}

// WithSemaphore does with permits of a semaphore, one or the number in WithPermits, what WithLease does with a lease.
func (c *Client) WithSemaphore(ctx context.Context, name string, work func(ctx context.Context) error, opts ...WithSemaphoreOption) error {
	return c.withHold(ctx, konductorv1.KindSemaphore, name, work, applyOptions(opts))
}

func (c *Client) withHold(ctx context.Context, kind, name string, work func(context.Context) error, o options) (err error) {
	hold, err := c.acquire(ctx, kind, name, o)
	if err != nil {
		return err
	}
	defer func() {
		// After a panic, nobody sees the error.
		if released := hold.Release(ctx); released != nil && !errors.Is(err, released) {
			err = errors.Join(err, released)
		}
	}()
	return work(hold.Context())
}
