package measures

import (
	"context"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// spread is over how many semaphores the claims are spread when there are many.
const spread = 100

// Memory measures the operator's resident memory with many claims and many barriers: once it has seen all of them being
// created, and after a start that finds them there. Then nothing happens any more, and nothing must be written.
func (r *Run) Memory(ctx context.Context) (rows []report.Row, err error) {
	what := fmt.Sprintf("with %s claims and %s barriers", count(r.Many), count(r.Many))
	var namespace string
	// The first operator is gone when the second starts, so that one is measured at a time.
	err = r.WithOperator(ctx, func(o *scene.Operator) (err error) {
		if namespace, err = r.Namespace(ctx); err != nil {
			return err
		}
		if err := r.crowd(ctx, namespace); err != nil {
			return err
		}
		if err := r.awaitCalm(ctx); err != nil {
			return err
		}
		memory, err := o.Memory()
		rows = append(rows, report.Of("operator memory, having seen them come, "+what, megabytes(memory), "MB").AtMost(150).Note("resident set"))
		return err
	})
	if err != nil {
		return nil, err
	}
	err = r.WithOperator(ctx, func(o *scene.Operator) error {
		if err := r.awaitCalm(ctx); err != nil {
			return err
		}
		memory, err := o.Memory()
		rows = append(rows, report.Of("operator memory, freshly started, "+what, megabytes(memory), "MB").AtMost(150).Note("resident set"))
		if err != nil {
			return err
		}
		return r.Clear(ctx, namespace)
	})
	return rows, err
}

// settled is how long after the last write things are taken to have settled.
const settled = 3 * time.Second

// megabytes counts in millions of bytes.
func megabytes(bytes int) float64 { return float64(bytes) / 1e6 }

// crowd creates many barriers, and many claims on some semaphores, of which about a tenth hold, and waits until the
// operator has dealt with all.
func (r *Run) crowd(ctx context.Context, namespace string) error {
	semaphores := min(spread, r.Many)
	for i := range semaphores {
		if _, err := r.semaphore(ctx, namespace, fmt.Sprintf("crowd-%d", i), 0); err != nil {
			return err
		}
	}
	err := r.CreateAll(ctx, r.Many, func(i int) client.Object {
		name := fmt.Sprintf("crowd-%d-claim-%d", i%semaphores, i)
		return &konductorv1.Claim{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec: konductorv1.ClaimSpec{
				Target: konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: fmt.Sprintf("crowd-%d", i%semaphores)},
				Holder: name, TTL: konductorv1.NewDuration(time.Hour),
			},
		}
	})
	if err != nil {
		return err
	}
	// Grants must be acknowledged within 15 s, so that they come when all claims are there.
	for i := range semaphores {
		if err := r.open(ctx, types.NamespacedName{Namespace: namespace, Name: fmt.Sprintf("crowd-%d", i)}, max(r.Many/semaphores/10, 1)); err != nil {
			return err
		}
	}
	err = r.CreateAll(ctx, r.Many, func(i int) client.Object {
		b := konductor.NewBarrier(fmt.Sprintf("crowd-%d", i), 10)
		b.Namespace = namespace
		return b
	})
	if err != nil {
		return err
	}
	return scene.AwaitAll(ctx, r.Scene, &konductorv1.BarrierList{}, namespace, r.Many, func(b *konductorv1.Barrier) bool {
		return b.Status.ObservedGeneration > 0
	})
}

