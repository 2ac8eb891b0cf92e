package cli

import (
	"fmt"
	"slices"
	"strings"

	"github.com/LogicIQ/konductor/apis/waits"
)

// maxAlike is how many Pods that wait and stand alike are shown one by one. More are summed up.
const maxAlike = 3

// tree draws a graph as text. A node is drawn out where it is first met, and only named after that.
type tree struct {
	text
	nodes map[waits.Ref]*waits.Node
	out   map[waits.Ref][]waits.Edge
	drawn map[waits.Ref]bool
}

// graphTree draws what nobody waits for at the margin, and below each thing what it waits for.
func graphTree(g *waits.Graph, signs glyphs) string {
	t := &tree{text: text{glyphs: signs}, nodes: map[waits.Ref]*waits.Node{}, out: map[waits.Ref][]waits.Edge{}, drawn: map[waits.Ref]bool{}}
	waitedFor := map[waits.Ref]bool{}
	for _, e := range g.Edges {
		t.out[e.From] = append(t.out[e.From], e)
		if e.From != e.To {
			waitedFor[e.To] = true
		}
	}
	namespaces := []string{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		t.nodes[n.Ref] = n
		if !slices.Contains(namespaces, n.Namespace) {
			namespaces = append(namespaces, n.Namespace)
		}
	}
	for i, namespace := range namespaces {
		if len(namespaces) > 1 {
			if i > 0 {
				t.line("")
			}
			t.line("namespace " + namespace)
		}
		t.namespace = namespace
		var roots []waits.Edge
		for j := range g.Nodes {
			if n := &g.Nodes[j]; n.Namespace == namespace && !waitedFor[n.Ref] {
				roots = append(roots, waits.Edge{To: n.Ref})
			}
		}
		for _, group := range t.groups(roots) {
			t.node(group, "", "")
		}
		// What is left is in circles, or below them.
		for j := range g.Nodes {
			if n := &g.Nodes[j]; n.Namespace == namespace && !t.drawn[n.Ref] {
				t.node([]waits.Edge{{To: n.Ref}}, "", "")
			}
		}
	}
	for i, d := range g.Deadlocks {
		if i == 0 {
			t.line("")
		}
		t.wrapped(signs.circle+" deadlock: ", "  ", d)
	}
	return t.b.String()
}

// groups puts edges together whose far ends are alike: many Pods that wait for the same.
func (t *tree) groups(edges []waits.Edge) (groups [][]waits.Edge) {
	at := map[string]int{}
	for _, e := range edges {
		key := t.likeness(&e)
		if i, ok := at[key]; ok && key != "" {
			groups[i] = append(groups[i], e)
			continue
		}
		at[key] = len(groups)
		groups = append(groups, []waits.Edge{e})
	}
	var split [][]waits.Edge
	for _, group := range groups {
		if len(group) > maxAlike {
			split = append(split, group)
			continue
		}
		for _, e := range group {
			split = append(split, []waits.Edge{e})
		}
	}
	return split
}

// likeness is the same for edges that may be summed up; "" for one that stands for itself.
func (t *tree) likeness(e *waits.Edge) string {
	n := t.nodes[e.To]
	if (n.Kind != waits.KindPod && n.Kind != waits.KindJob && n.Kind != waits.KindHolder) || n.Standing == waits.StandsDeadlocked {
		return ""
	}
	key := fmt.Sprintf("%s|%s|%s|%t", n.Kind, n.State, e.Label, e.Met)
	for _, out := range t.out[e.To] {
		to := out.To.String()
		if n.Kind == waits.KindJob {
			// Each Job has Pods of its own: they are alike if theirs are.
			to = t.likeness(&out)
			if to == "" {
				return ""
			}
		}
		key += "|" + out.Label + to
	}
	return key
}

