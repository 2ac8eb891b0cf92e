package waitgraph

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Graph is the wait graph, as a list of nodes and one of edges.
type Graph struct {
	// APIVersion is the constant APIVersion, and Kind is Graph.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Nodes in the order of namespace, kind and name.
	Nodes []Node `json:"nodes"`
	// Edges lead from a waiter to what it waits for, ordered by both ends.
	Edges []Edge `json:"edges"`
	// Deadlocks are descriptions of the wait cycles.
	Deadlocks []string `json:"deadlocks,omitempty"`
	// Gaps are the objects that could not be read, so that the graph may be incomplete.
	Gaps []Gap `json:"gaps,omitempty"`
}

// Standing is the rough status of a node, by which it is drawn.
type Standing string

// Standings of a node.
const (
	StandingDone       Standing = "Done"       // open, complete
	StandingFree       Standing = "Free"       // a lease or semaphore with room
	StandingTaken      Standing = "Taken"      // a lease or semaphore without room
	StandingRunning    Standing = "Running"    // a Pod or Job at work
	StandingWaiting    Standing = "Waiting"    // for something in the graph, or to be started
	StandingFailed     Standing = "Failed"     // failed, timed out, or a Pod with a problem
	StandingMissing    Standing = "Missing"    // does not exist, or is being deleted
	StandingDeadlocked Standing = "Deadlocked" // in a wait cycle
)

// Node is one object of a Graph.
type Node struct {
	Ref
	// Standing is its rough status.
	Standing Standing `json:"standing"`
	// State is its status in words, with numbers: Waiting 2/10.
	State string `json:"state"`
}

// Edge says that From waits for To.
type Edge struct {
	From Ref `json:"from"`
	To   Ref `json:"to"`
	// Label is the kind of edge: waits for, held by, needs.
	Label string `json:"label"`
	// Position in the queue, from 1, of a waiter for a Lease or Semaphore.
	Position int `json:"place,omitempty"`
	// Met says that From no longer waits.
	Met bool `json:"met,omitempty"`
	// Inferred says that the edge was inferred from a command, a script or an annotation.
	Inferred bool `json:"inferred,omitempty"`
	// InCycle says that the edge is part of a deadlock.
	InCycle bool `json:"inCircle,omitempty"`
}

// Graph returns the graph of the given namespaces; of all in the snapshot if none is given. It includes objects in other
// namespaces that those refer to.
func (a *Analysis) Graph(namespaces ...string) Graph {
	b := &graphBuilder{Analysis: a, nodes: map[Ref]bool{}, addedEdges: map[Edge]bool{}, expandedJobs: map[*job]bool{}, cycleEdges: map[[2]Ref]bool{}}
	b.markCycles()
	inside := func(ref Ref) bool { return len(namespaces) == 0 || slices.Contains(namespaces, ref.Namespace) }
	for ref, g := range a.gates {
		if inside(ref) {
			b.addGate(g)
		}
	}
	for ref, one := range a.barriers {
		if inside(ref) {
			b.addBarrier(one)
		}
	}
	for ref, r := range a.resources {
		if inside(ref) {
			b.addResource(r)
		}
	}
	for _, p := range a.processes {
		if inside(p.ref) {
			b.addProcess(p)
		}
	}
	return b.build()
}

type graphBuilder struct {
	*Analysis
	nodes        map[Ref]bool
	edges        []Edge
	addedEdges   map[Edge]bool
	expandedJobs map[*job]bool // whose Pods were added
	cycleEdges   map[[2]Ref]bool
}

func (b *graphBuilder) markCycles() {
	for _, d := range b.deadlocks {
		for _, n := range d.nodes {
			for i := range n.blockers {
				e := &n.blockers[i]
				switch {
				case !d.containsEdge(e):
				case e.via.Kind == "":
					b.cycleEdges[[2]Ref{e.from.ref, e.to.ref}] = true
				default:
					b.cycleEdges[[2]Ref{e.from.ref, e.via}] = true
					b.cycleEdges[[2]Ref{e.via, e.to.ref}] = true
				}
			}
		}
	}
}

