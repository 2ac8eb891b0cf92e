package measures

import (
	"context"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/bench/floors"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// curve is how something grows: a sample for each size.
type curve struct {
	what    string // with a verb for the size
	sizes   []int
	samples []stats.Sample
	note    string
}

func newCurve(what, note string, sizes []int) *curve {
	return &curve{what: what, sizes: sizes, samples: make([]stats.Sample, len(sizes)), note: note}
}

// rows tells the median at each size, and the exponent of the power law through them.
func (c *curve) rows() (rows []report.Row) {
	x, y := make([]float64, len(c.sizes)), make([]float64, len(c.sizes))
	for i, size := range c.sizes {
		x[i], y[i] = float64(size), c.samples[i].P50()
		rows = append(rows, report.Of(fmt.Sprintf(c.what+", p50", count(size)), y[i], "ms").Note(fmt.Sprintf("N=%d", c.samples[i].N())))
	}
	return append(rows, report.Of(fmt.Sprintf(c.what+": exponent", "n"), stats.Exponent(x, y), "").Note(c.note))
}

// inTurns measures each size in turns, and adds what counts to the curve.
func (r *Run) inTurns(c *curve, measure func(i int) (time.Duration, error)) error {
	return r.repeatCalmly(func(counts bool) error {
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

// GrowthOfWaiters looks at how a handover grows with the length of the queue.
func (r *Run) GrowthOfWaiters(ctx context.Context) (rows []report.Row, err error) {
	c := newCurve("handover with %s waiting", "0 is flat", r.Sizes)
	err = r.inNamespace(ctx, func(namespace string, _ *scene.Operator) error {
		relays := make([]*relay, len(r.Sizes))
		for i, size := range r.Sizes {
			if relays[i], err = r.newRelay(ctx, namespace, fmt.Sprintf("queue-%d", size), 2, size-1); err != nil {
				return err
			}
		}
		return r.inTurns(c, func(i int) (time.Duration, error) { return relays[i].pass(ctx) })
	})
	return c.rows(), err
}

// GrowthOfHolders looks at how an acquire of a permit that is free grows with the number of holders.
func (r *Run) GrowthOfHolders(ctx context.Context) (rows []report.Row, err error) {
	c := newCurve("acquire as holder number %s", "0 is flat; a semaphore has at most 1000 holders, all of whom each write of its status names", r.Holders)
	err = r.inNamespace(ctx, func(namespace string, _ *scene.Operator) error {
		pods, err := r.Participants(ctx, namespace, "pod", 1, true)
		if err != nil {
			return err
		}
		semaphores := make([]types.NamespacedName, len(r.Holders))
		for i, size := range r.Holders {
			if semaphores[i], err = r.semaphore(ctx, namespace, fmt.Sprintf("of-%d", size), int32(size)); err != nil {
				return err
			}
			if err := r.idleHolders(ctx, semaphores[i], size-1); err != nil {
				return err
			}
		}
		return r.inTurns(c, func(i int) (time.Duration, error) { return r.acquirePermit(ctx, pods[0], semaphores[i]) })
	})
	return c.rows(), err
}

// acquirePermit acquires and releases a permit, and waits until it is free again.
func (r *Run) acquirePermit(ctx context.Context, p *scene.Participant, semaphore types.NamespacedName) (time.Duration, error) {
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

// idleHolders lets claims hold whose clients don't run: they are granted and acknowledged.
func (r *Run) idleHolders(ctx context.Context, semaphore types.NamespacedName, n int) error {
	target := konductorv1.ClaimTarget{Kind: konductorv1.KindSemaphore, Name: semaphore.Name}
	if err := r.idleClaims(ctx, target, semaphore.Namespace, n); err != nil {
		return err
	}
	if err := r.AwaitSemaphore(ctx, semaphore, func(s *konductorv1.Semaphore) bool { return int(s.Status.InUse) == n }); err != nil {
		return err
	}
	return r.acknowledge(ctx, semaphore.Namespace, target)
}

// acknowledge does for the granted claims on target what their clients would: say that they have seen the grant.
func (r *Run) acknowledge(ctx context.Context, namespace string, target konductorv1.ClaimTarget) error {
	key := types.NamespacedName{Namespace: namespace, Name: target.Name}
	semaphore := &konductorv1.Semaphore{}
	if err := r.Objects.Get(ctx, key, semaphore); err != nil {
		return err
	}
	holders := semaphore.Status.Holders
	told := map[string]bool{}
	for i := range holders {
		told[holders[i].Claim] = true
	}
	onTarget := func(c *konductorv1.Claim) bool {
		return c.Spec.Target == target && told[c.Name] && c.Status.Phase == konductorv1.ClaimGranted
	}
	if err := scene.AwaitAll(ctx, r.Scene, &konductorv1.ClaimList{}, namespace, len(holders), onTarget,
		client.MatchingFields{"spec.target.name": target.Name}); err != nil {
		return err
	}
	return scene.Each(ctx, len(holders), func(ctx context.Context, i int) error {
		claim := &konductorv1.Claim{}
		claim.Namespace, claim.Name = namespace, holders[i].Claim
		return r.Objects.Patch(ctx, claim, client.RawPatch(types.MergePatchType, []byte(`{"spec":{"renewals":1}}`)))
	})
}

// GrowthOfBarriers looks at how the opening of a barrier grows with the number of other barriers.
func (r *Run) GrowthOfBarriers(ctx context.Context) (rows []report.Row, err error) {
	c := newCurve("last arrival until open with %s barriers", "0 is flat", r.Sizes)
	err = r.inNamespace(ctx, func(namespace string, _ *scene.Operator) error {
		outsider, err := r.Outsider(namespace, "somebody")
		if err != nil {
			return err
		}
		there := 0
		// Barriers only become more, so that the sizes come one after the other.
		for i, size := range r.Sizes {
			if err := r.CreateAll(ctx, size-there, func(i int) client.Object {
				b := konductor.NewBarrier(fmt.Sprintf("other-%d", there+i), 10)
				b.Namespace = namespace
				return b
			}); err != nil {
				return err
			}
			there = size
			if err := r.awaitCalm(ctx); err != nil {
				return err
			}
			round := 0
			err := r.repeatCalmly(func(counts bool) error {
				round++
				took, err := r.openOne(ctx, namespace, fmt.Sprintf("of-%d-%d", size, round), outsider)
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
	return c.rows(), err
}

// openOne measures from the only arrival at a barrier until a waiter goes.
func (r *Run) openOne(ctx context.Context, namespace, name string, p *scene.Participant) (time.Duration, error) {
	if _, err := r.barrier(ctx, namespace, name, 1); err != nil {
		return 0, err
	}
	watches := p.Watches.Begun()
	open := make(chan error, 1)
	go func() { open <- p.WaitBarrier(ctx, name) }()
	if err := p.Watches.Await(ctx, watches+1); err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := p.ArriveBarrier(ctx, name, konductor.WithHolder("last")); err != nil {
		return 0, err
	}
	err := awaitEnd(ctx, open, "the barrier to open")
	return time.Since(begin), err
}

// GrowthOfArrivals looks at how a barrier grows with the number of those who meet at it, all of whom arrive at once: until
// it is open, and what processor time that costs the operator.
func (r *Run) GrowthOfArrivals(ctx context.Context) (rows []report.Row, err error) {
	// Ten thousand requests at the same time from one process measure how long the API server takes to turn them away.
	const atOnce = 1000
	sizes := slices.DeleteFunc(slices.Clone(r.Sizes), func(size int) bool { return size > atOnce })
	wall := newCurve("%s arrive at once, first call until open", "1 is in proportion", sizes)
	cpu := newCurve("%s arrive at once, operator CPU", "1 is in proportion", sizes)
	err = r.inNamespace(ctx, func(namespace string, operator *scene.Operator) error {
		participants, err := r.Participants(ctx, namespace, "participant", floors.Connections, true)
		if err != nil {
			return err
		}
		const most = 2
		for i, size := range sizes {
			for round := range min(r.Rounds, most) {
				before, err := operator.CPU()
				if err != nil {
					return err
				}
				_, opened, err := r.arriveAll(ctx, namespace, fmt.Sprintf("growth-%d-%d", size, round), size, participants)
				if err != nil {
					return err
				}
				after, err := operator.CPU()
				if err != nil {
					return err
				}
				wall.samples[i].Add(opened)
				// The kernel counts in hundredths of a second.
				cpu.samples[i].Add(max(after-before, time.Second/100))
			}
		}
		return nil
	})
	return append(wall.rows(), cpu.rows()...), err
}
