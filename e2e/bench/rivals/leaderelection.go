package rivals

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"

	"github.com/LogicIQ/konductor/e2e/bench/measures"
	"github.com/LogicIQ/konductor/e2e/bench/report"
	"github.com/LogicIQ/konductor/e2e/bench/stats"
)

// LeaderElection measures how long client-go/tools/leaderelection takes to hand over, with the times that most programs
// use: when the leader gives up its lease as it ends, and when it crashes.
func LeaderElection(ctx context.Context, r *measures.Run) ([]report.Row, error) {
	released, err := elections(ctx, r, r.Rounds, true)
	if err != nil {
		return nil, err
	}
	crashed, err := elections(ctx, r, r.Crashes, false)
	if err != nil {
		return nil, err
	}
	const times = "lease 15 s, renewal within 10 s, a try every 2 s"
	return []report.Row{
		report.Of("client-go leader election: released until the next leads, p50", stats.Milliseconds(released.Quantile(0.5)), "ms").
			Note(fmt.Sprintf("N=%d; %s, ReleaseOnCancel", released.N(), times)),
		report.Of("client-go leader election: crashed until the next leads, p50", crashed.Quantile(0.5).Seconds(), "s").
			Note(fmt.Sprintf("N=%d; %s", crashed.N(), times)),
	}, nil
}

// elections measures n handovers between two candidates.
func elections(ctx context.Context, r *measures.Run, n int, release bool) (took stats.Sample, err error) {
	for i := range n {
		name := fmt.Sprintf("election-%t-%d", release, i)
		leader, err := newCandidate(ctx, r, name, "leader", release)
		if err != nil {
			return took, err
		}
		if err := leader.await(ctx); err != nil {
			return took, err
		}
		next, err := newCandidate(ctx, r, name, "next", true)
		if err != nil {
			return took, err
		}
		if err := next.sees(ctx, "leader"); err != nil {
			return took, err
		}
		begin := time.Now()
		leader.end()
		if err := next.await(ctx); err != nil {
			return took, err
		}
		took.Add(next.since.Sub(begin))
		next.end()
	}
	return took, nil
}

// candidate takes part in an election.
type candidate struct {
	cancel  context.CancelFunc
	ended   chan struct{}
	leads   chan struct{}
	since   time.Time
	leaders chan string
}

func newCandidate(ctx context.Context, r *measures.Run, election, name string, release bool) (*candidate, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &candidate{cancel: cancel, ended: make(chan struct{}), leads: make(chan struct{}), leaders: make(chan string, 4)}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: election},
			Client:     r.Kube.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		},
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		ReleaseOnCancel: release,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { c.since = time.Now(); close(c.leads) },
			OnStoppedLeading: func() {},
			OnNewLeader:      func(identity string) { c.leaders <- identity },
		},
	})
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer close(c.ended)
		elector.Run(ctx)
	}()
	return c, nil
}

// await waits until the candidate leads.
func (c *candidate) await(ctx context.Context) error {
	select {
	case <-c.leads:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting to lead: %w", context.Cause(ctx))
	}
}

// sees waits until the candidate has seen that identity lead.
func (c *candidate) sees(ctx context.Context, identity string) error {
	for {
		select {
		case leader := <-c.leaders:
			if leader == identity {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to be seen leading: %w", identity, context.Cause(ctx))
		}
	}
}

// end ends the candidacy.
func (c *candidate) end() {
	c.cancel()
	<-c.ended
}
