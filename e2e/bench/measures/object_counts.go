package measures

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// MeasureScale measures one operator, the API server and etcd with growing numbers of live objects of all kinds, and the
// handovers of a lease among them. The number of objects only increases, so that the sizes come one after the other.
func (r *Runner) MeasureScale(ctx context.Context) (rows []report.Row, err error) {
	namespace, err := r.CreateNamespace(ctx)
	if err != nil {
		return nil, err
	}
	var present kindCounts
	for _, size := range r.ObjectCounts {
		next := kindCountsFor(size)
		busy, err := r.measureWithObjects(ctx, namespace, size, present, next)
		if err != nil {
			return rows, err
		}
		started, err := r.measureStart(ctx, size)
		if rows = append(append(rows, busy...), started...); err != nil {
			return rows, err
		}
		present = next
	}
	return rows, r.WithOperator(ctx, func(*benchenv.Operator) error { return r.ClearNamespace(ctx, namespace) })
}

// measureWithObjects measures with an operator that observes the creation of the objects: handovers of a lease, the resources in
// use, and those used while idle.
func (r *Runner) measureWithObjects(ctx context.Context, namespace string, size int, present, next kindCounts) (rows []report.Row, err error) {
	what := formatCount(size) + " objects: "
	err = r.WithOperator(ctx, func(o *benchenv.Operator) error {
		if err := r.createObjects(ctx, namespace, present, next); err != nil {
			return err
		}
		stop, err := r.LowerBounds.StartGranting(ctx)
		if err != nil {
			return err
		}
		defer stop()
		contended, err := r.newContendedLease(ctx, namespace, fmt.Sprintf("db-%d", size), 3, 0)
		if err != nil {
			return err
		}
		handover, floor, err := r.measureHandovers(ctx, contended)
		if err != nil {
			return err
		}
		if err := contended.close(ctx); err != nil {
			return err
		}
		idle, err := r.measureIdleCPU(ctx, o)
		if err != nil {
			return err
		}
		memory, err := o.ResidentMemory()
		if err != nil {
			return err
		}
		usage, err := r.ControlPlaneUsage(ctx)
		rows = []report.Row{
			report.NewRow(what+"handover with 2 waiting, p50", handover.P50(), "ms").WithLowerBound(floor.P50()).WithNote(fmt.Sprintf("N=%d", handover.N())),
			report.NewRow(what+"operator memory", toMegabytes(memory), "MB").WithNote("resident set, of one that saw the last of them come"),
			report.NewRow(what+"operator CPU per minute at rest", float64(idle.Milliseconds())/r.IdlePeriod.Minutes(), "ms").
				WithNote(fmt.Sprintf("within %s; the kernel counts in hundredths of a second", r.IdlePeriod)),
			report.NewRow(what+"kube-apiserver memory", toMegabytes(usage.APIServerMemory), "MB").WithNote("resident set"),
			report.NewRow(what+"etcd memory", toMegabytes(usage.EtcdMemory), "MB").WithNote("resident set"),
			report.NewRow(what+"etcd database", toMegabytes(usage.EtcdDatabaseSize), "MB").WithNote("in use, after compaction; everything else in the cluster included"),
		}
		return err
	})
	return rows, err
}

// measureStart measures operators that start when the objects exist.
func (r *Runner) measureStart(ctx context.Context, size int) (rows []report.Row, err error) {
	const most = 3
	var took stats.Sample
	var memory int
	for range min(r.SlowRepetitions, most) {
		begin := time.Now()
		o, err := r.StartOperator(ctx)
		if err != nil {
			return nil, err
		}
		took.Add(time.Since(begin))
		if err := r.AwaitLeader(ctx); err != nil {
			return nil, err
		}
		if err := r.awaitNoWrites(ctx); err != nil {
			return nil, err
		}
		if memory, err = o.ResidentMemory(); err != nil {
			return nil, err
		}
		if err := o.Terminate(ctx); err != nil {
			return nil, err
		}
	}
	what := formatCount(size) + " objects: "
	return []report.Row{
		report.NewRow(what+"operator start until ready, p50", took.P50(), "ms").WithNote(fmt.Sprintf("N=%d; as a process, from its start", took.N())),
		report.NewRow(what+"operator memory, freshly started", toMegabytes(memory), "MB").WithNote("resident set"),
	}, nil
}

