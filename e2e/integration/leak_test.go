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

// Tests in this file don't run in parallel, so that every goroutine that is left is theirs.

func TestSDKLeaksNoGoroutine(t *testing.T) {
	w := newTestEnvOn(t, sharedCluster)
	op := w.startOperator()
	w.createWorkerAccount()
	lease, s := w.createLease("db", konductor.WithTTL(time.Minute)), w.createSemaphore("api", 1)
	createBarrier(w, "stage", 1)
	createBarrier(w, "never", 1)
	a, b, pod := w.newParticipant("a"), w.newParticipant("b"), w.newPodParticipant(w.createPod("pod"))
	w.mustRelease(pod.mustAcquire(konductorv1.KindLease, "db"))
	before := goleak.IgnoreCurrent()

	ctx, cancel := context.WithCancel(w.ctx)
	hold, err := a.AcquireLease(ctx, "db", a.asHolder())
	w.must(err)
	cancelled := b.enqueueWithContext(ctx, konductorv1.KindLease, lease)
	timedOut := runAsyncErr(w, func() error {
		_, err := b.AcquireLease(w.ctx, "missing", konductor.WithTimeout(2*time.Second))
		return err
	})
	barrier := runAsyncErr(w, func() error { return a.WaitBarrier(ctx, "never") })
	arriveInOrder(w, "stage", "x")
	w.must(b.WaitBarrier(w.ctx, "stage"))
	broken, err := pod.AcquireSemaphore(w.ctx, s.Name, konductor.WithTTL(time.Minute))
	w.must(err)
	w.must(a.deleteAllClaims(konductorv1.KindSemaphore, s.Name))
	w.waitClosed(broken.Lost(), "the loss of a broken hold")
	detached, err := b.AcquireSemaphore(w.ctx, s.Name, b.asHolder(), konductor.Detached(), konductor.WithTTL(time.Hour))
	w.must(err)
	w.must(detached.Renew(w.ctx))
	w.must(detached.Release(w.ctx))
	cancel()
	cancelled.mustFail()
	timedOut.mustFail()
	barrier.mustFail()
	w.must(hold.Release(context.WithoutCancel(ctx)))

	op.stop()
	if err := goleak.Find(append(ignoredGoroutines(), before)...); err != nil {
		t.Error(err)
	}
}

// deleteAllClaims deletes every claim on the object.
func (a *testParticipant) deleteAllClaims(kind, name string) error {
	claims, err := a.ListClaims(a.env.ctx, kind, name)
	if err != nil {
		return err
	}
	for i := range claims.Items {
		if err := a.env.client.Delete(a.env.ctx, &claims.Items[i]); err != nil {
			return err
		}
	}
	return nil
}

func TestOperatorLeaksNoGoroutine(t *testing.T) {
	w := newTestEnvOn(t, sharedCluster)
	before := goleak.IgnoreCurrent()
	config, wire := w.hookTransport(w.operatorConfig)
	op := w.startOperatorWith(func(o *operator.Options) { o.Config = config })
	w.createLease("db")
	w.mustRelease(w.newParticipant("a").mustAcquire(konductorv1.KindLease, "db"))
	// The operator stops as well while the API server is unreachable.
	wire.failRequests(func(*http.Request) bool { return true })
	op.stop()
	if err := goleak.Find(append(ignoredGoroutines(), before)...); err != nil {
		t.Error(err)
	}
}
