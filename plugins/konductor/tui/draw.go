package tui

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/bubbles/key"
	"github.com/charmbracelet/x/ansi"

	"github.com/LogicIQ/konductor/plugins/konductor/frame"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// The frame, from top to bottom: the title; a line while the connection is lost; the body; in the overview the latest
// events; and a line of keys. It always has exactly as many lines as the terminal.

// View draws the frame.
func (m *Model) View() string {
	lines := m.head()
	body := m.body()
	height := m.bodyHeight()
	if len(body) > height {
		body = body[:height]
	}
	lines = append(lines, body...)
	for range height - len(body) {
		lines = append(lines, "")
	}
	if m.withEvents() {
		lines = append(lines, m.eventLines()...)
	}
	lines = append(lines, m.foot())
	if len(lines) > m.height {
		lines = lines[:max(m.height, 0)]
	}
	for i, line := range lines {
		if ansi.StringWidth(line) > m.width {
			lines[i] = ansi.Truncate(line, m.width, "")
		}
	}
	return strings.Join(lines, "\n")
}

func (m *Model) head() []string {
	where := m.Namespace
	if where == "" {
		where = allNamespaces
	}
	if m.Context != "" && m.width >= 100 {
		where = m.Context + "/" + where
	}
	if m.filter.text != "" && m.screen == overview && !m.filtering {
		where += " /" + m.filter.text
	}
	if m.order != view.ByKind && m.screen == overview {
		where += " by " + string(m.order)
	}
	state := "live"
	if m.world.Link().Down {
		state = "reconnecting"
	}
	lines := []string{m.Theme.Title(m.Theme.Clean(where), m.tally, state, m.width)}
	if link := m.world.Link(); link.Down {
		lines = append(lines, m.Theme.Reconnecting(link, m.Clock(), m.width))
	}
	return lines
}

// bodyHeight returns how many lines there are between head and foot, the events excepted.
func (m *Model) bodyHeight() int {
	height := m.height - 2
	if m.world.Link().Down {
		height--
	}
	if m.withEvents() {
		height -= m.eventHeight() + 1
	}
	return max(height, 0)
}

// listHeight returns how many rows fit into the overview.
func (m *Model) listHeight() int {
	height := m.height - 3
	if m.world.Link().Down {
		height--
	}
	if m.eventHeight() > 0 {
		height -= m.eventHeight() + 1
	}
	return max(height, 0)
}

// eventHeight returns how many events the overview shows.
func (m *Model) eventHeight() int {
	const fewest, most = 8, 10
	if m.height < fewest {
		return 0
	}
	return min(m.height/5, most)
}

func (m *Model) withEvents() bool {
	return m.screen == overview && m.dialog == nil && m.eventHeight() > 0
}

func (m *Model) body() []string {
	switch {
	case m.dialog != nil && !m.dialogFits():
		return []string{m.Theme.Bad.On(m.Theme.Cut("make the window larger to see the command", m.width))}
	case m.dialog != nil:
		return m.dialogLines()
	case m.screen == namespaces:
		return m.namespaceLines()
	case m.screen == overview:
		return m.listLines()
	default:
		return m.pager.lines[min(m.pager.top, len(m.pager.lines)):]
	}
}

func (m *Model) listLines() []string {
	t := &m.Theme
	if len(m.rows) == 0 {
		return []string{"", t.Cut("  "+m.emptiness(), m.width)}
	}
	lines := []string{m.table.Header()}
	for i := m.top; i < min(m.top+m.listHeight(), len(m.rows)); i++ {
		lines = append(lines, m.table.Row(m.rows[i], m.now, i == m.cursor))
	}
	return lines
}

// emptiness says why there is nothing to see.
func (m *Model) emptiness() string {
	switch {
	case !m.world.Complete():
		return "loading" + m.Theme.Ellipsis()
	case m.tally.Objects > 0:
		return "nothing matches: esc clears the filter"
	}
	for _, kind := range view.Kinds() {
		if denied := m.world.Denied(kind); denied != "" {
			return denied
		}
	}
	if m.Namespace == "" {
		return frame.Nothing
	}
	return frame.Nothing + " (0: all namespaces)"
}