// measureIdleCPU returns the CPU time that the operator uses while nothing happens.
func (r *Runner) measureIdleCPU(ctx context.Context, o *benchenv.Operator) (time.Duration, error) {
	if err := r.awaitNoWrites(ctx); err != nil {
		return 0, err
	}
	before, err := o.CPUTime()
	if err != nil {
		return 0, err
	}
	over := time.NewTimer(r.IdlePeriod)
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	after, err := o.CPUTime()
	return after - before, err
}

// kindCounts is the number of objects of each kind.
type kindCounts struct{ barriers, gates, leases, semaphores, claims int }

// kindCountsFor returns the kinds of n objects. Of 100, 40 are claims, of which a tenth hold, on one semaphore; 30 are barriers
// that wait; 15 are gates that wait for these; 14 are leases that are free.
func kindCountsFor(n int) kindCounts {
	const percent = 100
	p := kindCounts{claims: n * 40 / percent, barriers: n * 30 / percent, gates: n * 15 / percent, semaphores: max(n/percent, 1)}
	p.leases = max(n-p.claims-p.barriers-p.gates-p.semaphores, 0)
	return p
}

// createObjects creates the objects that to has and from hasn't, and waits until the operator has reconciled them.
func (r *Runner) createObjects(ctx context.Context, namespace string, from, to kindCounts) error {
	named := func(kind string, i int) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s-%d", kind, i)}
	}
	create := func(from, to int, object func(i int) client.Object) error {
		return r.CreateObjects(ctx, to-from, func(i int) client.Object { return object(from + i) })
	}
	if err := create(from.barriers, to.barriers, func(i int) client.Object {
		b := konductor.NewBarrier(fmt.Sprintf("barrier-%d", i), 10)
		b.Namespace = namespace
		return b
	}); err != nil {
		return err
	}
	if err := create(from.gates, to.gates, func(i int) client.Object {
		on := konductorv1.GateCondition{Type: konductorv1.GateOnBarrier, Name: fmt.Sprintf("barrier-%d", i)}
		return &konductorv1.Gate{ObjectMeta: named("gate", i), Spec: konductorv1.GateSpec{Conditions: []konductorv1.GateCondition{on}}}
	}); err != nil {
		return err
	}
	if err := create(from.leases, to.leases, func(i int) client.Object { return &konductorv1.Lease{ObjectMeta: named("lease", i)} }); err != nil {
		return err
	}
	if err := create(from.semaphores, to.semaphores, func(i int) client.Object {
		return &konductorv1.Semaphore{ObjectMeta: named("semaphore", i)} // without permits, until all its claims exist
	}); err != nil {
		return err
	}
	targets := max(to.semaphores-from.semaphores, 1)
	first := to.semaphores - targets
	if err := create(from.claims, to.claims, func(i int) client.Object {
		on := konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: fmt.Sprintf("semaphore-%d", first+i%targets)}
		return newIdleClaim(namespace, fmt.Sprintf("claim-%d", i), on)
	}); err != nil {
		return err
	}
	// Grants must be acknowledged within 15 s, so permits are added when all claims exist, and not too many at once.
	const holding = 10
	permits := max((to.claims-from.claims)/targets/holding, 1)
	for i := range targets {
		if err := r.resumeSemaphore(ctx, types.NamespacedName{Namespace: namespace, Name: fmt.Sprintf("semaphore-%d", first+i)}, permits); err != nil {
			return err
		}
	}
	return r.awaitNoWrites(ctx)
}
