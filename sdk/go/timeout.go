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

var errNonBlockingTimeout = fmt.Errorf("the API server has not answered within %s, and a timeout of 0 doesn't wait longer", nonBlockingCallTimeout)

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
	err := endError(ctx)
	switch {
	case errors.Is(err, errCallTimeout):
		return &TimeoutError{Object: object, Timeout: o.timeout, Status: status}
	case errors.Is(err, errNonBlockingTimeout):
		return &UnansweredError{Object: object, Message: fmt.Sprintf("waiting for %s: %s", object, errNonBlockingTimeout)}
	default:
		return fmt.Errorf("waiting for %s: %w", object, err)
	}
}

// endError returns the error of a call whose context has ended: the cause, which is also a context.Canceled or a
// context.DeadlineExceeded to errors.Is.
func endError(ctx context.Context) error {
	cause := context.Cause(ctx)
	var own ownCause
	switch {
	case errors.As(cause, &own):
		return own.error
	case errors.Is(cause, context.Canceled), errors.Is(cause, context.DeadlineExceeded):
		return cause
	default:
		return &endedError{cause, ctx.Err()}
	}
}

// endedError is the end of a context with the caller's own cause.
type endedError struct{ cause, err error }

func (e *endedError) Error() string { return e.cause.Error() }

// Unwrap returns the cause and what the context itself says.
func (e *endedError) Unwrap() []error { return []error{e.cause, e.err} }

// ownCause is the cause of a context that this package has ended, not the caller. The call returns the error in it.
type ownCause struct{ error }

// contextErrorOr returns contextError if err is the end of bounded, and otherwise err.
func (c *Client) contextErrorOr(bounded context.Context, o options, object, status string, err error) error {
	if bounded.Err() != nil && errors.Is(err, context.Cause(bounded)) {
		return o.contextError(bounded, object, status)
	}
	return err
}

// withGracePeriod returns a context that ends that long after ctx is done, for the same reason.
func withGracePeriod(ctx context.Context, grace time.Duration) (context.Context, context.CancelFunc) {
	extended, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(grace)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(&endedError{context.Cause(ctx), ctx.Err()})
		case <-extended.Done():
		}
	})
	return extended, func() {
		stop()
		cancel(nil)
	}
}
