// Package measures measures konductor against the floors: a file for each
// question, each of which sets its own stage and takes its floor in turns with
// what it measures, so that a machine that slows down slows both.
package measures

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/LogicIQ/konductor/e2e/bench/floors"
	"github.com/LogicIQ/konductor/e2e/bench/scene"
)

// Run is what all measurements of one run share.
type Run struct {
	*scene.Scene
	Effort
	Floors *floors.Floors
	Log    func(format string, args ...any)
}

// Effort says how much is measured.
type Effort struct {
	Name string
	// Warmup is how many repetitions come before those that count.
	Warmup int
	// Repeat is how often what takes milliseconds is repeated, and Rounds what takes seconds.
	Repeat, Rounds int
	// Period is how long a rate is measured, per round.
	Period time.Duration
	// Waiting are the lengths of the queue at a handover.
	Waiting []int
	// Audience is how many wait for one barrier, and arrive at one.
	Audience int
	// Some and Many are the sizes that are compared where cost must not grow.
	Some, Many int
	// Piled is how many claims that nobody serves another namespace is filled with.
	Piled int
	// Live are the numbers of live objects, from few to many, with which it is looked at what one operator carries.
	Live []int
	// Clients is how many acquire and release at the same time.
	Clients int
	// Permits are the numbers of permits that they share.
	Permits []int
	// Gates is how many gates wait for as many Jobs.
	Gates int
	// Shown is how many objects there are to look at, and Looked how long the dashboard shows them while they change.
	Shown  int
	Looked time.Duration
	// Calm is how long nothing must be written.
	Calm time.Duration
	// Processes is how many processes of each program are started.
	Processes int
	// Sizes are those at which growth is looked at, and Holders those for holders of a semaphore, of which there can be
	// 1000.
	Sizes, Holders []int
	// Crashes is how often a leader is killed.
	Crashes int
}

// Full takes about twelve minutes on two cores.
func Full() Effort {
	return Effort{
		Name: "full", Warmup: 10, Repeat: 200, Rounds: 6, Period: 2 * time.Second,
		Waiting: []int{1, 100, 1000}, Audience: 1000, Some: 100, Many: 10000, Piled: 20000,
		Live: []int{100, 1000, 10000}, Clients: floors.Connections, Permits: []int{64, 10},
		Gates: 1000, Shown: 1000, Looked: 20 * time.Second, Calm: 30 * time.Second, Processes: 60,
		Sizes: []int{10, 100, 1000, 10000}, Holders: []int{10, 100, 1000}, Crashes: 2,
	}
}

// Quick takes about five minutes and says about the same, less surely.
func Quick() Effort {
	e := Full()
	e.Name, e.Warmup, e.Repeat, e.Rounds, e.Period = "quick", 5, 60, 3, time.Second
	e.Looked = 10 * time.Second
	e.Calm, e.Processes, e.Crashes, e.Piled = 10*time.Second, 20, 1, 10000
	e.Live = []int{100, 1000}
	return e
}

// Smoke measures nothing worth knowing: it shows that everything that measures works.
func Smoke() Effort {
	return Effort{
		Name: "smoke", Warmup: 1, Repeat: 2, Rounds: 1, Period: 100 * time.Millisecond,
		Waiting: []int{1, 3}, Audience: 4, Some: 3, Many: 6, Piled: 8, Live: []int{20, 40}, Clients: 3, Permits: []int{2},
		Gates: 3, Shown: 4, Looked: time.Second, Calm: 2 * time.Second, Processes: 2,
		Sizes: []int{2, 4}, Holders: []int{2, 4}, Crashes: 1,
	}
}

// repeat calls f for the warm-up and then as often as what takes milliseconds is repeated. counts says that it counts.
func (r *Run) repeat(f func(counts bool) error) error { return times(r.Warmup, r.Repeat, f) }

// repeatCalmly does so half as often, for what needs a tenth of a second in between to come to rest.
func (r *Run) repeatCalmly(f func(counts bool) error) error { return times(r.Warmup, r.Repeat/2, f) }

// rounds calls f once to warm up, and then as often as what takes seconds is repeated.
func (r *Run) rounds(f func(counts bool) error) error { return times(1, r.Rounds, f) }

func times(warmup, n int, f func(counts bool) error) error {
	for i := range warmup + n {
		if err := f(i >= warmup); err != nil {
			return err
		}
	}
	return nil
}

// await waits for one value.
func await[T any](ctx context.Context, c <-chan T, what string) (T, error) {
	select {
	case v := <-c:
		return v, nil
	case <-ctx.Done():
		return *new(T), fmt.Errorf("waiting for %s: %w", what, context.Cause(ctx))
	}
}

// awaitEnd waits for the end of something and returns its error.
func awaitEnd(ctx context.Context, ended <-chan error, what string) error {
	err, waitErr := await(ctx, ended, what)
	return cmp.Or(err, waitErr)
}

// count writes a number as people do.
func count(n int) string {
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
