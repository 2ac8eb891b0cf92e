package printer

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/view"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// textWidth is the width of text for users. A terminal has at least that.
const textWidth = 80

// maxListed is how many entries of a queue or of missing participants are listed.
const maxListed = 10

// WhyText returns a diagnosis as text: the root causes, the chain that leads to them, then holders and waiters.
func WhyText(d *waitgraph.Diagnosis, now time.Time, g Symbols) string {
	t := &textWriter{now: now, symbols: g, namespace: d.Object.Namespace}
	t.writeHeadline(d)
	if d.Blocked && !isOwnRootCause(d) {
		t.writeRootCauses(d.RootCauses)
	}
	if len(d.Chain.Because) > 0 {
		t.writeLine("")
		t.writeLine("Dependency chain:")
		t.writeChain(d.Chain, "", "")
	}
	t.writeHoldersAndWaiters(d)
	for i, note := range GapNotes(d.Gaps) {
		if i == 0 {
			t.writeLine("")
		}
		t.writeWrapped("note: ", "      ", note+"; output may be incomplete")
	}
	return t.b.String()
}

type textWriter struct {
	b         strings.Builder
	now       time.Time
	symbols   Symbols
	namespace string
}

func (t *textWriter) writeLine(s string) { t.b.WriteString(strings.TrimRight(s, " ") + "\n") }

// writeWrapped writes a wrapped paragraph: its first line has one prefix, further lines another.
func (t *textWriter) writeWrapped(first, rest, paragraph string) {
	prefix, at := first, 0
	var b strings.Builder
	for _, word := range strings.Fields(render.SanitizeLines(paragraph)) {
		n := render.Width(word)
		if at > 0 && render.Width(prefix)+at+1+n > textWidth {
			t.writeLine(prefix + b.String())
			b.Reset()
			prefix, at = rest, 0
		}
		if at > 0 {
			b.WriteString(" ")
			at++
		}
		b.WriteString(word)
		at += n
	}
	t.writeLine(prefix + b.String())
}

func (t *textWriter) writeHeadline(d *waitgraph.Diagnosis) {
	sentence := fmt.Sprintf("%s %s.", d.Object, d.Chain.Message)
	if isOwnRootCause(d) {
		sentence += fmt.Sprintf(" [%s]", d.Chain.Reason)
	}
	t.writeWrapped("", "  ", sentence)
	if d.Never {
		t.writeLine("This won't resolve without intervention.")
	}
	if isOwnRootCause(d) {
		t.writeRemedy(d.Chain)
	}
}

// isOwnRootCause reports whether the object asked about is its own root cause.
func isOwnRootCause(d *waitgraph.Diagnosis) bool { return d.Blocked && len(d.Chain.Because) == 0 }

func (t *textWriter) writeRootCauses(roots []waitgraph.RootCause) {
	for i := range roots {
		r := &roots[i]
		if r.Reason == waitgraph.ReasonAboutToGo {
			continue
		}
		title := "Root cause"
		if i > 0 {
			title = "And"
		}
		t.writeLine("")
		t.writeWrapped(title+": ", "  ", fmt.Sprintf("%s %s [%s]", r.Object.StringIn(t.namespace), r.Message, r.Reason))
		t.writeRemedy(&r.Cause)
	}
}

func (t *textWriter) writeRemedy(c *waitgraph.Cause) {
	if c.Remedy != "" {
		t.writeWrapped("  fix: ", "       ", c.Remedy)
	}
	if c.Command != "" {
		// Never wrapped: it is to be copied.
		t.writeLine("  try: " + c.Command)
	}
	if c.Inferred != "" {
		t.writeWrapped("  inferred from ", "  ", c.Inferred)
	}
}

// writeChain writes the state of an object, and below it what it waits for.
func (t *textWriter) writeChain(c *waitgraph.Cause, first, rest string) {
	words := fmt.Sprintf("%s %s", c.Object.StringIn(t.namespace), c.Message)
	if c.Above {
		t.writeWrapped(first, rest, words+" (see above)")
		return
	}
	if c.Inferred != "" {
		words += fmt.Sprintf(" (inferred from %s)", c.Inferred)
	}
	// Further lines of the paragraph continue the line to the siblings, and to the children if there are any.
	further := rest
	if len(c.Because) > 0 {
		further += t.symbols.bar
	} else {
		further += t.symbols.blank
	}
	t.writeWrapped(first, further, words)
	for i, b := range c.Because {
		if i == len(c.Because)-1 && c.More == 0 {
			t.writeChain(b, rest+t.symbols.last, rest+t.symbols.blank)
		} else {
			t.writeChain(b, rest+t.symbols.branch, rest+t.symbols.bar)
		}
	}
	if c.More > 0 {
		t.writeLine(fmt.Sprintf("%s%sand %d more", rest, t.symbols.last, c.More))
	}
}

