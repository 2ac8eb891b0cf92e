package waitgraph

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Analysis is the wait graph of a snapshot.
type Analysis struct {
	*Snapshot
	coverage
	processes                []*process
	processByUID             map[types.UID]*process
	processByRef             map[Ref]*process // Pods by name, and holders
	endedPods                map[Ref]*corev1.Pod
	resources                map[Ref]*resource
	jobs                     map[Ref]*job
	gates                    map[Ref]*gate
	barriers                 map[Ref]*barrier
	namespacesWithUnparsable map[string]bool // namespaces with a koncli call that can't be parsed
	deadlocks                []*Deadlock
	deadlockByMember         map[Ref]*Deadlock
}

// Analyze builds the wait graph of a snapshot and finds its wait cycles.
func Analyze(s *Snapshot) *Analysis {
	a := &Analysis{
		Snapshot: s, coverage: newCoverage(s), processByUID: map[types.UID]*process{}, processByRef: map[Ref]*process{}, endedPods: map[Ref]*corev1.Pod{}, resources: map[Ref]*resource{},
		jobs: map[Ref]*job{}, gates: map[Ref]*gate{}, barriers: map[Ref]*barrier{}, deadlockByMember: map[Ref]*Deadlock{}, namespacesWithUnparsable: map[string]bool{},
	}
	a.addCoordinationObjects()
	a.addJobs()
	a.addPods()
	a.addClaims()
	a.addHeldWaits()
	a.addInferredWaits()
	a.addPendingParticipants()
	a.reduce()
	a.findDeadlocks()
	return a
}

// coverage indexes what a snapshot contains, since it is queried for every object.
type coverage struct {
	namespaces map[string]bool // empty: all
	gaps       map[Ref]Gap     // by kind and namespace
}

func newCoverage(s *Snapshot) coverage {
	e := coverage{map[string]bool{}, map[Ref]Gap{}}
	for _, n := range s.Namespaces {
		e.namespaces[n] = true
	}
	for _, g := range s.Gaps {
		e.gaps[Ref{Kind: g.Kind, Namespace: g.Namespace}] = g
	}
	return e
}

// isReadable reports whether the snapshot has the objects of that kind in that namespace.
func (e *coverage) isReadable(kind, namespace string) bool {
	_, lacks := e.gapFor(kind, namespace)
	return !lacks && (len(e.namespaces) == 0 || e.namespaces[namespace])
}

// gapFor returns the gap that the objects of that kind in that namespace are in, if there is one.
func (e *coverage) gapFor(kind, namespace string) (Gap, bool) {
	g, ok := e.gaps[Ref{Kind: kind, Namespace: namespace}]
	if !ok {
		g, ok = e.gaps[Ref{Kind: kind}]
	}
	return g, ok
}
