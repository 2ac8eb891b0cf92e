// Package faults injects faults: into operators, their connections, the control plane, and the objects that clients contend for.
// Faults and their times follow a seeded random source; every kind of fault occurs once before any occurs twice.
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

	"github.com/LogicIQ/konductor/e2e/chaos/clients"
	"github.com/LogicIQ/konductor/e2e/chaos/operators"
	"github.com/LogicIQ/konductor/e2e/chaos/proxy"
	"github.com/LogicIQ/konductor/e2e/cluster"
)

// FaultLog records the faults.
type FaultLog struct {
	elapsed func() time.Duration

	mu     sync.Mutex
	file   *os.File
	counts map[string]int
	err    error
}

// NewFaultLog returns a FaultLog that is written to a new file at path. now returns the campaign's time.
func NewFaultLog(path string, now func() time.Duration) (*FaultLog, error) {
	file, err := os.Create(path)
	return &FaultLog{elapsed: now, file: file, counts: map[string]int{}}, err
}

// record records the start of a fault.
func (d *FaultLog) record(fault, where string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.counts[fault]++
	text, err := json.Marshal(map[string]any{"time": d.elapsed(), "fault": fault, "where": where})
	if err == nil {
		_, err = d.file.Write(append(text, '\n'))
	}
	if err != nil && d.err == nil {
		d.err = err
	}
}

// Counts returns the number of faults by kind.
func (d *FaultLog) Counts() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.counts)
}

// Close closes the file.
func (d *FaultLog) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.file.Close(); d.err == nil {
		d.err = err
	}
	return d.err
}

// fault is a fault that lasts until the function returns.
type fault func(ctx context.Context) error

// runShuffled runs one fault after the other until ctx is done, with pauses: all of them in random order, and then again.
func runShuffled(ctx context.Context, rng *rand.Rand, least, most time.Duration, faults ...fault) error {
	for ctx.Err() == nil {
		for _, i := range rng.Perm(len(faults)) {
			if !clients.Sleep(ctx, clients.RandomDuration(rng, least, most)) {
				return nil
			}
			if err := faults[i](ctx); err != nil {
				return err
			}
		}
	}
	return nil
}

// DisturbOperators kills and pauses operators, one at a time or all at once, until ctx is done. Those that elect a leader are
// paused for longer than a leader's lease lasts.
func DisturbOperators(ctx context.Context, rng *rand.Rand, faultLog *FaultLog, all []*operators.Operator) error {
	one := func() *operators.Operator { return all[rng.IntN(len(all))] }
	kill := func(context.Context) error {
		op := one()
		faultLog.record("operator killed", op.Name)
		return op.Kill(clients.RandomDuration(rng, 0, 2*time.Second))
	}
	killAll := func(context.Context) error {
		for _, op := range all {
			faultLog.record("operator killed", op.Name)
			if err := op.Kill(clients.RandomDuration(rng, 0, 2*time.Second)); err != nil {
				return err
			}
		}
		return nil
	}
	pause := func(least, most time.Duration) fault {
		return func(ctx context.Context) error {
			op := one()
			faultLog.record(fmt.Sprintf("operator stopped for %s or more", least), op.Name)
			if err := op.Pause(); err != nil {
				return err
			}
			clients.Sleep(ctx, clients.RandomDuration(rng, least, most))
			return op.Resume()
		}
	}
	const leaderLease = 15 * time.Second
	longest, longestPause := pause(2*time.Second, 6*time.Second), 4*time.Second
	if all[0].LeaderElection {
		// Operators also need time to work in between: a killed leader is replaced only when its lease has run out.
		longest, longestPause = pause(leaderLease+2*time.Second, leaderLease+5*time.Second), leaderLease
	}
	return runShuffled(ctx, rng, time.Second, longestPause, kill, longest, pause(200*time.Millisecond, 2*time.Second), killAll)
}

// DisturbOperatorConnection applies all fault profiles to one operator's connection, until ctx is done.
func DisturbOperatorConnection(ctx context.Context, rng *rand.Rand, faultLog *FaultLog, op *operators.Operator) error {
	withProfile := func(name string, w func() proxy.FaultProfile) fault {
		return func(ctx context.Context) error {
			faultLog.record(name, op.Name)
			op.Proxy.SetProfile(w())
			clients.Sleep(ctx, clients.RandomDuration(rng, time.Second, 4*time.Second))
			op.Proxy.SetProfile(proxy.FaultProfile{})
			return nil
		}
	}
	drop := func(context.Context) error {
		faultLog.record("watches dropped", op.Name)
		op.Proxy.DropWatches()
		return nil
	}
	return runShuffled(ctx, rng, 200*time.Millisecond, 2*time.Second,
		withProfile("requests delayed", func() proxy.FaultProfile {
			return proxy.FaultProfile{MaxDelay: clients.RandomDuration(rng, 20*time.Millisecond, 800*time.Millisecond)}
		}),
		withProfile("requests answered 409, 429, 500", func() proxy.FaultProfile { return proxy.FaultProfile{ErrorRate: 0.1 + 0.4*rng.Float64()} }),
		withProfile("connections cut before the request", func() proxy.FaultProfile { return proxy.FaultProfile{DropRequestRate: 0.05 + 0.2*rng.Float64()} }),
		withProfile("connections cut after the request was done", func() proxy.FaultProfile { return proxy.FaultProfile{DropResponseRate: 0.05 + 0.3*rng.Float64()} }),
		withProfile("all of these", func() proxy.FaultProfile {
			return proxy.FaultProfile{MaxDelay: 200 * time.Millisecond, ErrorRate: 0.1, DropRequestRate: 0.05, DropResponseRate: 0.1}
		}),
		withProfile("API server hidden", func() proxy.FaultProfile { return proxy.FaultProfile{Unreachable: true} }),
		drop,
	)
}

