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

// Wanted is a lease, or permits of a semaphore, that AcquireAll is to acquire.
type Wanted struct {
	kind, name string
	permits    int32
}

// OnLease is the lease of that name.
func OnLease(name string) Wanted { return Wanted{konductorv1.KindLease, name, 1} }

// OnSemaphore is that many permits, at least one, of the semaphore of that name.
func OnSemaphore(name string, permits int32) Wanted {
	return Wanted{konductorv1.KindSemaphore, name, permits}
}

// Object returns what is wanted, as KIND/NAME.
func (w Wanted) Object() string { return ref(w.kind, w.name) }

// AcquireAll acquires all that is wanted, or nothing. It does so in the same order whatever the order of wanted (leases
// before semaphores, by name), so that two who want the same things don't wait for each other for ever. Options as for
// AcquireLease; WithTimeout bounds the whole, Detached is ignored.
//
// What was acquired first is held, and renewed, while the rest is waited for. It returns a *LostError when it is lost in
// the meantime.
func (c *Client) AcquireAll(ctx context.Context, wanted []Wanted, opts ...Option) (*Holds, error) {
	o := collect(opts)
	o.detached = false
	ordered, err := inOrder(wanted)
	if err != nil {
		return nil, err
	}
	bounded, cancel := o.bounded(ctx)
	defer cancel()
	bounded, giveUp := context.WithCancelCause(bounded)
	defer giveUp(nil)

	set := &Holds{lost: make(chan struct{}), done: make(chan struct{})}
	for _, w := range ordered {
		one := o
		one.permits = w.permits
		hold, err := c.acquireWithin(ctx, bounded, w.kind, w.name, one)
		if err != nil {
			if lost := set.Reason(); lost != nil {
				err = lost
			}
			// Those that were acquired are of no use. Why some couldn't be is what the caller has to know.
			_ = set.Release(context.WithoutCancel(ctx))
			return nil, err
		}
		set.add(hold, giveUp)
	}
	return set, nil
}

// inOrder returns what is wanted in the order in which everybody acquires it.
func inOrder(wanted []Wanted) ([]Wanted, error) {
	ordered := slices.Clone(wanted)
	slices.SortStableFunc(ordered, func(a, b Wanted) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.name, b.name))
	})
	for i := 1; i < len(ordered); i++ {
		if a, b := ordered[i-1], ordered[i]; a.kind == b.kind && a.name == b.name {
			return nil, fmt.Errorf("%s is wanted twice: name it once, with as many permits as are needed", a.Object())
		}
	}
	return ordered, nil
}

// Holds are the leases and permits that one AcquireAll has acquired. Release them together. It is safe for concurrent use.
type Holds struct {
	all   []*Hold
	watch sync.WaitGroup

	mu   sync.Mutex
	why  error
	lost chan struct{}
	done chan struct{}
	end  sync.Once
}

// All returns the holds in the order in which they were acquired.
func (s *Holds) All() []*Hold { return slices.Clone(s.all) }

// Lost is closed when the first of the holds is lost, before the operator may give it to another.
func (s *Holds) Lost() <-chan struct{} { return s.lost }

// Reason returns the *LostError of the hold that was lost first, or nil.
func (s *Holds) Reason() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.why
}

// Deadline returns the earliest deadline of the holds. ok is false when none of them has one.
func (s *Holds) Deadline() (earliest time.Time, ok bool) {
	for _, h := range s.all {
		if deadline, has := h.Deadline(); has && (!ok || deadline.Before(earliest)) {
			earliest, ok = deadline, true
		}
	}
	return earliest, ok
}

// Release gives all of them back. It returns a *LostError when one of them had been lost. As with a
// single hold it waits out an API server that is away for as long as ctx allows and up to 5 s longer.
func (s *Holds) Release(ctx context.Context) error {
	s.end.Do(func() { close(s.done) })
	s.watch.Wait()
	errs := make([]error, len(s.all))
	var giving sync.WaitGroup
	for i, h := range s.all {
		giving.Go(func() { errs[i] = h.Release(ctx) })
	}
	giving.Wait()
	return errors.Join(errs...)
}

// add takes another hold into the set. giveUp is called when it is lost.
func (s *Holds) add(h *Hold, giveUp context.CancelCauseFunc) {
	s.all = append(s.all, h)
	s.watch.Go(func() {
		select {
		case <-h.Lost():
			s.lose(h.lostReason())
			giveUp(h.lostReason())
		case <-s.done:
		}
	})
}

func (s *Holds) lose(why error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.why == nil {
		s.why = why
		close(s.lost)
	}
}