// open gives a paused semaphore permits, for all of which claims wait, and acknowledges the grants.
func (r *Run) open(ctx context.Context, key types.NamespacedName, permits int) error {
	semaphore := &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"permits":%d}}`, permits))
	if err := r.Objects.Patch(ctx, semaphore, patch); err != nil {
		return err
	}
	if err := r.AwaitSemaphore(ctx, key, func(s *konductorv1.Semaphore) bool { return int(s.Status.InUse) == permits }); err != nil {
		return err
	}
	return r.acknowledge(ctx, key.Namespace, konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: key.Name})
}

// Rest counts what is written while nothing happens, with two replicas as the chart runs and objects in every state in
// which they can stay.
func (r *Run) Rest(ctx context.Context) (rows []report.Row, err error) {
	err = r.inNamespace(ctx, func(namespace string, _ *scene.Operator) error {
		standby, err := r.StartOperator(ctx)
		if err != nil {
			return err
		}
		if err := r.everyState(ctx, namespace); err != nil {
			return err
		}
		if err := r.awaitCalm(ctx); err != nil {
			return err
		}
		during, err := r.writesWithin(ctx, r.Calm)
		if err != nil {
			return err
		}
		perMinute := func(n int) float64 { return float64(n) / r.Calm.Minutes() }
		rows = []report.Row{
			report.Of("writes per minute at rest", perMinute(during.objects), "writes").AtMost(0).
				Note(fmt.Sprintf("konductor's objects and Events, as etcd saw them within %s", r.Calm)),
			report.Of("leader election's own writes per minute", perMinute(during.election), "writes").
				Note("renewals of the one coordination.k8s.io Lease, the same however many objects there are"),
		}
		return standby.Quit(ctx)
	})
	return rows, err
}

// everyState creates objects that wait, are open, held and queued for.
func (r *Run) everyState(ctx context.Context, namespace string) error {
	for _, name := range []string{"waiting", "open"} {
		if _, err := r.barrier(ctx, namespace, name, 2); err != nil {
			return err
		}
	}
	pods, err := r.Participants(ctx, namespace, "pod", 2, false)
	if err != nil {
		return err
	}
	for i, p := range pods {
		if err := p.ArriveBarrier(ctx, "open", konductor.WithHolder(fmt.Sprint(i))); err != nil {
			return err
		}
	}
	if err := pods[0].ArriveBarrier(ctx, "waiting", konductor.WithHolder("first")); err != nil {
		return err
	}
	if err := pods[0].WaitBarrier(ctx, "open"); err != nil {
		return err
	}
	for _, condition := range []string{"waiting", "open"} {
		gate := &konductorv1.Gate{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: condition},
			Spec:       konductorv1.GateSpec{Conditions: []konductorv1.GateCondition{{Type: konductorv1.GateOnBarrier, Name: condition}}},
		}
		if err := r.Objects.Create(ctx, gate); err != nil {
			return err
		}
	}
	if err := pods[0].WaitGate(ctx, "open"); err != nil {
		return err
	}
	if _, err := r.lease(ctx, namespace, "db"); err != nil {
		return err
	}
	if _, err := r.semaphore(ctx, namespace, "db", 1); err != nil {
		return err
	}
	// The hold of a Pod without a TTL needs no renewal.
	if _, err := pods[0].AcquireLease(ctx, "db", konductor.Detached()); err != nil {
		return err
	}
	if _, err := pods[0].AcquireSemaphore(ctx, "db", konductor.Detached()); err != nil {
		return err
	}
	return r.idleClaims(ctx, konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: "db"}, namespace, 3)
}

// written is what etcd was told to write, by what it is about.
type written struct {
	objects  int // konductor's, and Events about them
	election int // the operator's leader election
}

// writesWithin counts what is written in that time.
func (r *Run) writesWithin(ctx context.Context, long time.Duration) (n written, err error) {
	return n, r.watchWrites(ctx, func(over <-chan struct{}, w clientv3.WatchChan) error {
		limit := time.NewTimer(long)
		defer limit.Stop()
		for {
			select {
			case <-limit.C:
				return nil
			case <-over:
				return context.Cause(ctx)
			case events := <-w:
				n.add(events.Events)
			}
		}
	})
}

// awaitCalm waits until nothing of konductor's has been written for a while.
func (r *Run) awaitCalm(ctx context.Context) error {
	var n written
	return r.watchWrites(ctx, func(over <-chan struct{}, w clientv3.WatchChan) error {
		timer := time.NewTimer(settled)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
				return nil
			case <-over:
				return fmt.Errorf("waiting for calm: %w", context.Cause(ctx))
			case events := <-w:
				before := n.objects
				if n.add(events.Events); n.objects != before {
					timer.Reset(settled)
				}
			}
		}
	})
}

// watchWrites calls f with a watch of all that etcd writes.
func (r *Run) watchWrites(ctx context.Context, f func(over <-chan struct{}, w clientv3.WatchChan) error) error {
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	return f(ctx.Done(), r.Etcd.Watch(watching, "/registry/", clientv3.WithPrefix(), clientv3.WithKeysOnly()))
}

func (n *written) add(events []*clientv3.Event) {
	for _, e := range events {
		switch key := strings.TrimPrefix(string(e.Kv.Key), "/registry/"); {
		case strings.HasPrefix(key, konductorv1.GroupName+"/"), strings.HasPrefix(key, "events/"):
			n.objects++
		case strings.HasPrefix(key, "leases/konductor-system/"):
			n.election++
		}
	}
}
