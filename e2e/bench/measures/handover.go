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
	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// MeasureHandover measures from the call of Release until the AcquireLease of the next in the queue returns, with queues of
// several lengths in which every waiter has a watch of its own.
func (r *Runner) MeasureHandover(ctx context.Context) (rows []report.Row, err error) {
	var first, last float64
	for _, waiting := range r.QueueLengths {
		err := r.withLowerBound(ctx, func(namespace string) error {
			contended, err := r.newContendedLease(ctx, namespace, "db", waiting+1, 0)
			if err != nil {
				return err
			}
			handover, floor, err := r.measureHandovers(ctx, contended)
			if err != nil {
				return err
			}
			n := fmt.Sprintf("N=%d", handover.N())
			rows = append(rows,
				report.NewRow(fmt.Sprintf("handover with %s waiting, p50", formatCount(waiting)), handover.P50(), "ms").WithLowerBound(floor.P50()).AtMost(1.6).WithNote(n),
				report.NewRow(fmt.Sprintf("handover with %s waiting, p99", formatCount(waiting)), handover.P99(), "ms").WithLowerBound(floor.P99()).WithNote(n))
			if first == 0 {
				first = handover.P50()
			}
			last = handover.P50()
			return contended.close(ctx)
		})
		if err != nil {
			return nil, err
		}
	}
	least, most := r.QueueLengths[0], r.QueueLengths[len(r.QueueLengths)-1]
	return append(rows, report.NewRow(fmt.Sprintf("handover with %s waiting against %s", formatCount(most), formatCount(least)), last, "ms").WithLowerBound(first).AtMost(1.3).
		WithNote("both p50; the floor is the shorter queue")), nil
}

// measureHandovers measures handovers, alternating with the lower bound.
func (r *Runner) measureHandovers(ctx context.Context, contended *contendedLease) (handover, floor stats.Sample, err error) {
	err = r.repeatFastHalf(func(counts bool) error {
		answered, err := r.LowerBounds.MeasureGrantRoundTrip(ctx)
		if err != nil {
			return err
		}
		took, err := contended.measureHandover(ctx)
		if counts {
			floor.Add(answered)
			handover.Add(took)
		}
		return err
	})
	return handover, floor, err
}

// MeasurePendingClaims measures whether a long queue makes a grant more expensive: handovers of two leases with queues of
// different lengths, alternating. Behind two waiters with a watch, the queues consist of claims without a running client.
func (r *Runner) MeasurePendingClaims(ctx context.Context) (rows []report.Row, err error) {
	err = r.withOperatorInNamespace(ctx, func(namespace string, _ *benchenv.Operator) error {
		short, err := r.newContendedLease(ctx, namespace, "short", 3, r.SmallCount)
		if err != nil {
			return err
		}
		long, err := r.newContendedLease(ctx, namespace, "long", 3, r.LargeCount)
		if err != nil {
			return err
		}
		var some, many stats.Sample
		err = r.repeatFastHalf(func(counts bool) error {
			few, err := short.measureHandover(ctx)
			if err != nil {
				return err
			}
			lots, err := long.measureHandover(ctx)
			if counts {
				some.Add(few)
				many.Add(lots)
			}
			return err
		})
		rows = []report.Row{
			report.NewRow(fmt.Sprintf("grant with %s pending against %s, p50", formatCount(r.LargeCount), formatCount(r.SmallCount)), many.P50(), "ms").WithLowerBound(some.P50()).AtMost(1.3).
				WithNote(fmt.Sprintf("N=%d; a handover; the floor is the shorter queue", many.N())),
		}
		return err
	})
	return rows, err
}

// contendedLease is a lease that is handed over: a contender that releases it joins the end of the queue.
type contendedLease struct {
	runner     *Runner
	lease      types.NamespacedName
	contenders []*benchenv.Participant
	idleClaims int // claims behind the contenders' without a running client
	grants     chan grant
	holder     grant
	cancel     context.CancelFunc
}

