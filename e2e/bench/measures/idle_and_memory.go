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
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// loadSemaphores is the maximum number of semaphores over which the claims are spread.
const loadSemaphores = 100

// MeasureMemory measures the operator's resident memory with many claims and many barriers: after they were created while it ran,
// and after a start at which they exist. Then nothing changes any more, and nothing must be written.
func (r *Runner) MeasureMemory(ctx context.Context) (rows []report.Row, err error) {
	what := fmt.Sprintf("with %s claims and %s barriers", formatCount(r.LargeCount), formatCount(r.LargeCount))
	var namespace string
	// The first operator has ended when the second starts, so that one is measured at a time.
	err = r.WithOperator(ctx, func(o *benchenv.Operator) (err error) {
		if namespace, err = r.CreateNamespace(ctx); err != nil {
			return err
		}
		load := kindCounts{claims: r.LargeCount, barriers: r.LargeCount, semaphores: min(loadSemaphores, r.LargeCount)}
		if err := r.createObjects(ctx, namespace, kindCounts{}, load); err != nil {
			return err
		}
		memory, err := o.ResidentMemory()
		rows = append(rows, report.NewRow("operator memory, having seen them come, "+what, toMegabytes(memory), "MB").AtMost(150).WithNote("resident set"))
		return err
	})
	if err != nil {
		return nil, err
	}
	err = r.WithOperator(ctx, func(o *benchenv.Operator) error {
		if err := r.awaitNoWrites(ctx); err != nil {
			return err
		}
		memory, err := o.ResidentMemory()
		rows = append(rows, report.NewRow("operator memory, freshly started, "+what, toMegabytes(memory), "MB").AtMost(150).WithNote("resident set"))
		if err != nil {
			return err
		}
		return r.ClearNamespace(ctx, namespace)
	})
	return rows, err
}

// quietPeriod is how long there must be no write until the cluster counts as idle.
const quietPeriod = 3 * time.Second

// toMegabytes converts to millions of bytes.
func toMegabytes(bytes int) float64 { return float64(bytes) / 1e6 }

// resumeSemaphore gives permits to a semaphore that had none, for all of which claims wait, and acknowledges the grants.
func (r *Runner) resumeSemaphore(ctx context.Context, key types.NamespacedName, permits int) error {
	semaphore := &konductorv1.Semaphore{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"permits":%d}}`, permits))
	if err := r.Objects.Patch(ctx, semaphore, patch); err != nil {
		return err
	}
	if err := r.AwaitSemaphore(ctx, key, func(s *konductorv1.Semaphore) bool { return int(s.Status.InUse) == permits }); err != nil {
		return err
	}
	return r.acknowledgeGrants(ctx, key.Namespace, konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: key.Name})
}

// MeasureIdleWrites counts the writes while nothing happens, with two replicas as in the chart and objects in every state that
// can last.
func (r *Runner) MeasureIdleWrites(ctx context.Context) (rows []report.Row, err error) {
	err = r.withOperatorInNamespace(ctx, func(namespace string, _ *benchenv.Operator) error {
		standby, err := r.StartOperator(ctx)
		if err != nil {
			return err
		}
		if err := r.createObjectsInEveryState(ctx, namespace); err != nil {
			return err
		}
		if err := r.awaitNoWrites(ctx); err != nil {
			return err
		}
		during, err := r.countWrites(ctx, r.IdlePeriod)
		if err != nil {
			return err
		}
		perMinute := func(n int) float64 { return float64(n) / r.IdlePeriod.Minutes() }
		rows = []report.Row{
			report.NewRow("writes per minute at rest", perMinute(during.objects), "writes").AtMost(0).
				WithNote(fmt.Sprintf("konductor's objects and Events, as etcd saw them within %s", r.IdlePeriod)),
			report.NewRow("leader election's own writes per minute", perMinute(during.leaderElection), "writes").
				WithNote("renewals of the one coordination.k8s.io Lease, the same however many objects there are"),
		}
		return standby.Terminate(ctx)
	})
	return rows, err
}

// createObjectsInEveryState creates objects that wait, are open, are held and have a queue.
func (r *Runner) createObjectsInEveryState(ctx context.Context, namespace string) error {
	for _, name := range []string{"waiting", "open"} {
		if _, err := r.createBarrier(ctx, namespace, name, 2); err != nil {
			return err
		}
	}
	pods, err := r.CreateParticipants(ctx, namespace, "pod", 2, false)
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
	if _, err := r.createLease(ctx, namespace, "db"); err != nil {
		return err
	}
	if _, err := r.createSemaphore(ctx, namespace, "db", 1); err != nil {
		return err
	}
	// The hold of a Pod without a TTL needs no renewal.
	if _, err := pods[0].AcquireLease(ctx, "db", konductor.Detached()); err != nil {
		return err
	}
	if _, err := pods[0].AcquireSemaphore(ctx, "db", konductor.Detached()); err != nil {
		return err
	}
	return r.createIdleClaims(ctx, konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: "db"}, namespace, 3)
}

// writeCounts counts writes to etcd by what they are about.
type writeCounts struct {
	objects        int // konductor's, and Events about them
	leaderElection int // the operator's leader election
}

// countWrites counts the writes within duration.
func (r *Runner) countWrites(ctx context.Context, duration time.Duration) (n writeCounts, err error) {
	return n, r.withWriteWatch(ctx, func(over <-chan struct{}, w clientv3.WatchChan) error {
		limit := time.NewTimer(duration)
		defer limit.Stop()
		for {
			select {
			case <-limit.C:
				return nil
			case <-over:
				return context.Cause(ctx)
			case events := <-w:
				n.countEvents(events.Events)
			}
		}
	})
}

// awaitNoWrites waits until there was no write of konductor's for quietPeriod.
func (r *Runner) awaitNoWrites(ctx context.Context) error {
	var n writeCounts
	return r.withWriteWatch(ctx, func(over <-chan struct{}, w clientv3.WatchChan) error {
		timer := time.NewTimer(quietPeriod)
		defer timer.Stop()
		for {
			select {
			case <-timer.C:
				return nil
			case <-over:
				return fmt.Errorf("waiting for calm: %w", context.Cause(ctx))
			case events := <-w:
				before := n.objects
				if n.countEvents(events.Events); n.objects != before {
					timer.Reset(quietPeriod)
				}
			}
		}
	})
}

// withWriteWatch calls f with a watch of all writes to etcd.
func (r *Runner) withWriteWatch(ctx context.Context, f func(over <-chan struct{}, w clientv3.WatchChan) error) error {
	watching, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	return f(ctx.Done(), r.Etcd.Watch(watching, "/registry/", clientv3.WithPrefix(), clientv3.WithKeysOnly()))
}

func (n *writeCounts) countEvents(events []*clientv3.Event) {
	for _, e := range events {
		switch key := strings.TrimPrefix(string(e.Kv.Key), "/registry/"); {
		case strings.HasPrefix(key, konductorv1.GroupName+"/"), strings.HasPrefix(key, "events/"):
			n.objects++
		case strings.HasPrefix(key, "leases/konductor-system/"):
			n.leaderElection++
		}
	}
}
