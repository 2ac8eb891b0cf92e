package waitgraph

import (
	"cmp"
	"fmt"
	"iter"
	"slices"
	"strings"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Deadlock is a set of objects in wait cycles. None of them makes progress unless one gives up.
type Deadlock struct {
	// Reason is konductorv1.ReasonCycle when all members are gates, and ReasonHoldAndWait otherwise.
	Reason string
	// Members are all objects in it, in the order of CompareRefs.
	Members []Ref

	nodes        []*node
	nodeSet      map[*node]bool
	firstMessage string // the message of the first member, once it was needed
}

const (
	// maxMessageSteps is how many steps of a wait cycle are in a message. A longer cycle is cut.
	maxMessageSteps = 12
	// minOwnMessages is at least how many members of a deadlock get a message about a cycle that they are in themselves, and
	// maxOwnMessageSteps how many steps may be searched for that. The messages of the others describe another cycle of the
	// deadlock.
	minOwnMessages, maxOwnMessageSteps = 10, 100_000
)

// Deadlocks returns all deadlocks. No node is in two of them.
func (a *Analysis) Deadlocks() []*Deadlock { return a.deadlocks }

// findDeadlocks groups the blocked nodes into sets whose members all wait for each other, directly or transitively. A node that
// only waits for such a set is in none.
func (a *Analysis) findDeadlocks() {
	for _, nodes := range stronglyConnectedComponents(a.blockedNodes()) {
		d := newDeadlock(nodes)
		if d == nil {
			continue
		}
		a.deadlocks = append(a.deadlocks, d)
		for _, ref := range d.Members {
			a.deadlockByMember[ref] = d
		}
	}
	slices.SortFunc(a.deadlocks, func(x, y *Deadlock) int { return CompareRefs(x.Members[0], y.Members[0]) })
}

// blockedNodes returns the nodes that are not reducible, in an order that depends on names alone.
func (a *Analysis) blockedNodes() (blocked []*node) {
	add := func(n *node) {
		if !n.reducible {
			blocked = append(blocked, n)
		}
	}
	for _, p := range a.processes {
		add(&p.node)
	}
	for _, j := range a.jobs {
		if j.held == nil {
			add(&j.node)
		}
	}
	for _, g := range a.gates {
		add(&g.node)
	}
	for _, b := range a.barriers {
		add(&b.node)
	}
	slices.SortStableFunc(blocked, func(x, y *node) int { return CompareRefs(x.ref, y.ref) })
	for _, n := range blocked {
		slices.SortStableFunc(n.blockers, func(x, y blocker) int {
			return cmp.Or(CompareRefs(x.to.ref, y.to.ref), CompareRefs(x.via, y.via))
		})
	}
	return blocked
}

// stronglyConnectedComponents returns the strongly connected components of the graph of blockers, by Tarjan's algorithm. It has
// its own stack, since chains may be long.
func stronglyConnectedComponents(nodes []*node) (found [][]*node) {
	type mark struct {
		index, low int
		onStack    bool
	}
	type frame struct {
		n    *node
		next int
	}
	marks := make(map[*node]*mark, len(nodes))
	var stack []*node
	visit := func(n *node) frame {
		marks[n] = &mark{index: len(marks), low: len(marks), onStack: true}
		stack = append(stack, n)
		return frame{n: n}
	}
	for _, start := range nodes {
		if marks[start] != nil {
			continue
		}
		frames := []frame{visit(start)}
		for len(frames) > 0 {
			f := &frames[len(frames)-1]
			m := marks[f.n]
			if f.next < len(f.n.blockers) {
				to := f.n.blockers[f.next].to
				f.next++
				if seen := marks[to]; seen == nil {
					frames = append(frames, visit(to))
				} else if seen.onStack {
					m.low = min(m.low, seen.index)
				}
				continue
			}
			if m.low == m.index {
				at := len(stack) // searched from the end, since all entries below were visited before
				for done := false; !done; {
					at--
					marks[stack[at]].onStack = false
					done = stack[at] == f.n
				}
				found = append(found, slices.Clone(stack[at:]))
				stack = stack[:at]
			}
			frames = frames[:len(frames)-1]
			if len(frames) > 0 {
				parent := marks[frames[len(frames)-1].n]
				parent.low = min(parent.low, m.low)
			}
		}
	}
	return found
}

// newDeadlock returns the deadlock of a strongly connected component, or nil when it is a single node that doesn't wait
// for itself.
func newDeadlock(nodes []*node) *Deadlock {
	d := &Deadlock{Reason: konductorv1.ReasonCycle, nodes: nodes, nodeSet: make(map[*node]bool, len(nodes))}
	for _, n := range nodes {
		d.nodeSet[n] = true
	}
	members := map[Ref]bool{}
	for _, n := range nodes {
		for i := range n.blockers {
			if e := &n.blockers[i]; d.containsEdge(e) {
				members[n.ref] = true
				members[e.via] = true
			}
		}
	}
	delete(members, Ref{}) // of edges without via
	if len(members) == 0 {
		return nil
	}
	for ref := range members {
		if ref.Kind != konductorv1.KindGate {
			d.Reason = konductorv1.ReasonHoldAndWait
		}
		d.Members = append(d.Members, ref)
	}
	slices.SortFunc(d.Members, CompareRefs)
	return d
}

// Message describes a short wait cycle that member is in, which must be one of Members. It is the same as long as nothing has
// changed.
func (d *Deadlock) Message(member Ref) string {
	if index, _ := slices.BinarySearchFunc(d.Members, member, CompareRefs); index < max(minOwnMessages, maxOwnMessageSteps/len(d.nodes)) {
		return d.describeCycle(member, member.Namespace)
	}
	if d.firstMessage == "" {
		d.firstMessage = d.describeCycle(d.Members[0], d.Members[0].Namespace)
	}
	return fmt.Sprintf("part of a deadlock of %d objects; for example, %s", len(d.Members), d.firstMessage)
}

// describeCycle describes a short wait cycle that member is in, with names relative to namespace.
func (d *Deadlock) describeCycle(member Ref, namespace string) string {
	cycle := d.shortCycle(member)
	if len(cycle) == 0 {
		return ""
	}
	var text strings.Builder
	if d.Reason == konductorv1.ReasonCycle {
		text.WriteString("these gates wait for each other and can never open: " + gateNameIn(cycle[0].from.ref, namespace))
		for i := range cycle {
			if i == maxMessageSteps {
				fmt.Fprintf(&text, ", and so on: %d gates in all", len(cycle))
				break
			}
			text.WriteString(" -> " + gateNameIn(cycle[i].to.ref, namespace))
		}
		return text.String()
	}
	for i, e := range cycle {
		if i == maxMessageSteps {
			fmt.Fprintf(&text, ", and so on: %d steps in all", len(cycle))
			break
		}
		if i == 0 {
			text.WriteString(e.from.ref.StringIn(namespace) + " ")
		} else {
			text.WriteString(", which ")
		}
		text.WriteString(e.describe(namespace))
	}
	return text.String()
}

func gateNameIn(gate Ref, namespace string) string {
	if gate.Namespace == namespace {
		return gate.Name
	}
	return gate.Namespace + "/" + gate.Name
}

// describe describes one step of a wait cycle, without its subject.
func (e *blocker) describe(namespace string) string {
	to := e.to.ref.StringIn(namespace)
	switch {
	case e.via.Kind != "" && e.aheadInQueue:
		return fmt.Sprintf("waits for %s behind %s", e.via.StringIn(namespace), to)
	case e.via.Kind != "":
		return fmt.Sprintf("waits for %s, held by %s", e.via.StringIn(namespace), to)
	case e.from.ref.Kind == konductorv1.KindBarrier:
		return "waits for the arrival of " + to
	case e.from.ref.Kind == KindJob:
		return "needs its " + to
	default:
		return "waits for " + to
	}
}

// maxCycleStarts is how many starting nodes are tried to find a short cycle, and maxCycleStartsIfLarge how many in a deadlock of
// more than largeDeadlockSize nodes: a semaphore may have a thousand holders.
const maxCycleStarts, maxCycleStartsIfLarge, largeDeadlockSize = 64, 4, 1000

// shortCycle returns a short wait cycle through member, beginning with the step that leaves it or, for a lease or a semaphore,
// the step to it. Its steps lead from waiter to holder, skipping the lease or semaphore between them.
func (d *Deadlock) shortCycle(member Ref) (shortest []blocker) {
	tried, most := 0, maxCycleStarts
	if len(d.nodes) > largeDeadlockSize {
		most = maxCycleStartsIfLarge
	}
	for _, n := range d.nodes {
		if n.isResource() || (n.ref != member && !n.waitsForResource(member)) {
			continue
		}
		var first []blocker
		for e := range d.edgesFrom(n, nil) {
			if n.ref == member || e.via == member {
				first = append(first, e)
			}
		}
		if len(first) == 0 {
			continue
		}
		if cycle := d.shortestPathBack(n, first); shortest == nil || len(cycle) < len(shortest) {
			shortest = cycle
		}
		if tried++; len(shortest) <= 2 || tried == most {
			break
		}
	}
	return shortest
}

func (n *node) isResource() bool {
	return n.ref.Kind == konductorv1.KindLease || n.ref.Kind == konductorv1.KindSemaphore
}

// waitsForResource reports whether a node waits for a lease or semaphore.
func (n *node) waitsForResource(resource Ref) bool {
	return slices.ContainsFunc(n.blockers, func(e blocker) bool { return e.via == resource || e.to.ref == resource })
}

// containsEdge reports whether an edge stays within the deadlock.
func (d *Deadlock) containsEdge(e *blocker) bool { return d.nodeSet[e.to] }

// edgesFrom iterates over the steps from a node that stay within the deadlock, skipping each lease or semaphore to its holders.
// Resources in passed are left out, since the steps to their holders are known already; those met are added, unless passed is
// nil.
func (d *Deadlock) edgesFrom(n *node, passed map[*node]bool) iter.Seq[blocker] {
	return func(yield func(blocker) bool) {
		for i := range n.blockers {
			e := &n.blockers[i]
			switch {
			case !d.containsEdge(e):
			case !e.to.isResource():
				if !yield(*e) {
					return
				}
			case !passed[e.to]:
				if passed != nil {
					passed[e.to] = true
				}
				for j := range e.to.blockers {
					held := &e.to.blockers[j]
					if d.containsEdge(held) && !yield(blocker{from: n, to: held.to, via: e.to.ref}) {
						return
					}
				}
			}
		}
	}
}

// shortestPathBack returns the shortest path from a node back to it that begins with one of the given steps. There is always one.
func (d *Deadlock) shortestPathBack(start *node, first []blocker) (cycle []blocker) {
	predecessors := map[*node]blocker{}
	var queue []*node
	step := func(e blocker) (arrived bool) {
		if _, seen := predecessors[e.to]; !seen {
			predecessors[e.to] = e
			queue = append(queue, e.to)
		}
		return e.to == start
	}
	arrived := slices.ContainsFunc(first, step)
	passed := map[*node]bool{}
	for len(queue) > 0 && !arrived {
		n := queue[0]
		queue = queue[1:]
		for e := range d.edgesFrom(n, passed) {
			if arrived = step(e); arrived {
				break
			}
		}
	}
	for at := start; ; {
		e := predecessors[at]
		cycle = append(cycle, e)
		if at = e.from; at == start {
			slices.Reverse(cycle)
			return cycle
		}
	}
}
