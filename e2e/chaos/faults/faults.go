// Package faults disturbs: operators, their connections, the control plane, and
// the objects that clients contend for. What it does, and when, follows chance
// from a seed; every kind of fault comes once before any comes twice.
package faults

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/LogicIQ/konductor/e2e/chaos/operators"
	"github.com/LogicIQ/konductor/e2e/chaos/proxy"
	"github.com/LogicIQ/konductor/e2e/cluster"
)

// Diary notes which faults there were.
type Diary struct {
	now func() time.Duration

	mu     sync.Mutex
	file   *os.File
	counts map[string]int
	err    error
}

// NewDiary returns a Diary that is written to a new file at path. now tells the campaign's time.
func NewDiary(path string, now func() time.Duration) (*Diary, error) {
	file, err := os.Create(path)
	return &Diary{now: now, file: file, counts: map[string]int{}}, err
}

// note writes down that a fault begins.
func (d *Diary) note(fault, where string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[fault]++
	text, err := json.Marshal(map[string]any{"time": d.now(), "fault": fault, "where": where})
	if err == nil {
		_, err = d.file.Write(append(text, '\n'))
	}
	if err != nil && d.err == nil {
		d.err = err
	}
}

// Counts returns how many faults there were, by kind.
func (d *Diary) Counts() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.counts)
}

// Close closes the file.
func (d *Diary) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.file.Close(); d.err == nil {
		d.err = err
	}
	return d.err
}

// fault is something bad that lasts until it returns.
type fault func(ctx context.Context) error

// deal does one fault after the other until ctx is done, with pauses: all of the deck in an order of chance, and then
// again.
func deal(ctx context.Context, rng *rand.Rand, least, most time.Duration, deck ...fault) error {
	for ctx.Err() == nil {
		for _, i := range rng.Perm(len(deck)) {
			if !pass(ctx, between(rng, least, most)) {
				return nil
			}
			if err := deck[i](ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// pass lets time pass, and reports whether ctx goes on.
func pass(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func between(rng *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(rng.Int64N(int64(most-least)))
}

// Operators kills operators and stops them, one at a time or all at once, until ctx is done. Those that elect a leader are
// stopped for longer than a leader's lease lasts.
func Operators(ctx context.Context, rng *rand.Rand, diary *Diary, all []*operators.Operator) error {
	one := func() *operators.Operator { return all[rng.IntN(len(all))] }
	kill := func(context.Context) error {
		op := one()
		diary.note("operator killed", op.Name)
		return op.Kill(between(rng, 0, 2*time.Second))
	}
	killAll := func(context.Context) error {
		for _, op := range all {
			diary.note("operator killed", op.Name)
			if err := op.Kill(between(rng, 0, 2*time.Second)); err != nil {
				return err
			}
		}
		return nil
	}
	stop := func(least, most time.Duration) fault {
		return func(ctx context.Context) error {
			op := one()
			diary.note(fmt.Sprintf("operator stopped for %s or more", least), op.Name)
			if err := op.Stop(); err != nil {
				return err
			}
			pass(ctx, between(rng, least, most))
			return op.Continue()
		}
	}
	const leaderLease = 15 * time.Second
	longest, longestPause := stop(2*time.Second, 6*time.Second), 4*time.Second
	if all[0].Elect {
		// And time to do something in between: a leader that was killed is missed for as long as its lease lasts.
		longest, longestPause = stop(leaderLease+2*time.Second, leaderLease+5*time.Second), leaderLease
	}
	return deal(ctx, rng, time.Second, longestPause, kill, longest, stop(200*time.Millisecond, 2*time.Second), killAll)
}

// Connection makes one operator's connection bad in all ways, until ctx is done.
func Connection(ctx context.Context, rng *rand.Rand, diary *Diary, op *operators.Operator) error {
	weather := func(name string, w func() proxy.Weather) fault {
		return func(ctx context.Context) error {
			diary.note(name, op.Name)
			op.Proxy.Set(w())
			pass(ctx, between(rng, time.Second, 4*time.Second))
			op.Proxy.Set(proxy.Weather{})
			return nil
		}
	}
	drop := func(context.Context) error {
		diary.note("watches dropped", op.Name)
		op.Proxy.DropWatches()
		return nil
	}
	return deal(ctx, rng, 200*time.Millisecond, 2*time.Second,
		weather("requests delayed", func() proxy.Weather {
			return proxy.Weather{Delay: between(rng, 20*time.Millisecond, 800*time.Millisecond)}
		}),
		weather("requests answered 409, 429, 500", func() proxy.Weather { return proxy.Weather{Errors: 0.1 + 0.4*rng.Float64()} }),
		weather("connections cut before the request", func() proxy.Weather { return proxy.Weather{CutBefore: 0.05 + 0.2*rng.Float64()} }),
		weather("connections cut after the request was done", func() proxy.Weather { return proxy.Weather{CutAfter: 0.05 + 0.3*rng.Float64()} }),
		weather("all of these", func() proxy.Weather {
			return proxy.Weather{Delay: 200 * time.Millisecond, Errors: 0.1, CutBefore: 0.05, CutAfter: 0.1}
		}),
		weather("API server hidden", func() proxy.Weather { return proxy.Weather{Away: true} }),
		drop,
	)
}

// ControlPlane kills, stops and starts the parts of the control plane, until ctx is done.
func ControlPlane(ctx context.Context, rng *rand.Rand, diary *Diary, plane *cluster.ControlPlane, least, most time.Duration) error {
	restart := func(component string, sig syscall.Signal, away time.Duration) fault {
		return func(ctx context.Context) error {
			diary.note(component+" ended by "+map[syscall.Signal]string{syscall.SIGKILL: "SIGKILL", syscall.SIGTERM: "SIGTERM"}[sig], component)
			if err := plane.StopComponent(component, sig); err != nil {
				return err
			}
			pass(ctx, away)
			// It must come back even when the campaign ends just now.
			return plane.StartComponent(context.WithoutCancel(ctx), component)
		}
	}
	return deal(ctx, rng, least, most,
		restart("kube-apiserver", syscall.SIGKILL, 0),
		restart("etcd", syscall.SIGKILL, between(rng, 0, 2*time.Second)),
		restart("kube-apiserver", syscall.SIGTERM, between(rng, 0, 4*time.Second)),
		restart("kube-controller-manager", syscall.SIGKILL, between(rng, time.Second, 4*time.Second)),
		restart("etcd", syscall.SIGTERM, 0),
	)
}
