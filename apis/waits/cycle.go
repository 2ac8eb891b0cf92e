package waits

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Deadlock is a set of objects that wait for each other in circles. None of them goes on unless one gives up.
type Deadlock struct {
	// Reason is konductorv1.ReasonCycle when gates alone make the circles, and ReasonHoldAndWait otherwise.
	Reason string
	// Members are all objects in it, in the order of CompareRefs.
	Members []Ref

	nodes []*node
	in    map[*node]bool
}

// maxSteps is how many steps of a circle are put into words. A longer one is cut.
const maxSteps = 12

// Deadlocks returns all deadlocks, each object in at most one node of them.
func (a *Analysis) Deadlocks() []*Deadlock { return a.deadlocks }

// findCycles groups what is not live into sets whose members all wait for each other, directly or by way of others. What
// only waits for such a set is in none.
func (a *Analysis) findCycles() {
	for _, nodes := range components(a.stuckNodes()) {
		d := newDeadlock(nodes)
		if d == nil {
			continue
		}
		a.deadlocks = append(a.deadlocks, d)
		for _, ref := range d.Members {
			a.deadlocked[ref] = d
		}
	}
	slices.SortFunc(a.deadlocks, func(x, y *Deadlock) int { return CompareRefs(x.Members[0], y.Members[0]) })
}

// stuckNodes returns what is not live, in an order that depends on names alone.
func (a *Analysis) stuckNodes() (stuck []*node) {
	add := func(n *node) {
		if !n.live {
			stuck = append(stuck, n)
		}
	}
	for _, p := range a.processes {
		add(&p.node)
	}
	for _, j := range a.jobs {
		add(&j.node)
	}
	for _, g := range a.gates {
		add(&g.node)
	}
	for _, b := range a.barriers {
		add(&b.node)
	}
	slices.SortStableFunc(stuck, func(x, y *node) int { return CompareRefs(x.ref, y.ref) })
	for _, n := range stuck {
		slices.SortStableFunc(n.blockers, func(x, y edge) int {
			return cmp.Or(CompareRefs(x.to.ref, y.to.ref), CompareRefs(x.via, y.via))
		})
	}
	return stuck
}

// components returns the strongly connected components of the graph of blockers, by Tarjan's algorithm. It keeps its own
// stack, since chains may be long.
func components(nodes []*node) (found [][]*node) {
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
				at := slices.Index(stack, f.n)
				for _, n := range stack[at:] {
					marks[n].onStack = false
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
	d := &Deadlock{Reason: konductorv1.ReasonCycle, nodes: nodes, in: make(map[*node]bool, len(nodes))}
	for _, n := range nodes {
		d.in[n] = true
	}
	members := map[Ref]bool{}
	for _, n := range nodes {
		for i := range n.blockers {
			if e := &n.blockers[i]; d.within(e) {
				members[n.ref] = true
				members[e.via] = true
			}
		}
	}
	delete(members, Ref{}) // of steps that go by way of nothing
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

// Message tells in words a short circle that member is in, which must be one of Members. It says the same as long as
// nothing has changed.
func (d *Deadlock) Message(member Ref) string {
	cycle := d.cycle(member)
	if len(cycle) == 0 {
		return ""
	}
	namespace := member.Namespace
	if d.Reason == konductorv1.ReasonCycle {
		names := []string{}
		for _, e := range cycle {
			names = append(names, gateName(e.from.ref, namespace))
		}
		names = append(names, names[0])
		return "these gates wait for each other and can never open: " + strings.Join(names, " -> ")
	}
	var text strings.Builder
	for i, e := range cycle {
		if i == maxSteps {
			fmt.Fprintf(&text, ", and so on: %d steps in all", len(cycle))
			break
		}
		if i == 0 {
			text.WriteString(e.from.ref.In(namespace) + " ")
		} else {
			text.WriteString(", which ")
		}
		text.WriteString(e.words(namespace))
	}
	return text.String()
}

func gateName(gate Ref, namespace string) string {
	if gate.Namespace == namespace {
		return gate.Name
	}
	return gate.Namespace + "/" + gate.Name
}

// words says what one step of a circle is, without its subject.
func (e *edge) words(namespace string) string {
	to := e.to.ref.In(namespace)
	switch {
	case e.via.Kind != "" && e.ahead:
		return fmt.Sprintf("waits for %s behind %s", e.via.In(namespace), to)
	case e.via.Kind != "":
		return fmt.Sprintf("waits for %s, held by %s", e.via.In(namespace), to)
	case e.from.ref.Kind == konductorv1.KindBarrier:
		return "waits for the arrival of " + to
	case e.from.ref.Kind == KindJob:
		return "needs its " + to
	default:
		return "waits for " + to
	}
}

// maxStarts is how many ways into a circle are tried to find a short one: a semaphore may have a thousand holders.
const maxStarts = 64

// cycle returns a short circle through member, beginning with the step that leaves it or, for a lease or a semaphore, the
// step to it.
func (d *Deadlock) cycle(member Ref) (shortest []edge) {
	tried := 0
	for _, n := range d.nodes {
		first := slices.DeleteFunc(slices.Clone(n.blockers), func(e edge) bool {
			return !d.within(&e) || (n.ref != member && e.via != member)
		})
		if len(first) == 0 {
			continue
		}
		if cycle := d.back(n, first); shortest == nil || len(cycle) < len(shortest) {
			shortest = cycle
		}
		if tried++; len(shortest) <= 2 || tried == maxStarts {
			break
		}
	}
	return shortest
}

// within reports whether a step stays within the deadlock.
func (d *Deadlock) within(e *edge) bool { return d.in[e.to] }

// back returns the shortest way from a node back to it that begins with one of the given steps. There is always one.
func (d *Deadlock) back(start *node, first []edge) (cycle []edge) {
	came := map[*node]edge{}
	var queue []*node
	step := func(e edge) bool {
		if _, seen := came[e.to]; !seen && d.within(&e) {
			came[e.to] = e
			queue = append(queue, e.to)
		}
		return e.to == start
	}
	arrived := slices.ContainsFunc(first, step)
	for len(queue) > 0 && !arrived {
		n := queue[0]
		queue = queue[1:]
		arrived = slices.ContainsFunc(n.blockers, step)
	}
	for at := start; ; {
		e := came[at]
		cycle = append(cycle, e)
		if at = e.from; at == start {
			slices.Reverse(cycle)
			return cycle
		}
	}
}
