package controller

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/LogicIQ/konductor/apis/rules"
)

// lastSeen remembers for each gate how the objects stood that it looks at and that have been deleted. Every replica keeps
// it: a Job may complete and be removed by its TTL while none of them leads, and the one that leads next must know that it
// was complete.
type lastSeen struct {
	mu     sync.Mutex
	byGate map[types.UID]map[string]*rules.Observed
}

func newLastSeen() *lastSeen { return &lastSeen{byGate: map[types.UID]map[string]*rules.Observed{}} }

// note takes note of how the object of that index entry stood last.
func (l *lastSeen) note(gate types.UID, entry string, seen rules.Observed) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byGate[gate] == nil {
		l.byGate[gate] = map[string]*rules.Observed{}
	}
	l.byGate[gate][entry] = &seen
}

// of returns how the object of that index entry stood last, or nil.
func (l *lastSeen) of(gate types.UID, entry string) *rules.Observed {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byGate[gate][entry]
}

// forget drops what is known for a gate that is gone.
func (l *lastSeen) forget(gate types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byGate, gate)
}
