package render

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/LogicIQ/konductor/internal/view"
)

// TitleLine returns the first line: the scope, the totals, and right-aligned the text right.
func (t *Theme) TitleLine(where string, tally view.Totals, right string, width int) string {
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
	for len(parts) > 1 && width > 0 && Width(strings.Join(parts, t.Separator())) > room {
		// The number of failures is removed last.
		parts = slices.Delete(parts, 1, 2)
	}
	left := strings.Join(parts, t.Separator())
	if width > 0 {
		left = t.Truncate(left, max(room, 1))
	}
	line := t.Badge.Render(badge) + " " + t.highlightFailures(left)
	if right != "" {
		gap := 1
		if width > 0 {
			gap = max(width-len(badge)-1-Width(left)-Width(right), 1)
		}
		line += strings.Repeat(" ", gap) + t.Muted.Render(right)
	}
	return t.Truncate(line, width)
}

// highlightFailures colors the number of failures.
func (t *Theme) highlightFailures(left string) string {
	begin := strings.LastIndex(left, t.Separator())
	if begin < 0 || !strings.HasSuffix(left, " failed") {
		return left
	}
	begin += len(t.Separator())
	return left[:begin] + t.Error.Render(left[begin:])
}

// ReconnectingLine returns the line that warns that the data may be old.
func (t *Theme) ReconnectingLine(link view.Connection, now time.Time, width int) string {
	text := fmt.Sprintf("%s reconnecting to the API server for %s: %s", t.symbol("⟳", "!"), view.FormatAge(link.DownSince, now), t.Sanitize(link.LastError))
	return t.Warning.Render(t.Truncate(text, width))
}

// EventLine returns the line of an event.
func (t *Theme) EventLine(e view.Event, now time.Time, width int, showNamespaces bool) string {
	object := e.InvolvedObject.String()
	if showNamespaces {
		object = e.InvolvedObject.Namespace + "/" + object
	}
	reason := Style{}
	if e.Warning {
		reason = t.Error
	}
	when, where := 5, 24
	if width >= wideMinWidth {
		where = 32
	}
	if width > 0 && width < mediumMinWidth {
		return t.Truncate(t.Muted.Render(t.padOrTruncate(view.FormatAge(e.LastTimestamp, now), when))+" "+reason.Render(t.Sanitize(e.Reason+" "+e.InvolvedObject.Name+": "+e.Message)), width)
	}
	line := "  " + t.Muted.Render(t.padOrTruncate(view.FormatAge(e.LastTimestamp, now), when)) + " " + reason.Render(t.padOrTruncate(e.Reason, 10)) + " " + t.padOrTruncateMiddle(object, where) + " " + reason.Render(t.Sanitize(e.Message))
	return t.Truncate(line, width)
}

// Overview is the whole overview as lines, for printing it once: all rows, and the latest events.
type Overview struct {
	Theme          Theme
	Width          int
	ScopeText      string
	ShowNamespaces bool
	Rows           []*view.Row
	Events         []view.Event
	// Notes say what can't be read, and why.
	Notes []string
	Now   time.Time
}

// Lines returns the lines.
func (o *Overview) Lines() []string {
	t := &o.Theme
	lines := []string{t.TitleLine(o.ScopeText, view.CountRows(o.Rows), "", o.Width)}
	if len(o.Rows) == 0 {
		lines = append(lines, t.Truncate("  "+NoObjectsText, o.Width))
	} else {
		tab := NewTable(o.Theme, o.Rows, o.Width, o.ShowNamespaces)
		lines = append(lines, tab.HeaderLine())
		for _, r := range o.Rows {
			lines = append(lines, tab.RowLine(r, o.Now, false))
		}
	}
	if len(o.Events) > 0 || len(o.Notes) > 0 {
		lines = append(lines, t.TitledRule(EventsTitle, max(o.Width, len(EventsTitle)+8)))
	}
	for _, e := range o.Events {
		lines = append(lines, t.EventLine(e, o.Now, o.Width, o.ShowNamespaces))
	}
	for _, note := range o.Notes {
		lines = append(lines, t.Muted.Render(t.Truncate("  "+t.Sanitize(note), o.Width)))
	}
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return lines
}

// EventsTitle is the title of the latest events.
const EventsTitle = "recent events"

// NoObjectsText says that there are no objects.
const NoObjectsText = "no barriers, gates, leases or semaphores here yet"
