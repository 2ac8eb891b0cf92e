package measures

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/lowerbound"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// MeasureBarrier measures from the call of the last arrival until the last of many WaitBarrier calls has returned.
func (r *Runner) MeasureBarrier(ctx context.Context) (rows []report.Row, err error) {
	err = r.withOperatorInNamespace(ctx, func(namespace string, _ *benchenv.Operator) error {
		waiters, err := r.CreateParticipants(ctx, namespace, "waiter", r.BarrierParticipants, false)
		if err != nil {
			return err
		}
		last, err := r.NewOutsideParticipant(namespace, "last")
		if err != nil {
			return err
		}
		watchers, err := r.LowerBounds.NewWatcherGroup(ctx, r.BarrierParticipants)
		if err != nil {
			return err
		}
		var fanOut, floor, released stats.Sample
		round := 0
		err = r.repeatSlow(func(counts bool) error {
			wrote, err := r.LowerBounds.MeasureCreate(ctx)
			if err != nil {
				return err
			}
			seen, err := watchers.MeasureFanOut(ctx)
			if err != nil {
				return err
			}
			round++
			took, err := r.measureBarrierRelease(ctx, namespace, fmt.Sprintf("stage-%d", round), waiters, last)
			if counts {
				fanOut.Add(seen)
				floor.Add(wrote + seen)
				released.Add(took)
			}
			return err
		})
		if err != nil {
			return err
		}
		n := fmt.Sprintf("N=%d", released.N())
		everybody := formatCount(r.BarrierParticipants)
		rows = []report.Row{
			report.NewRow(fmt.Sprintf("floor: one update seen by %s watchers, p50", everybody), fanOut.P50(), "ms").WithNote(n),
			report.NewRow(fmt.Sprintf("barrier: last arrival until %s waiters go, p50", everybody), released.P50(), "ms").WithLowerBound(floor.P50()).AtMost(2).
				WithNote(n + "; the floor is one create and one update seen by all"),
		}
		return watchers.Close(ctx)
	})
	return rows, err
}

// measureBarrierRelease lets all waiters wait for a new barrier that lacks one arrival, arrives, and measures until all have
// returned.
func (r *Runner) measureBarrierRelease(ctx context.Context, namespace, name string, waiters []*benchenv.Participant, last *benchenv.Participant) (time.Duration, error) {
	if _, err := r.createBarrier(ctx, namespace, name, 2); err != nil {
		return 0, err
	}
	if err := last.ArriveBarrier(ctx, name, konductor.WithHolder("first")); err != nil {
		return 0, err
	}
	key := types.NamespacedName{Namespace: namespace, Name: name}
	if err := r.AwaitBarrier(ctx, key, func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 }); err != nil {
		return 0, err
	}
	ended := make(chan error, len(waiters))
	begun := make([]int, len(waiters))
	for i, w := range waiters {
		begun[i] = w.Watches.Started()
		go func() { ended <- w.WaitBarrier(ctx, name) }()
	}
	for i, w := range waiters {
		if err := w.Watches.AwaitStarted(ctx, begun[i]+1); err != nil {
			return 0, err
		}
	}
	begin := time.Now()
	if err := last.ArriveBarrier(ctx, name, konductor.WithHolder("last")); err != nil {
		return 0, err
	}
	for range waiters {
		if err := receiveError(ctx, ended, "everybody to go"); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

// createBarrier creates a barrier and waits until the operator has reconciled it.
func (r *Runner) createBarrier(ctx context.Context, namespace, name string, expected int32) (types.NamespacedName, error) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	b := konductor.NewBarrier(name, expected)
	b.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: name}
	if err := r.Objects.Create(ctx, b); err != nil {
		return key, err
	}
	return key, r.AwaitBarrier(ctx, key, func(b *konductorv1.Barrier) bool { return b.Status.ObservedGeneration > 0 })
}

// MeasureArrivals measures a barrier at which all participants arrive at the same time.
func (r *Runner) MeasureArrivals(ctx context.Context) (rows []report.Row, err error) {
	err = r.withOperatorInNamespace(ctx, func(namespace string, _ *benchenv.Operator) error {
		participants, err := r.CreateParticipants(ctx, namespace, "participant", min(r.BarrierParticipants, lowerbound.Connections), true)
		if err != nil {
			return err
		}
		var creates, rates []float64
		var open stats.Sample
		round := 0
		err = r.repeatSlow(func(counts bool) error {
			rate, err := r.LowerBounds.MeasureCreateRate(ctx, r.RatePeriod/3)
			if err != nil {
				return err
			}
			round++
			all, opened, err := r.measureConcurrentArrivals(ctx, namespace, fmt.Sprintf("storm-%d", round), r.BarrierParticipants, participants)
			if counts {
				creates = append(creates, rate)
				rates = append(rates, float64(r.BarrierParticipants)/all.Seconds())
				open.Add(opened)
			}
			return err
		})
		n := fmt.Sprintf("N=%d; over %d connections", open.N(), len(participants))
		everybody := formatCount(r.BarrierParticipants)
		rows = []report.Row{
			report.NewRow(fmt.Sprintf("barrier: %s arrive at once, arrivals per second", everybody), stats.Median(rates), "/s").WithLowerBound(stats.Median(creates)).
				WithNote(n + "; the floor is creates per second"),
			report.NewRow(fmt.Sprintf("barrier: %s arrive at once, first call until open, p50", everybody), open.P50(), "ms").WithNote(n),
		}
		return err
	})
	return rows, err
}

// measureConcurrentArrivals lets n participants arrive at a new barrier at once, and measures until the last call has returned
// and until the barrier is observed open.
func (r *Runner) measureConcurrentArrivals(ctx context.Context, namespace, name string, n int, participants []*benchenv.Participant) (all, opened time.Duration, err error) {
	if _, err := r.createBarrier(ctx, namespace, name, int32(n)); err != nil {
		return 0, 0, err
	}
	watcher, err := r.NewOutsideParticipant(namespace, "watcher")
	if err != nil {
		return 0, 0, err
	}
	open := make(chan error, 1)
	go func() { open <- watcher.WaitBarrier(ctx, name) }()
	if err := watcher.Watches.AwaitStarted(ctx, 1); err != nil {
		return 0, 0, err
	}
	group, groupCtx := errgroup.WithContext(ctx)
	begin := time.Now()
	for i := range n {
		p := participants[i%len(participants)]
		group.Go(func() error { return p.ArriveBarrier(groupCtx, name, konductor.WithHolder(fmt.Sprint(i))) })
	}
	if err := group.Wait(); err != nil {
		return 0, 0, err
	}
	all = time.Since(begin)
	err = receiveError(ctx, open, "the barrier to open")
	return all, time.Since(begin), err
}
