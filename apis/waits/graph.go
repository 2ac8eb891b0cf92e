package waits

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Graph is who waits for whom, as a list of nodes and one of edges.
type Graph struct {
	// APIVersion is Version, and Kind is Graph.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Nodes in the order of namespace, kind and name.
	Nodes []Node `json:"nodes"`
	// Edges lead from what waits to what it waits for, in the order of their ends.
	Edges []Edge `json:"edges"`
	// Deadlocks are the circles in words.
	Deadlocks []string `json:"deadlocks,omitempty"`
	// Gaps are what could not be read, so that something may be missing.
	Gaps []Gap `json:"gaps,omitempty"`
}

// Standing is how a node stands, roughly: what it should be drawn like.
type Standing string

// Standings of a node.
const (
	StandsDone       Standing = "Done"       // open, complete
	StandsFree       Standing = "Free"       // a lease or semaphore with room
	StandsTaken      Standing = "Taken"      // one without
	StandsRunning    Standing = "Running"    // a Pod or Job at work
	StandsWaiting    Standing = "Waiting"    // for something in the graph, or to be started
	StandsFailed     Standing = "Failed"     // failed, timed out, or in trouble
	StandsMissing    Standing = "Missing"    // does not exist
	StandsDeadlocked Standing = "Deadlocked" // in a circle of waits
)

// Node is one object of a Graph.
type Node struct {
	Ref
	// Standing is how it stands.
	Standing Standing `json:"standing"`
	// State says so in words, with numbers: Waiting 2/10.
	State string `json:"state"`
}

// Edge says that From waits for To.
type Edge struct {
	From Ref `json:"from"`
	To   Ref `json:"to"`
	// Label says how: waits for, held by, needs.
	Label string `json:"label"`
	// Place in the queue, from 1, of one that waits for a Lease or Semaphore.
	Place int `json:"place,omitempty"`
	// Met says that From waits no more.
	Met bool `json:"met,omitempty"`
	// Inferred says that it was concluded from a command, a script or an annotation.
	Inferred bool `json:"inferred,omitempty"`
	// InCircle says that the edge is part of a deadlock.
	InCircle bool `json:"inCircle,omitempty"`
}

// Graph returns the graph of the given namespaces; of all in the snapshot when there is none. What they refer to elsewhere
// is part of it.
func (a *Analysis) Graph(namespaces ...string) Graph {
	b := &graphing{Analysis: a, nodes: map[Ref]bool{}, drawn: map[Edge]bool{}, circle: map[[2]Ref]bool{}}
	b.markCircles()
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
	return b.finish()
}

type graphing struct {
	*Analysis
	nodes  map[Ref]bool
	edges  []Edge
	drawn  map[Edge]bool
	circle map[[2]Ref]bool
}

func (b *graphing) markCircles() {
	for _, d := range b.deadlocks {
		for _, n := range d.nodes {
			for i := range n.blockers {
				e := &n.blockers[i]
				switch {
				case !d.within(e):
				case e.via.Kind == "":
					b.circle[[2]Ref{e.from.ref, e.to.ref}] = true
				default:
					b.circle[[2]Ref{e.from.ref, e.via}] = true
					b.circle[[2]Ref{e.via, e.to.ref}] = true
				}
			}
		}
	}
}

func (b *graphing) edge(e Edge) {
	if b.drawn[e] {
		return
	}
	b.drawn[e], b.nodes[e.From], b.nodes[e.To] = true, true, true
	e.InCircle = b.circle[[2]Ref{e.From, e.To}]
	b.edges = append(b.edges, e)
}

func (b *graphing) addGate(g *gate) {
	b.nodes[g.ref] = true
	for i := range g.obj.Spec.Conditions {
		c := &g.obj.Spec.Conditions[i]
		label := "waits for"
		if c.State != "" && c.State != (&konductorv1.GateCondition{Type: c.Type}).WantedState() {
			label = fmt.Sprintf("waits for %s", c.State)
		}
		target := g.target(c)
		b.edge(Edge{From: g.ref, To: target, Label: label, Met: g.met(i) || !g.waiting()})
		if j := b.jobs[target]; j != nil && !g.met(i) {
			b.addJob(j)
		}
	}
}

// addJob adds the Pods of a Job that something waits for.
func (b *graphing) addJob(j *job) {
	for _, p := range j.pods {
		b.edge(Edge{From: j.ref, To: p.ref, Label: "needs"})
	}
}

