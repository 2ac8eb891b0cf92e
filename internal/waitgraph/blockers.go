package waitgraph

import (
	"slices"
	"sort"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// maxAheadBlockers is how many of the waits ahead in a queue are blockers of one behind, those that ask for least first.
const maxAheadBlockers = 16

// findBlockers sets the blockers of all nodes that are not reducible.
func (a *Analysis) findBlockers() {
	for _, r := range a.resources {
		r.findBlockers()
	}
	for _, p := range a.processes {
		if !p.reducible {
			p.blockers = a.processBlockers(p)
		}
	}
	for _, j := range a.jobs {
		n := j.statusNode()
		for _, p := range j.activePods {
			if !n.reducible && !p.reducible {
				n.blockers = append(n.blockers, blocker{from: n, to: &p.node})
			}
		}
	}
	for _, g := range a.gates {
		if !g.reducible {
			g.blockers = a.gateBlockers(g)
		}
	}
	for _, b := range a.barriers {
		if !b.reducible {
			b.blockers = b.arrivalBlockers()
		}
	}
}

// findBlockers sets the resource's blockers, its blocked holders, and aheadInQueue of each blocked wait.
func (r *resource) findBlockers() {
	for i := range r.holds {
		if h := &r.holds[i]; h.isBlocked() {
			r.blockers = append(r.blockers, blocker{from: &r.node, to: &h.process.node})
		}
	}
	var smallestAhead []*wait // those ahead in the queue that ask for least
	var reservedAhead []*wait
	for _, w := range r.queue {
		if w.process.reducible {
			continue
		}
		if !w.satisfiable {
			w.aheadInQueue = askingAtMost(smallestAhead, w.permits)
			for _, other := range reservedAhead[:min(len(reservedAhead), maxAheadBlockers)] {
				if !slices.Contains(w.aheadInQueue, other) {
					w.aheadInQueue = append(w.aheadInQueue, other)
				}
			}
		}
		if r.isReservedFor(w) {
			reservedAhead = append(reservedAhead, w)
		}
		if w.waitsElsewhere {
			at := sort.Search(len(smallestAhead), func(i int) bool { return smallestAhead[i].permits > w.permits })
			if smallestAhead = slices.Insert(smallestAhead, at, w); len(smallestAhead) > maxAheadBlockers {
				smallestAhead = smallestAhead[:maxAheadBlockers]
			}
		}
	}
	for _, w := range r.permitConditions {
		w.aheadInQueue = askingAtMost(smallestAhead, w.permits)
	}
}

// askingAtMost returns the waits that ask for no more than that many permits, of a list sorted by permits.
func askingAtMost(bySize []*wait, permits int32) []*wait {
	n := sort.Search(len(bySize), func(i int) bool { return bySize[i].permits > permits })
	return slices.Clone(bySize[:n])
}

// blockersFor returns why from can't have permits: the resource if its holders are blocked, and the waits that get permits first.
func (r *resource) blockersFor(from *node, ahead []*wait) (needs []blocker) {
	if len(r.blockers) > 0 {
		needs = append(needs, blocker{from: from, to: &r.node})
	}
	for _, other := range ahead {
		needs = append(needs, blocker{from: from, to: &other.process.node, via: r.ref, aheadInQueue: true})
	}
	return needs
}

// processBlockers returns what keeps a process from its end.
func (a *Analysis) processBlockers(p *process) (needs []blocker) {
	for _, w := range p.waits {
		if !w.evidence.isCertain() {
			continue
		}
		switch w.target.Kind {
		case konductorv1.KindGate:
			if g := a.gates[w.target]; g != nil && !g.reducible {
				needs = append(needs, blocker{from: &p.node, to: &g.node})
			}
		case konductorv1.KindBarrier:
			if b := a.barriers[w.target]; b != nil && !b.reducible {
				needs = append(needs, blocker{from: &p.node, to: &b.node})
			}
		default:
			if r := a.resources[w.target]; w.needsPermits(r) && !w.satisfiable {
				needs = append(needs, r.blockersFor(&p.node, w.aheadInQueue)...)
			}
		}
	}
	return needs
}

// gateBlockers returns what keeps a gate from opening.
func (a *Analysis) gateBlockers(g *gate) (needs []blocker) {
	for c := range g.unmetConditions() {
		if n, _ := a.conditionTarget(g, c); n != nil && !n.reducible {
			needs = append(needs, blocker{from: &g.node, to: n})
		}
	}
	for _, w := range g.permitConditions {
		if !w.satisfiable {
			needs = append(needs, w.resource.blockersFor(&g.node, w.aheadInQueue)...)
		}
	}
	return needs
}

// arrivalBlockers returns the processes that keep a barrier from opening: for each blocked participant its candidates, of which
// one would have to proceed.
func (b *barrier) arrivalBlockers() (needs []blocker) {
	for _, r := range b.pendingParticipants {
		processes := r.candidateProcesses()
		if slices.ContainsFunc(processes, func(p *process) bool { return p.reducible }) {
			continue
		}
		for _, p := range processes {
			needs = append(needs, blocker{from: &b.node, to: &p.node})
		}
	}
	return needs
}
