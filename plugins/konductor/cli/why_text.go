package cli

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/duration"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/apis/waits"
	"github.com/LogicIQ/konductor/plugins/konductor/frame"
)

// textWidth is how wide text for people is. A terminal has at least that.
const textWidth = 80

// maxShown is how many of a queue or of those missing are listed.
const maxShown = 10

// whyText writes a diagnosis for people: the root causes first, then the chain that leads there, then who holds and waits.
func whyText(d *waits.Diagnosis, now time.Time, g glyphs) string {
	t := &text{now: now, glyphs: g, namespace: d.Object.Namespace}
	t.headline(d)
	if d.Blocked && !itself(d) {
		t.roots(d.Roots)
	}
	if len(d.Chain.Because) > 0 {
		t.line("")
		t.line("How it comes about:")
		t.chain(d.Chain, "", "", map[waits.Ref]bool{})
	}
	t.people(d)
	for i, gap := range d.Gaps {
		if i == 0 {
			t.line("")
		}
		t.wrapped("note: ", "      ", gap.Message+", so that something may be missing here")
	}
	return t.b.String()
}

type text struct {
	b         strings.Builder
	now       time.Time
	glyphs    glyphs
	namespace string
}

func (t *text) line(s string) { t.b.WriteString(strings.TrimRight(s, " ") + "\n") }

// wrapped writes a paragraph: its first line begins with one prefix, further lines with another.
func (t *text) wrapped(first, rest, paragraph string) {
	prefix, at := first, 0
	var b strings.Builder
	for _, word := range strings.Fields(frame.Harmless(paragraph)) {
		n := frame.Width(word)
		if at > 0 && frame.Width(prefix)+at+1+n > textWidth {
			t.line(prefix + b.String())
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
	t.line(prefix + b.String())
}

func (t *text) headline(d *waits.Diagnosis) {
	sentence := fmt.Sprintf("%s %s.", d.Object, d.Chain.Message)
	if itself(d) {
		sentence += fmt.Sprintf(" [%s]", d.Chain.Reason)
	}
	t.wrapped("", "  ", sentence)
	if d.Never {
		t.line("As things stand, that won't change by itself.")
	}
	if itself(d) {
		t.advice(d.Chain)
	}
}

// itself reports whether what was asked about is its own root cause.
func itself(d *waits.Diagnosis) bool { return d.Blocked && len(d.Chain.Because) == 0 }

func (t *text) roots(roots []waits.Root) {
	for i := range roots {
		r := &roots[i]
		if r.Reason == waits.AboutToGo {
			continue
		}
		title := "Root cause"
		if i > 0 {
			title = "And"
		}
		t.line("")
		t.wrapped(title+": ", "  ", fmt.Sprintf("%s %s [%s]", r.Object.In(t.namespace), r.Message, r.Reason))
		t.advice(&r.Cause)
	}
}

func (t *text) advice(c *waits.Cause) {
	if c.Remedy != "" {
		t.wrapped("  to go on:   ", "              ", c.Remedy)
	}
	if c.Command != "" {
		// Never wrapped: it is there to be copied.
		t.line("  look or do: " + c.Command)
	}
	if c.Inferred != "" {
		t.wrapped("  concluded from ", "  ", c.Inferred)
	}
}

// chain writes how an object stands, and below it what it waits for.
func (t *text) chain(c *waits.Cause, first, rest string, told map[waits.Ref]bool) {
	words := fmt.Sprintf("%s %s", c.Object.In(t.namespace), c.Message)
	if told[c.Object] && len(c.Because) > 0 {
		t.wrapped(first, rest, words+" (see above)")
		return
	}
	told[c.Object] = true
	if c.Inferred != "" {
		words += fmt.Sprintf(" (concluded from %s)", c.Inferred)
	}
	// Further lines of the paragraph keep the line to the siblings, and to the children if there are any.
	further := rest
	if len(c.Because) > 0 {
		further += t.glyphs.bar
	} else {
		further += t.glyphs.blank
	}
	t.wrapped(first, further, words)
	for i, b := range c.Because {
		if i == len(c.Because)-1 && c.More == 0 {
			t.chain(b, rest+t.glyphs.last, rest+t.glyphs.blank, told)
		} else {
			t.chain(b, rest+t.glyphs.branch, rest+t.glyphs.bar, told)
		}
	}
	if c.More > 0 {
		t.line(fmt.Sprintf("%s%sand %d more", rest, t.glyphs.last, c.More))
	}
}

// people lists who holds, who waits and who is missing.
func (t *text) people(d *waits.Diagnosis) {
	if len(d.Holders) > 1 || (len(d.Holders) == 1 && !d.Blocked) {
		t.section("Holders", len(d.Holders), func(i int) string {
			h := &d.Holders[i]
			s := fmt.Sprintf("%s for %s, token %d", t.who(h.Process, h.Holder), t.since(h.Since), h.Token)
			if d.Object.Kind == konductorv1.KindSemaphore {
				s += fmt.Sprintf(", permits %d", h.Permits)
			}
			return s
		})
	}
	t.section("Waiting, in this order", len(d.Queue), func(i int) string {
		w := &d.Queue[i]
		s := fmt.Sprintf("%d. %s for %s", w.Place, t.who(w.Process, w.Holder), t.since(w.Since))
		if w.Permits != 1 {
			s += fmt.Sprintf(", asks for %d permits", w.Permits)
		}
		if w.Priority != 0 {
			s += fmt.Sprintf(", priority %d", w.Priority)
		}
		return s
	})
	if d.Missing != nil {
		t.participants("Seen to be on their way", d.Missing.Known)
		t.participants("Ended without having arrived", d.Missing.Ended)
	}
}

func (t *text) participants(title string, all []waits.Participant) {
	t.section(title, len(all), func(i int) string {
		p := &all[i]
		if p.Count > 1 {
			return fmt.Sprintf("%d participants of %s", p.Count, p.Process)
		}
		return fmt.Sprintf("%s (%s)", p.Name, p.Process)
	})
}

func (t *text) who(process waits.Ref, holder string) string {
	if process.Kind == waits.KindHolder {
		return holder
	}
	if process.Name == holder {
		return process.String()
	}
	return process.String() + " as " + holder
}

func (t *text) since(at time.Time) string { return duration.HumanDuration(max(t.now.Sub(at), 0)) }

func (t *text) section(title string, n int, item func(int) string) {
	if n == 0 {
		return
	}
	t.line("")
	t.line(title + ":")
	for i := range min(n, maxShown) {
		t.wrapped("  ", "    ", item(i))
	}
	if n > maxShown {
		t.line(fmt.Sprintf("  and %d more", n-maxShown))
	}
}
