package integration

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// witness reads every revision of one Lease or Semaphore, independently of operator and SDK, and checks the promise: never
// more grants than permits, each with a larger token than all before it, none given twice.
type witness struct {
	w    *world
	name string
	// restarts says that the API server restarts meanwhile, so that some revisions may be out of reach.
	restarts bool

	mu       sync.Mutex
	changed  chan struct{} // closed and replaced at each revision
	revision string
	current  map[types.UID]konductorv1.SemaphoreHolder
	ever     map[types.UID]konductorv1.SemaphoreHolder
	topToken int64
	grants   []konductorv1.SemaphoreHolder
	broken   []string
}

// witness starts watching the lease or semaphore of that name. What it finds fails the test at its end.
func (w *world) witness(kind, name string) *witness {
	w.Helper()
	s := &witness{
		w: w, name: kind + " " + name, changed: make(chan struct{}),
		current: map[types.UID]konductorv1.SemaphoreHolder{}, ever: map[types.UID]konductorv1.SemaphoreHolder{},
	}
	var list client.ObjectList = &konductorv1.LeaseList{}
	if kind == konductorv1.KindSemaphore {
		list = &konductorv1.SemaphoreList{}
	}
	w.ok(s.list(w.ctx, list, name))
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	ended := waiting(w, func() error { return s.follow(ctx, list, name) })
	w.Cleanup(func() {
		cancel()
		ended.wait(patience)
		if ended.err != nil {
			w.Errorf("the witness of %s missed revisions: %v", s.name, ended.err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, b := range s.broken {
			w.Errorf("broken promise of %s: %s", s.name, b)
		}
	})
	return s
}

// list begins with what is there.
func (s *witness) list(ctx context.Context, list client.ObjectList, name string) error {
	if err := s.w.objects.List(ctx, list, client.InNamespace(s.w.namespace)); err != nil {
		return err
	}
	for _, obj := range extract(list) {
		if obj.GetName() == name {
			s.see(obj, false)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision = list.GetResourceVersion()
	return nil
}

func extract(list client.ObjectList) (objects []client.Object) {
	switch l := list.(type) {
	case *konductorv1.LeaseList:
		for i := range l.Items {
			objects = append(objects, &l.Items[i])
		}
	case *konductorv1.SemaphoreList:
		for i := range l.Items {
			objects = append(objects, &l.Items[i])
		}
	}
	return objects
}

// follow watches from the revision reached, again and again, so that not one revision is missed.
func (s *witness) follow(ctx context.Context, list client.ObjectList, name string) error {
	for ctx.Err() == nil {
		s.mu.Lock()
		from := s.revision
		s.mu.Unlock()
		stream, err := s.w.objects.Watch(ctx, list, client.InNamespace(s.w.namespace), client.MatchingFields{"metadata.name": name},
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: from}})
		if err == nil {
			err = s.drain(ctx, stream)
			stream.Stop()
			if err != nil && !s.restarts {
				return err
			}
			if err != nil {
				_ = s.list(ctx, list, name) // or else the next watch fails as this one did
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond): // the API server is away
		}
	}
	return nil
}

func (s *witness) drain(ctx context.Context, stream watch.Interface) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case e, ok := <-stream.ResultChan():
			if !ok {
				return nil
			}
			if e.Type == watch.Error {
				if status, ok := e.Object.(*metav1.Status); ok && (status.Code == 410 || status.Reason == metav1.StatusReasonExpired) {
					return fmt.Errorf("%s", status.Message)
				}
				return nil
			}
			if obj, ok := e.Object.(client.Object); ok {
				s.see(obj, e.Type == watch.Deleted)
			}
		}
	}
}

// see checks one revision against those before it.
func (s *witness) see(obj client.Object, deleted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { close(s.changed); s.changed = make(chan struct{}) }()
	s.revision = obj.GetResourceVersion()
	permits, holders := int32(1), []konductorv1.SemaphoreHolder(nil)
	switch obj := obj.(type) {
	case *konductorv1.Lease:
		holders = rules.LeaseHolders(&obj.Status)
	case *konductorv1.Semaphore:
		permits, holders = obj.Spec.Permits, obj.Status.Holders
		if !deleted && obj.Status.ObservedGeneration == obj.Generation {
			s.checkCounts(obj)
		}
	}
	if deleted {
		holders = nil
	}
	s.check(permits, holders)
	s.current = map[types.UID]konductorv1.SemaphoreHolder{}
	for _, h := range holders {
		s.current[h.ClaimUID] = h
	}
}