// writeHoldersAndWaiters lists holders, waiters and missing participants.
func (t *textWriter) writeHoldersAndWaiters(d *waitgraph.Diagnosis) {
	if len(d.Holders) > 1 || (len(d.Holders) == 1 && !d.Blocked) {
		t.writeSection("Holders", len(d.Holders), func(i int) string {
			h := &d.Holders[i]
			s := fmt.Sprintf("%s for %s, token %d", t.processText(h.Process, h.Holder), t.ageText(h.Since), h.Token)
			if d.Object.Kind == konductorv1.KindSemaphore {
				s += fmt.Sprintf(", permits %d", h.Permits)
			}
			return s
		})
	}
	t.writeSection("Queue", len(d.Queue), func(i int) string {
		w := &d.Queue[i]
		s := fmt.Sprintf("%d. %s for %s", w.Position, t.processText(w.Process, w.Holder), t.ageText(w.Since))
		if w.Permits != 1 {
			s += fmt.Sprintf(", asks for %d permits", w.Permits)
		}
		if w.Priority != 0 {
			s += fmt.Sprintf(", priority %d", w.Priority)
		}
		return s
	})
	if d.Missing != nil {
		t.writeParticipants("Expected participants", d.Missing.Known)
		t.writeParticipants("Ended without arriving", d.Missing.Ended)
	}
}

func (t *textWriter) writeParticipants(title string, all []waitgraph.Participant) {
	t.writeSection(title, len(all), func(i int) string {
		p := &all[i]
		if p.Count > 1 {
			return fmt.Sprintf("%d participants of %s", p.Count, p.Process)
		}
		return fmt.Sprintf("%s (%s)", p.Name, p.Process)
	})
}

func (t *textWriter) processText(process waitgraph.Ref, holder string) string {
	if process.Kind == waitgraph.KindHolder {
		return holder
	}
	if process.Name == holder {
		return process.String()
	}
	return process.String() + " as " + holder
}

func (t *textWriter) ageText(at time.Time) string {
	return duration.HumanDuration(max(t.now.Sub(at), 0))
}

func (t *textWriter) writeSection(title string, n int, item func(int) string) {
	if n == 0 {
		return
	}
	t.writeLine("")
	t.writeLine(title + ":")
	for i := range min(n, maxListed) {
		t.writeWrapped("  ", "    ", item(i))
	}
	if n > maxListed {
		t.writeLine(fmt.Sprintf("  and %d more", n-maxListed))
	}
}

// GapNotes returns a note for each gap, or for many gaps only the namespaces.
func GapNotes(gaps []waitgraph.Gap) (said []string) {
	// As many as there are kinds.
	const few, named = 8, 3
	if len(gaps) <= few {
		for _, gap := range gaps {
			said = append(said, gap.Message)
		}
		return said
	}
	var kinds, namespaces []string
	for _, gap := range gaps {
		kinds, namespaces = append(kinds, strings.ToLower(gap.Kind)+"s"), append(namespaces, gap.Namespace)
	}
	slices.Sort(kinds)
	slices.Sort(namespaces)
	kinds, namespaces = slices.Compact(kinds), slices.Compact(namespaces)
	where := strings.Join(namespaces[:min(len(namespaces), named)], ", ")
	if more := len(namespaces) - named; more > 0 {
		where += fmt.Sprintf(" and %d more", more)
	}
	return []string{fmt.Sprintf("can't list some objects (%s) in namespaces %s", strings.Join(kinds, ", "), where)}
}

// RewriteCommands puts the display name into the commands that a diagnosis suggests, and adds the flags that select the
// cluster: without them the commands would go to another.
func RewriteCommands(d *waitgraph.Diagnosis, displayName string, flags []string) {
	named := func(command string) string {
		if command == "" {
			return ""
		}
		if rest, ok := strings.CutPrefix(command, "koncli "); ok {
			command = displayName + " " + rest
		}
		return view.CommandLine(command, flags)
	}
	for i := range d.RootCauses {
		d.RootCauses[i].Command = named(d.RootCauses[i].Command)
	}
	seen := map[*waitgraph.Cause]bool{}
	var each func(*waitgraph.Cause)
	each = func(c *waitgraph.Cause) {
		if seen[c] {
			return
		}
		seen[c] = true
		c.Command = named(c.Command)
		for _, b := range c.Because {
			each(b)
		}
	}
	each(d.Chain)
}
