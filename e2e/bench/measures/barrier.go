package measures

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/floors"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Barrier measures from the last arrival's call until the last of many WaitBarrier calls has returned.
func (r *Run) Barrier(ctx context.Context) (rows []report.Row, err error) {
	err = r.inNamespace(ctx, func(namespace string, _ *scene.Operator) error {
		waiters, err := r.Participants(ctx, namespace, "waiter", r.Audience, false)
		if err != nil {
			return err
		}
		last, err := r.Outsider(namespace, "last")
		if err != nil {
			return err
		}
		audience, err := r.Floors.NewAudience(ctx, r.Audience)
		if err != nil {
			return err
		}
		var fanOut, floor, released stats.Sample
		round := 0
		err = r.rounds(func(counts bool) error {
			wrote, err := r.Floors.Create(ctx)
			if err != nil {
				return err
			}
			seen, err := audience.FanOut(ctx)
			if err != nil {
				return err
			}
			round++
			took, err := r.releaseAll(ctx, namespace, fmt.Sprintf("stage-%d", round), waiters, last)
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
		everybody := count(r.Audience)
		rows = []report.Row{
			report.Of(fmt.Sprintf("floor: one update seen by %s watchers, p50", everybody), fanOut.P50(), "ms").Note(n),
			report.Of(fmt.Sprintf("barrier: last arrival until %s waiters go, p50", everybody), released.P50(), "ms").Over(floor.P50()).AtMost(2).
				Note(n + "; the floor is one create and one update seen by all"),
		}
		return audience.Close(ctx)
	})
	return rows, err
}

// releaseAll lets all wait for a new barrier for which one arrival is missing, makes that, and measures until all go.
func (r *Run) releaseAll(ctx context.Context, namespace, name string, waiters []*scene.Participant, last *scene.Participant) (time.Duration, error) {
	if _, err := r.barrier(ctx, namespace, name, 2); err != nil {
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
		begun[i] = w.Watches.Begun()
		go func() { ended <- w.WaitBarrier(ctx, name) }()
	}
	for i, w := range waiters {
		if err := w.Watches.Await(ctx, begun[i]+1); err != nil {
			return 0, err
		}
	}
	begin := time.Now()
	if err := last.ArriveBarrier(ctx, name, konductor.WithHolder("last")); err != nil {
		return 0, err
	}
	for range waiters {
		if err := awaitEnd(ctx, ended, "everybody to go"); err != nil {
			return 0, err
		}
	}
	return time.Since(begin), nil
}

// barrier creates a barrier and waits until the operator has seen it.
func (r *Run) barrier(ctx context.Context, namespace, name string, expected int32) (types.NamespacedName, error) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	b := konductor.NewBarrier(name, expected)
	b.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: name}
	if err := r.Objects.Create(ctx, b); err != nil {
		return key, err
	}
	return key, r.AwaitBarrier(ctx, key, func(b *konductorv1.Barrier) bool { return b.Status.ObservedGeneration > 0 })
}

// Arrivals measures a barrier at which everybody arrives at the same moment.
func (r *Run) Arrivals(ctx context.Context) (rows []report.Row, err error) {
	err = r.inNamespace(ctx, func(namespace string, _ *scene.Operator) error {
		participants, err := r.Participants(ctx, namespace, "participant", min(r.Audience, floors.Connections), true)
		if err != nil {
			return err
		}
		var creates, rates []float64
		var open stats.Sample
		round := 0
		err = r.rounds(func(counts bool) error {
			rate, err := r.Floors.CreateRate(ctx, r.Period/3)
			if err != nil {
				return err
			}
			round++
			all, opened, err := r.arriveAll(ctx, namespace, fmt.Sprintf("storm-%d", round), r.Audience, participants)
			if counts {
				creates = append(creates, rate)
				rates = append(rates, float64(r.Audience)/all.Seconds())
				open.Add(opened)
			}
			return err
		})
		n := fmt.Sprintf("N=%d; over %d connections", open.N(), len(participants))
		everybody := count(r.Audience)
		rows = []report.Row{
			report.Of(fmt.Sprintf("barrier: %s arrive at once, arrivals per second", everybody), stats.Median(rates), "/s").Over(stats.Median(creates)).
				Note(n + "; the floor is creates per second"),
			report.Of(fmt.Sprintf("barrier: %s arrive at once, first call until open, p50", everybody), open.P50(), "ms").Note(n),
		}
		return err
	})
	return rows, err
}

// arriveAll lets so many arrive at a new barrier at once, and measures until the last call has returned and until the
// barrier is seen open.
func (r *Run) arriveAll(ctx context.Context, namespace, name string, n int, participants []*scene.Participant) (all, opened time.Duration, err error) {
	if _, err := r.barrier(ctx, namespace, name, int32(n)); err != nil {
		return 0, 0, err
	}
	watcher, err := r.Outsider(namespace, "watcher")
	if err != nil {
		return 0, 0, err
	}
	open := make(chan error, 1)
	go func() { open <- watcher.WaitBarrier(ctx, name) }()
	if err := watcher.Watches.Await(ctx, 1); err != nil {
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
	err = awaitEnd(ctx, open, "the barrier to open")
	return all, time.Since(begin), err
}
