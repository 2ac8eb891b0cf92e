package measures

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/lowerbound"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// growthCurve is how a time grows: a sample for each size.
type growthCurve struct {
	label   string // with a verb for the size
	sizes   []int
	samples []stats.Sample
	note    string
}

func newGrowthCurve(what, note string, sizes []int) *growthCurve {
	return &growthCurve{label: what, sizes: sizes, samples: make([]stats.Sample, len(sizes)), note: note}
}

// reportRows reports the median at each size, and the exponent of the power law through them.
func (c *growthCurve) reportRows() (rows []report.Row) {
	x, y := make([]float64, len(c.sizes)), make([]float64, len(c.sizes))
	for i, size := range c.sizes {
		x[i], y[i] = float64(size), c.samples[i].P50()
		rows = append(rows, report.NewRow(fmt.Sprintf(c.label+", p50", formatCount(size)), y[i], "ms").WithNote(fmt.Sprintf("N=%d", c.samples[i].N())))
	}
	return append(rows, report.NewRow(fmt.Sprintf(c.label+": exponent", "n"), stats.PowerLawExponent(x, y), "").WithNote(c.note))
}

// measureInterleaved measures each size in turn, and adds the values to the curve, except during warm-up.
func (r *Runner) measureInterleaved(c *growthCurve, measure func(i int) (time.Duration, error)) error {
	return r.repeatFastHalf(func(counts bool) error {
		for i := range c.sizes {
			took, err := measure(i)
			if err != nil {
				return err
			}
			if counts {
				c.samples[i].Add(took)
			}
		}
		return nil
	})
}

// MeasureWaiterGrowth measures how a handover grows with the length of the queue.
func (r *Runner) MeasureWaiterGrowth(ctx context.Context) (rows []report.Row, err error) {
	c := newGrowthCurve("handover with %s waiting", "0 is flat", r.GrowthSizes)
	err = r.withOperatorInNamespace(ctx, func(namespace string, _ *benchenv.Operator) error {
		contended := make([]*contendedLease, len(r.GrowthSizes))
		for i, size := range r.GrowthSizes {
			if contended[i], err = r.newContendedLease(ctx, namespace, fmt.Sprintf("queue-%d", size), 2, size-1); err != nil {
				return err
			}
		}
		return r.measureInterleaved(c, func(i int) (time.Duration, error) { return contended[i].measureHandover(ctx) })
	})
	return c.reportRows(), err
}

// MeasureHolderGrowth measures how an acquire of a free permit grows with the number of holders.
func (r *Runner) MeasureHolderGrowth(ctx context.Context) (rows []report.Row, err error) {
	c := newGrowthCurve("acquire as holder number %s", "0 is flat; a semaphore has at most 1000 holders, all of whom each write of its status names", r.HolderCounts)
	err = r.withOperatorInNamespace(ctx, func(namespace string, _ *benchenv.Operator) error {
		pods, err := r.CreateParticipants(ctx, namespace, "pod", 1, true)
		if err != nil {
			return err
		}
		semaphores := make([]types.NamespacedName, len(r.HolderCounts))
		for i, size := range r.HolderCounts {
			if semaphores[i], err = r.createSemaphore(ctx, namespace, fmt.Sprintf("of-%d", size), int32(size)); err != nil {
				return err
			}
			if err := r.createIdleHolders(ctx, semaphores[i], size-1); err != nil {
				return err
			}
		}
		return r.measureInterleaved(c, func(i int) (time.Duration, error) { return r.measurePermitAcquire(ctx, pods[0], semaphores[i]) })
	})
	return c.reportRows(), err
}

// measurePermitAcquire acquires and releases a permit, and waits until it is free again.
func (r *Runner) measurePermitAcquire(ctx context.Context, p *benchenv.Participant, semaphore types.NamespacedName) (time.Duration, error) {
	begin := time.Now()
	hold, err := p.AcquireSemaphore(ctx, semaphore.Name)
	if err != nil {
		return 0, err
	}
	took := time.Since(begin)
	if err := hold.Release(ctx); err != nil {
		return 0, err
	}
	return took, r.AwaitSemaphore(ctx, semaphore, func(s *konductorv1.Semaphore) bool { return s.Status.Available == 1 })
}

// createIdleHolders creates claims that hold permits without a running client: they are granted and acknowledged.
func (r *Runner) createIdleHolders(ctx context.Context, semaphore types.NamespacedName, n int) error {
	target := konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: semaphore.Name}
	if err := r.createIdleClaims(ctx, target, semaphore.Namespace, n); err != nil {
		return err
	}
	if err := r.AwaitSemaphore(ctx, semaphore, func(s *konductorv1.Semaphore) bool { return int(s.Status.InUse) == n }); err != nil {
		return err
	}
	return r.acknowledgeGrants(ctx, semaphore.Namespace, target)
}

