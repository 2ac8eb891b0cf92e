package measures

import (
	"context"
	"fmt"
	"time"

	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
)

// Crash measures from a SIGKILL of the operator that leads until a waiter has what was released at the same moment, with
// a second replica standing by; and the same for an operator that is stopped in order.
func (r *Run) Crash(ctx context.Context) ([]report.Row, error) {
	namespace, err := r.Namespace(ctx)
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
	var killed, quit stats.Sample
	for i := range 2 * r.Crashes {
		end, sample := (*scene.Operator).Kill, &killed
		if i%2 == 1 {
			end, sample = (*scene.Operator).Quit, &quit
		}
		standby, err := r.StartOperator(ctx)
		if err != nil {
			return nil, err
		}
		took, err := r.crash(ctx, namespace, fmt.Sprintf("crash-%d", i), func() error { return end(leader, ctx) })
		if err != nil {
			return nil, err
		}
		sample.Add(took)
		leader = standby
	}
	if err := leader.Quit(ctx); err != nil {
		return nil, err
	}
	n := fmt.Sprintf("N=%d; two replicas, leader election as in the chart", killed.N())
	return []report.Row{
		report.Of("operator killed until the next grant, p50", killed.Quantile(0.5).Seconds(), "s").Note(n),
		report.Of("operator killed until the next grant, worst", killed.Quantile(1).Seconds(), "s").Note(n),
		report.Of("operator stopped in order until the next grant, p50", quit.Quantile(0.5).Seconds(), "s").Note(n),
	}, r.Clear(ctx, namespace)
}

// crash measures from end until the lease that is then released has its next holder.
func (r *Run) crash(ctx context.Context, namespace, name string, end func() error) (time.Duration, error) {
	relay, err := r.newRelay(ctx, namespace, name, 2, 0)
	if err != nil {
		return 0, err
	}
	begin := time.Now()
	if err := end(); err != nil {
		return 0, err
	}
	if err := relay.holder.hold.Release(ctx); err != nil {
		return 0, err
	}
	if relay.holder, err = relay.granted(ctx); err != nil {
		return 0, err
	}
	took := relay.holder.at.Sub(begin)
	relay.cancel()
	return took, relay.holder.hold.Release(ctx)
}
