package printer

import (
	"fmt"
	"slices"
	"strings"

	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// maxUngroupedNodes is how many Pods of the same waits and status are shown one by one. More are grouped.
const maxUngroupedNodes = 3

// maxIndentDepth is the depth up to which a chain is indented. It then continues at the margin.
const maxIndentDepth = 50

// treeWriter draws a graph as text. A node is expanded where it first appears, and only named after that.
type treeWriter struct {
	textWriter
	nodes     map[waitgraph.Ref]*waitgraph.Node
	edgesFrom map[waitgraph.Ref][]waitgraph.Edge
	drawn     map[waitgraph.Ref]bool
	groupKeys map[waitgraph.Ref]string // results of nodeGroupKey
	deferred  []waitgraph.Ref          // to be expanded at the margin
}

// GraphTreeText draws the nodes that nothing waits for at the margin, and below each node what it waits for.
func GraphTreeText(g *waitgraph.Graph, signs Symbols) string {
	t := &treeWriter{textWriter: textWriter{symbols: signs}, nodes: map[waitgraph.Ref]*waitgraph.Node{}, edgesFrom: map[waitgraph.Ref][]waitgraph.Edge{}, drawn: map[waitgraph.Ref]bool{}, groupKeys: map[waitgraph.Ref]string{}}
	waitedFor := map[waitgraph.Ref]bool{}
	for _, e := range g.Edges {
		t.edgesFrom[e.From] = append(t.edgesFrom[e.From], e)
		if e.From != e.To {
			waitedFor[e.To] = true
		}
	}
	for i := range g.Nodes {
		t.nodes[g.Nodes[i].Ref] = &g.Nodes[i]
	}
	// The nodes are sorted by namespace.
	for rest := g.Nodes; len(rest) > 0; {
		n := slices.IndexFunc(rest, func(n waitgraph.Node) bool { return n.Namespace != rest[0].Namespace })
		if n < 0 {
			n = len(rest)
		}
		if n < len(g.Nodes) {
			if len(rest) < len(g.Nodes) {
				t.writeLine("")
			}
			t.writeLine("namespace " + rest[0].Namespace)
		}
		t.drawNamespace(rest[:n], waitedFor)
		rest = rest[n:]
	}
	for i, d := range g.Deadlocks {
		if i == 0 {
			t.writeLine("")
		}
		t.writeWrapped(signs.cycle+" deadlock: ", "  ", d)
	}
	return t.b.String()
}

// drawNamespace draws the nodes of one namespace.
func (t *treeWriter) drawNamespace(nodes []waitgraph.Node, waitedFor map[waitgraph.Ref]bool) {
	t.namespace = nodes[0].Namespace
	var roots []waitgraph.Edge
	for i := range nodes {
		if !waitedFor[nodes[i].Ref] {
			roots = append(roots, waitgraph.Edge{To: nodes[i].Ref})
		}
	}
	for _, group := range t.groupEdges(roots) {
		t.drawNode(group, "", "", 0)
		t.drawDeferred()
	}
	// The remaining nodes are in wait cycles, or below them.
	for i := range nodes {
		if !t.drawn[nodes[i].Ref] {
			t.drawNode([]waitgraph.Edge{{To: nodes[i].Ref}}, "", "", 0)
			t.drawDeferred()
		}
	}
}

// drawDeferred expands at the margin the nodes that would have been indented too far.
func (t *treeWriter) drawDeferred() {
	for len(t.deferred) > 0 {
		ref := t.deferred[0]
		t.deferred = t.deferred[1:]
		if !t.drawn[ref] {
			t.drawNode([]waitgraph.Edge{{To: ref}}, "", "", 0)
		}
	}
}

// groupEdges groups edges whose targets look alike: many Pods that wait for the same object.
func (t *treeWriter) groupEdges(edges []waitgraph.Edge) (groups [][]waitgraph.Edge) {
	at := map[string]int{}
	for _, e := range edges {
		key := t.edgeGroupKey(&e)
		if i, ok := at[key]; ok && key != "" {
			groups[i] = append(groups[i], e)
			continue
		}
		at[key] = len(groups)
		groups = append(groups, []waitgraph.Edge{e})
	}
	var split [][]waitgraph.Edge
	for _, group := range groups {
		if len(group) > maxUngroupedNodes {
			split = append(split, group)
			continue
		}
		for _, e := range group {
			split = append(split, []waitgraph.Edge{e})
		}
	}
	return split
}

// edgeGroupKey returns the same key for edges that may be grouped; "" for one that is shown by itself.
func (t *treeWriter) edgeGroupKey(e *waitgraph.Edge) string {
	alike, known := t.groupKeys[e.To]
	if !known {
		alike = t.nodeGroupKey(t.nodes[e.To])
		t.groupKeys[e.To] = alike
	}
	if alike == "" {
		return ""
	}
	return fmt.Sprintf("%s|%t|%s", e.Label, e.Met, alike)
}

// nodeGroupKey returns the same key for nodes that look alike; "" for one that is shown by itself.
func (t *treeWriter) nodeGroupKey(n *waitgraph.Node) string {
	if (n.Kind != waitgraph.KindPod && n.Kind != waitgraph.KindJob && n.Kind != waitgraph.KindHolder) || n.Standing == waitgraph.StandingDeadlocked {
		return ""
	}
	var key strings.Builder
	key.WriteString(n.Kind + "|" + n.State)
	for _, out := range t.edgesFrom[n.Ref] {
		to := out.To.String()
		if n.Kind == waitgraph.KindJob {
			// Each Job has Pods of its own: Jobs are alike if their Pods are.
			if to = t.edgeGroupKey(&out); to == "" {
				return ""
			}
		}
		key.WriteString("|" + out.Label + to)
	}
	return key.String()
}

// drawNode draws the target of a group of edges: the first one, and how many are like it.
func (t *treeWriter) drawNode(group []waitgraph.Edge, first, rest string, depth int) {
	e := &group[0]
	n := t.nodes[e.To]
	label := ""
	if e.Label != "" && e.Label != "waits for" {
		label = e.Label + " "
	}
	standing, state := n.Standing, n.State
	if e.Met && standing == waitgraph.StandingMissing {
		standing, state = waitgraph.StandingDone, "Gone"
	}
	line := fmt.Sprintf("%s%s %s%s", first, t.symbols.standingIcons[standing], label, n.StringIn(t.namespace))
	if len(group) > 1 {
		line += fmt.Sprintf(" and %d more like it", len(group)-1)
		for _, other := range group[1:] {
			t.markDrawn(other.To)
		}
	}
	line += "  " + state
	if n.Standing == waitgraph.StandingDeadlocked {
		line += ", deadlocked"
	}
	if e.Position > 0 {
		line += fmt.Sprintf(" (queue position %d)", e.Position)
	}
	if e.Met {
		line += " (met)"
	}
	if e.Inferred {
		line += " (inferred)"
	}
	if e.InCycle {
		line += " " + t.symbols.cycle
	}
	out := t.edgesFrom[e.To]
	if t.drawn[e.To] && len(out) > 0 {
		t.writeLine(line + " (see above)")
		return
	}
	if depth == maxIndentDepth && len(out) > 0 {
		t.writeLine(line + " (see below)")
		t.deferred = append(t.deferred, e.To)
		return
	}
	t.writeLine(line)
	t.drawn[e.To] = true
	groups := t.groupEdges(out)
	for i, group := range groups {
		if i == len(groups)-1 {
			t.drawNode(group, rest+t.symbols.last, rest+t.symbols.blank, depth+1)
		} else {
			t.drawNode(group, rest+t.symbols.branch, rest+t.symbols.bar, depth+1)
		}
	}
}

// markDrawn marks a node and its own Pods as drawn.
func (t *treeWriter) markDrawn(ref waitgraph.Ref) {
	t.drawn[ref] = true
	if ref.Kind == waitgraph.KindJob {
		for _, e := range t.edgesFrom[ref] {
			t.drawn[e.To] = true
		}
	}
}

// GraphDOTText returns a graph in the DOT language of Graphviz.
func GraphDOTText(g *waitgraph.Graph) string {
	var b strings.Builder
	b.WriteString("digraph waits {\n  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\"];\n")
	for i := range g.Nodes {
		n := &g.Nodes[i]
		fmt.Fprintf(&b, "  %q [label=%q, fillcolor=%q];\n", nodeID(n.Ref), n.String()+"\n"+n.State, nodeFillColor(n.Standing))
	}
	for _, e := range g.Edges {
		var attributes []string
		if e.Label != "waits for" {
			attributes = append(attributes, fmt.Sprintf("label=%q", e.Label))
		}
		if e.Inferred {
			attributes = append(attributes, "style=dashed")
		}
		switch {
		case e.InCycle:
			attributes = append(attributes, "color=red", "penwidth=2")
		case e.Met:
			attributes = append(attributes, "color=gray")
		}
		fmt.Fprintf(&b, "  %q -> %q", nodeID(e.From), nodeID(e.To))
		if len(attributes) > 0 {
			fmt.Fprintf(&b, " [%s]", strings.Join(attributes, ", "))
		}
		b.WriteString(";\n")
	}
	b.WriteString("}\n")
	return b.String()
}

func nodeID(r waitgraph.Ref) string { return r.Namespace + "/" + r.String() }

func nodeFillColor(s waitgraph.Standing) string {
	switch s {
	case waitgraph.StandingDone, waitgraph.StandingFree:
		return "#d5f0d5"
	case waitgraph.StandingRunning:
		return "#d5e5fa"
	case waitgraph.StandingTaken, waitgraph.StandingWaiting:
		return "#fdf3c8"
	case waitgraph.StandingFailed, waitgraph.StandingMissing, waitgraph.StandingDeadlocked:
		return "#f8d0d0"
	}
	return "white"
}

// GraphMermaidText returns a graph in the language of Mermaid.
func GraphMermaidText(g *waitgraph.Graph) string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	ids := map[waitgraph.Ref]string{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		ids[n.Ref] = fmt.Sprintf("n%d", i)
		fmt.Fprintf(&b, "  n%d[\"%s<br/>%s\"]\n  style n%d fill:%s,color:#000\n", i, escapeMermaid(n.String()), escapeMermaid(n.State), i, nodeFillColor(n.Standing))
	}
	var cycle []string
	for i, e := range g.Edges {
		arrow := "-->"
		if e.Inferred || e.Met {
			arrow = "-.->"
		}
		label := ""
		if e.Label != "waits for" {
			label = "|" + e.Label + "|"
		}
		fmt.Fprintf(&b, "  %s %s%s %s\n", ids[e.From], arrow, label, ids[e.To])
		if e.InCycle {
			cycle = append(cycle, fmt.Sprint(i))
		}
	}
	if len(cycle) > 0 {
		fmt.Fprintf(&b, "  linkStyle %s stroke:red,stroke-width:3px\n", strings.Join(cycle, ","))
	}
	return b.String()
}

// escapeMermaid escapes the characters that are special in Mermaid.
func escapeMermaid(s string) string {
	return strings.NewReplacer(`"`, "#quot;", "<", "#lt;", ">", "#gt;").Replace(s)
}
