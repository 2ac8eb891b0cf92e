package pods

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/LogicIQ/konductor/internal/rules"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// revisionLog is every revision of all objects of one kind in a namespace, in order. It comes from a list and a watch, reconnects
// when the API server was unavailable, and fails the test if it missed anything, unless the test restarts the API server: after a
// restart it doesn't have older events any more.
//
// etcd gives each write of any object a number of its own, so the entries of two logs can be put in order too: see
// entry.revision.
type revisionLog[T client.Object] struct {
	env       *testEnv
	namespace string

	mu           sync.Mutex
	changed      chan struct{} // closed and replaced at each entry
	entries      []entry[T]
	current      map[string]T
	lastRevision string // where the next watch begins
	gap          error  // why something may have been missed
}

// entry is one revision of one object.
type entry[T client.Object] struct {
	obj        T
	deleted    bool
	revision   uint64
	receivedAt time.Time // when it was received here
}

// recordRevisions starts the log of a kind in the test's namespace.
func recordRevisions[T client.Object](s *testEnv) *revisionLog[T] {
	s.Helper()
	return recordRevisionsIn[T](s, s.namespace)
}

// recordRevisionsIn starts the log of a kind in any namespace.
func recordRevisionsIn[T client.Object](s *testEnv, namespace string) *revisionLog[T] {
	s.Helper()
	c := &revisionLog[T]{env: s, namespace: namespace, changed: make(chan struct{}), current: map[string]T{}}
	list, err := newListOf[T](s.client)
	s.must(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.ctx))
	s.must(c.recordList(ctx, list))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.watchRevisions(ctx, list)
	}()
	s.Cleanup(func() {
		cancel()
		<-ended
		if c.gap != nil && !s.toleratesGaps {
			s.Errorf("the chronicle of %T has a gap: %v", *new(T), c.gap)
		}
	})
	return c
}

// watchRevisions watches from the last revision, again and again.
func (c *revisionLog[T]) watchRevisions(ctx context.Context, list client.ObjectList) {
	for ctx.Err() == nil {
		stream, err := c.env.client.Watch(ctx, list, client.InNamespace(c.namespace),
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: c.lastRevision, AllowWatchBookmarks: true}})
		if err == nil {
			err = c.consumeWatch(ctx, stream)
			stream.Stop()
		}
		if apierrors.IsGone(err) || apierrors.IsResourceExpired(err) {
			c.gap = err
			if err := c.recordList(ctx, list); err != nil {
				c.gap = err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond): // the API server may be unavailable
		}
	}
}

// recordList adds the objects whose revisions have not been recorded yet.
func (c *revisionLog[T]) recordList(ctx context.Context, list client.ObjectList) error {
	if err := c.env.client.List(ctx, list, client.InNamespace(c.namespace)); err != nil {
		return err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	before, there := c.currentObjects(), map[string]bool{}
	var unseen []T
	for _, item := range items {
		obj, ok := item.(T)
		if !ok {
			continue
		}
		there[obj.GetName()] = true
		if known, ok := before[obj.GetName()]; !ok || known.GetResourceVersion() != obj.GetResourceVersion() {
			unseen = append(unseen, obj)
		}
	}
	slices.SortFunc(unseen, func(a, b T) int { return cmp.Compare(rules.RevisionOrZero(a), rules.RevisionOrZero(b)) })
	for _, obj := range unseen {
		c.record(obj, false)
	}
	for name, obj := range before {
		if !there[name] {
			c.record(obj, true)
		}
	}
	c.lastRevision = list.GetResourceVersion()
	return nil
}

func (c *revisionLog[T]) consumeWatch(ctx context.Context, stream watch.Interface) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-stream.ResultChan():
			if !ok {
				return nil
			}
			obj, isObject := e.Object.(T)
			switch {
			case e.Type == watch.Error:
				return apierrors.FromObject(e.Object)
			case isObject:
				c.lastRevision = obj.GetResourceVersion()
				if e.Type != watch.Bookmark {
					c.record(obj, e.Type == watch.Deleted)
				}
			}
		}
	}
}

