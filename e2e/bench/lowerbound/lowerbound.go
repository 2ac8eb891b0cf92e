package lowerbound

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"sigs.k8s.io/controller-runtime/pkg/envtest"

	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

// apiGroup is the group of the lower bounds' own CRD.
const apiGroup = "floor.konductor.io"

// LowerBounds measures the API server alone.
type LowerBounds struct {
	env         *benchenv.Env
	namespace   string
	requester   *claimClient
	granter     *claimClient
	operator    *claimClient // with the operator's account
	objectCount int

	mu            sync.Mutex
	pendingGrants map[string]chan struct{}
}

// New installs the CRD and opens the watches. They end with ctx.
func New(ctx context.Context, s *benchenv.Env) (*LowerBounds, error) {
	if err := installCRD(s); err != nil {
		return nil, err
	}
	namespace, err := s.CreateNamespace(ctx)
	if err != nil {
		return nil, err
	}
	f := &LowerBounds{env: s, namespace: namespace, pendingGrants: map[string]chan struct{}{}}
	if f.requester, err = newClaimClient(benchenv.WithOwnConnection(s.Config()), namespace); err != nil {
		return nil, err
	}
	if f.granter, err = newClaimClient(benchenv.WithOwnConnection(s.Config()), namespace); err != nil {
		return nil, err
	}
	if f.operator, err = newClaimClient(benchenv.WithOwnConnection(s.OperatorConfig()), namespace); err != nil {
		return nil, err
	}
	if err := f.requester.awaitServed(ctx); err != nil {
		return nil, err
	}
	return f, f.requester.watch(ctx, "", f.recordGrant)
}

// installCRD creates konductor's Claim under another group and waits until it is served.
func installCRD(s *benchenv.Env) error {
	root, err := manifest.RepoRoot()
	if err != nil {
		return err
	}
	claims := envtest.CRDInstallOptions{Paths: []string{filepath.Join(root, "charts/konductor/files/crds/konductor.io_claims.yaml")}, ErrorIfPathMissing: true}
	if err := envtest.ReadCRDFiles(&claims); err != nil {
		return err
	}
	for _, crd := range claims.CRDs {
		crd.Name, crd.Spec.Group = "claims."+apiGroup, apiGroup
	}
	_, err = envtest.InstallCRDs(s.Config(), envtest.CRDInstallOptions{CRDs: claims.CRDs, MaxTime: time.Minute})
	return err
}

// recordGrant ends the wait for an observed grant.
func (f *LowerBounds) recordGrant(e watchEvent) {
	if e.Object.Status.Phase != "Granted" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if done, ok := f.pendingGrants[e.Object.Metadata.Name]; ok {
		close(done)
		delete(f.pendingGrants, e.Object.Metadata.Name)
	}
}

func (f *LowerBounds) expectGrant(name string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	done := make(chan struct{})
	f.pendingGrants[name] = done
	return done
}

func (f *LowerBounds) nextName() string {
	f.objectCount++
	return fmt.Sprintf("floor-%d", f.objectCount)
}

// MeasureCreate measures one create.
func (f *LowerBounds) MeasureCreate(ctx context.Context) (time.Duration, error) {
	name := f.nextName()
	begin := time.Now()
	if err := f.requester.create(ctx, name); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	return took, f.requester.delete(ctx, name)
}

// StartGranting grants claims until stop is called: it takes the place of the operator in MeasureGrantRoundTrip.
func (f *LowerBounds) StartGranting(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	return cancel, f.granter.watch(ctx, "", func(e watchEvent) {
		if e.Type == "ADDED" && e.Object.Status.Phase != "Granted" {
			_ = f.granter.markGranted(ctx, e.Object.Metadata.Name) // if it fails, the requester reports that it waits in vain
		}
	})
}

