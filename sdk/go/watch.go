package konductor

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

// metaObject is an API object, or the part of one that has these metadata.
type metaObject interface {
	GetName() string
	GetUID() types.UID
	GetResourceVersion() string
	GetDeletionTimestamp() *metav1.Time
}

// watchable is a pointer to an object that can be watched; nil: the object doesn't exist.
type watchable interface {
	metaObject
	comparable
}

// watchUntil calls condition with the current state of the object of that name, and then after each change, until condition
// is done or returns an error. condition gets nil if the object doesn't exist. The first state is a consistent read, and no
// change after it is missed, though several quick ones may be combined into one.
func watchUntil[T watchable](ctx context.Context, c *Client, r reader[T], name string, condition func(T) (done bool, err error)) error {
	return watchUntilFrom(ctx, c, r, name, "", condition)
}

// watchUntilFrom does the same, but without the first read: it watches from a revision whose state the caller knows.
func watchUntilFrom[T watchable](ctx context.Context, c *Client, r reader[T], name, revision string, condition func(T) (done bool, err error)) error {
	f := newObjectWatcher(c, r, name, revision)
	defer f.stop()
	return f.watchUntil(ctx, condition)
}

// objectWatcher watches one object. It doesn't repeat what it has observed already, and an open watch stays open when
// another caller continues with it.
type objectWatcher[T watchable] struct {
	reader          reader[T]
	name            string
	listOptions     metav1.ListOptions
	condition       func(T) (bool, error)
	backoff         backoff
	revision        string        // where to watch from; empty: read the object first
	revisionExpired bool          // the revision to watch from was too old: get a new one from a list
	shortWatches    int           // watches in a row that ended as soon as they had begun
	rewatchDelay    time.Duration // before the next watch after those

	stream       *watchStream[T]    // nil: no watch is open
	cancelStream context.CancelFunc // cancels the request of stream
}

func newObjectWatcher[T watchable](c *Client, r reader[T], name, revision string) *objectWatcher[T] {
	f := &objectWatcher[T]{reader: r, name: name, revision: revision, backoff: backoff{client: c}}
	f.listOptions.FieldSelector = fields.OneTermEqualSelector("metadata.name", name).String()
	return f
}

// watchUntil does the same as the function of that name, and leaves the watch open when condition is done.
func (f *objectWatcher[T]) watchUntil(ctx context.Context, condition func(T) (done bool, err error)) error {
	if f.name == "" {
		return errNameRequired
	}
	f.condition = condition
	for {
		began := time.Now()
		done, err := f.watchOnce(ctx)
		if done {
			f.backoff.recordSuccess()
			return err
		}
		f.stop()
		if ctx.Err() != nil {
			f.backoff.leaveOutage()
			return endError(ctx)
		}
		// The next watch doesn't continue at the last revision. The API server may have been restored from a backup, with
		// smaller revisions, and a watch from a revision in the future delivers nothing.
		f.revision = ""
		if err == nil || isResourceExpired(err) {
			err = f.backOffAfterWatch(ctx, time.Since(began))
		} else {
			err = f.backoff.backOffOrFail(ctx, err)
		}
		if err != nil {
			return err
		}
	}
}

// watchOnce reads the object, unless it can watch from a known revision, and watches until the connection ends, or has been
// silent for so long that it is considered broken.
func (f *objectWatcher[T]) watchOnce(ctx context.Context) (done bool, err error) {
	if f.revision == "" {
		if done, err = f.getObject(ctx); done || err != nil {
			return done, err
		}
	}
	if f.stream == nil {
		if err := f.openWatch(ctx); err != nil {
			return false, err
		}
	}
	interrupt := context.AfterFunc(ctx, f.cancelStream)
	defer interrupt()
	idleTimer := time.AfterFunc(f.jitteredIdleTimeout(), f.cancelStream)
	defer idleTimer.Stop()
	for {
		kind, obj, err := f.stream.next()
		if ctx.Err() != nil {
			return false, endError(ctx)
		}
		if errors.As(err, &watchEndedError{}) {
			return false, nil
		}
		idleTimer.Reset(f.jitteredIdleTimeout())
		if done, err = f.handleEvent(kind, obj, err); done || err != nil {
			return done, err
		}
	}
}