func (s *witness) check(permits int32, holders []konductorv1.SemaphoreHolder) {
	if in, before := sum(holders), sum(slices.Collect(maps.Values(s.current))); in > permits && in > before {
		s.breaks("%d permits are held of %d, before it were %d: %s", in, permits, before, describe(holders))
	}
	for _, h := range holders {
		before, held := s.ever[h.ClaimUID]
		_, holds := s.current[h.ClaimUID]
		switch {
		case !held && h.FencingToken <= s.topToken:
			s.breaks("%s was granted with token %d after token %d", h.Holder, h.FencingToken, s.topToken)
		case held && before.FencingToken != h.FencingToken:
			s.breaks("the token of %s went from %d to %d", h.Holder, before.FencingToken, h.FencingToken)
		case held && !holds:
			s.breaks("the ended hold of %s came back", h.Holder)
		}
		if !held {
			s.ever[h.ClaimUID] = h
			s.grants = append(s.grants, h)
			s.topToken = max(s.topToken, h.FencingToken)
		}
	}
}

// checkCounts checks the sums that a semaphore tells.
func (s *witness) checkCounts(sem *konductorv1.Semaphore) {
	in := sum(sem.Status.Holders)
	if sem.Status.InUse != in || sem.Status.Available != max(sem.Spec.Permits-in, 0) {
		s.breaks("%d permits of %d are held, but status says inUse %d, available %d", in, sem.Spec.Permits, sem.Status.InUse, sem.Status.Available)
	}
}

func (s *witness) breaks(format string, args ...any) {
	s.broken = append(s.broken, fmt.Sprintf("revision %s: ", s.revision)+fmt.Sprintf(format, args...))
}

func sum(holders []konductorv1.SemaphoreHolder) (n int32) {
	for _, h := range holders {
		n += h.Permits
	}
	return n
}

func describe(holders []konductorv1.SemaphoreHolder) string {
	var all []string
	for _, h := range holders {
		all = append(all, h.Holder+"×"+strconv.Itoa(int(h.Permits)))
	}
	return strings.Join(all, ", ")
}

// granted returns who has been granted so far, in order of their tokens.
func (s *witness) granted() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	grants := slices.Clone(s.grants)
	slices.SortFunc(grants, func(a, b konductorv1.SemaphoreHolder) int { return int(a.FencingToken - b.FencingToken) })
	names := make([]string, len(grants))
	for i, g := range grants {
		names[i] = g.Holder
	}
	return names
}

// awaitGrants waits until n grants have been seen and returns who has got them.
func (s *witness) awaitGrants(n int) []string {
	s.w.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		s.mu.Lock()
		more := s.changed
		s.mu.Unlock()
		if names := s.granted(); len(names) >= n {
			return names
		}
		select {
		case <-more:
		case <-timer.C:
			s.w.Fatalf("there were %d grants, not %d: %v", len(s.granted()), n, s.granted())
		}
	}
}

// awaitIdle waits until nobody holds any more.
func (s *witness) awaitIdle() {
	s.w.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		s.mu.Lock()
		more, idle := s.changed, len(s.current) == 0
		s.mu.Unlock()
		if idle {
			return
		}
		select {
		case <-more:
		case <-timer.C:
			s.w.Fatalf("%s is still held", s.name)
		}
	}
}

// awaitGrantsQuietly returns when n grants have been seen, or when the test ends.
func (s *witness) awaitGrantsQuietly(n int) {
	for {
		s.mu.Lock()
		more := s.changed
		s.mu.Unlock()
		if len(s.granted()) >= n {
			return
		}
		select {
		case <-more:
		case <-s.w.ctx.Done():
			return
		}
	}
}