func (b *graphBuilder) addEdge(e Edge) {
	if b.addedEdges[e] {
		return
	}
	b.addedEdges[e], b.nodes[e.From], b.nodes[e.To] = true, true, true
	e.InCycle = b.cycleEdges[[2]Ref{e.From, e.To}]
	b.edges = append(b.edges, e)
}

func (b *graphBuilder) addGate(g *gate) {
	b.nodes[g.ref] = true
	for i := range g.obj.Spec.Conditions {
		c := &g.obj.Spec.Conditions[i]
		label := "waits for"
		if c.State != "" && c.State != (&konductorv1.GateCondition{Type: c.Type}).WantedState() {
			label = fmt.Sprintf("waits for %s", c.State)
		}
		target := g.conditionRef(c)
		b.addEdge(Edge{From: g.ref, To: target, Label: label, Met: g.isMet(i) || !g.isWaiting()})
		if j := b.jobs[target]; j != nil && !g.isMet(i) && !b.expandedJobs[j] {
			b.addJob(j)
		}
	}
}

// addJob adds the Pods of a Job that something waits for.
func (b *graphBuilder) addJob(j *job) {
	b.expandedJobs[j] = true
	for _, p := range j.activePods {
		b.addEdge(Edge{From: j.ref, To: p.ref, Label: "needs"})
	}
}

func (b *graphBuilder) addBarrier(one *barrier) {
	b.nodes[one.ref] = true
	if !one.isWaiting() {
		return
	}
	for _, r := range one.pendingParticipants {
		b.addEdge(Edge{From: one.ref, To: r.ref(), Label: "misses", Inferred: true})
	}
}

func (b *graphBuilder) addResource(r *resource) {
	b.nodes[r.ref] = true
	for i := range r.holds {
		holder := r.holds[i].process
		b.addEdge(Edge{From: r.ref, To: holder.ref, Label: "held by"})
		if j := holder.heldJob; j != nil && !b.expandedJobs[j] {
			b.addJob(j)
		}
	}
}

func (b *graphBuilder) addProcess(p *process) {
	for _, w := range p.waits {
		e := Edge{From: p.ref, To: w.target, Label: "waits for", Inferred: w.evidence != EvidenceClaim && w.evidence != EvidenceAnnotation}
		if w.claim != nil {
			e.Position = w.queuePosition
		}
		b.addEdge(e)
	}
	if len(p.waits) > 0 && p.job != nil {
		b.addEdge(Edge{From: p.job.ref, To: p.ref, Label: "needs"})
	}
}

func (b *graphBuilder) build() Graph {
	g := Graph{APIVersion: APIVersion, Kind: "Graph", Nodes: []Node{}, Edges: b.edges, Gaps: b.Gaps}
	if g.Edges == nil {
		g.Edges = []Edge{}
	}
	for ref := range b.nodes {
		standing, state := b.Standing(ref)
		g.Nodes = append(g.Nodes, Node{Ref: ref, Standing: standing, State: state})
	}
	slices.SortFunc(g.Nodes, func(x, y Node) int { return CompareRefs(x.Ref, y.Ref) })
	slices.SortFunc(g.Edges, func(x, y Edge) int {
		return cmp.Or(CompareRefs(x.From, y.From), CompareRefs(x.To, y.To), strings.Compare(x.Label, y.Label))
	})
	for _, d := range b.deadlocks {
		if slices.ContainsFunc(d.Members, func(m Ref) bool { return b.nodes[m] }) {
			g.Deadlocks = append(g.Deadlocks, d.Message(d.Members[0]))
		}
	}
	return g
}

// Standing returns an object's rough status, and its status in words.
func (a *Analysis) Standing(ref Ref) (Standing, string) {
	if a.terminatingObject(ref) != nil {
		return StandingMissing, "Being deleted"
	}
	standing, state := a.objectStanding(ref)
	if a.deadlockByMember[ref] != nil {
		return StandingDeadlocked, state
	}
	return standing, state
}