func (m *Model) eventLines() []string {
	t := &m.Theme
	lines := []string{t.Rule(frame.Happened, m.width)}
	height := m.eventHeight()
	if denied := m.world.Denied(view.KindEvent); denied != "" {
		lines = append(lines, t.Dim.On(t.Cut("  "+denied, m.width)))
	}
	for _, e := range m.world.Events(view.Ref{}, height) {
		lines = append(lines, t.Event(e, m.now, m.width, m.Namespace == ""))
	}
	for len(lines) < height+1 {
		lines = append(lines, "")
	}
	return lines[:height+1]
}

func (m *Model) foot() string {
	t := &m.Theme
	switch {
	case m.filtering:
		return t.Cut("/"+t.Clean(m.filter.text), m.width-1) + t.Busy.On(t.Cursor())
	case m.dialog != nil:
		return m.hints(m.dialogKeys()...)
	case m.notice.text != "" && m.now.Before(m.notice.until):
		paint := t.Good
		if m.notice.bad {
			paint = t.Bad
		}
		return paint.On(t.Cut(t.Clean(m.notice.text), m.width))
	}
	k := &m.keys
	switch m.screen {
	case overview:
		hints := []key.Binding{k.open, k.filter, k.help, k.quit}
		if row := m.world.Row(m.selected); row != nil {
			hints = append(hints, k.actions(row.Kind)...)
		}
		return m.hints(append(hints, k.sort, k.namespace, k.yaml)...)
	case details:
		hints := []key.Binding{k.back, k.yaml, k.help, k.quit}
		if row := m.world.Row(m.selected); row != nil {
			hints = append(hints, k.actions(row.Kind)...)
		}
		return m.position(m.hints(hints...))
	case namespaces:
		up := key.NewBinding(key.WithHelp(t.Arrows(), "choose"))
		take := key.NewBinding(key.WithHelp("enter", "go there"))
		return m.hints(take, up, k.back)
	default:
		return m.position(m.hints(k.back, k.down, k.up, k.quit))
	}
}

func (m *Model) dialogKeys() []key.Binding {
	d, k := m.dialog, &m.keys
	switch {
	case d.refusal != "", d.failure != "":
		return []key.Binding{k.back}
	case d.running != nil:
		b := k.back
		b.SetHelp("esc", "break off")
		return []key.Binding{b}
	case d.action.Asks != "":
		b := k.back
		b.SetHelp("esc", "cancel")
		return []key.Binding{k.accept, b}
	default:
		return []key.Binding{k.yes, k.no}
	}
}

// position puts on the right how far the text has been scrolled, where there is room.
func (m *Model) position(line string) string {
	if len(m.pager.lines) <= m.bodyHeight() {
		return line
	}
	text := fmt.Sprintf("%d-%d of %d", m.pager.top+1, min(m.pager.top+m.bodyHeight(), len(m.pager.lines)), len(m.pager.lines))
	gap := m.width - ansi.StringWidth(line) - len(text)
	if gap < 1 {
		return line
	}
	return line + strings.Repeat(" ", gap) + m.Theme.Dim.On(text)
}

// hints shows what keys do, as many as fit.
func (m *Model) hints(bindings ...key.Binding) string {
	var line strings.Builder
	used := 0
	for _, b := range bindings {
		h := b.Help()
		width := frame.Width(h.Key) + 1 + frame.Width(h.Desc)
		if used > 0 {
			width += 2
		}
		if used+width > m.width {
			break
		}
		if used > 0 {
			line.WriteString("  ")
		}
		used += width
		line.WriteString(m.Theme.Busy.On(h.Key) + " " + m.Theme.Dim.On(h.Desc))
	}
	return line.String()
}
