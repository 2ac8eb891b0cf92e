package konductor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/sdk/go/internal/apitest"
)

// waitTimeout is how long a test waits for anything before it fails.
const waitTimeout = time.Minute

// newLeaseServer returns an API server with the lease db, and a Client of it.
func newLeaseServer(t *testing.T) (*apitest.Server, *Client) {
	t.Helper()
	server := apitest.NewServer(t)
	server.CreateLease(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "db"}})
	c, err := New(server.Config(), InNamespace(apitest.Namespace))
	if err != nil {
		t.Fatal(err)
	}
	return server, c
}

// waitReleased waits until there is no claim.
func waitReleased(t *testing.T, server *apitest.Server) {
	t.Helper()
	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	for {
		changed := server.Changed()
		if len(server.Claims()) == 0 {
			return
		}
		select {
		case <-changed:
		case <-timer.C:
			t.Fatal("a claim is left")
		}
	}
}

func TestWithLease(t *testing.T) {
	failed := errors.New("no disk")
	for what, test := range map[string]struct {
		work  func(t *testing.T, server *apitest.Server, ctx context.Context, cancel func()) error
		is    error // the result is this error; nil: there is none
		lost  int   // how often the result says that the hold was lost
		first string
	}{
		"work that succeeds": {work: func(t *testing.T, server *apitest.Server, ctx context.Context, _ func()) error {
			if got, want := HoldFromContext(ctx).Token(), server.Lease("db").Status.FencingToken; got != want || ctx.Err() != nil {
				t.Errorf("it works with token %d of %d, and a context that has ended with %v", got, want, ctx.Err())
			}
			return nil
		}},
		"work that fails": {work: func(*testing.T, *apitest.Server, context.Context, func()) error { return failed }, is: failed, first: "no disk"},
		"a hold that is lost, and work that returns the context's error": {
			work: func(_ *testing.T, server *apitest.Server, ctx context.Context, _ func()) error {
				server.Expire("db")
				<-ctx.Done()
				return fmt.Errorf("stopped: %w", ctx.Err())
			}, is: context.Canceled, lost: 1, first: "stopped: context canceled",
		},
		"a hold that is lost, and work that returns why its context has ended": {
			work: func(_ *testing.T, server *apitest.Server, ctx context.Context, _ func()) error {
				server.Expire("db")
				<-ctx.Done()
				return fmt.Errorf("stopped: %w", context.Cause(ctx))
			}, lost: 1, first: "stopped: the hold on lease/db was lost: its ttl passed",
		},
		"a hold that is lost, and work that succeeds": {
			work: func(_ *testing.T, server *apitest.Server, ctx context.Context, _ func()) error {
				server.Expire("db")
				<-ctx.Done()
				return nil
			}, lost: 1, first: "the hold on lease/db was lost",
		},
		"a caller that cancels": {
			work: func(_ *testing.T, _ *apitest.Server, ctx context.Context, cancel func()) error {
				cancel()
				<-ctx.Done()
				return ctx.Err()
			}, is: context.Canceled, first: "context canceled",
		},
	} {
		t.Run(what, func(t *testing.T) {
			server, c := newLeaseServer(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := c.WithLease(ctx, "db", func(ctx context.Context) error { return test.work(t, server, ctx, cancel) })
			var lost *LostError
			switch {
			case test.is == nil && test.lost == 0 && err != nil, test.is != nil && !errors.Is(err, test.is), errors.As(err, &lost) != (test.lost > 0):
				t.Errorf("got error %v", err)
			case err != nil && (!strings.HasPrefix(err.Error(), test.first) || strings.Count(err.Error(), "was lost") != test.lost):
				t.Errorf("got error %q, want it to begin with %q", err, test.first)
			}
			waitReleased(t, server)
		})
	}
}

func TestWithLeasePanic(t *testing.T) {
	server, c := newLeaseServer(t)
	defer func() {
		if recovered := recover(); recovered != "bad luck" {
			t.Errorf("recovered %v", recovered)
		}
		if claims := server.Claims(); len(claims) != 0 {
			t.Errorf("a claim is left: %v", claims)
		}
	}()
	_ = c.WithLease(t.Context(), "db", func(context.Context) error { panic("bad luck") })
}

func TestWithLeaseNotAcquired(t *testing.T) {
	_, c := newLeaseServer(t)
	work := func(context.Context) error { t.Error("work was called"); return nil }
	var missing *NotFoundError
	if err := c.WithLease(t.Context(), "other", work, FailIfMissing()); !errors.As(err, &missing) {
		t.Errorf("got error %v", err)
	}
	if err := c.WithSemaphore(t.Context(), "other", work, FailIfMissing(), WithPermits(2)); !errors.As(err, &missing) || missing.Kind != konductorv1.KindSemaphore {
		t.Errorf("got error %v", err)
	}
}

func TestTryAcquireLease(t *testing.T) {
	server, c := newLeaseServer(t)
	hold, err := c.TryAcquireLease(t.Context(), "db", WithHolder("a"), WithTTL(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	var busy *BusyError
	if _, err := c.TryAcquireLease(t.Context(), "db", WithHolder("b")); !errors.As(err, &busy) {
		t.Errorf("a second holder gets error %v", err)
	}
	if _, err := c.TryAcquireLease(t.Context(), "db", WithHolder("a")); !errors.As(err, &busy) {
		t.Errorf("the same again gets error %v", err)
	}
	var missing *NotFoundError
	if _, err := c.TryAcquireLease(t.Context(), "other"); !errors.As(err, &missing) {
		t.Errorf("without a lease: got error %v", err)
	}
	if err := hold.Release(t.Context()); err != nil {
		t.Error(err)
	}
	waitReleased(t, server)
	if HoldFromContext(t.Context()) != nil || HoldFromContext(hold.Context()) != hold {
		t.Error("a context has the wrong hold")
	}
}
