package measures

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// writesPerCycle is how many writes an acquire and a release need at least, if the grants of many share one: the claim is
// created, told and deleted.
const writesPerCycle = 3

// Throughput measures how often per second clients acquire and release permits of one semaphore, each over a connection
// of its own, and what processor time the operator needs for it.
func (r *Run) Throughput(ctx context.Context) (rows []report.Row, err error) {
	err = r.inNamespace(ctx, func(namespace string, operator *scene.Operator) error {
		clients, err := r.Participants(ctx, namespace, "client", r.Clients, true)
		if err != nil {
			return err
		}
		for _, permits := range r.Permits {
			semaphore, err := r.semaphore(ctx, namespace, fmt.Sprintf("permits-%d", permits), int32(permits))
			if err != nil {
				return err
			}
			more, err := r.throughput(ctx, semaphore, permits, clients, operator)
			if err != nil {
				return err
			}
			rows = append(rows, more...)
		}
		return nil
	})
	return rows, err
}

func (r *Run) throughput(ctx context.Context, semaphore types.NamespacedName, permits int, clients []*scene.Participant, operator *scene.Operator) ([]report.Row, error) {
	var floor, creates, rates, cpu []float64
	err := r.rounds(func(counts bool) error {
		perSecond, err := r.Floors.CreateRate(ctx, r.Period)
		if err != nil {
			return err
		}
		before, err := operator.CPU()
		if err != nil {
			return err
		}
		cycles, took, err := r.cycle(ctx, semaphore.Name, clients)
		if err != nil {
			return err
		}
		after, err := operator.CPU()
		if counts {
			creates = append(creates, perSecond)
			floor = append(floor, perSecond/writesPerCycle)
			rates = append(rates, float64(cycles)/took.Seconds())
			cpu = append(cpu, (after-before).Seconds()/float64(cycles)*1000)
		}
		return err
	})
	n := fmt.Sprintf("median of %d rounds of %s", len(rates), r.Period)
	who := fmt.Sprintf("%d clients, %d permits", len(clients), permits)
	return []report.Row{
		report.Of("floor: creates per second ("+who+")", stats.Median(creates), "/s").Note(n),
		report.Of("acquire and release: "+who, stats.Median(rates), "/s").Over(stats.Median(floor)).AtLeast(0.6).
			Note(n + fmt.Sprintf("; the floor is creates per second ÷ %d", writesPerCycle)),
		report.Of("operator CPU per 1000 grants ("+who+")", stats.Median(cpu), "s").Note(n),
	}, err
}

// cycle lets all clients acquire and release for a while.
func (r *Run) cycle(ctx context.Context, semaphore string, clients []*scene.Participant) (cycles int64, took time.Duration, err error) {
	var done atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	for _, c := range clients {
		group.Go(func() error {
			for time.Since(begin) < r.Period {
				hold, err := c.AcquireSemaphore(ctx, semaphore)
				if err != nil {
					return err
				}
				if err := hold.Release(ctx); err != nil {
					return err
				}
				done.Add(1)
			}
			return nil
		})
	}
	err = group.Wait()
	return done.Load(), time.Since(begin), err
}

// semaphore creates a semaphore and waits until the operator has seen it.
func (r *Run) semaphore(ctx context.Context, namespace, name string, permits int32) (types.NamespacedName, error) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	s := konductor.NewSemaphore(name, permits)
	s.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: name}
	if err := r.Objects.Create(ctx, s); err != nil {
		return key, err
	}
	return key, r.AwaitSemaphore(ctx, key, func(s *konductorv1.Semaphore) bool { return s.Status.ObservedGeneration > 0 })
}
