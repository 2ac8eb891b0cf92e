// Package live watches konductor's objects in a cluster, and the events, Pods and Jobs around them, and delivers the changes
// in batches. It survives restarts of the API server.
package live

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/LogicIQ/konductor/internal/view"
	"github.com/LogicIQ/konductor/internal/watchretry"
)

// BatchInterval is the minimum time from a Drain to the next notification, so that a hundred changes a second don't make a
// hundred frames a second.
const BatchInterval = 100 * time.Millisecond

// Options say what to watch.
type Options struct {
	// Namespace to watch; empty: all.
	Namespace string
	// LabelSelector restricts the four primitives to those with these labels; empty: all.
	LabelSelector string
	// FieldSelector restricts the four primitives likewise, by a field selector; empty: all.
	FieldSelector string
	// Kinds to watch, of view.WatchedKinds; empty: all of them.
	Kinds []string
	// OnlyObject restricts the Feed to one object and its claims, arrivals and events; empty: everything.
	OnlyObject view.Ref
}

// Feed watches objects until it is closed. It is safe for concurrent use.
type Feed struct {
	options  Options
	api      *apiClient
	ctx      context.Context
	stop     context.CancelFunc
	watchers sync.WaitGroup
	changed  chan struct{}

	mu            sync.Mutex
	pending       map[string]*pendingDelta
	watchErrors   map[string]error // by kind: why it can't be watched at the moment
	deniedErrors  map[string]error // by kind: the missing right
	connection    view.Connection
	lastDrained   time.Time
	notifyTimer   *time.Timer // runs while a notification is delayed
	closed        bool
	stopWorkloads func() // stops watching Pods and Jobs; nil: they aren't watched
}

// Start starts a Feed. The caller must close it.
func Start(config *rest.Config, o Options) (*Feed, error) {
	if len(o.Kinds) == 0 {
		o.Kinds = view.WatchedKinds()
	}
	api, err := newAPIClient(config, watchretry.NewTransport)
	if err != nil {
		return nil, err
	}
	// client-go's log lines about a lost connection would garble the screen. The Feed reports it itself.
	ctx, stop := context.WithCancel(klog.NewContext(context.Background(), logr.Discard()))
	f := &Feed{
		options: o, api: api, ctx: ctx, stop: stop, changed: make(chan struct{}, 1),
		pending: map[string]*pendingDelta{}, watchErrors: map[string]error{}, deniedErrors: map[string]error{},
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, kind := range o.Kinds {
		f.startWatcher(ctx, kind, o.Namespace)
	}
	return f, nil
}

// Close stops all watches, and returns when they have ended.
func (f *Feed) Close() {
	f.mu.Lock()
	first := !f.closed
	f.closed = true
	if f.notifyTimer != nil {
		f.notifyTimer.Stop()
	}
	f.mu.Unlock()
	f.stop()
	f.watchers.Wait()
	if first {
		close(f.changed)
	}
}

// Changed receives a value when there are changes to drain, at most once in BatchInterval, and is closed by Close.
func (f *Feed) Changed() <-chan struct{} { return f.changed }

// Drain returns the changes since the last call.
func (f *Feed) Drain() view.Delta {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lastDrained = time.Now()
	news := view.Delta{Connection: f.connection, ClockSkew: f.api.clock.Skew()}
	for _, kind := range slices.Concat(f.options.Kinds, workloadKinds()) {
		if box, ok := f.pending[kind]; ok && box.changed {
			news.Kinds = append(news.Kinds, box.drain())
		}
	}
	return news
}

// WaitForSync waits until every watched kind has been listed or denied, and returns the changes so far. It returns an error
// if the API server can't be reached, or if all of the four primitives are denied.
func (f *Feed) WaitForSync(ctx context.Context) (view.Delta, error) {
	for {
		select {
		case <-ctx.Done():
			return view.Delta{}, context.Cause(ctx)
		case <-f.changed:
		}
		done, err := f.hasSynced()
		if err != nil {
			return view.Delta{}, err
		}
		if done {
			return f.Drain(), nil
		}
	}
}

func (f *Feed) hasSynced() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, kind := range f.options.Kinds {
		if err := f.watchErrors[kind]; err != nil {
			return false, fmt.Errorf("watching %s: %w", view.GroupResourceName(kind), err)
		}
	}
	for _, kind := range f.options.Kinds {
		if box := f.pending[kind]; !box.listed && box.deniedMessage == "" {
			return false, nil
		}
	}
	return true, allDeniedError(f.options.Kinds, f.deniedErrors)
}

