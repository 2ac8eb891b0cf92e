package measures

import (
	"context"
	"fmt"
	"time"

	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
)

// MeasureFailover measures from a SIGKILL of the leader until a waiter has the lease that was released at the same moment, with a
// second replica on standby; and the same for an operator that is stopped with SIGTERM.
func (r *Runner) MeasureFailover(ctx context.Context) ([]report.Row, error) {
	namespace, err := r.CreateNamespace(ctx)
	if err != nil {
		return nil, err
	}
	leader, err := r.StartOperator(ctx)
	if err != nil {
		return nil, err
	}
	if err := r.AwaitLeader(ctx); err != nil {
		return nil, err
	}
	var killed, terminated stats.Sample
	for i := range 2 * r.LeaderCrashes {
		end, sample := (*benchenv.Operator).Kill, &killed
		if i%2 == 1 {
			end, sample = (*benchenv.Operator).Terminate, &terminated
		}
		standby, err := r.StartOperator(ctx)
		if err != nil {
			return nil, err
		}
		took, err := r.measureOneFailover(ctx, namespace, fmt.Sprintf("crash-%d", i), func() error { return end(leader, ctx) })
		if err != nil {
			return nil, err
		}
		sample.Add(took)
		leader = standby
	}
	if err := leader.Terminate(ctx); err != nil {
		return nil, err
	}
	n := fmt.Sprintf("N=%d; two replicas, leader election as in the chart", killed.N())
	return []report.Row{
		report.NewRow("operator killed until the next grant, p50", killed.Quantile(0.5).Seconds(), "s").WithNote(n),
		report.NewRow("operator killed until the next grant, worst", killed.Quantile(1).Seconds(), "s").WithNote(n),
		report.NewRow("operator stopped in order until the next grant, p50", terminated.Quantile(0.5).Seconds(), "s").WithNote(n),
	}, r.ClearNamespace(ctx, namespace)
}

// measureOneFailover measures from end until the lease, which is released right after it, has its next holder.
func (r *Runner) measureOneFailover(ctx context.Context, namespace, name string, end func() error) (time.Duration, error) {
	contended, err := r.newContendedLease(ctx, namespace, name, 2, 0)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := end(); err != nil {
		return 0, err
	}
	if err := contended.holder.hold.Release(ctx); err != nil {
		return 0, err
	}
	if contended.holder, err = contended.awaitGrant(ctx); err != nil {
		return 0, err
	}
	took := contended.holder.grantedAt.Sub(begin)
	contended.cancel()
	return took, contended.holder.hold.Release(ctx)
}
