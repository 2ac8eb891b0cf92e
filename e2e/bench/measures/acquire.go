package measures

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Acquire measures how long it takes to get a lease that is free: from the call of AcquireLease until it returns.
func (r *Run) Acquire(ctx context.Context) (rows []report.Row, err error) {
	err = r.withFloor(ctx, func(namespace string) error {
		pods, err := r.Participants(ctx, namespace, "pod", 1, true)
		if err != nil {
			return err
		}
		outside, err := r.Outsider(namespace, "laptop")
		if err != nil {
			return err
		}
		lease, err := r.lease(ctx, namespace, "db")
		if err != nil {
			return err
		}
		var floor, create, inPod, cycle, outer stats.Sample
		err = r.repeat(func(counts bool) error {
			wrote, err := r.Floors.Create(ctx)
			if err != nil {
				return err
			}
			answered, err := r.Floors.RoundTrip(ctx)
			if err != nil {
				return err
			}
			got, released, err := r.acquireOnce(ctx, pods[0], lease)
			if err != nil {
				return err
			}
			gotOutside, _, err := r.acquireOnce(ctx, outside, lease)
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
			report.Of("floor: one create, p50", create.P50(), "ms").Note(n),
			report.Of("floor: request→grant→seen, p50", floor.P50(), "ms").Note(n),
			report.Of("floor: request→grant→seen, p99", floor.P99(), "ms").Note(n),
			report.Of("uncontended acquire, p50", inPod.P50(), "ms").Over(floor.P50()).AtMost(1.6).Note(n),
			report.Of("uncontended acquire, p99", inPod.P99(), "ms").Over(floor.P99()).AtMost(2.5).Note(n),
			report.Of("uncontended acquire and release, p50", cycle.P50(), "ms").Note(n),
			report.Of("uncontended acquire outside of a Pod, p50", outer.P50(), "ms").Over(floor.P50()).
				Note(n + "; one more write: the holder acknowledges the grant"),
		}
		return err
	})
	return rows, err
}

// acquireOnce acquires and releases the lease, and waits until it is free again.
func (r *Run) acquireOnce(ctx context.Context, p *scene.Participant, lease types.NamespacedName) (got, released time.Duration, err error) {
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

// lease creates a lease and waits until the operator has seen it.
func (r *Run) lease(ctx context.Context, namespace, name string) (types.NamespacedName, error) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	l := konductor.NewLease(name)
	l.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: name}
	if err := r.Objects.Create(ctx, l); err != nil {
		return key, err
	}
	return key, r.AwaitLease(ctx, key, func(l *konductorv1.Lease) bool { return l.Status.ObservedGeneration > 0 })
}

// withFloor calls f with a namespace of its own, while one operator runs and the floor's requests are answered.
func (r *Run) withFloor(ctx context.Context, f func(namespace string) error) error {
	return r.inNamespace(ctx, func(namespace string, _ *scene.Operator) error {
		stop, err := r.Floors.Answer(ctx)
		if err != nil {
			return err
		}
		defer stop()
		return f(namespace)
	})
}

// inNamespace calls f with a namespace of its own while one operator runs, and removes what is in the namespace.
func (r *Run) inNamespace(ctx context.Context, f func(namespace string, operator *scene.Operator) error) error {
	return r.WithOperator(ctx, func(o *scene.Operator) error {
		namespace, err := r.Namespace(ctx)
		if err != nil {
			return err
		}
		if err := f(namespace, o); err != nil {
			return err
		}
		return r.Clear(ctx, namespace)
	})
}