// node draws the node at the far end of an edge; of several, the first, and how many are like it.
func (t *tree) node(group []waits.Edge, first, rest string) {
	e := &group[0]
	n := t.nodes[e.To]
	label := ""
	if e.Label != "" && e.Label != "waits for" {
		label = e.Label + " "
	}
	standing, state := n.Standing, n.State
	if e.Met && standing == waits.StandsMissing {
		standing, state = waits.StandsDone, "Gone"
	}
	line := fmt.Sprintf("%s%s %s%s", first, t.glyphs.icons[standing], label, n.In(t.namespace))
	if len(group) > 1 {
		line += fmt.Sprintf(" and %d more like it", len(group)-1)
		for _, other := range group[1:] {
			t.skip(other.To)
		}
	}
	line += "  " + state
	if n.Standing == waits.StandsDeadlocked {
		line += ", deadlocked"
	}
	if e.Place > 0 {
		line += fmt.Sprintf(" (number %d)", e.Place)
	}
	if e.Met {
		line += " (met)"
	}
	if e.Inferred {
		line += " (inferred)"
	}
	if e.InCircle {
		line += " " + t.glyphs.circle
	}
	out := t.out[e.To]
	if t.drawn[e.To] && len(out) > 0 {
		t.line(line + " (see above)")
		return
	}
	t.line(line)
	t.drawn[e.To] = true
	groups := t.groups(out)
	for i, group := range groups {
		if i == len(groups)-1 {
			t.node(group, rest+t.glyphs.last, rest+t.glyphs.blank)
		} else {
			t.node(group, rest+t.glyphs.branch, rest+t.glyphs.bar)
		}
	}
}

// skip counts a node and its own Pods as drawn.
func (t *tree) skip(ref waits.Ref) {
	t.drawn[ref] = true
	if ref.Kind == waits.KindJob {
		for _, e := range t.out[ref] {
			t.drawn[e.To] = true
		}
	}
}

// graphDot writes a graph in the language of Graphviz.
func graphDot(g *waits.Graph) string {
	var b strings.Builder
	b.WriteString("digraph waits {\n  rankdir=LR;\n  node [shape=box, style=\"rounded,filled\", fillcolor=white, fontname=\"sans-serif\"];\n")
	for i := range g.Nodes {
		n := &g.Nodes[i]
		fmt.Fprintf(&b, "  %q [label=%q, fillcolor=%q];\n", nodeID(n.Ref), n.String()+"\n"+n.State, colour(n.Standing))
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
		case e.InCircle:
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

func nodeID(r waits.Ref) string { return r.Namespace + "/" + r.String() }

func colour(s waits.Standing) string {
	switch s {
	case waits.StandsDone, waits.StandsFree:
		return "#d5f0d5"
	case waits.StandsRunning:
		return "#d5e5fa"
	case waits.StandsTaken, waits.StandsWaiting:
		return "#fdf3c8"
	case waits.StandsFailed, waits.StandsMissing, waits.StandsDeadlocked:
		return "#f8d0d0"
	}
	return "white"
}

// graphMermaid writes a graph in the language of Mermaid.
func graphMermaid(g *waits.Graph) string {
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	ids := map[waits.Ref]string{}
	for i := range g.Nodes {
		n := &g.Nodes[i]
		ids[n.Ref] = fmt.Sprintf("n%d", i)
		fmt.Fprintf(&b, "  n%d[\"%s<br/>%s\"]\n  style n%d fill:%s,color:#000\n", i, mermaidText(n.String()), mermaidText(n.State), i, colour(n.Standing))
	}
	var circle []string
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
		if e.InCircle {
			circle = append(circle, fmt.Sprint(i))
		}
	}
	if len(circle) > 0 {
		fmt.Fprintf(&b, "  linkStyle %s stroke:red,stroke-width:3px\n", strings.Join(circle, ","))
	}
	return b.String()
}

// mermaidText writes the characters that mean something to Mermaid as entities.
func mermaidText(s string) string {
	return strings.NewReplacer(`"`, "#quot;", "<", "#lt;", ">", "#gt;").Replace(s)
}
