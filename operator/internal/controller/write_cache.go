package controller

import (
	"sync"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/internal/rules"
)

// statusBatchInterval is how long a status change that nobody waits for (the number of arrivals or of waiters) may be
// delayed, to be written together with others.
const statusBatchInterval = 100 * time.Millisecond

// writeCacheTTL is how long our own version of an object counts as newer than the cache's. The watch lags by far less; after
// that, a larger revision may be from a history that etcd lost when it was restored from a backup.
const writeCacheTTL = 10 * time.Second

// writeCache is the last version of an object that we wrote or read from the API server. It may be newer than the cache, and
// the API server would reject a write based on an older version.
type writeCache[T client.Object] struct {
	mu          sync.Mutex
	stored      T
	hasStored   bool
	storedAt    time.Time
	lastWriteAt time.Duration
}

// latest returns cached, or the stored version if that is a newer one of the same object.
func (m *writeCache[T]) latest(cached T) T {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.hasStored || time.Since(m.storedAt) > writeCacheTTL || m.stored.GetUID() != cached.GetUID() {
		return cached
	}
	mine, err := rules.Revision(m.stored)
	if err != nil {
		return cached
	}
	if theirs, err := rules.Revision(cached); err != nil || mine <= theirs {
		return cached
	}
	return m.stored
}

// recordWrite stores obj, written at elapsed on the monotonic clock.
func (m *writeCache[T]) recordWrite(obj T, elapsed time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.lastWriteAt = elapsed
	m.storeLocked(obj)
}

// recordRead stores obj.
func (m *writeCache[T]) recordRead(obj T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.storeLocked(obj)
}

// storeLocked stores obj without its unused metadata. The caller holds m.mu.
func (m *writeCache[T]) storeLocked(obj T) {
	StripMetadata(obj)
	m.stored, m.hasStored, m.storedAt = obj, true, time.Now()
}

// invalidate drops the stored version: the API server says that it isn't the latest.
func (m *writeCache[T]) invalidate() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hasStored = false
}

// StripMetadata removes the metadata that no rule reads, and that other clients can make as large as they like.
func StripMetadata(obj client.Object) {
	obj.SetLabels(nil)
	obj.SetAnnotations(nil)
	obj.SetFinalizers(nil)
	obj.SetOwnerReferences(nil)
	obj.SetManagedFields(nil)
}

// writeDelay returns how much longer to delay a change that nobody waits for; zero: write it now.
func (m *writeCache[T]) writeDelay(now rules.Instant) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.lastWriteAt == 0 {
		return 0
	}
	return max(m.lastWriteAt+statusBatchInterval-now.Monotonic, 0)
}

// isStoredVersion reports whether obj is the version that was last written or read.
func (m *writeCache[T]) isStoredVersion(obj T) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.hasStored && m.stored.GetUID() == obj.GetUID() && m.stored.GetResourceVersion() == obj.GetResourceVersion()
}