type grant struct {
	participant *benchenv.Participant
	hold        *konductor.Hold
	grantedAt   time.Time
	err         error
}

// newContendedLease creates a lease and lets contenders queue up for it, the first of which gets it, with idle claims behind
// them.
func (r *Runner) newContendedLease(ctx context.Context, namespace, name string, runners, idle int) (*contendedLease, error) {
	lease, err := r.createLease(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	l := &contendedLease{runner: r, lease: lease, idleClaims: idle, grants: make(chan grant, runners)}
	if l.contenders, err = r.CreateParticipants(ctx, namespace, name+"-runner", runners, false); err != nil {
		return nil, err
	}
	ctx, l.cancel = context.WithCancel(ctx)
	l.enqueue(ctx, l.contenders[0])
	if l.holder, err = l.awaitGrant(ctx); err != nil {
		return nil, err
	}
	if err := r.createIdleClaims(ctx, konductorv1.ClaimTarget{Kind: konductorv1.KindLease, Name: name}, namespace, idle); err != nil {
		return nil, err
	}
	for _, p := range l.contenders[1:] {
		l.enqueue(ctx, p)
	}
	for _, p := range l.contenders[1:] {
		if err := p.Watches.AwaitStarted(ctx, 1); err != nil {
			return nil, err
		}
	}
	return l, l.awaitSettled(ctx)
}

// enqueue lets p acquire in the background.
func (l *contendedLease) enqueue(ctx context.Context, p *benchenv.Participant) {
	go func() {
		hold, err := p.AcquireLease(ctx, l.lease.Name, konductor.WithPriority(1))
		l.grants <- grant{p, hold, time.Now(), err}
	}()
}

// awaitGrant waits for the next grant.
func (l *contendedLease) awaitGrant(ctx context.Context) (grant, error) {
	g, err := receive(ctx, l.grants, "a grant of "+l.lease.String())
	return g, cmp.Or(err, g.err)
}

// measureHandover measures one handover, and lets the former holder queue up again.
func (l *contendedLease) measureHandover(ctx context.Context) (time.Duration, error) {
	before := l.holder
	begin := time.Now()
	if err := before.hold.Release(ctx); err != nil {
		return 0, err
	}
	var err error
	if l.holder, err = l.awaitGrant(ctx); err != nil {
		return 0, err
	}
	took := l.holder.grantedAt.Sub(begin)
	watches := before.participant.Watches.Started()
	l.enqueue(ctx, before.participant)
	if err := before.participant.Watches.AwaitStarted(ctx, watches+1); err != nil {
		return 0, err
	}
	return took, l.awaitSettled(ctx)
}

// awaitSettled waits until the operator has counted all waiters in the status, after which it has nothing left to do.
func (l *contendedLease) awaitSettled(ctx context.Context) error {
	waiting := int32(len(l.contenders) - 1 + l.idleClaims)
	return l.runner.AwaitLease(ctx, l.lease, func(lease *konductorv1.Lease) bool {
		return lease.Status.Waiting == waiting && lease.Status.Phase == konductorv1.LeaseHeld
	})
}

// close cancels all waiters.
func (l *contendedLease) close(ctx context.Context) error {
	if err := l.holder.hold.Release(ctx); err != nil {
		return err
	}
	l.cancel()
	for range l.contenders[1:] {
		g, err := receive(ctx, l.grants, "the others to give up")
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

// createIdleClaims creates claims without a running client.
func (r *Runner) createIdleClaims(ctx context.Context, target konductorv1.ClaimTarget, namespace string, n int) error {
	return r.CreateObjects(ctx, n, func(i int) client.Object {
		return newIdleClaim(namespace, fmt.Sprintf("%s-idle-%d", target.Name, i), target)
	})
}

// newIdleClaim returns a claim whose holder has its name, and needs no renewal while something is measured.
func newIdleClaim(namespace, name string, target konductorv1.ClaimTarget) *konductorv1.Claim {
	return &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       konductorv1.ClaimSpec{Target: target, Holder: name, TTL: konductorv1.NewDuration(time.Hour)},
	}
}
