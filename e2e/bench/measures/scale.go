package measures

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Scale measures what one operator, the API server and etcd carry as there are more and more live objects of all kinds,
// and how a lease changes hands in their presence. Objects only become more, so that the sizes come one after the other.
func (r *Run) Scale(ctx context.Context) (rows []report.Row, err error) {
	namespace, err := r.Namespace(ctx)
	if err != nil {
		return nil, err
	}
	var there population
	for _, size := range r.Live {
		next := populationOf(size)
		busy, err := r.carrying(ctx, namespace, size, there, next)
		if err != nil {
			return rows, err
		}
		started, err := r.starting(ctx, size)
		if rows = append(append(rows, busy...), started...); err != nil {
			return rows, err
		}
		there = next
	}
	return rows, r.WithOperator(ctx, func(*scene.Operator) error { return r.Clear(ctx, namespace) })
}

// carrying measures with an operator that sees the objects come: a lease that changes hands, what is used, and what is
// used while nothing happens.
func (r *Run) carrying(ctx context.Context, namespace string, size int, there, next population) (rows []report.Row, err error) {
	what := count(size) + " objects: "
	err = r.WithOperator(ctx, func(o *scene.Operator) error {
		if err := r.populate(ctx, namespace, there, next); err != nil {
			return err
		}
		stop, err := r.Floors.Answer(ctx)
		if err != nil {
			return err
		}
		defer stop()
		relay, err := r.newRelay(ctx, namespace, fmt.Sprintf("db-%d", size), 3, 0)
		if err != nil {
			return err
		}
		handover, floor, err := r.handovers(ctx, relay)
		if err != nil {
			return err
		}
		if err := relay.end(ctx); err != nil {
			return err
		}
		idle, err := r.idleCPU(ctx, o)
		if err != nil {
			return err
		}
		memory, err := o.Memory()
		if err != nil {
			return err
		}
		engine, err := r.Engine(ctx)
		rows = []report.Row{
			report.Of(what+"handover with 2 waiting, p50", handover.P50(), "ms").Over(floor.P50()).Note(fmt.Sprintf("N=%d", handover.N())),
			report.Of(what+"operator memory", megabytes(memory), "MB").Note("resident set, of one that saw the last of them come"),
			report.Of(what+"operator CPU per minute at rest", float64(idle.Milliseconds())/r.Calm.Minutes(), "ms").
				Note(fmt.Sprintf("within %s; the kernel counts in hundredths of a second", r.Calm)),
			report.Of(what+"kube-apiserver memory", megabytes(engine.APIServer), "MB").Note("resident set"),
			report.Of(what+"etcd memory", megabytes(engine.Etcd), "MB").Note("resident set"),
			report.Of(what+"etcd database", megabytes(engine.Database), "MB").Note("in use, after compaction; everything else in the cluster included"),
		}
		return err
	})
	return rows, err
}

// starting measures operators that find the objects there.
func (r *Run) starting(ctx context.Context, size int) (rows []report.Row, err error) {
	const most = 3
	var took stats.Sample
	var memory int
	for range min(r.Rounds, most) {
		begin := time.Now()
		o, err := r.StartOperator(ctx)
		if err != nil {
			return nil, err
		}
		took.Add(time.Since(begin))
		if err := r.AwaitLeader(ctx); err != nil {
			return nil, err
		}
		if err := r.awaitCalm(ctx); err != nil {
			return nil, err
		}
		if memory, err = o.Memory(); err != nil {
			return nil, err
		}
		if err := o.Quit(ctx); err != nil {
			return nil, err
		}
	}
	what := count(size) + " objects: "
	return []report.Row{
		report.Of(what+"operator start until ready, p50", took.P50(), "ms").Note(fmt.Sprintf("N=%d; as a process, from its start", took.N())),
		report.Of(what+"operator memory, freshly started", megabytes(memory), "MB").Note("resident set"),
	}, nil
}

// idleCPU returns the processor time that the operator uses while nothing happens.
func (r *Run) idleCPU(ctx context.Context, o *scene.Operator) (time.Duration, error) {
	if err := r.awaitCalm(ctx); err != nil {
		return 0, err
	}
	before, err := o.CPU()
	if err != nil {
		return 0, err
	}
	over := time.NewTimer(r.Calm)
	defer over.Stop()
	select {
	case <-over.C:
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
	after, err := o.CPU()
	return after - before, err
}

// population is how many objects of each kind there are.
type population struct{ barriers, gates, leases, semaphores, claims int }

// populationOf returns the kinds of n objects: 40 of 100 are claims, of which a tenth hold, on one semaphore; 30 barriers
// that wait; 15 gates that wait for these; 14 leases that are free.
func populationOf(n int) population {
	const percent = 100
	p := population{claims: n * 40 / percent, barriers: n * 30 / percent, gates: n * 15 / percent, semaphores: max(n/percent, 1)}
	p.leases = max(n-p.claims-p.barriers-p.gates-p.semaphores, 0)
	return p
}

// populate creates what is missing from one population to the next, and waits until the operator has dealt with it.
func (r *Run) populate(ctx context.Context, namespace string, from, to population) error {
	named := func(kind string, i int) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace, Name: fmt.Sprintf("%s-%d", kind, i)}
	}
	create := func(from, to int, object func(i int) client.Object) error {
		return r.CreateAll(ctx, to-from, func(i int) client.Object { return object(from + i) })
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
		return &konductorv1.Semaphore{ObjectMeta: named("semaphore", i)} // without permits, until all its claims are there
	}); err != nil {
		return err
	}
	targets := max(to.semaphores-from.semaphores, 1)
	first := to.semaphores - targets
	if err := create(from.claims, to.claims, func(i int) client.Object {
		claim := &konductorv1.Claim{ObjectMeta: named("claim", i)}
		claim.Spec = konductorv1.ClaimSpec{
			Target: konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: fmt.Sprintf("semaphore-%d", first+i%targets)},
			Holder: claim.Name, TTL: konductorv1.NewDuration(time.Hour),
		}
		return claim
	}); err != nil {
		return err
	}
	// Grants must be acknowledged within 15 s, so that they come when all claims are there, and not too many at once.
	const holding = 10
	permits := max((to.claims-from.claims)/targets/holding, 1)
	for i := range targets {
		if err := r.open(ctx, types.NamespacedName{Namespace: namespace, Name: fmt.Sprintf("semaphore-%d", first+i)}, permits); err != nil {
			return err
		}
	}
	return r.awaitCalm(ctx)
}
