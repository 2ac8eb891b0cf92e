package baselines

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

// MeasureLeaderElection measures how long handovers of client-go/tools/leaderelection take, with the timing that most programs
// use: when the leader releases its lease as it ends, and when it crashes.
func MeasureLeaderElection(ctx context.Context, r *measures.Runner) ([]report.Row, error) {
	released, err := measureElections(ctx, r, r.SlowRepetitions, true)
	if err != nil {
		return nil, err
	}
	crashed, err := measureElections(ctx, r, r.LeaderCrashes, false)
	if err != nil {
		return nil, err
	}
	const times = "lease 15 s, renewal within 10 s, a try every 2 s"
	return []report.Row{
		report.NewRow("client-go leader election: released until the next leads, p50", stats.Milliseconds(released.Quantile(0.5)), "ms").
			WithNote(fmt.Sprintf("N=%d; %s, ReleaseOnCancel", released.N(), times)),
		report.NewRow("client-go leader election: crashed until the next leads, p50", crashed.Quantile(0.5).Seconds(), "s").
			WithNote(fmt.Sprintf("N=%d; %s", crashed.N(), times)),
	}, nil
}

// measureElections measures n handovers between two candidates.
func measureElections(ctx context.Context, r *measures.Runner, n int, release bool) (took stats.Sample, err error) {
	for i := range n {
		name := fmt.Sprintf("election-%t-%d", release, i)
		leader, err := newCandidate(ctx, r, name, "leader", release)
		if err != nil {
			return took, err
		}
		if err := leader.awaitLeading(ctx); err != nil {
			return took, err
		}
		next, err := newCandidate(ctx, r, name, "next", true)
		if err != nil {
			return took, err
		}
		if err := next.awaitObservedLeader(ctx, "leader"); err != nil {
			return took, err
		}
		begin := time.Now()
		leader.stop()
		if err := next.awaitLeading(ctx); err != nil {
			return took, err
		}
		took.Add(next.leadingSince.Sub(begin))
		next.stop()
	}
	return took, nil
}

// candidate is a candidate in an election.
type candidate struct {
	cancel          context.CancelFunc
	done            chan struct{}
	leading         chan struct{}
	leadingSince    time.Time
	observedLeaders chan string
}

func newCandidate(ctx context.Context, r *measures.Runner, election, name string, release bool) (*candidate, error) {
	ctx, cancel := context.WithCancel(ctx)
	c := &candidate{cancel: cancel, done: make(chan struct{}), leading: make(chan struct{}), observedLeaders: make(chan string, 4)}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: election},
			Client:     r.Kube.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: name},
		},
		LeaseDuration: 15 * time.Second, RenewDeadline: 10 * time.Second, RetryPeriod: 2 * time.Second,
		ReleaseOnCancel: release,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { c.leadingSince = time.Now(); close(c.leading) },
			OnStoppedLeading: func() {},
			OnNewLeader:      func(identity string) { c.observedLeaders <- identity },
		},
	})
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer close(c.done)
		elector.Run(ctx)
	}()
	return c, nil
}

// awaitLeading waits until the candidate leads.
func (c *candidate) awaitLeading(ctx context.Context) error {
	select {
	case <-c.leading:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("waiting to lead: %w", context.Cause(ctx))
	}
}

// awaitObservedLeader waits until the candidate has observed that leader.
func (c *candidate) awaitObservedLeader(ctx context.Context, identity string) error {
	for {
		select {
		case leader := <-c.observedLeaders:
			if leader == identity {
				return nil
			}
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s to be seen leading: %w", identity, context.Cause(ctx))
		}
	}
}

// stop ends the candidate and waits for it.
func (c *candidate) stop() {
	c.cancel()
	<-c.done
}