// acknowledgeGrants acknowledges the granted claims on target, as their clients would.
func (r *Runner) acknowledgeGrants(ctx context.Context, namespace string, target konductorv1.ClaimTarget) error {
	key := types.NamespacedName{Namespace: namespace, Name: target.Name}
	semaphore := &konductorv1.Semaphore{}
	if err := r.Objects.Get(ctx, key, semaphore); err != nil {
		return err
	}
	holders := semaphore.Status.Holders
	isHolder := map[string]bool{}
	for i := range holders {
		isHolder[holders[i].Claim] = true
	}
	onTarget := func(c *konductorv1.Claim) bool {
		return c.Spec.Target == target && isHolder[c.Name] && c.Status.Phase == konductorv1.ClaimGranted
	}
	if err := benchenv.AwaitObjects(ctx, r.Env, &konductorv1.ClaimList{}, namespace, len(holders), onTarget,
		client.MatchingFields{"spec.target.name": target.Name}); err != nil {
		return err
	}
	return benchenv.ForEachParallel(ctx, len(holders), func(ctx context.Context, i int) error {
		claim := &konductorv1.Claim{}
		claim.Namespace, claim.Name = namespace, holders[i].Claim
		return r.Objects.Patch(ctx, claim, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"renewals":1}}`)))
	})
}

// MeasureOpeningByBarrierCount measures how the opening of a barrier grows with the number of other barriers.
func (r *Runner) MeasureOpeningByBarrierCount(ctx context.Context) (rows []report.Row, err error) {
	c := newGrowthCurve("last arrival until open with %s barriers", "0 is flat", r.GrowthSizes)
	err = r.withOperatorInNamespace(ctx, func(namespace string, _ *benchenv.Operator) error {
		outsider, err := r.NewOutsideParticipant(namespace, "somebody")
		if err != nil {
			return err
		}
		created := 0
		// The number of barriers only increases, so that the sizes come one after the other.
		for i, size := range r.GrowthSizes {
			if err := r.CreateObjects(ctx, size-created, func(i int) client.Object {
				b := konductor.NewBarrier(fmt.Sprintf("other-%d", created+i), 10)
				b.Namespace = namespace
				return b
			}); err != nil {
				return err
			}
			created = size
			if err := r.awaitNoWrites(ctx); err != nil {
				return err
			}
			round := 0
			err := r.repeatFastHalf(func(counts bool) error {
				round++
				took, err := r.measureBarrierOpen(ctx, namespace, fmt.Sprintf("of-%d-%d", size, round), outsider)
				if counts {
					c.samples[i].Add(took)
				}
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return c.reportRows(), err
}

// measureBarrierOpen measures from the only arrival at a barrier until a waiter returns.
func (r *Runner) measureBarrierOpen(ctx context.Context, namespace, name string, p *benchenv.Participant) (time.Duration, error) {
	if _, err := r.createBarrier(ctx, namespace, name, 1); err != nil {
		return 0, err
	}
	watches := p.Watches.Started()
	open := make(chan error, 1)
	go func() { open <- p.WaitBarrier(ctx, name) }()
	if err := p.Watches.AwaitStarted(ctx, watches+1); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := p.ArriveBarrier(ctx, name, konductor.WithHolder("last")); err != nil {
		return 0, err
	}
	err := receiveError(ctx, open, "the barrier to open")
	return time.Since(begin), err
}

// MeasureArrivalGrowth measures how a barrier grows with the number of its participants, all of which arrive at once: until it is
// open, and the CPU time of the operator.
func (r *Runner) MeasureArrivalGrowth(ctx context.Context) (rows []report.Row, err error) {
	// Ten thousand parallel requests from one process would measure how long the API server takes to reject them.
	const atOnce = 1000
	sizes := slices.DeleteFunc(slices.Clone(r.GrowthSizes), func(size int) bool { return size > atOnce })
	wall := newGrowthCurve("%s arrive at once, first call until open", "1 is in proportion", sizes)
	cpu := newGrowthCurve("%s arrive at once, operator CPU", "1 is in proportion", sizes)
	err = r.withOperatorInNamespace(ctx, func(namespace string, operator *benchenv.Operator) error {
		participants, err := r.CreateParticipants(ctx, namespace, "participant", lowerbound.Connections, true)
		if err != nil {
			return err
		}
		const most = 2
		for i, size := range sizes {
			for round := range min(r.SlowRepetitions, most) {
				before, err := operator.CPUTime()
				if err != nil {
					return err
				}
				_, opened, err := r.measureConcurrentArrivals(ctx, namespace, fmt.Sprintf("growth-%d-%d", size, round), size, participants)
				if err != nil {
					return err
				}
				after, err := operator.CPUTime()
				if err != nil {
					return err
				}
				wall.samples[i].Add(opened)
				// The kernel counts CPU time in hundredths of a second.
				cpu.samples[i].Add(max(after-before, time.Second/100))
			}
		}
		return nil
	})
	return append(wall.reportRows(), cpu.reportRows()...), err
}
