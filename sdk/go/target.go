package konductor

import (
	"maps"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

const (
	// targetCacheTTL is how long a Client uses a lease or semaphore as it was read, so that a client that acquires many
	// times a second need not read it each time.
	targetCacheTTL = 5 * time.Second
	// fastPathTimeout is how long the Lease itself is watched if it seems to be free.
	fastPathTimeout = 500 * time.Millisecond
)

// target is the Lease or Semaphore that a claim is on.
type target struct {
	kind, name           string
	ttl                  *konductorv1.Duration
	object               metaObject
	lastObservedClaimUID types.UID // of the Claim that held the lease when last read
	lastObservedFree     bool      // a lease without holder and waiters when last read
	fromCache            bool      // read by an earlier call
	readAt               time.Time
}

func (t target) ref() string { return ref(t.kind, t.name) }

func (t target) claimTarget() konductorv1.ClaimTarget {
	return konductorv1.ClaimTarget{Kind: t.kind, Name: t.name, UID: t.object.GetUID()}
}

// targetCache has the leases and semaphores that a Client read recently. The zero value is empty.
type targetCache struct {
	mu      sync.Mutex
	entries map[string]target // by ref
}

// get returns the object if it was read recently.
func (k *targetCache) get(kind, name string) (target, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	t, ok := k.entries[ref(kind, name)]
	t.fromCache = true
	return t, ok && t.isFresh()
}

func (t target) isFresh() bool { return time.Since(t.readAt) < targetCacheTTL }

// put keeps t for as long as it is fresh.
func (k *targetCache) put(t target) {
	k.mu.Lock()
	defer k.mu.Unlock()
	maps.DeleteFunc(k.entries, func(_ string, old target) bool { return !old.isFresh() })
	if !t.isFresh() {
		return
	}
	if k.entries == nil {
		k.entries = map[string]target{}
	}
	k.entries[t.ref()] = t
}

func (k *targetCache) evict(t target) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.entries, t.ref())
}
