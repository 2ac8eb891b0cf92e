package pods

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// chronicle is every revision of all objects of one kind in a namespace, in the order in which they happened. It comes
// from a list and a watch, reconnects when the API server was away, and fails the test if it missed anything, unless the
// test restarts the API server: one that was restarted does not know any more what happened before.
//
// The API server's store gives each write of any object a number of its own, so the entries of two chronicles can be put
// in order too: see entry.revision.
type chronicle[T client.Object] struct {
	s         *scene
	namespace string

	mu      sync.Mutex
	changed chan struct{} // closed and replaced at each entry
	entries []entry[T]
	now     map[string]T
	reached string // the revision to watch on from
	gap     error  // why something may have been missed
}

// entry is one revision of one object.
type entry[T client.Object] struct {
	obj      T
	deleted  bool
	revision uint64
	seen     time.Time // when it arrived here
}

// watching starts the chronicle of a kind in the test's namespace.
func watching[T client.Object](s *scene) *chronicle[T] {
	s.Helper()
	return watchingIn[T](s, s.namespace)
}

// watchingIn starts the chronicle of a kind in any namespace.
func watchingIn[T client.Object](s *scene, namespace string) *chronicle[T] {
	s.Helper()
	c := &chronicle[T]{s: s, namespace: namespace, changed: make(chan struct{}), now: map[string]T{}}
	list, err := listOf[T](s.objects)
	s.ok(err)
	ctx, cancel := context.WithCancel(context.WithoutCancel(s.ctx))
	s.ok(c.list(ctx, list))
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.follow(ctx, list)
	}()
	s.Cleanup(func() {
		cancel()
		<-ended
		if c.gap != nil && !s.forgets {
			s.Errorf("the chronicle of %T has a gap: %v", *new(T), c.gap)
		}
	})
	return c
}

// follow watches from the revision reached, again and again.
func (c *chronicle[T]) follow(ctx context.Context, list client.ObjectList) {
	for ctx.Err() == nil {
		stream, err := c.s.objects.Watch(ctx, list, client.InNamespace(c.namespace),
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: c.reached, AllowWatchBookmarks: true}})
		if err == nil {
			err = c.drain(ctx, stream)
			stream.Stop()
		}
		if apierrors.IsGone(err) || apierrors.IsResourceExpired(err) {
			c.gap = err
			if err := c.list(ctx, list); err != nil {
				c.gap = err
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond): // the API server may be away
		}
	}
}

// list writes down what there is and has not been seen.
func (c *chronicle[T]) list(ctx context.Context, list client.ObjectList) error {
	if err := c.s.objects.List(ctx, list, client.InNamespace(c.namespace)); err != nil {
		return err
	}
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	before, there := c.state(), map[string]bool{}
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
	slices.SortFunc(unseen, func(a, b T) int { return cmp.Compare(revisionOf(a), revisionOf(b)) })
	for _, obj := range unseen {
		c.write(obj, false)
	}
	for name, obj := range before {
		if !there[name] {
			c.write(obj, true)
		}
	}
	c.reached = list.GetResourceVersion()
	return nil
}

func (c *chronicle[T]) drain(ctx context.Context, stream watch.Interface) error {
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
				c.reached = obj.GetResourceVersion()
				if e.Type != watch.Bookmark {
					c.write(obj, e.Type == watch.Deleted)
				}
			}
		}
	}
}

func (c *chronicle[T]) write(obj T, deleted bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, entry[T]{obj: obj, deleted: deleted, revision: revisionOf(obj), seen: time.Now()})
	apply(c.now, c.entries[len(c.entries)-1])
	close(c.changed)
	c.changed = make(chan struct{})
}

func apply[T client.Object](now map[string]T, e entry[T]) {
	if e.deleted {
		delete(now, e.obj.GetName())
	} else {
		now[e.obj.GetName()] = e.obj
	}
}

// await waits until the objects, by name, are as described, and returns them.
func (c *chronicle[T]) await(what string, is func(now map[string]T) bool) map[string]T {
	c.s.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		c.mu.Lock()
		more, now := c.changed, maps.Clone(c.now)
		c.mu.Unlock()
		if is(now) {
			return now
		}
		select {
		case <-more:
		case <-c.s.ctx.Done():
			c.s.Fatalf("waited in vain until %s: %v", what, context.Cause(c.s.ctx))
		case <-timer.C:
			c.s.Fatalf("waited in vain for %s until %s", patience, what)
		}
	}
}

// awaitOne waits until the object of that name is as described, and returns it.
func (c *chronicle[T]) awaitOne(name, what string, is func(T) bool) T {
	c.s.Helper()
	return c.await(name+" is "+what, func(now map[string]T) bool {
		obj, there := now[name]
		return there && is(obj)
	})[name]
}

// awaitGone waits until no object of that name is there.
func (c *chronicle[T]) awaitGone(name string) {
	c.s.Helper()
	c.await(name+" is gone", func(now map[string]T) bool {
		_, there := now[name]
		return !there
	})
}

// state returns the objects by name as they are now.
func (c *chronicle[T]) state() map[string]T {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.now)
}

// history returns all entries so far.
func (c *chronicle[T]) history() []entry[T] {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.entries)
}

// first returns the first entry that is as described. There has to be one.
func (c *chronicle[T]) first(what string, is func(entry[T]) bool) entry[T] {
	c.s.Helper()
	for _, e := range c.history() {
		if is(e) {
			return e
		}
	}
	c.s.Fatalf("never was %s", what)
	return entry[T]{}
}

// replay shows see every state that there has been, in order, with the entry that led to it.
func (c *chronicle[T]) replay(see func(now map[string]T, e entry[T])) {
	now := map[string]T{}
	for _, e := range c.history() {
		apply(now, e)
		see(now, e)
	}
}

// most returns how many objects were at most at the same time as described.
func (c *chronicle[T]) most(is func(T) bool) (most int) {
	c.replay(func(now map[string]T, _ entry[T]) { most = max(most, count(now, is)) })
	return most
}

// count returns how many objects are as described.
func count[T client.Object](objects map[string]T, is func(T) bool) (n int) {
	for _, obj := range objects {
		if is(obj) {
			n++
		}
	}
	return n
}

// revisionOf returns the number of the write that made the object what it is.
func revisionOf(obj client.Object) uint64 {
	n, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// listOf returns an empty list for objects of type T.
func listOf[T client.Object](c client.Client) (client.ObjectList, error) {
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
