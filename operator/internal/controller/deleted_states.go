package controller

import (
	"maps"
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// deletedStates remembers, for each gate, the last state of deleted objects that it has conditions on. Every replica keeps
// it: a Job may complete and be removed by its TTL while there is no leader, and the next leader must know that it was
// complete.
type deletedStates struct {
	mu     sync.Mutex
	byGate map[types.UID]map[string]*rules.Observation
}

func newDeletedStates() *deletedStates {
	return &deletedStates{byGate: map[types.UID]map[string]*rules.Observation{}}
}

// record records the last state of the object with that index entry for the gate, and drops the states of conditions that
// the gate doesn't have any more.
func (l *deletedStates) record(gate *konductorv1.Gate, entry string, state rules.Observation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	states := l.byGate[gate.UID]
	if states == nil {
		states = map[string]*rules.Observation{}
		l.byGate[gate.UID] = states
	}
	states[entry] = &state
	if entries := indexGateConditions(gate); len(states) > len(entries) {
		maps.DeleteFunc(states, func(entry string, _ *rules.Observation) bool { return !slices.Contains(entries, entry) })
	}
}

// lookup returns the last state of the object with that index entry, or nil.
func (l *deletedStates) lookup(gate types.UID, entry string) *rules.Observation {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.byGate[gate][entry]
}

// removeGate drops the states of a deleted gate.
func (l *deletedStates) removeGate(gate types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byGate, gate)
}
