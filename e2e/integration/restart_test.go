package integration

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

const apiServer = "kube-apiserver"

// TestOnAClusterOfItsOwn has what would disturb other tests. Its parts follow each other on one control plane.
func TestOnAClusterOfItsOwn(t *testing.T) {
	t.Parallel()
	spareStarted.Do(func() {})
	plane, err := spare()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("without the resource types every call says to install them", func(t *testing.T) {
		callsSayUninstalled(newWorldOn(t, &site{ControlPlane: plane}))
	})
	installed, err := installOn(t.Context(), plane)
	if err != nil {
		t.Fatal(err)
	}
	for how, signal := range map[string]os.Signal{"is stopped": syscall.SIGTERM, "is killed": syscall.SIGKILL} {
		t.Run("fifty waiters go on when the API server "+how+" and comes back", func(t *testing.T) {
			waitersOutliveTheAPIServer(newWorldOn(t, installed), installed, signal)
		})
	}
	t.Run("the dashboard goes on when the API server comes back", func(t *testing.T) {
		theDashboardOutlivesTheAPIServer(newWorldOn(t, installed), installed)
	})
	t.Run("calls that begin while the API server is away end when they must or wait for it", func(t *testing.T) {
		callsWhileTheAPIServerIsAway(newWorldOn(t, installed), installed)
	})
}

func callsSayUninstalled(w *world) {
	a := w.someone("a")
	get := func(_ any, err error) error { return err }
	for call, err := range map[string]error{
		"WaitBarrier":      a.WaitBarrier(w.ctx, "x"),
		"WaitGate":         a.WaitGate(w.ctx, "x"),
		"ArriveBarrier":    a.ArriveBarrier(w.ctx, "x"),
		"AcquireLease":     get(a.AcquireLease(w.ctx, "x")),
		"AcquireSemaphore": get(a.AcquireSemaphore(w.ctx, "x")),
		"ReleaseLease":     a.ReleaseLease(w.ctx, "x"),
		"CreateBarrier":    get(a.CreateBarrier(w.ctx, "x", 1)),
		"GetLease":         get(a.GetLease(w.ctx, "x")),
		"ListSemaphores":   get(a.ListSemaphores(w.ctx)),
		"DeleteGate":       a.DeleteGate(w.ctx, "x"),
	} {
		if e := wants[*konductor.UninstalledError](w, err); !strings.Contains(e.Error(), "install konductor") {
			w.Errorf("%s: %v", call, e)
		}
	}
}

// fifty are waiters of every kind, half of them in Pods with no other rights than participants have.
type fifty struct {
	holder             *actor
	lease, permits     *konductor.Hold
	queued             []*future[*konductor.Hold]
	atBarrier, atGates []*future[struct{}]
}

func startFifty(w *world) fifty {
	w.Helper()
	w.withWorkers()
	barrierOf(w, "stage", 1)
	w.gate("deps", onJob("a"))
	lease, s := w.lease("db", konductor.WithTTL(time.Minute)), w.semaphore("api", 2)
	all := fifty{holder: w.in(w.pod("holder"))}
	all.lease = all.holder.acquire(konductorv1.KindLease, "db")
	all.permits = all.holder.acquire(konductorv1.KindSemaphore, "api", konductor.WithPermits(2))
	for i := range 15 {
		a := w.someone(fmt.Sprintf("p%d", i))
		if i%2 == 0 {
			a = w.in(w.pod(fmt.Sprintf("p%d", i)))
		}
		all.queued = append(all.queued, a.queue(konductorv1.KindLease, lease), a.queue(konductorv1.KindSemaphore, s))
		if i < 10 {
			all.atBarrier = append(all.atBarrier, waiting(w, func() error { return a.WaitBarrier(w.ctx, "stage") }))
			all.atGates = append(all.atGates, waiting(w, func() error { return a.WaitGate(w.ctx, "deps") }))
		}
	}
	return all
}

func waitersOutliveTheAPIServer(w *world, on *site, signal os.Signal) {
	op := w.operator()
	lease, semaphore := w.witness(konductorv1.KindLease, "db"), w.witness(konductorv1.KindSemaphore, "api")
	lease.restarts, semaphore.restarts = true, true
	all := startFifty(w)
	is(w, "db", "waited for by 15", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 15 })

	w.ok(on.StopComponent(apiServer, signal))
	// Somebody gives back while it is away, and is made to wait until that is done.
	released := waiting(w, func() error { return all.permits.Release(context.WithoutCancel(w.ctx)) })
	w.ok(on.StartComponent(w.ctx, apiServer))
	back := time.Now()
	released.must()

	for _, f := range all.queued {
		select {
		case <-f.done:
			if f.err != nil {
				w.Fatalf("a waiter has given up: %v", f.err)
			}
		default:
		}
	}
	arrive(w, "stage", "a")
	w.job("a")
	w.jobBecomes("a", batchv1.JobComplete)
	for _, f := range append(all.atBarrier, all.atGates...) {
		f.must()
	}
	select {
	case <-all.lease.Lost():
		w.Errorf("the holder lost its hold: %v", context.Cause(all.lease.Context()))
	default:
	}
	w.release(all.lease)
	var served errgroup.Group
	for _, f := range all.queued {
		served.Go(func() error {
			<-f.done
			if f.err != nil {
				return f.err
			}
			return f.value.Release(w.ctx)
		})
	}
	w.ok(served.Wait())
	w.Logf("all had gone on %s after the API server was back", time.Since(back).Round(time.Millisecond))
	lease.awaitIdle()
	semaphore.awaitIdle()
	op.stop()
}

func callsWhileTheAPIServerIsAway(w *world, on *site) {
	w.operator()
	w.lease("db")
	barrierOf(w, "stage", 1)
	known := w.someone("known")
	hold := known.acquire(konductorv1.KindLease, "db", konductor.WithTTL(10*time.Minute))
	w.ok(on.StopComponent(apiServer, syscall.SIGKILL))

	start := time.Now()
	in := konductor.WithTimeout(2 * time.Second)
	for call, err := range map[string]error{
		"WaitBarrier":   known.WaitBarrier(w.ctx, "stage", in),
		"ArriveBarrier": known.ArriveBarrier(w.ctx, "stage", in),
		"AcquireLease":  w.someone("new").acquiring(konductorv1.KindLease, "db", in).fails(),
	} {
		if e := wants[*konductor.TimeoutError](w, err); e.Timeout != 2*time.Second {
			w.Errorf("%s: %v", call, e)
		}
	}
	if took := time.Since(start); took > 20*time.Second {
		w.Errorf("calls with a timeout of 2s each took %s together", took)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	cancelled := waiting(w, func() error { return known.WaitBarrier(ctx, "stage") })
	arriving := waiting(w, func() error { return known.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("a")) })
	known.awaitSentence("the API server can't be reached, trying again")
	cancel()
	cancelled.fails()
	arriving.pending()

	w.ok(on.StartComponent(w.ctx, apiServer))
	arriving.must()
	waitBarrier(w, "stage").must()
	w.release(hold)
}
