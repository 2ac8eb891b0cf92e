package integration

import (
	"context"
	"net/http"
	"testing"
	"time"

	"go.uber.org/goleak"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Tests in this file don't run beside others, so that every goroutine that is left is theirs.

func TestTheSDKLeavesNoGoroutineBehind(t *testing.T) {
	w := newWorldOn(t, shared)
	op := w.operator()
	w.withWorkers()
	lease, s := w.lease("db", konductor.WithTTL(time.Minute)), w.semaphore("api", 1)
	barrierOf(w, "stage", 1)
	barrierOf(w, "never", 1)
	a, b, pod := w.someone("a"), w.someone("b"), w.in(w.pod("pod"))
	w.release(pod.acquire(konductorv1.KindLease, "db"))
	before := goleak.IgnoreCurrent()

	ctx, cancel := context.WithCancel(w.ctx)
	hold, err := a.AcquireLease(ctx, "db", a.as(nil)...)
	w.ok(err)
	cancelled := b.queueWith(ctx, konductorv1.KindLease, lease)
	timedOut := waiting(w, func() error {
		_, err := b.AcquireLease(w.ctx, "missing", konductor.WithTimeout(2*time.Second))
		return err
	})
	barrier := waiting(w, func() error { return a.WaitBarrier(ctx, "never") })
	arrive(w, "stage", "x")
	w.ok(b.WaitBarrier(w.ctx, "stage"))
	broken, err := pod.AcquireSemaphore(w.ctx, s.Name, konductor.WithTTL(time.Minute))
	w.ok(err)
	w.ok(a.breakAll(konductorv1.KindSemaphore, s.Name))
	w.closes(broken.Lost(), "the loss of a broken hold")
	detached, err := b.AcquireSemaphore(w.ctx, s.Name, b.as([]konductor.Option{konductor.Detached(), konductor.WithTTL(time.Hour)})...)
	w.ok(err)
	w.ok(detached.Renew(w.ctx))
	w.ok(detached.Release(w.ctx))
	cancel()
	cancelled.fails()
	timedOut.fails()
	barrier.fails()
	w.ok(hold.Release(context.WithoutCancel(ctx)))

	op.stop()
	if err := goleak.Find(append(connections(), before)...); err != nil {
		t.Error(err)
	}
}

// breakAll deletes every claim on the object.
func (a *actor) breakAll(kind, name string) error {
	claims, err := a.ListClaims(a.w.ctx, kind, name)
	if err != nil {
		return err
	}
	for i := range claims.Items {
		if err := a.w.objects.Delete(a.w.ctx, &claims.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

func TestTheOperatorLeavesNoGoroutineBehind(t *testing.T) {
	w := newWorldOn(t, shared)
	before := goleak.IgnoreCurrent()
	config, wire := w.wired(w.operators)
	op := w.operatorWith(func(o *operator.Options) { o.Config = config })
	w.lease("db")
	w.release(w.someone("a").acquire(konductorv1.KindLease, "db"))
	// It stops as well while it can't reach the API server.
	wire.cutFor(func(*http.Request) bool { return true })
	op.stop()
	if err := goleak.Find(append(connections(), before)...); err != nil {
		t.Error(err)
	}
}
