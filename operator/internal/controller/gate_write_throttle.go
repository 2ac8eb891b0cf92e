package controller

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
)

// writeIntervalPerCondition is, for each condition of a gate, the minimum time between two writes that change only the
// messages of its conditions. The holder of a lease, or the number of free permits, changes with each handover, and many
// gates may have a condition on the same object.
const writeIntervalPerCondition = 100 * time.Millisecond

// statusWriteThrottle remembers when gates were last written. Its zero value is ready for use.
type statusWriteThrottle struct {
	mu          sync.Mutex
	lastWriteAt map[types.NamespacedName]time.Duration
}

// recordWrite records that a gate is written.
func (t *statusWriteThrottle) recordWrite(gate types.NamespacedName, now time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.lastWriteAt == nil {
		t.lastWriteAt = map[types.NamespacedName]time.Duration{}
	}
	t.lastWriteAt[gate] = now
}

// writeDelay returns how much longer to delay a change of only the messages of a gate with that many conditions; zero: write
// it now.
func (t *statusWriteThrottle) writeDelay(gate types.NamespacedName, conditions int, now time.Duration) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	at, ok := t.lastWriteAt[gate]
	if !ok {
		return 0
	}
	return max(at+time.Duration(conditions)*writeIntervalPerCondition-now, 0)
}

// removeGate drops the record of a deleted gate.
func (t *statusWriteThrottle) removeGate(gate types.NamespacedName) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.lastWriteAt, gate)
}
