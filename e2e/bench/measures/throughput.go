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
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// writesPerCycle is the minimum number of writes for an acquire and a release, if the grants of many share one: the claim is
// created, notified and deleted.
const writesPerCycle = 3

// MeasureThroughput measures how often per second clients acquire and release permits of one semaphore, each over a connection of
// its own, and the CPU time that the operator needs for it.
func (r *Runner) MeasureThroughput(ctx context.Context) (rows []report.Row, err error) {
	err = r.withOperatorInNamespace(ctx, func(namespace string, operator *benchenv.Operator) error {
		clients, err := r.CreateParticipants(ctx, namespace, "client", r.Clients, true)
		if err != nil {
			return err
		}
		for _, permits := range r.PermitCounts {
			semaphore, err := r.createSemaphore(ctx, namespace, fmt.Sprintf("permits-%d", permits), int32(permits))
			if err != nil {
				return err
			}
			more, err := r.measureThroughputWithPermits(ctx, semaphore, permits, clients, operator)
			if err != nil {
				return err
			}
			rows = append(rows, more...)
		}
		return nil
	})
	return rows, err
}

func (r *Runner) measureThroughputWithPermits(ctx context.Context, semaphore types.NamespacedName, permits int, clients []*benchenv.Participant, operator *benchenv.Operator) ([]report.Row, error) {
	var floor, creates, rates, cpu []float64
	err := r.repeatSlow(func(counts bool) error {
		perSecond, err := r.LowerBounds.MeasureCreateRate(ctx, r.RatePeriod)
		if err != nil {
			return err
		}
		before, err := operator.CPUTime()
		if err != nil {
			return err
		}
		cycles, took, err := r.runAcquireReleaseLoop(ctx, semaphore.Name, clients)
		if err != nil {
			return err
		}
		after, err := operator.CPUTime()
		if counts {
			creates = append(creates, perSecond)
			floor = append(floor, perSecond/writesPerCycle)
			rates = append(rates, float64(cycles)/took.Seconds())
			cpu = append(cpu, (after-before).Seconds()/float64(cycles)*1000)
		}
		return err
	})
	n := fmt.Sprintf("median of %d rounds of %s", len(rates), r.RatePeriod)
	who := fmt.Sprintf("%d clients, %d permits", len(clients), permits)
	return []report.Row{
		report.NewRow("floor: creates per second ("+who+")", stats.Median(creates), "/s").WithNote(n),
		report.NewRow("acquire and release: "+who, stats.Median(rates), "/s").WithLowerBound(stats.Median(floor)).AtLeast(0.6).
			WithNote(n + fmt.Sprintf("; the floor is creates per second ÷ %d", writesPerCycle)),
		report.NewRow("operator CPU per 1000 grants ("+who+")", stats.Median(cpu), "s").WithNote(n),
	}, err
}

// runAcquireReleaseLoop lets all clients acquire and release for RatePeriod.
func (r *Runner) runAcquireReleaseLoop(ctx context.Context, semaphore string, clients []*benchenv.Participant) (cycles int64, took time.Duration, err error) {
	var done atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	begin := time.Now()
	for _, c := range clients {
		group.Go(func() error {
			for time.Since(begin) < r.RatePeriod {
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

// createSemaphore creates a semaphore and waits until the operator has reconciled it.
func (r *Runner) createSemaphore(ctx context.Context, namespace, name string, permits int32) (types.NamespacedName, error) {
	key := types.NamespacedName{Namespace: namespace, Name: name}
	s := konductor.NewSemaphore(name, permits)
	s.ObjectMeta = metav1.ObjectMeta{Namespace: namespace, Name: name}
	if err := r.Objects.Create(ctx, s); err != nil {
		return key, err
	}
	return key, r.AwaitSemaphore(ctx, key, func(s *konductorv1.Semaphore) bool { return s.Status.ObservedGeneration > 0 })
}
