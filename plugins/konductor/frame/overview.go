package frame

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// Title returns the first line: what is looked at, how many there are, and on the right how fresh it is.
func (t *Theme) Title(where string, tally view.Tally, right string, width int) string {
	parts := []string{where}
	if tally.Objects == 1 {
		parts = append(parts, "1 object")
	} else {
		parts = append(parts, fmt.Sprintf("%d objects", tally.Objects))
	}
	if tally.Waiting > 0 {
		parts = append(parts, fmt.Sprintf("%d waiting", tally.Waiting))
	}
	if tally.Failed > 0 {
		parts = append(parts, fmt.Sprintf("%d failed", tally.Failed))
	}
	const badge = " konductor "
	room := width - len(badge) - 1 - Width(right) - 1
	for len(parts) > 1 && width > 0 && Width(strings.Join(parts, t.Dot())) > room {
		// What has failed is the last to go.
		parts = slices.Delete(parts, 1, 2)
	}
	left := strings.Join(parts, t.Dot())
	if width > 0 {
		left = t.Cut(left, max(room, 1))
	}
	line := t.Badge.On(badge) + " " + t.colourTally(left)
	if right != "" {
		gap := 1
		if width > 0 {
			gap = max(width-len(badge)-1-Width(left)-Width(right), 1)
		}
		line += strings.Repeat(" ", gap) + t.Dim.On(right)
	}
	return t.Cut(line, width)
}

// colourTally colours the number of failures.
func (t *Theme) colourTally(left string) string {
	begin := strings.LastIndex(left, t.Dot())
	if begin < 0 || !strings.HasSuffix(left, " failed") {
		return left
	}
	begin += len(t.Dot())
	return left[:begin] + t.Bad.On(left[begin:])
}

// Reconnecting returns the line that says that what is shown may be old.
func (t *Theme) Reconnecting(link view.Link, now time.Time, width int) string {
	text := fmt.Sprintf("%s reconnecting to the API server for %s: %s", t.pick("⟳", "!"), view.Age(link.Since, now), t.Clean(link.Why))
	return t.Wait.On(t.Cut(text, width))
}

// Event returns the line of an event.
func (t *Theme) Event(e view.Event, now time.Time, width int, namespaces bool) string {
	about := e.About.String()
	if namespaces {
		about = e.About.Namespace + "/" + about
	}
	reason := Paint{}
	if e.Warning {
		reason = t.Bad
	}
	when, where := 5, 24
	if width >= wideWidth {
		where = 32
	}
	if width > 0 && width < mediumWidth {
		return t.Cut(t.Dim.On(t.fit(view.Age(e.At, now), when))+" "+reason.On(t.Clean(e.Reason+" "+e.About.Name+": "+e.Message)), width)
	}
	line := "  " + t.Dim.On(t.fit(view.Age(e.At, now), when)) + " " + reason.On(t.fit(e.Reason, 10)) + " " + t.fitName(about, where) + " " + reason.On(t.Clean(e.Message))
	return t.Cut(line, width)
}

// Once returns the whole overview as lines, for looking once: all rows, and the latest events.
type Once struct {
	Theme      Theme
	Width      int
	Where      string
	Namespaces bool
	Rows       []*view.Row
	Events     []view.Event
	// Notes say what can't be seen, and why.
	Notes []string
	Now   time.Time
}

// Lines returns the lines.
func (o *Once) Lines() []string {
	t := &o.Theme
	lines := []string{t.Title(o.Where, view.Count(o.Rows), "", o.Width)}
	if len(o.Rows) == 0 {
		lines = append(lines, t.Cut("  "+Nothing, o.Width))
	} else {
		tab := NewTable(o.Theme, o.Rows, o.Width, o.Namespaces)
		lines = append(lines, tab.Header())
		for _, r := range o.Rows {
			lines = append(lines, tab.Row(r, o.Now, false))
		}
	}
	if len(o.Events) > 0 || len(o.Notes) > 0 {
		lines = append(lines, t.Rule(Happened, max(o.Width, len(Happened)+8)))
	}
	for _, e := range o.Events {
		lines = append(lines, t.Event(e, o.Now, o.Width, o.Namespaces))
	}
	for _, note := range o.Notes {
		lines = append(lines, t.Dim.On(t.Cut("  "+t.Clean(note), o.Width)))
	}
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}

// Happened is the title over the latest events.
const Happened = "what just happened"

// Nothing says that there is nothing to see.
const Nothing = "no barriers, gates, leases or semaphores here yet"