func (c *revisionLog[T]) record(obj T, deleted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, entry[T]{obj: obj, deleted: deleted, revision: rules.RevisionOrZero(obj), receivedAt: time.Now()})
	applyEntry(c.current, c.entries[len(c.entries)-1])
	close(c.changed)
	c.changed = make(chan struct{})
}

func applyEntry[T client.Object](now map[string]T, e entry[T]) {
	if e.deleted {
		delete(now, e.obj.GetName())
	} else {
		now[e.obj.GetName()] = e.obj
	}
}

// waitUntil waits until condition is true for the objects by name, and returns them.
func (c *revisionLog[T]) waitUntil(what string, condition func(now map[string]T) bool) map[string]T {
	c.env.Helper()
	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	for {
		c.mu.Lock()
		more, now := c.changed, maps.Clone(c.current)
		c.mu.Unlock()
		if condition(now) {
			return now
		}
		select {
		case <-more:
		case <-c.env.ctx.Done():
			c.env.Fatalf("waited in vain until %s: %v", what, context.Cause(c.env.ctx))
		case <-timer.C:
			c.env.Fatalf("waited in vain for %s until %s", waitTimeout, what)
		}
	}
}

// waitForObject waits until condition is true for the object of that name, and returns it.
func (c *revisionLog[T]) waitForObject(name, what string, condition func(T) bool) T {
	c.env.Helper()
	return c.waitUntil(name+" is "+what, func(now map[string]T) bool {
		obj, there := now[name]
		return there && condition(obj)
	})[name]
}

// waitGone waits until no object of that name exists.
func (c *revisionLog[T]) waitGone(name string) {
	c.env.Helper()
	c.waitUntil(name+" is gone", func(now map[string]T) bool {
		_, there := now[name]
		return !there
	})
}

// currentObjects returns the present objects by name.
func (c *revisionLog[T]) currentObjects() map[string]T {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.current)
}

// history returns all entries so far.
func (c *revisionLog[T]) history() []entry[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.entries)
}

// firstEntry returns the first entry for which condition is true. There has to be one.
func (c *revisionLog[T]) firstEntry(what string, condition func(entry[T]) bool) entry[T] {
	c.env.Helper()
	for _, e := range c.history() {
		if condition(e) {
			return e
		}
	}
	c.env.Fatalf("never was %s", what)
	return entry[T]{}
}

// replay calls visit with every past state, in order, with the entry that led to it.
func (c *revisionLog[T]) replay(visit func(now map[string]T, e entry[T])) {
	now := map[string]T{}
	for _, e := range c.history() {
		applyEntry(now, e)
		visit(now, e)
	}
}

// maxConcurrent returns the maximum number of objects for which condition was true at the same time.
func (c *revisionLog[T]) maxConcurrent(condition func(T) bool) (most int) {
	c.replay(func(now map[string]T, _ entry[T]) { most = max(most, countObjects(now, condition)) })
	return most
}

// countObjects returns the number of objects for which condition is true.
func countObjects[T client.Object](objects map[string]T, condition func(T) bool) (n int) {
	for _, obj := range objects {
		if condition(obj) {
			n++
		}
	}
	return n
}

// newListOf returns an empty list for objects of type T.
func newListOf[T client.Object](c client.Client) (client.ObjectList, error) {
	var t T
	obj, ok := reflect.New(reflect.TypeOf(t).Elem()).Interface().(T)
	if !ok {
		return nil, fmt.Errorf("%T is no pointer to a struct", t)
	}
	gvk, err := apiutil.GVKForObject(obj, c.Scheme())
	if err != nil {
		return nil, err
	}
	gvk.Kind += "List"
	list, err := c.Scheme().New(gvk)
	if err != nil {
		return nil, err
	}
	objects, ok := list.(client.ObjectList)
	if !ok {
		return nil, fmt.Errorf("%T is not a list", list)
	}
	return objects, nil
}
