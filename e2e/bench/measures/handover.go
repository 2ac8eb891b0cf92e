package measures

import (
	"cmp"
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

// Handover measures from the call of Release until the AcquireLease of the next in the queue returns, with queues of
// several lengths in which everybody waits with a watch of its own.
func (r *Run) Handover(ctx context.Context) (rows []report.Row, err error) {
	var first, last float64
	for _, waiting := range r.Waiting {
		err := r.withFloor(ctx, func(namespace string) error {
			relay, err := r.newRelay(ctx, namespace, "db", waiting+1, 0)
			if err != nil {
				return err
			}
			handover, floor, err := r.handovers(ctx, relay)
			if err != nil {
				return err
			}
			n := fmt.Sprintf("N=%d", handover.N())
			rows = append(rows,
				report.Of(fmt.Sprintf("handover with %s waiting, p50", count(waiting)), handover.P50(), "ms").Over(floor.P50()).AtMost(1.6).Note(n),
				report.Of(fmt.Sprintf("handover with %s waiting, p99", count(waiting)), handover.P99(), "ms").Over(floor.P99()).Note(n))
			if first == 0 {
				first = handover.P50()
			}
			last = handover.P50()
			return relay.end(ctx)
		})
		if err != nil {
			return nil, err
		}
	}
	least, most := r.Waiting[0], r.Waiting[len(r.Waiting)-1]
	return append(rows, report.Of(fmt.Sprintf("handover with %s waiting against %s", count(most), count(least)), last, "ms").Over(first).AtMost(1.3).
		Note("both p50; the floor is the shorter queue")), nil
}

// handovers measures handovers in turns with the floor.
func (r *Run) handovers(ctx context.Context, relay *relay) (handover, floor stats.Sample, err error) {
	err = r.repeatCalmly(func(counts bool) error {
		answered, err := r.Floors.RoundTrip(ctx)
		if err != nil {
			return err
		}
		took, err := relay.pass(ctx)
		if counts {
			floor.Add(answered)
			handover.Add(took)
		}
		return err
	})
	return handover, floor, err
}

// Pending measures whether a long queue makes a grant dearer: two leases with queues of different lengths change hands in
// turns. Behind two who wait with a watch there are claims whose clients don't run here.
func (r *Run) Pending(ctx context.Context) (rows []report.Row, err error) {
	err = r.inNamespace(ctx, func(namespace string, _ *scene.Operator) error {
		short, err := r.newRelay(ctx, namespace, "short", 3, r.Some)
		if err != nil {
			return err
		}
		long, err := r.newRelay(ctx, namespace, "long", 3, r.Many)
		if err != nil {
			return err
		}
		var some, many stats.Sample
		err = r.repeatCalmly(func(counts bool) error {
			few, err := short.pass(ctx)
			if err != nil {
				return err
			}
			lots, err := long.pass(ctx)
			if counts {
				some.Add(few)
				many.Add(lots)
			}
			return err
		})
		rows = []report.Row{
			report.Of(fmt.Sprintf("grant with %s pending against %s, p50", count(r.Many), count(r.Some)), many.P50(), "ms").Over(some.P50()).AtMost(1.3).
				Note(fmt.Sprintf("N=%d; a handover; the floor is the shorter queue", many.N())),
		}
		return err
	})
	return rows, err
}

// relay is a lease that goes from hand to hand: whoever releases it queues up again behind all others.
type relay struct {
	run     *Run
	lease   types.NamespacedName
	runners []*scene.Participant
	idle    int // claims behind the runners' whose clients don't run
	grants  chan grant
	holder  grant
	cancel  context.CancelFunc
}

type grant struct {
	who  *scene.Participant
	hold *konductor.Hold
	at   time.Time
	err  error
}

// newRelay lets so many runners queue up for a new lease, the first of whom gets it, and idle claims behind them.
func (r *Run) newRelay(ctx context.Context, namespace, name string, runners, idle int) (*relay, error) {
	lease, err := r.lease(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	l := &relay{run: r, lease: lease, idle: idle, grants: make(chan grant, runners)}
	if l.runners, err = r.Participants(ctx, namespace, name+"-runner", runners, false); err != nil {
		return nil, err
	}
	ctx, l.cancel = context.WithCancel(ctx)
	l.queue(ctx, l.runners[0])
	if l.holder, err = l.granted(ctx); err != nil {
		return nil, err
	}
	if err := r.idleClaims(ctx, konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: name}, namespace, idle); err != nil {
		return nil, err
	}
	for _, p := range l.runners[1:] {
		l.queue(ctx, p)
	}
	for _, p := range l.runners[1:] {
		if err := p.Watches.Await(ctx, 1); err != nil {
			return nil, err
		}
	}
	return l, l.settle(ctx)
}

// queue lets p acquire in the background.
func (l *relay) queue(ctx context.Context, p *scene.Participant) {
	go func() {
		hold, err := p.AcquireLease(ctx, l.lease.Name, konductor.WithPriority(1))
		l.grants <- grant{p, hold, time.Now(), err}
	}()
}

// granted waits for the next grant.
func (l *relay) granted(ctx context.Context) (grant, error) {
	g, err := await(ctx, l.grants, "a grant of "+l.lease.String())
	return g, cmp.Or(err, g.err)
}

// pass measures one handover, and lets the former holder queue up again.
func (l *relay) pass(ctx context.Context) (time.Duration, error) {
	before := l.holder
	begin := time.Now()
	if err := before.hold.Release(ctx); err != nil {
		return 0, err
	}
	var err error
	if l.holder, err = l.granted(ctx); err != nil {
		return 0, err
	}
	took := l.holder.at.Sub(begin)
	watches := before.who.Watches.Begun()
	l.queue(ctx, before.who)
	if err := before.who.Watches.Await(ctx, watches+1); err != nil {
		return 0, err
	}
	return took, l.settle(ctx)
}

// settle waits until the operator has said that everybody is in the queue again, after which it has nothing left to do.
func (l *relay) settle(ctx context.Context) error {
	waiting := int32(len(l.runners) - 1 + l.idle)
	return l.run.AwaitLease(ctx, l.lease, func(lease *konductorv1.Lease) bool {
		return lease.Status.Waiting == waiting && lease.Status.Phase == konductorv1.LeaseHeld
	})
}

// end lets everybody give up.
func (l *relay) end(ctx context.Context) error {
	if err := l.holder.hold.Release(ctx); err != nil {
		return err
	}
	l.cancel()
	for range l.runners[1:] {
		g, err := await(ctx, l.grants, "the others to give up")
		if err != nil {
			return err
		}
		if g.err == nil {
			if err := g.hold.Release(ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// idleClaims creates claims whose clients don't run.
func (r *Run) idleClaims(ctx context.Context, target konductorv1.ClaimTarget, namespace string, n int) error {
	return r.CreateAll(ctx, n, func(i int) client.Object {
		name := fmt.Sprintf("%s-idle-%d", target.Name, i)
		return &konductorv1.Claim{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
			Spec:       konductorv1.ClaimSpec{Target: target, Holder: name, TTL: konductorv1.NewDuration(time.Hour)},
		}
	})
}
