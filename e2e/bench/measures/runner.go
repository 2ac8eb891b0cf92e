// Package measures measures konductor against the lower bounds: a file for each question. Each measurement sets up its own
// objects and alternates with its lower bound, so that a machine that slows down slows both.
package measures

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/lowerbound"
)

// Runner has what all measurements of one run share.
type Runner struct {
	*benchenv.Env
	Preset
	LowerBounds *lowerbound.LowerBounds
	Log         func(format string, args ...any)
}

// Preset says how much is measured.
type Preset struct {
	Name string
	// Warmup is the number of repetitions before those that count.
	Warmup int
	// FastRepetitions is how often measurements of milliseconds are repeated, and SlowRepetitions those of seconds.
	FastRepetitions, SlowRepetitions int
	// RatePeriod is how long a rate is measured, per repetition.
	RatePeriod time.Duration
	// QueueLengths are the queue lengths of handovers.
	QueueLengths []int
	// BarrierParticipants is how many participants wait for one barrier, and arrive at one.
	BarrierParticipants int
	// SmallCount and LargeCount are the sizes that are compared where the cost must not grow.
	SmallCount, LargeCount int
	// JunkClaims is the number of claims that are never granted in another namespace.
	JunkClaims int
	// ObjectCounts are the ascending numbers of live objects with which one operator is measured.
	ObjectCounts []int
	// Clients is the number of clients that acquire and release at the same time.
	Clients int
	// PermitCounts are the numbers of permits that they share.
	PermitCounts []int
	// GateCount is the number of gates, each of which waits for a Job.
	GateCount int
	// DashboardObjects is the number of objects on the dashboard, and DashboardDuration how long it shows them while they change.
	DashboardObjects  int
	DashboardDuration time.Duration
	// IdlePeriod is how long nothing must be written.
	IdlePeriod time.Duration
	// ProcessRuns is how many processes of each program are started.
	ProcessRuns int
	// GrowthSizes are the sizes at which growth is measured, and HolderCounts those for holders of a semaphore, of which there can
	// be 1000.
	GrowthSizes, HolderCounts []int
	// LeaderCrashes is how often a leader is killed.
	LeaderCrashes int
}

// Full takes about twelve minutes on two cores.
func Full() Preset {
	return Preset{
		Name: "full", Warmup: 10, FastRepetitions: 200, SlowRepetitions: 6, RatePeriod: 2 * time.Second,
		QueueLengths: []int{1, 100, 1000}, BarrierParticipants: 1000, SmallCount: 100, LargeCount: 10000, JunkClaims: 20000,
		ObjectCounts: []int{100, 1000, 10000}, Clients: lowerbound.Connections, PermitCounts: []int{64, 10},
		GateCount: 1000, DashboardObjects: 1000, DashboardDuration: 20 * time.Second, IdlePeriod: 30 * time.Second, ProcessRuns: 60,
		GrowthSizes: []int{10, 100, 1000, 10000}, HolderCounts: []int{10, 100, 1000}, LeaderCrashes: 2,
	}
}

// Quick takes about five minutes. Its results are similar, but less certain.
func Quick() Preset {
	e := Full()
	e.Name, e.Warmup, e.FastRepetitions, e.SlowRepetitions, e.RatePeriod = "quick", 5, 60, 3, time.Second
	e.DashboardDuration = 10 * time.Second
	e.IdlePeriod, e.ProcessRuns, e.LeaderCrashes, e.JunkClaims = 10*time.Second, 20, 1, 10000
	e.ObjectCounts = []int{100, 1000}
	return e
}

// repeatFast calls f Warmup times with counts false, and then FastRepetitions times with counts true.
func (r *Runner) repeatFast(f func(counts bool) error) error {
	return repeatN(r.Warmup, r.FastRepetitions, f)
}

// repeatFastHalf does so half as often, for measurements that need a tenth of a second in between to settle.
func (r *Runner) repeatFastHalf(f func(counts bool) error) error {
	return repeatN(r.Warmup, r.FastRepetitions/2, f)
}

// repeatSlow calls f once to warm up, and then SlowRepetitions times.
func (r *Runner) repeatSlow(f func(counts bool) error) error { return repeatN(1, r.SlowRepetitions, f) }

func repeatN(warmup, n int, f func(counts bool) error) error {
	for i := range warmup + n {
		if err := f(i >= warmup); err != nil {
			return err
		}
	}
	return nil
}

// receive waits for one value.
func receive[T any](ctx context.Context, c <-chan T, what string) (T, error) {
	select {
	case v := <-c:
		return v, nil
	case <-ctx.Done():
		return *new(T), fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
	}
}

// receiveError waits for the end of a task and returns its error.
func receiveError(ctx context.Context, ended <-chan error, what string) error {
	err, waitErr := receive(ctx, ended, what)
	return cmp.Or(err, waitErr)
}

// formatCount formats n with a space between groups of three digits, from 10 000 on.
func formatCount(n int) string {
	const thousand = 1000
	if n < 10*thousand {
		return fmt.Sprint(n)
	}
	groups := fmt.Sprintf("%03d", n%thousand)
	for n /= thousand; n >= thousand; n /= thousand {
		groups = fmt.Sprintf("%03d %s", n%thousand, groups)
	}
	return fmt.Sprintf("%d %s", n, groups)
}
