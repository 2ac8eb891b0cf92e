// Package live follows konductor's objects in a cluster, and the events, Pods and Jobs around them, and hands on what is
// new in portions. It goes on through restarts of the API server.
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

	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// Between is how long the news of at least that time goes into one portion, so that a hundred changes a second don't make
// a hundred frames a second.
const Between = 100 * time.Millisecond

// Options say what to follow.
type Options struct {
	// Namespace to follow; empty: all.
	Namespace string
	// Selector restricts the four primitives to those with these labels; empty: all.
	Selector string
	// Fields restricts the four primitives likewise, by a field selector; empty: all.
	Fields string
	// Kinds to follow, of view.Followed; empty: all of them.
	Kinds []string
	// Only restricts what is followed to one object and what belongs to it; empty: everything.
	Only view.Ref
}

// Feed follows objects until it is closed. It is safe for concurrent use.
type Feed struct {
	options Options
	api     *api
	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	changed chan struct{}

	mu      sync.Mutex
	inboxes map[string]*inbox
	failing map[string]error // by kind: why there is no watch just now
	refused map[string]error // by kind: why it may not be followed
	link    view.Link
	taken   time.Time
	timer   *time.Timer // runs while news waits for its time
	closed  bool
	behind  func() // stops following Pods and Jobs; nil: they aren't followed
}

// Start begins to follow. The caller closes the Feed.
func Start(config *rest.Config, o Options) (*Feed, error) {
	if len(o.Kinds) == 0 {
		o.Kinds = view.Followed()
	}
	api, err := connect(config)
	if err != nil {
		return nil, err
	}
	// What client-go has to say about a lost connection would go across the picture. The Feed says it itself.
	ctx, stop := context.WithCancel(klog.NewContext(context.Background(), logr.Discard()))
	f := &Feed{
		options: o, api: api, ctx: ctx, stop: stop, changed: make(chan struct{}, 1),
		inboxes: map[string]*inbox{}, failing: map[string]error{}, refused: map[string]error{},
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, kind := range o.Kinds {
		f.follow(ctx, kind, o.Namespace)
	}
	return f, nil
}

// Close stops following, and returns when nothing runs any more.
func (f *Feed) Close() {
	f.mu.Lock()
	first := !f.closed
	f.closed = true
	if f.timer != nil {
		f.timer.Stop()
	}
	f.mu.Unlock()
	f.stop()
	f.running.Wait()
	if first {
		close(f.changed)
	}
}

// Changed gets a value when there is news to take, at most every Between, and is closed by Close.
func (f *Feed) Changed() <-chan struct{} { return f.changed }

// Take returns what is new since the last time.
func (f *Feed) Take() view.News {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.taken = time.Now()
	news := view.News{Link: f.link, Skew: f.api.skew.now()}
	for _, kind := range slices.Concat(f.options.Kinds, behindKinds()) {
		if box, ok := f.inboxes[kind]; ok && box.news {
			news.Kinds = append(news.Kinds, box.empty())
		}
	}
	return news
}

// Settled waits until everything that is followed has been listed, or may not be, and returns the news so far. It returns
// an error when the API server can't be reached, or when none of the four primitives may be seen.
func (f *Feed) Settled(ctx context.Context) (view.News, error) {
	for {
		select {
		case <-ctx.Done():
			return view.News{}, context.Cause(ctx)
		case <-f.changed:
		}
		done, err := f.settled()
		if err != nil {
			return view.News{}, err
		}
		if done {
			return f.Take(), nil
		}
	}
}

func (f *Feed) settled() (bool, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, kind := range f.options.Kinds {
		if err := f.failing[kind]; err != nil {
			return false, fmt.Errorf("following %s: %w", view.Resource(kind), err)
		}
	}
	for _, kind := range f.options.Kinds {
		if box := f.inboxes[kind]; !box.listed && box.denied == "" {
			return false, nil
		}
	}
	return true, allRefused(f.options.Kinds, f.refused)
}

func behindKinds() []string { return []string{view.KindPod, view.KindJob} }

// Behind follows the Pods and Jobs of a namespace from now on; of none when it is empty.
func (f *Feed) Behind(namespace string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.behind != nil {
		f.behind()
		f.behind = nil
	}
	for _, kind := range behindKinds() {
		delete(f.inboxes, kind)
		delete(f.failing, kind)
	}
	f.relink()
	if namespace == "" || f.closed {
		return
	}
	ctx, cancel := context.WithCancel(f.ctx)
	f.behind = cancel
	for _, kind := range behindKinds() {
		f.follow(ctx, kind, namespace)
	}
}

// follow follows one kind in the background until ctx ends. The lock is held.
func (f *Feed) follow(ctx context.Context, kind, namespace string) {
	box := &inbox{kind: kind, objects: map[view.Ref]metav1.Object{}}
	f.inboxes[kind] = box
	watch := f.api.watcher(kind, f.options, namespace)
	watch.outcome = func(err error) { f.outcome(box, err) }
	f.running.Go(func() { watch.run(ctx, &store{f, box}) })
}

// outcome takes note that a request for objects of a kind has succeeded or failed.
func (f *Feed) outcome(box *inbox, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.inboxes[box.kind] != box {
		return
	}
	before, denied := f.link, box.denied
	switch {
	case err == nil:
		delete(f.failing, box.kind)
		delete(f.refused, box.kind)
		box.denied = ""
	case refusal(err):
		// The API server has answered.
		delete(f.failing, box.kind)
		f.refused[box.kind] = f.explain(box.kind, err)
		box.denied = f.refused[box.kind].Error()
	default:
		f.failing[box.kind] = err
	}
	f.relink()
	if denied != box.denied {
		box.news = true
	}
	if before != f.link || denied != box.denied || err != nil && !box.listed {
		f.ring()
	}
}

// relink says how the connection is. The lock is held.
func (f *Feed) relink() {
	switch {
	case len(f.failing) == 0:
		f.link = view.Link{}
	case !f.link.Down:
		f.link = view.Link{Down: true, Since: time.Now()}
		for _, err := range f.failing {
			f.link.Why = inShort(err)
		}
	}
}

// ring tells that there is news: at once, or when the next portion is due. The lock is held.
func (f *Feed) ring() {
	if f.timer != nil || f.closed {
		return
	}
	if wait := Between - time.Since(f.taken); wait > 0 {
		f.timer = time.AfterFunc(wait, func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.timer = nil
			f.signal()
		})
		return
	}
	f.signal()
}

func (f *Feed) signal() {
	if f.closed {
		return
	}
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// explain says in a sentence why a kind may not be followed.
func (f *Feed) explain(kind string, err error) error {
	return explain(err, kind, f.options.Namespace)
}