func (a *Analysis) objectStanding(ref Ref) (Standing, string) {
	switch ref.Kind {
	case konductorv1.KindGate:
		if g := a.gates[ref]; g != nil {
			s := &g.obj.Status
			return phaseStanding(string(s.Phase), fmt.Sprintf(" %d/%d", s.ConditionsMet, len(g.obj.Spec.Conditions)))
		}
	case konductorv1.KindBarrier:
		if b := a.barriers[ref]; b != nil {
			return phaseStanding(string(b.obj.Status.Phase), fmt.Sprintf(" %d/%d", b.obj.Status.Arrived, b.obj.Quorum()))
		}
	case konductorv1.KindLease, konductorv1.KindSemaphore:
		if r := a.resources[ref]; r != nil && r.exists() {
			return r.standing()
		}
	case KindJob:
		if j := a.jobs[ref]; j != nil {
			return j.standing()
		}
	default:
		return a.processStanding(ref)
	}
	if !a.isReadable(ref.Kind, ref.Namespace) {
		return StandingWaiting, "Unreadable"
	}
	return StandingMissing, "Missing"
}

func phaseStanding(phase, numbers string) (Standing, string) {
	switch phase {
	case "Open":
		return StandingDone, phase
	case "Failed", "Timeout":
		return StandingFailed, phase + numbers
	default:
		return StandingWaiting, "Waiting" + numbers
	}
}

func (r *resource) standing() (Standing, string) {
	queue := ""
	if n := len(r.queue); n > 0 {
		queue = fmt.Sprintf(", %d waiting", n)
	}
	switch {
	case r.lease != nil && len(r.holds) == 0:
		return StandingFree, "Available" + queue
	case r.lease != nil:
		return StandingTaken, "Held" + queue
	case r.permits == 0:
		return StandingTaken, "Paused" + queue
	case r.freePermits() == 0:
		return StandingTaken, fmt.Sprintf("Full %d/%d", r.permits-r.freePermits(), r.permits) + queue
	default:
		return StandingFree, fmt.Sprintf("Ready %d/%d", r.permits-r.freePermits(), r.permits) + queue
	}
}

func (j *job) standing() (Standing, string) {
	switch ended := j.terminalCondition(); {
	case ended == "Complete":
		return StandingDone, "Complete"
	case ended != "":
		return StandingFailed, string(ended)
	case j.held != nil && j.held.isWaitingToStart():
		return StandingWaiting, "Waiting"
	case j.held != nil && j.isSuspended() && j.heldState() != "":
		return StandingWaiting, strings.ToUpper(j.heldState()[:1]) + j.heldState()[1:]
	case j.isSuspended():
		return StandingWaiting, "Suspended"
	case len(j.activePods) == 0:
		return StandingWaiting, "No pods"
	default:
		return StandingRunning, "Active, " + countText(len(j.activePods), "pod")
	}
}

func (a *Analysis) processStanding(ref Ref) (Standing, string) {
	p := a.processByRef[ref]
	switch {
	case p == nil:
		if pod := a.endedPods[ref]; pod != nil && pod.Status.Phase == corev1.PodFailed {
			return StandingFailed, "Failed"
		} else if pod != nil {
			return StandingDone, "Succeeded"
		}
		return StandingMissing, "Gone"
	case p.pod == nil && ref.Kind == KindPod:
		return StandingWaiting, "Unreadable"
	case p.pod == nil && len(p.waits) > 0:
		return StandingWaiting, "Waiting"
	case p.pod == nil:
		return StandingRunning, "Not a pod"
	}
	w := &explainer{Analysis: a}
	if c := w.podProblemCause(p.pod); c != nil {
		if c.Reason == ReasonPodTerminating {
			return StandingRunning, "Terminating"
		}
		return StandingFailed, strings.TrimPrefix(string(c.Reason), "Pod")
	}
	if len(p.waits) > 0 {
		return StandingWaiting, "Waiting"
	}
	if c := w.runningCause(p); c.Reason != ReasonRunning {
		return StandingWaiting, strings.TrimPrefix(string(c.Reason), "Pod")
	}
	return StandingRunning, "Running"
}