// openWatch opens a watch. Once open, it doesn't end with ctx, but with stop.
func (f *objectWatcher[T]) openWatch(ctx context.Context) error {
	opts := f.listOptions
	opts.ResourceVersion, opts.AllowWatchBookmarks = f.revision, true
	request, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	idleTimer := time.AfterFunc(f.jitteredIdleTimeout(), cancel)
	w, err := f.reader.watch(request, opts)
	stop()
	idleTimer.Stop()
	if err != nil {
		cancel()
		f.revisionExpired = f.revisionExpired || isResourceExpired(err)
		return err
	}
	f.stream, f.cancelStream = w, cancel
	f.backoff.recordSuccess()
	return nil
}

// getObject reads the object. The API server answers a get from storage. Before it answers a list, its cache must have
// caught up with the last write to any object, which takes up to 100 ms. So a list is used only to get a revision to watch
// from, when the object doesn't exist or was last written too long ago.
func (f *objectWatcher[T]) getObject(ctx context.Context) (done bool, err error) {
	if f.revisionExpired {
		return f.listObject(ctx)
	}
	attempt, cancel := f.backoff.withRequestTimeout(ctx)
	defer cancel()
	obj, err := f.reader.get(attempt, f.name)
	if apierrors.IsNotFound(err) && classifyError(err) != classTransient {
		return f.listObject(ctx)
	}
	if err != nil {
		return false, err
	}
	f.backoff.recordContact()
	if done, err = f.condition(obj); done || err != nil {
		return true, err
	}
	f.revision = obj.GetResourceVersion()
	return false, nil
}

func (f *objectWatcher[T]) listObject(ctx context.Context) (done bool, err error) {
	attempt, cancel := f.backoff.withRequestTimeout(ctx)
	defer cancel()
	objects, revision, err := f.reader.list(attempt, f.listOptions)
	if err != nil {
		return false, err
	}
	f.backoff.recordContact()
	var obj T
	if len(objects) > 0 {
		obj = objects[0]
	}
	if done, err = f.condition(obj); done || err != nil {
		return true, err
	}
	f.revision, f.revisionExpired = revision, false
	return false, nil
}

func (f *objectWatcher[T]) handleEvent(kind watch.EventType, obj T, err error) (done bool, _ error) {
	if err != nil {
		// Whatever the error is, a new list recovers from it.
		f.revisionExpired = true
		return false, err
	}
	f.revision = obj.GetResourceVersion()
	if kind == watch.Bookmark {
		return false, nil
	}
	if kind == watch.Deleted {
		var none T
		obj = none
	}
	if done, err = f.condition(obj); done || err != nil {
		return true, err
	}
	return false, nil
}

// stop ends the watch, if one is open.
func (f *objectWatcher[T]) stop() {
	if f.stream != nil {
		f.cancelStream()
		f.stream.close()
		f.stream, f.cancelStream = nil, nil
	}
}

// backOffAfterWatch delays the next watch after one that ended early. After a normal end there is no delay: the server ends
// every watch after a while. There is none after the first watch either, whose revision may just have been too old.
func (f *objectWatcher[T]) backOffAfterWatch(ctx context.Context, lasted time.Duration) error {
	if lasted >= minStableWatch {
		f.shortWatches = 0
	}
	if f.shortWatches++; f.shortWatches <= 1 {
		f.rewatchDelay = initialBackoff
		return nil
	}
	err := sleepWithJitter(ctx, f.rewatchDelay)
	f.rewatchDelay = min(2*f.rewatchDelay, maxRewatchBackoff)
	return err
}

// jitteredIdleTimeout returns watchIdleTimeout or up to a fifth more, so that not all clients read again at the same
// moment.
func (f *objectWatcher[T]) jitteredIdleTimeout() time.Duration {
	timeout := f.backoff.client.watchIdleTimeout
	return timeout + rand.N(timeout/5)
}

// isResourceExpired reports whether the revision to watch from is too old, so that a new list is needed.
func isResourceExpired(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err)
}