// DisturbClientConnections applies those fault profiles to the clients of a namespace that clients have to wait out, until ctx is
// done. Each is shorter than the time for which a client retries when it is rejected from the beginning.
func DisturbClientConnections(ctx context.Context, rng *rand.Rand, faultLog *FaultLog, where string, clientProxy *proxy.Proxy) error {
	withProfile := func(name string, w proxy.FaultProfile) fault {
		return func(ctx context.Context) error {
			faultLog.record("clients: "+name, where)
			clientProxy.SetProfile(w)
			clients.Sleep(ctx, clients.RandomDuration(rng, 500*time.Millisecond, 3*time.Second))
			clientProxy.SetProfile(proxy.FaultProfile{})
			return nil
		}
	}
	drop := func(context.Context) error {
		faultLog.record("clients: watches dropped", where)
		clientProxy.DropWatches()
		return nil
	}
	// The pause leaves time for a retry.
	return runShuffled(ctx, rng, 2500*time.Millisecond, 5*time.Second,
		withProfile("API server hidden", proxy.FaultProfile{Unreachable: true}),
		withProfile("nothing answered", proxy.FaultProfile{Unresponsive: true}),
		withProfile("watches empty", proxy.FaultProfile{EmptyWatches: true}),
		withProfile("certificate of an unknown authority", proxy.FaultProfile{UntrustedCertificate: true}),
		withProfile("roles replaced", proxy.FaultProfile{Rejection: proxy.Forbidden}),
		withProfile("tokens rotated", proxy.FaultProfile{Rejection: proxy.Unauthorized}),
		withProfile("quota written to", proxy.FaultProfile{Rejection: proxy.QuotaConflict}),
		withProfile("quota full", proxy.FaultProfile{Rejection: proxy.QuotaFull}),
		withProfile("a page for people", proxy.FaultProfile{Rejection: proxy.LoginPage}),
		withProfile("answers lost", proxy.FaultProfile{DropResponseRate: 0.5}),
		withProfile("requests delayed and answered 409, 429, 500", proxy.FaultProfile{MaxDelay: 300 * time.Millisecond, ErrorRate: 0.3}),
		drop,
	)
}

// DisturbControlPlane kills, stops and starts the components of the control plane, until ctx is done.
func DisturbControlPlane(ctx context.Context, rng *rand.Rand, faultLog *FaultLog, plane *cluster.ControlPlane, least, most time.Duration) error {
	restart := func(component string, sig syscall.Signal, away time.Duration) fault {
		return func(ctx context.Context) error {
			faultLog.record(component+" ended by "+map[syscall.Signal]string{syscall.SIGKILL: "SIGKILL", syscall.SIGTERM: "SIGTERM"}[sig], component)
			if err := plane.StopComponent(component, sig); err != nil {
				return err
			}
			clients.Sleep(ctx, away)
			// The component must come back even when the campaign ends just now.
			return plane.StartComponent(context.WithoutCancel(ctx), component)
		}
	}
	return runShuffled(ctx, rng, least, most,
		restart("kube-apiserver", syscall.SIGKILL, 0),
		restart("etcd", syscall.SIGKILL, clients.RandomDuration(rng, 0, 2*time.Second)),
		restart("kube-apiserver", syscall.SIGTERM, clients.RandomDuration(rng, 0, 4*time.Second)),
		restart("kube-controller-manager", syscall.SIGKILL, clients.RandomDuration(rng, time.Second, 4*time.Second)),
		restart("etcd", syscall.SIGTERM, 0),
		restart("kube-apiserver-2", syscall.SIGKILL, clients.RandomDuration(rng, 0, 4*time.Second)),
		func(ctx context.Context) error {
			faultLog.record("an API server lags behind the other", "kube-apiserver-2")
			plane.SetLag(clients.RandomDuration(rng, 200*time.Millisecond, 1500*time.Millisecond))
			clients.Sleep(ctx, clients.RandomDuration(rng, least, most))
			plane.SetLag(0)
			return nil
		},
	)
}
