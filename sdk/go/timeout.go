package konductor

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// errCallTimeout is the cause of a context that WithTimeout has ended.
var errCallTimeout = errors.New("timeout")

// nonBlockingCallTimeout is how long a call with a timeout of 0 waits for the API server.
const nonBlockingCallTimeout = firstContactTimeout + rbacSyncTimeout

var errNonBlockingTimeout = fmt.Errorf("the API server has not answered within %s, and a timeout of 0 doesn't wait for it", nonBlockingCallTimeout)

// withCallTimeout returns ctx limited by the call's timeout. With a timeout of 0 the limit is nonBlockingCallTimeout, for
// the one check that the call makes.
func (o *options) withCallTimeout(ctx context.Context) (context.Context, context.CancelFunc) {
	if !o.hasTimeout {
		return context.WithCancel(ctx)
	}
	if o.isNonBlocking() {
		return context.WithTimeoutCause(ctx, nonBlockingCallTimeout, errNonBlockingTimeout)
	}
	return context.WithTimeoutCause(ctx, o.timeout, errCallTimeout)
}

// isNonBlocking reports whether the call checks once and doesn't wait (timeout 0).
func (o *options) isNonBlocking() bool { return o.hasTimeout && o.timeout == 0 }

// contextError returns the error of a call whose context has ended: a *TimeoutError if its timeout was the cause.
func (o *options) contextError(ctx context.Context, object, status string) error {
	if errors.Is(context.Cause(ctx), errCallTimeout) {
		return &TimeoutError{Object: object, Timeout: o.timeout, Status: status}
	}
	return fmt.Errorf("waiting for %s: %w", object, context.Cause(ctx))
}

// contextErrorOr returns contextError if err is the end of bounded, and otherwise err.
func (c *Client) contextErrorOr(bounded context.Context, o options, object, status string, err error) error {
	if bounded.Err() != nil && errors.Is(err, context.Cause(bounded)) {
		return o.contextError(bounded, object, status)
	}
	return err
}

// withGracePeriod returns a context that ends that long after ctx is done, with the same cause.
func withGracePeriod(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	extended, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(context.Cause(ctx))
		case <-extended.Done():
		}
	})
	return extended, func() {
		stop()
		cancel(nil)
	}
}