func workloadKinds() []string { return []string{view.KindPod, view.KindJob} }

// WatchWorkloads watches the Pods and Jobs of a namespace from now on, instead of any other; of none when it is empty.
func (f *Feed) WatchWorkloads(namespace string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopWorkloads != nil {
		f.stopWorkloads()
		f.stopWorkloads = nil
	}
	for _, kind := range workloadKinds() {
		delete(f.pending, kind)
		delete(f.watchErrors, kind)
	}
	f.updateConnection()
	if namespace == "" || f.closed {
		return
	}
	ctx, cancel := context.WithCancel(f.ctx)
	f.stopWorkloads = cancel
	for _, kind := range workloadKinds() {
		f.startWatcher(ctx, kind, namespace)
	}
}

// startWatcher watches one kind in the background until ctx is done. The caller holds f.mu.
func (f *Feed) startWatcher(ctx context.Context, kind, namespace string) {
	box := &pendingDelta{kind: kind, objects: map[view.Ref]metav1.Object{}}
	f.pending[kind] = box
	watch := f.api.newWatcher(kind, f.options, namespace)
	watch.onResult = func(err error) { f.handleResult(box, err) }
	f.watchers.Go(func() { watch.run(ctx, &pendingStore{f, box}) })
}

// handleResult records the result of a request for objects of a kind.
func (f *Feed) handleResult(box *pendingDelta, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.pending[box.kind] != box {
		return
	}
	before, denied := f.connection, box.deniedMessage
	switch {
	case err == nil:
		delete(f.watchErrors, box.kind)
		delete(f.deniedErrors, box.kind)
		box.deniedMessage = ""
	case isDenied(err):
		// The API server has responded.
		delete(f.watchErrors, box.kind)
		f.deniedErrors[box.kind] = f.newDeniedError(box.kind, err)
		box.deniedMessage = f.deniedErrors[box.kind].Error()
	default:
		f.watchErrors[box.kind] = err
	}
	f.updateConnection()
	if denied != box.deniedMessage {
		box.changed = true
	}
	if before != f.connection || denied != box.deniedMessage || err != nil && !box.listed {
		f.scheduleNotify()
	}
}

// updateConnection updates the connection's state from watchErrors. The caller holds f.mu.
func (f *Feed) updateConnection() {
	switch {
	case len(f.watchErrors) == 0:
		f.connection = view.Connection{}
	case !f.connection.Down:
		f.connection = view.Connection{Down: true, DownSince: time.Now()}
		for _, err := range f.watchErrors {
			f.connection.LastError = rootCauseText(err)
		}
	}
}

// scheduleNotify notifies of changes: at once, or when BatchInterval has passed. The caller holds f.mu.
func (f *Feed) scheduleNotify() {
	if f.notifyTimer != nil || f.closed {
		return
	}
	if wait := BatchInterval - time.Since(f.lastDrained); wait > 0 {
		f.notifyTimer = time.AfterFunc(wait, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.notifyTimer = nil
			f.notify()
		})
		return
	}
	f.notify()
}

func (f *Feed) notify() {
	if f.closed {
		return
	}
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// newDeniedError returns the error for a kind that may not be watched in the Feed's namespace.
func (f *Feed) newDeniedError(kind string, err error) error {
	return newDeniedError(err, kind, f.options.Namespace)
}