func (b *graphing) addBarrier(one *barrier) {
	b.nodes[one.ref] = true
	if !one.waiting() {
		return
	}
	for _, r := range one.arrivers {
		b.edge(Edge{From: one.ref, To: r.ref(), Label: "misses", Inferred: true})
	}
}

func (b *graphing) addResource(r *resource) {
	b.nodes[r.ref] = true
	for i := range r.holds {
		b.edge(Edge{From: r.ref, To: r.holds[i].process.ref, Label: "held by"})
	}
}

func (b *graphing) addProcess(p *process) {
	for _, w := range p.waits {
		e := Edge{From: p.ref, To: w.target, Label: "waits for", Inferred: w.evidence != ByClaim}
		if w.claim != nil {
			e.Place = w.place
		}
		b.edge(e)
	}
	if len(p.waits) > 0 && p.job != nil {
		b.edge(Edge{From: p.job.ref, To: p.ref, Label: "needs"})
	}
}

func (b *graphing) finish() Graph {
	g := Graph{APIVersion: Version, Kind: "Graph", Nodes: []Node{}, Edges: b.edges, Gaps: b.Gaps}
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

// Standing says how an object stands, in a word and in a few.
func (a *Analysis) Standing(ref Ref) (Standing, string) {
	standing, state := a.standingOf(ref)
	if a.deadlocked[ref] != nil {
		return StandsDeadlocked, state
	}
	return standing, state
}

func (a *Analysis) standingOf(ref Ref) (Standing, string) {
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
	if !a.readable(ref.Kind, ref.Namespace) {
		return StandsWaiting, "Unreadable"
	}
	return StandsMissing, "Missing"
}

func phaseStanding(phase, numbers string) (Standing, string) {
	switch phase {
	case "Open":
		return StandsDone, phase
	case "Failed", "Timeout":
		return StandsFailed, phase + numbers
	default:
		return StandsWaiting, "Waiting" + numbers
	}
}

func (r *resource) standing() (Standing, string) {
	queue := ""
	if n := len(r.queue); n > 0 {
		queue = fmt.Sprintf(", %d waiting", n)
	}
	switch {
	case r.lease != nil && len(r.holds) == 0:
		return StandsFree, "Available" + queue
	case r.lease != nil:
		return StandsTaken, "Held" + queue
	case r.permits == 0:
		return StandsTaken, "Paused" + queue
	case r.free() == 0:
		return StandsTaken, fmt.Sprintf("Full %d/%d", r.permits-r.free(), r.permits) + queue
	default:
		return StandsFree, fmt.Sprintf("Ready %d/%d", r.permits-r.free(), r.permits) + queue
	}
}

func (j *job) standing() (Standing, string) {
	switch ended := j.ended(); {
	case ended == "Complete":
		return StandsDone, "Complete"
	case ended != "":
		return StandsFailed, string(ended)
	case j.suspended():
		return StandsWaiting, "Suspended"
	case len(j.pods) == 0:
		return StandsWaiting, "No pods"
	default:
		return StandsRunning, "Active, " + count(len(j.pods), "pod")
	}
}

func (a *Analysis) processStanding(ref Ref) (Standing, string) {
	p := a.byRef[ref]
	switch {
	case p == nil:
		if pod := a.endedPods[ref]; pod != nil && pod.Status.Phase == corev1.PodFailed {
			return StandsFailed, "Failed"
		} else if pod != nil {
			return StandsDone, "Succeeded"
		}
		return StandsMissing, "Gone"
	case p.pod == nil && ref.Kind == KindPod:
		return StandsWaiting, "Unreadable"
	case p.pod == nil && len(p.waits) > 0:
		return StandsWaiting, "Waiting"
	case p.pod == nil:
		return StandsRunning, "Not a pod"
	}
	w := &walk{Analysis: a}
	if c := w.trouble(p.pod); c != nil {
		if c.Reason == PodTerminating {
			return StandsRunning, "Terminating"
		}
		return StandsFailed, strings.TrimPrefix(string(c.Reason), "Pod")
	}
	if len(p.waits) > 0 {
		return StandsWaiting, "Waiting"
	}
	if c := w.atWork(p); c.Reason != Running {
		return StandsWaiting, strings.TrimPrefix(string(c.Reason), "Pod")
	}
	return StandsRunning, "Running"
}
