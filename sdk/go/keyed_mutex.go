package konductor

import (
	"context"
	"sync"
)

// keyedMutex is a set of mutexes by name. A name that is not in use takes no memory.
type keyedMutex struct {
	mu    sync.Mutex
	locks map[string]*keyedLock
}

type keyedLock struct {
	sem  chan struct{} // has one element while locked
	refs int           // callers that hold it or wait for it
}

// retain returns the lock of that name, and the function to call when it is not used any more.
func (t *keyedMutex) retain(name string) (chan struct{}, func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.locks == nil {
		t.locks = map[string]*keyedLock{}
	}
	entry, ok := t.locks[name]
	if !ok {
		entry = &keyedLock{sem: make(chan struct{}, 1)}
		t.locks[name] = entry
	}
	entry.refs++
	return entry.sem, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if entry.refs--; entry.refs == 0 {
			delete(t.locks, name)
		}
	}
}

// lock waits for the lock of that name and returns the function that unlocks it.
func (t *keyedMutex) lock(ctx context.Context, name string) (func(), error) {
	lock, release := t.retain(name)
	select {
	case lock <- struct{}{}:
		return sync.OnceFunc(func() { <-lock; release() }), nil
	case <-ctx.Done():
		release()
		return nil, endError(ctx)
	}
}

// tryLock does the same, but returns false if the name is locked.
func (t *keyedMutex) tryLock(name string) (func(), bool) {
	lock, release := t.retain(name)
	select {
	case lock <- struct{}{}:
		return sync.OnceFunc(func() { <-lock; release() }), true
	default:
		release()
		return nil, false
	}
}
