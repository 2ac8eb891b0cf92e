package integration

import (
	"context"
	"errors"
	"testing"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// TestWithSemaphore: work runs while its permits are held, which others see, and they are released even if it fails.
func TestWithSemaphore(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createSemaphore("api", 3)
	checker := w.checkRevisions(konductorv1.KindSemaphore, "api")
	a, b := w.newParticipant("a"), w.newParticipant("b")
	failed := errors.New("no disk")
	err := a.WithSemaphore(w.ctx, "api", func(ctx context.Context) error {
		hold := konductor.HoldFromContext(ctx)
		s := getObject[*konductorv1.Semaphore](w, "api")
		if s.Status.InUse != 2 || s.Status.Holders[0].FencingToken != hold.Token() || hold.Holder() != "a" {
			t.Errorf("the hold has token %d, and the semaphore is %+v", hold.Token(), s.Status)
		}
		_, err := b.TryAcquireSemaphore(w.ctx, "api", b.asHolder(), konductor.WithPermits(2))
		requireErrorAs[*konductor.BusyError](w, err)
		one, err := b.TryAcquireSemaphore(w.ctx, "api", b.asHolder())
		w.must(err)
		w.mustRelease(one)
		return failed
	}, a.asHolder(), konductor.WithPermits(2), konductor.WithTTL(time.Minute))
	if err != failed { //nolint:errorlint // nothing else was wrong
		t.Errorf("got error %v, want %v", err, failed)
	}
	checker.waitIdle()
}

// TestWithLeaseLost: work whose hold is broken is told to stop, and the error says so.
func TestWithLeaseLost(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createLease("db")
	a, admin := w.newParticipant("a"), w.newParticipant("admin")
	err := a.WithLease(w.ctx, "db", func(ctx context.Context) error {
		if _, err := admin.BreakLease(w.ctx, "db"); err != nil {
			return err
		}
		w.waitClosed(ctx.Done(), "the end of the work's context")
		return ctx.Err()
	}, a.asHolder())
	requireErrorAs[*konductor.LostError](w, err)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error of the work is missing: %v", err)
	}
}
