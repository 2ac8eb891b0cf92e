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

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// revisionChecker reads every revision of one Lease or Semaphore, independently of operator and SDK, and checks the guarantee:
// never more grants than permits, each with a larger token than all before it, none given twice.
type revisionChecker struct {
	env  *testEnv
	name string
	// toleratesGaps says that the API server restarts meanwhile, so that some revisions may be unavailable.
	toleratesGaps bool

	mu           sync.Mutex
	changed      chan struct{} // closed and replaced at each revision
	revision     string
	current      map[types.UID]konductorv1.Holder
	everGranted  map[types.UID]konductorv1.Holder
	highestToken int64
	grants       []konductorv1.Holder
	violations   []string
}

// checkRevisions starts watching the lease or semaphore of that name. Violations fail the test at its end.
func (w *testEnv) checkRevisions(kind, name string) *revisionChecker {
	w.Helper()
	s := &revisionChecker{
		env: w, name: kind + " " + name, changed: make(chan struct{}),
		current: map[types.UID]konductorv1.Holder{}, everGranted: map[types.UID]konductorv1.Holder{},
	}
	var list client.ObjectList = &konductorv1.LeaseList{}
	if kind == konductorv1.KindSemaphore {
		list = &konductorv1.SemaphoreList{}
	}
	w.must(s.listCurrent(w.ctx, list, name))
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	ended := runAsyncErr(w, func() error { return s.watchRevisions(ctx, list, name) })
	w.Cleanup(func() {
		cancel()
		ended.waitUpTo(waitTimeout)
		if ended.err != nil {
			w.Errorf("the checker of %s missed revisions: %v", s.name, ended.err)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, b := range s.violations {
			w.Errorf("broken promise of %s: %s", s.name, b)
		}
	})
	return s
}

// listCurrent lists the present state.
func (s *revisionChecker) listCurrent(ctx context.Context, list client.ObjectList, name string) error {
	if err := s.env.client.List(ctx, list, client.InNamespace(s.env.namespace)); err != nil {
		return err
	}
	for _, obj := range extractItems(list) {
		if obj.GetName() == name {
			s.checkRevision(obj, false)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revision = list.GetResourceVersion()
	return nil
}

func extractItems(list client.ObjectList) (objects []client.Object) {
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

// watchRevisions watches from the last revision, again and again, so that no revision is missed.
func (s *revisionChecker) watchRevisions(ctx context.Context, list client.ObjectList, name string) error {
	for ctx.Err() == nil {
		s.mu.Lock()
		from := s.revision
		s.mu.Unlock()
		stream, err := s.env.client.Watch(ctx, list, client.InNamespace(s.env.namespace), client.MatchingFields{"metadata.name": name},
			&client.ListOptions{Raw: &metav1.ListOptions{ResourceVersion: from}})
		if err == nil {
			err = s.consumeWatch(ctx, stream)
			stream.Stop()
			if err != nil && !s.toleratesGaps {
				return err
			}
			if err != nil {
				_ = s.listCurrent(ctx, list, name) // if it fails, the next watch fails as this one did
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(20 * time.Millisecond): // the API server is unavailable
		}
	}
	return nil
}

func (s *revisionChecker) consumeWatch(ctx context.Context, stream watch.Interface) error {
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
				s.checkRevision(obj, e.Type == watch.Deleted)
			}
		}
	}
}

// checkRevision checks one revision against those before it.
func (s *revisionChecker) checkRevision(obj client.Object, deleted bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { close(s.changed); s.changed = make(chan struct{}) }()
	s.revision = obj.GetResourceVersion()
	permits, holders := int32(1), []konductorv1.Holder(nil)
	switch obj := obj.(type) {
	case *konductorv1.Lease:
		holders = obj.Status.Holders()
	case *konductorv1.Semaphore:
		permits, holders = obj.Spec.Permits, obj.Status.Holders
		if !deleted && obj.Status.ObservedGeneration == obj.Generation {
			s.checkCounts(obj)
		}
	}
	if deleted {
		holders = nil
	}
	s.checkHolders(permits, holders)
	s.current = map[types.UID]konductorv1.Holder{}
	for _, h := range holders {
		s.current[h.ClaimUID] = h
	}
}

func (s *revisionChecker) checkHolders(permits int32, holders []konductorv1.Holder) {
	if in, before := sumPermits(holders), sumPermits(slices.Collect(maps.Values(s.current))); in > permits && in > before {
		s.addViolation("%d permits are held of %d, before it were %d: %s", in, permits, before, describeHolders(holders))
	}
	for _, h := range holders {
		before, held := s.everGranted[h.ClaimUID]
		_, holds := s.current[h.ClaimUID]
		switch {
		case !held && h.FencingToken <= s.highestToken:
			s.addViolation("%s was granted with token %d after token %d", h.Name, h.FencingToken, s.highestToken)
		case held && before.FencingToken != h.FencingToken:
			s.addViolation("the token of %s went from %d to %d", h.Name, before.FencingToken, h.FencingToken)
		case held && !holds:
			s.addViolation("the ended hold of %s came back", h.Name)
		}
		if !held {
			s.everGranted[h.ClaimUID] = h
			s.grants = append(s.grants, h)
			s.highestToken = max(s.highestToken, h.FencingToken)
		}
	}
}

// checkCounts checks the totals in a semaphore's status.
func (s *revisionChecker) checkCounts(sem *konductorv1.Semaphore) {
	in := sumPermits(sem.Status.Holders)
	if sem.Status.InUse != in || sem.Status.Available != max(sem.Spec.Permits-in, 0) {
		s.addViolation("%d permits of %d are held, but status says inUse %d, available %d", in, sem.Spec.Permits, sem.Status.InUse, sem.Status.Available)
	}
}

func (s *revisionChecker) addViolation(format string, args ...any) {
	s.violations = append(s.violations, fmt.Sprintf("revision %s: ", s.revision)+fmt.Sprintf(format, args...))
}

func sumPermits(holders []konductorv1.Holder) (n int32) {
	for _, h := range holders {
		n += h.Permits
	}
	return n
}

func describeHolders(holders []konductorv1.Holder) string {
	var all []string
	for _, h := range holders {
		all = append(all, h.Name+"×"+strconv.Itoa(int(h.Permits)))
	}
	return strings.Join(all, ", ")
}

// grantedHolders returns the holders that have been granted so far, in order of their tokens.
func (s *revisionChecker) grantedHolders() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	grants := slices.Clone(s.grants)
	slices.SortFunc(grants, func(a, b konductorv1.Holder) int { return int(a.FencingToken - b.FencingToken) })
	names := make([]string, len(grants))
	for i, g := range grants {
		names[i] = g.Name
	}
	return names
}

// waitForGrants waits until n grants have been observed and returns their holders.
func (s *revisionChecker) waitForGrants(n int) []string {
	s.env.Helper()
	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	for {
		s.mu.Lock()
		more := s.changed
		s.mu.Unlock()
		if names := s.grantedHolders(); len(names) >= n {
			return names
		}
		select {
		case <-more:
		case <-timer.C:
			s.env.Fatalf("there were %d grants, not %d: %v", len(s.grantedHolders()), n, s.grantedHolders())
		}
	}
}

// waitIdle waits until there is no holder.
func (s *revisionChecker) waitIdle() {
	s.env.Helper()
	timer := time.NewTimer(waitTimeout)
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
			s.env.Fatalf("%s is still held", s.name)
		}
	}
}

// waitForGrantsOrTestEnd returns when n grants have been observed, or when the test ends.
func (s *revisionChecker) waitForGrantsOrTestEnd(n int) {
	for {
		s.mu.Lock()
		more := s.changed
		s.mu.Unlock()
		if len(s.grantedHolders()) >= n {
			return
		}
		select {
		case <-more:
		case <-s.env.ctx.Done():
			return
		}
	}
}
