package konductor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Wanted is a lease, or permits of a semaphore, for AcquireAll to acquire.
type Wanted struct {
	kind, name string
	permits    int32
}

// OnLease returns the Wanted for the lease of that name.
func OnLease(name string) Wanted { return Wanted{konductorv1.KindLease, name, 1} }

// OnSemaphore returns the Wanted for that many permits, at least one, of the semaphore of that name.
func OnSemaphore(name string, permits int32) Wanted {
	return Wanted{konductorv1.KindSemaphore, name, permits}
}

// Object returns the lease or semaphore, as KIND/NAME.
func (w Wanted) Object() string { return ref(w.kind, w.name) }

// AcquireAll acquires everything in wanted, or nothing. It does so in the same order whatever the order of wanted (leases
// before semaphores, then by name), so that two callers that want the same objects don't wait for each other forever.
// The options are those of AcquireLease without Detached; WithTimeout limits the whole call.
//
// What it acquires first is held, and renewed, while it waits for the rest. If such a hold is lost in the meantime, it
// returns a *LostError.
func (c *Client) AcquireAll(ctx context.Context, wanted []Wanted, opts ...AcquireAllOption) (*Holds, error) {
	o := applyOptions(opts)
	ordered, err := sortInLockOrder(wanted)
	if err != nil {
		return nil, err
	}
	bounded, cancel := o.withCallTimeout(ctx)
	defer cancel()
	bounded, cancelAcquire := context.WithCancelCause(bounded)
	defer cancelAcquire(nil)

	set := &Holds{lost: make(chan struct{}), done: make(chan struct{})}
	for _, w := range ordered {
		one := o
		one.permits = w.permits
		hold, err := c.acquireWithOptions(ctx, bounded, w.kind, w.name, one)
		if err != nil {
			if lost := set.Reason(); lost != nil {
				err = lost
			}
			// The holds so far are useless now. The caller needs the error of the acquire that failed.
			_ = set.Release(bounded)
			return nil, err
		}
		set.add(hold, cancelAcquire)
	}
	return set, nil
}

// sortInLockOrder returns wanted in the order in which every caller acquires. It returns an error if an object occurs
// twice.
func sortInLockOrder(wanted []Wanted) ([]Wanted, error) {
	ordered := slices.Clone(wanted)
	slices.SortStableFunc(ordered, func(a, b Wanted) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
	})
	for i := 1; i < len(ordered); i++ {
		if a, b := ordered[i-1], ordered[i]; a.kind == b.kind && a.name == b.name {
			return nil, fmt.Errorf("%s is listed twice: list it once, with the total number of permits", a.Object())
		}
	}
	return ordered, nil
}

// Holds are the holds that one AcquireAll has acquired. Release them together. It is safe for concurrent use.
type Holds struct {
	holds    []*Hold
	watchers sync.WaitGroup

	mu        sync.Mutex
	lostErr   error
	lost      chan struct{}
	done      chan struct{}
	closeDone sync.Once
}

// All returns the holds in the order in which they were acquired.
func (s *Holds) All() []*Hold { return slices.Clone(s.holds) }

// Lost returns a channel that is closed when the first of the holds is lost, before the operator may grant it to another.
func (s *Holds) Lost() <-chan struct{} { return s.lost }

// Reason returns the *LostError of the hold that was lost first, or nil.
func (s *Holds) Reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lostErr
}

// Deadline returns the earliest deadline of the holds. ok is false if none of them has one.
func (s *Holds) Deadline() (earliest time.Time, ok bool) {
	for _, h := range s.holds {
		if deadline, has := h.Deadline(); has && (!ok || deadline.Before(earliest)) {
			earliest, ok = deadline, true
		}
	}
	return earliest, ok
}

// Release releases all holds. It returns a *LostError if one of them had been lost. As Hold.Release does, it waits out an
// API server that is unavailable for as long as ctx allows and up to 5 s longer.
func (s *Holds) Release(ctx context.Context) error {
	s.closeDone.Do(func() { close(s.done) })
	s.watchers.Wait()
	errs := make([]error, len(s.holds))
	var releases sync.WaitGroup
	for i, h := range s.holds {
		releases.Go(func() { errs[i] = h.Release(ctx) })
	}
	releases.Wait()
	return errors.Join(errs...)
}

// add adds a hold to the set. cancelAcquire is called if it is lost.
func (s *Holds) add(h *Hold, cancelAcquire context.CancelCauseFunc) {
	s.holds = append(s.holds, h)
	s.watchers.Go(func() {
		select {
		case <-h.Lost():
			s.markLost(h.lostError())
			cancelAcquire(ownCause{h.lostError()})
		case <-s.done:
		}
	})
}

func (s *Holds) markLost(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lostErr == nil {
		s.lostErr = err
		close(s.lost)
	}
}
