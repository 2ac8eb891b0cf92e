package konductor

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// newTestClient returns a Client of an API server that handles its requests like that.
func newTestClient(t *testing.T, handle http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	c, err := New(&rest.Config{Host: server.URL}, InNamespace("etl"))
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// newUnansweredClient returns a Client of an API server that doesn't answer.
func newUnansweredClient(t *testing.T) *Client {
	t.Helper()
	end := make(chan struct{})
	c := newTestClient(t, func(http.ResponseWriter, *http.Request) { <-end })
	t.Cleanup(func() { close(end) })
	return c
}

// everyCall has a call of each group.
func everyCall(c *Client) map[string]func(context.Context) error {
	return map[string]func(context.Context) error{
		"WaitGate":         func(ctx context.Context) error { return c.WaitGate(ctx, "x") },
		"ArriveBarrier":    func(ctx context.Context) error { return c.ArriveBarrier(ctx, "x") },
		"AcquireLease":     func(ctx context.Context) error { _, err := c.AcquireLease(ctx, "x"); return err },
		"AcquireAll":       func(ctx context.Context) error { _, err := c.AcquireAll(ctx, []Wanted{OnLease("x")}); return err },
		"TryAcquireLease":  func(ctx context.Context) error { _, err := c.TryAcquireLease(ctx, "x"); return err },
		"WithLease":        func(ctx context.Context) error { return c.WithLease(ctx, "x", nil) },
		"RenewLease":       func(ctx context.Context) error { return c.RenewLease(ctx, "x") },
		"ReleaseSemaphore": func(ctx context.Context) error { return c.ReleaseSemaphore(ctx, "x") },
		"BreakLease":       func(ctx context.Context) error { _, err := c.BreakLease(ctx, "x"); return err },
		"CreateLease":      func(ctx context.Context) error { _, err := c.CreateLease(ctx, "x"); return err },
		"GetBarrier":       func(ctx context.Context) error { _, err := c.GetBarrier(ctx, "x"); return err },
		"ListGates":        func(ctx context.Context) error { _, err := c.ListGates(ctx); return err },
		"ResizeSemaphore":  func(ctx context.Context) error { _, err := c.ResizeSemaphore(ctx, "x", 1); return err },
		"DeleteGate":       func(ctx context.Context) error { return c.DeleteGate(ctx, "x") },
		"DeleteLease":      func(ctx context.Context) error { return c.DeleteLease(ctx, "x", UnlessHeld()) },
	}
}

func TestEndedContext(t *testing.T) {
	why := errors.New("why")
	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	withCause, cancelCause := context.WithCancelCause(t.Context())
	cancelCause(why)
	for what, test := range map[string]struct {
		ctx       func() (context.Context, context.CancelFunc)
		want, not error
		cause     error
	}{
		"canceled":              {func() (context.Context, context.CancelFunc) { return canceled, cancel }, context.Canceled, context.DeadlineExceeded, nil},
		"canceled with a cause": {func() (context.Context, context.CancelFunc) { return withCause, cancel }, context.Canceled, context.DeadlineExceeded, why},
		"out of time": {func() (context.Context, context.CancelFunc) {
			return context.WithTimeout(t.Context(), 10*time.Millisecond)
		}, context.DeadlineExceeded, context.Canceled, nil},
		"out of time with a cause": {func() (context.Context, context.CancelFunc) {
			return context.WithTimeoutCause(t.Context(), 10*time.Millisecond, why)
		}, context.DeadlineExceeded, context.Canceled, why},
	} {
		c := newUnansweredClient(t)
		for call, f := range everyCall(c) {
			ctx, cancel := test.ctx()
			err := f(ctx)
			cancel()
			if !errors.Is(err, test.want) || errors.Is(err, test.not) || test.cause != nil && !errors.Is(err, test.cause) {
				t.Errorf("%s, %s: got error %#v %v", what, call, err, err)
			}
		}
	}
}

func TestCallTimeoutIsDeadlineExceeded(t *testing.T) {
	c := newUnansweredClient(t)
	for call, err := range map[string]error{
		"WaitGate":      c.WaitGate(t.Context(), "x", WithTimeout(time.Millisecond)),
		"ArriveBarrier": c.ArriveBarrier(t.Context(), "x", WithTimeout(time.Millisecond)),
		"AcquireLease":  func() error { _, err := c.AcquireLease(t.Context(), "x", WithTimeout(time.Millisecond)); return err }(),
	} {
		var timeout *TimeoutError
		if !errors.As(err, &timeout) || !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
			t.Errorf("%s: got error %#v %v", call, err, err)
		}
	}
}

// TestOwnCause: what ends a call from inside is not the end of the caller's context.
func TestOwnCause(t *testing.T) {
	missing := &NotFoundError{Kind: konductorv1.KindLease, Name: "db", Namespace: "etl", Deleted: true}
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(ownCause{missing})
	longer, stop := withGracePeriod(ctx, time.Millisecond)
	defer stop()
	<-longer.Done()
	for what, err := range map[string]error{"at once": endError(ctx), "later": endError(longer)} {
		if err != error(missing) || errors.Is(err, context.Canceled) || !apierrors.IsNotFound(err) { //nolint:errorlint // the very same
			t.Errorf("%s: got error %#v", what, err)
		}
	}
}

func TestUnanswered(t *testing.T) {
	ctx, cancel := context.WithTimeoutCause(t.Context(), 0, errNonBlockingTimeout)
	defer cancel()
	o := applyOptions([]WaitOption{WithTimeout(0)})
	err := o.contextError(ctx, "lease/db", "")
	want := "waiting for lease/db: the API server has not answered within 45s, and a timeout of 0 doesn't wait longer"
	var unanswered *UnansweredError
	if !errors.As(err, &unanswered) || err.Error() != want || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got error %#v %v, want %s", err, err, want)
	}
}
