package measures

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// MeasureAcquire measures how long it takes to acquire a free lease: from the call of AcquireLease until it returns.
func (r *Runner) MeasureAcquire(ctx context.Context) (rows []report.Row, err error) {
	err = r.withLowerBound(ctx, func(namespace string) error {
		pods, err := r.CreateParticipants(ctx, namespace, "pod", 1, true)
		if err != nil {
			return err
		}
		outside, err := r.NewOutsideParticipant(namespace, "laptop")
		if err != nil {
			return err
		}
		lease, err := r.createLease(ctx, namespace, "db")
		if err != nil {
			return err
		}
		var floor, create, inPod, cycle, outer stats.Sample
		err = r.repeatFast(func(counts bool) error {
			wrote, err := r.LowerBounds.MeasureCreate(ctx)
			if err != nil {
				return err
			}
			answered, err := r.LowerBounds.MeasureGrantRoundTrip(ctx)
			if err != nil {
				return err
			}
			got, released, err := r.measureOneAcquire(ctx, pods[0], lease)
			if err != nil {
				return err
			}
			gotOutside, _, err := r.measureOneAcquire(ctx, outside, lease)
			if counts {
				create.Add(wrote)
				floor.Add(answered)
				inPod.Add(got)
				cycle.Add(got + released)
				outer.Add(gotOutside)
			}
			return err
		})
		n := fmt.Sprintf("N=%d", inPod.N())
		rows = []report.Row{
			report.NewRow("floor: one create, p50", create.P50(), "ms").WithNote(n),
			report.NewRow("floor: request→grant→seen, p50", floor.P50(), "ms").WithNote(n),
			report.NewRow("floor: request→grant→seen, p99", floor.P99(), "ms").WithNote(n),
			report.NewRow("uncontended acquire, p50", inPod.P50(), "ms").WithLowerBound(floor.P50()).AtMost(1.6).WithNote(n),
			report.NewRow("uncontended acquire, p99", inPod.P99(), "ms").WithLowerBound(floor.P99()).AtMost(2.5).WithNote(n),
			report.NewRow("uncontended acquire and release, p50", cycle.P50(), "ms").WithNote(n),
			report.NewRow("uncontended acquire outside of a Pod, p50", outer.P50(), "ms").WithLowerBound(floor.P50()).
				WithNote(n + "; one more write: the holder acknowledges the grant"),
		}
		return err
	})
	return rows, err
}

// measureOneAcquire acquires and releases the lease, and waits until it is free again.
func (r *Runner) measureOneAcquire(ctx context.Context, p *benchenv.Participant, lease types.NamespacedName) (got, released time.Duration, err error) {
	begin := time.Now()
	hold, err := p.AcquireLease(ctx, lease.Name, konductor.WithHolder(p.Name))
	if err != nil {
		return 0, 0, err
	}
	got = time.Since(begin)
	begin = time.Now()
	if err := hold.Release(ctx); err != nil {
		return 0, 0, err
	}
	released = time.Since(begin)
	return got, released, r.AwaitLease(ctx, lease, func(l *konductorv1.Lease) bool { return l.Status.Phase == konductorv1.LeaseAvailable })
}

// createLease creates a lease and waits until the operator has reconciled it.
func (r *Runner) createLease(ctx context.Context, namespace, name string) (types.NamespacedName, error) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	l := konductor.NewLease(name)
	l.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: name}
	if err := r.Objects.Create(ctx, l); err != nil {
		return key, err
	}
	return key, r.AwaitLease(ctx, key, func(l *konductorv1.Lease) bool { return l.Status.ObservedGeneration > 0 })
}

// withLowerBound calls f with a namespace of its own, while one operator runs and the lower bound's requests are granted.
func (r *Runner) withLowerBound(ctx context.Context, f func(namespace string) error) error {
	return r.withOperatorInNamespace(ctx, func(namespace string, _ *benchenv.Operator) error {
		stop, err := r.LowerBounds.StartGranting(ctx)
		if err != nil {
			return err
		}
		defer stop()
		return f(namespace)
	})
}

// withOperatorInNamespace calls f with a namespace of its own while one operator runs, and clears the namespace afterwards.
func (r *Runner) withOperatorInNamespace(ctx context.Context, f func(namespace string, operator *benchenv.Operator) error) error {
	return r.WithOperator(ctx, func(o *benchenv.Operator) error {
		namespace, err := r.CreateNamespace(ctx)
		if err != nil {
			return err
		}
		if err := f(namespace, o); err != nil {
			return err
		}
		return r.ClearNamespace(ctx, namespace)
	})
}
