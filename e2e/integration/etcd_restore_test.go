package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// withControlPlaneDown stops API server and etcd, calls do, and starts them again.
func (w *testEnv) withControlPlaneDown(on *testCluster, do func() error) {
	w.Helper()
	w.must(on.StopComponent(apiServerComponent, syscall.SIGKILL))
	w.must(on.StopComponent("etcd", syscall.SIGTERM))
	w.must(do())
	w.must(on.StartComponent(w.ctx, "etcd"))
	w.must(on.StartComponent(w.ctx, apiServerComponent))
}

func TestEtcdRestoredFromBackup(t *testing.T) {
	t.Parallel()
	plane, err := cluster.StartControlPlane(t.Context(), cluster.ControlPlaneOptions{ControllerManager: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = plane.Close() })
	on, err := installKonductor(t.Context(), plane)
	if err != nil {
		t.Fatal(err)
	}
	w := newTestEnvOn(t, on)
	w.startOperator()
	createBarrier(w, "stage", 1)
	gate := w.createGate("deps", condition{Type: konductorv1.GateOnBarrier, Name: "stage"})
	lease := w.createLease("db", konductor.WithTTL(time.Hour))
	hold := w.newParticipant("holder").mustAcquire(konductorv1.KindLease, "db")
	queued := w.newParticipant("queued").enqueue(konductorv1.KindLease, lease)
	waitFor(w, "db", "waited for", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 1 })
	turns := w.createLease("turns")
	before := w.newParticipant("before").mustAcquire(konductorv1.KindLease, "turns", konductor.WithTTL(20*time.Second))
	after := w.newParticipant("after").enqueue(konductorv1.KindLease, turns)

	backup := filepath.Join(t.TempDir(), "backup")
	w.withControlPlaneDown(on, func() error { return os.CopyFS(backup, os.DirFS(on.EtcdDataDir())) })

	// The restore will undo these writes: the waiters have observed them, and watch from revisions that don't exist then.
	for i := range 50 {
		w.createObjects(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("later-%d", i)}})
	}
	w.mustRelease(before)
	hasNeverHeld := after.mustSucceed()
	w.createLease("later")
	later := w.newParticipant("later").mustAcquire(konductorv1.KindLease, "later", konductor.WithTTL(time.Hour))
	touch := `{"metadata":{"annotations":{"example.com/touched":"yes"}}}`
	w.patchObject(&konductorv1.Barrier{ObjectMeta: metav1.ObjectMeta{Name: "stage"}}, touch)
	w.patchObject(gate, touch)
	w.patchObject(lease, touch)
	waits := []*future[struct{}]{startWaitBarrier(w, "stage"), startWaitGate(w, "deps")}
	newcomer := w.newParticipant("newcomer").enqueue(konductorv1.KindLease, lease)
	waitFor(w, "db", "waited for by another", func(l *konductorv1.Lease) bool { return l.Status.Waiting == 2 })

	w.withControlPlaneDown(on, func() error {
		if err := os.RemoveAll(on.EtcdDataDir()); err != nil {
			return err
		}
		return os.CopyFS(on.EtcdDataDir(), os.DirFS(backup))
	})

	requireErrorAs[*konductor.NotFoundError](w, newcomer.mustFail()) // its claim doesn't exist
	w.waitClosed(later.Lost(), "the loss of a hold that has never been")
	w.waitClosed(hasNeverHeld.Lost(), "the loss of a hold whose claim waits again")
	// The hold that was released exists again, until it expires.
	w.mustRelease(w.newParticipant("at last").mustAcquire(konductorv1.KindLease, "turns"))
	arriveInOrder(w, "stage", "x")
	for _, f := range waits {
		f.mustSucceed()
	}
	w.mustRelease(hold)
	w.mustRelease(queued.mustSucceed())
	w.mustRelease(w.newParticipant("next").mustAcquire(konductorv1.KindLease, "db"))
	w.createSemaphore("new", 1)
	w.mustRelease(w.newParticipant("next").mustAcquire(konductorv1.KindSemaphore, "new"))
}
