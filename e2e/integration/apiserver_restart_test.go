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

const apiServerComponent = "kube-apiserver"

// TestWithSpareControlPlane contains tests that would disturb others. They run one after the other on one control plane.
func TestWithSpareControlPlane(t *testing.T) {
	t.Parallel()
	spareRequested.Do(func() {})
	plane, err := spareControlPlane()
	if err != nil {
		t.Fatal(err)
	}
	t.Run("without the resource types every call says to install them", func(t *testing.T) {
		checkCallsWithoutCRDs(newTestEnvOn(t, &testCluster{ControlPlane: plane}))
	})
	installed, err := installKonductor(t.Context(), plane)
	if err != nil {
		t.Fatal(err)
	}
	for how, signal := range map[string]os.Signal{"is stopped": syscall.SIGTERM, "is killed": syscall.SIGKILL} {
		t.Run("fifty waiters go on when the API server "+how+" and comes back", func(t *testing.T) {
			checkWaitersAPIServerRestart(newTestEnvOn(t, installed), installed, signal)
		})
	}
	t.Run("the dashboard goes on when the API server comes back", func(t *testing.T) {
		checkDashboardAPIServerRestart(newTestEnvOn(t, installed), installed)
	})
	t.Run("calls that begin while the API server is away end when they must or wait for it", func(t *testing.T) {
		checkCallsWhileAPIServerDown(newTestEnvOn(t, installed), installed)
	})
}

func checkCallsWithoutCRDs(w *testEnv) {
	a := w.newParticipant("a")
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
		if e := requireErrorAs[*konductor.UninstalledError](w, err); !strings.Contains(e.Error(), "install konductor") {
			w.Errorf("%s: %v", call, e)
		}
	}
}

// waiterSet is waiters of every kind, half of them in Pods with exactly the rights of participants.
type waiterSet struct {
	holder             *testParticipant
	lease, permits     *konductor.Hold
	queued             []*future[*konductor.Hold]
	atBarrier, atGates []*future[struct{}]
}

func startWaiters(w *testEnv) waiterSet {
	w.Helper()
	w.createWorkerAccount()
	createBarrier(w, "stage", 1)
	w.createGate("deps", jobCondition("a"))
	lease, s := w.createLease("db", konductor.WithTTL(time.Minute)), w.createSemaphore("api", 2)
	all := waiterSet{holder: w.newPodParticipant(w.createPod("holder"))}
	all.lease = all.holder.mustAcquire(konductorv1.KindLease, "db")
	all.permits = all.holder.mustAcquire(konductorv1.KindSemaphore, "api", konductor.WithPermits(2))
	for i := range 15 {
		a := w.newParticipant(fmt.Sprintf("p%d", i))
		if i%2 == 0 {
			a = w.newPodParticipant(w.createPod(fmt.Sprintf("p%d", i)))
		}
		all.queued = append(all.queued, a.enqueue(konductorv1.KindLease, lease), a.enqueue(konductorv1.KindSemaphore, s))
		if i < 10 {
			all.atBarrier = append(all.atBarrier, runAsyncErr(w, func() error { return a.WaitBarrier(w.ctx, "stage") }))
			all.atGates = append(all.atGates, runAsyncErr(w, func() error { return a.WaitGate(w.ctx, "deps") }))
		}
	}
	return all
}

func checkWaitersAPIServerRestart(w *testEnv, on *testCluster, signal os.Signal) {
	op := w.startOperator()
	lease, semaphore := w.checkRevisions(konductorv1.KindLease, "db"), w.checkRevisions(konductorv1.KindSemaphore, "api")
	lease.toleratesGaps, semaphore.toleratesGaps = true, true
	all := startWaiters(w)
	waitFor(w, "db", "waited for by 15", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 15 })

	w.must(on.StopComponent(apiServerComponent, signal))
	// A holder releases while the API server is unavailable, and has to wait until that succeeds.
	released := runAsyncErr(w, func() error { return all.permits.Release(context.WithoutCancel(w.ctx)) })
	w.must(on.StartComponent(w.ctx, apiServerComponent))
	back := time.Now()
	released.mustSucceed()

	for _, f := range all.queued {
		select {
		case <-f.done:
			if f.err != nil {
				w.Fatalf("a waiter has given up: %v", f.err)
			}
		default:
		}
	}
	arriveInOrder(w, "stage", "a")
	w.createJob("a")
	w.finishJob("a", batchv1.JobComplete)
	for _, f := range append(all.atBarrier, all.atGates...) {
		f.mustSucceed()
	}
	select {
	case <-all.lease.Lost():
		w.Errorf("the holder lost its hold: %v", context.Cause(all.lease.Context()))
	default:
	}
	w.mustRelease(all.lease)
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
	w.must(served.Wait())
	w.Logf("all had gone on %s after the API server was back", time.Since(back).Round(time.Millisecond))
	lease.waitIdle()
	semaphore.waitIdle()
	op.stop()
}

func checkCallsWhileAPIServerDown(w *testEnv, on *testCluster) {
	w.startOperator()
	w.createLease("db")
	createBarrier(w, "stage", 1)
	known := w.newParticipant("known")
	hold := known.mustAcquire(konductorv1.KindLease, "db", konductor.WithTTL(10*time.Minute))
	w.must(on.StopComponent(apiServerComponent, syscall.SIGKILL))

	start := time.Now()
	in := konductor.WithTimeout(2 * time.Second)
	for call, err := range map[string]error{
		"WaitBarrier":   known.WaitBarrier(w.ctx, "stage", in),
		"ArriveBarrier": known.ArriveBarrier(w.ctx, "stage", in),
		"AcquireLease":  w.newParticipant("new").startAcquire(konductorv1.KindLease, "db", in).mustFail(),
	} {
		if e := requireErrorAs[*konductor.TimeoutError](w, err); e.Timeout != 2*time.Second {
			w.Errorf("%s: %v", call, e)
		}
	}
	if took := time.Since(start); took > 20*time.Second {
		w.Errorf("calls with a timeout of 2s each took %s together", took)
	}
	ctx, cancel := context.WithCancel(w.ctx)
	cancelled := runAsyncErr(w, func() error { return known.WaitBarrier(ctx, "stage") })
	arriving := runAsyncErr(w, func() error { return known.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("a")) })
	known.waitForNotification("the API server can't be reached, trying again")
	cancel()
	cancelled.mustFail()
	arriving.mustBePending()

	w.must(on.StartComponent(w.ctx, apiServerComponent))
	arriving.mustSucceed()
	startWaitBarrier(w, "stage").mustSucceed()
	w.mustRelease(hold)
}