// MeasureGrantRoundTrip measures from the request to the observed grant. StartGranting must have been called.
func (f *LowerBounds) MeasureGrantRoundTrip(ctx context.Context) (time.Duration, error) {
	name := f.nextName()
	done := f.expectGrant(name)
	begin := time.Now()
	if err := f.requester.create(ctx, name); err != nil {
		return 0, err
	}
	select {
	case <-done:
	case <-ctx.Done():
		return 0, fmt.Errorf("nobody answered %s: %w", name, context.Cause(ctx))
	}
	took := time.Since(begin)
	return took, f.requester.delete(ctx, name)
}

// Connections is the number of connections over which MeasureCreateRate creates.
const Connections = 64

// MeasureCreateRate measures the API server's rate of creates over duration.
func (f *LowerBounds) MeasureCreateRate(ctx context.Context, duration time.Duration) (perSecond float64, err error) {
	clients := make([]*claimClient, Connections)
	for i := range clients {
		if clients[i], err = newClaimClient(benchenv.WithOwnConnection(f.env.Config()), f.namespace); err != nil {
			return 0, err
		}
		defer clients[i].http.CloseIdleConnections()
		if err := clients[i].create(ctx, f.nextName()); err != nil { // opens the connection
			return 0, err
		}
	}
	first := f.objectCount
	f.objectCount += 1 << 20 // reserves names for all
	var created atomic.Int64
	group, groupCtx := errgroup.WithContext(ctx)
	begin := time.Now()
	for _, c := range clients {
		group.Go(func() error {
			for time.Since(begin) < duration {
				if err := c.create(groupCtx, fmt.Sprintf("rate-%d-%d", first, created.Add(1))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = group.Wait()
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	return float64(created.Load()) / took.Seconds(), f.requester.deleteAll(ctx)
}

// WatcherGroup is a group of watchers of one object.
type WatcherGroup struct {
	bounds   *LowerBounds
	name     string
	watchers int
	cancel   context.CancelFunc
	events   chan struct{}
	updates  int
}

// NewWatcherGroup opens n watches on one object. Close ends them.
func (f *LowerBounds) NewWatcherGroup(ctx context.Context, n int) (*WatcherGroup, error) {
	ctx, cancel := context.WithCancel(ctx)
	a := &WatcherGroup{bounds: f, name: f.nextName(), watchers: n, cancel: cancel, events: make(chan struct{}, 2*n)}
	if err := f.requester.create(ctx, a.name); err != nil {
		return nil, err
	}
	// The watchers have connections of their own, shared as the clients of one process share theirs.
	watcher, err := newClaimClient(benchenv.WithOwnConnection(f.env.Config()), f.namespace)
	if err != nil {
		return nil, err
	}
	err = benchenv.ForEachParallel(ctx, n, func(context.Context, int) error {
		return watcher.watch(ctx, a.name, func(watchEvent) { a.events <- struct{}{} })
	})
	if err != nil {
		return nil, err
	}
	return a, a.awaitAllWatchers(ctx) // each first gets the object as it is
}

// MeasureFanOut measures from a change of the object until the last watcher has observed it.
func (a *WatcherGroup) MeasureFanOut(ctx context.Context) (time.Duration, error) {
	a.updates++
	begin := time.Now()
	if err := a.bounds.requester.setLabel(ctx, a.name, fmt.Sprint(a.updates)); err != nil {
		return 0, err
	}
	err := a.awaitAllWatchers(ctx)
	return time.Since(begin), err
}

// awaitAllWatchers waits until every watcher has observed one more state.
func (a *WatcherGroup) awaitAllWatchers(ctx context.Context) error {
	for range a.watchers {
		select {
		case <-a.events:
		case <-ctx.Done():
			return fmt.Errorf("not all of %d watchers saw a change: %w", a.watchers, context.Cause(ctx))
		}
	}
	return nil
}

// Close ends the watches.
func (a *WatcherGroup) Close(ctx context.Context) error {
	a.cancel()
	return a.bounds.requester.delete(ctx, a.name)
}
