package tui

import (
	"fmt"
	"strings"

	"github.com/charmbracelet/bubbles/key"
	"github.com/charmbracelet/x/ansi"

	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/view"
)

// The frame, from top to bottom: the title; a line while the connection is lost; the body; in the overview the latest
// events; and a line of key hints. It always has exactly as many lines as the terminal.

// View draws the frame.
func (m *Model) View() string {
	lines := m.headerLines()
	body := m.bodyLines()
	height := m.bodyHeight()
	if len(body) > height {
		body = body[:height]
	}
	lines = append(lines, body...)
	for range height - len(body) {
		lines = append(lines, "")
	}
	if m.showsEvents() {
		lines = append(lines, m.eventLines()...)
	}
	lines = append(lines, m.footerLine())
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

func (m *Model) headerLines() []string {
	where := m.Namespace
	if where == "" {
		where = allNamespaces
	}
	if m.Context != "" && m.width >= 100 {
		where = m.Context + "/" + where
	}
	if m.filter.text != "" && m.screen == screenOverview && !m.filtering {
		where += " /" + m.filter.text
	}
	if m.sortOrder != view.ByKind && m.screen == screenOverview {
		where += " by " + string(m.sortOrder)
	}
	state := "live"
	if m.store.Connection().Down {
		state = "reconnecting"
	}
	lines := []string{m.Theme.TitleLine(m.Theme.Sanitize(where), m.totals, state, m.width)}
	if link := m.store.Connection(); link.Down {
		lines = append(lines, m.Theme.ReconnectingLine(link, m.Clock(), m.width))
	}
	return lines
}

// bodyHeight returns the number of lines between head and foot, without the events.
func (m *Model) bodyHeight() int {
	height := m.height - 2
	if m.store.Connection().Down {
		height--
	}
	if m.showsEvents() {
		height -= m.eventHeight() + 1
	}
	return max(height, 0)
}

// listHeight returns how many rows fit into the overview.
func (m *Model) listHeight() int {
	height := m.height - 3
	if m.store.Connection().Down {
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

func (m *Model) showsEvents() bool {
	return m.screen == screenOverview && m.dialog == nil && m.eventHeight() > 0
}

func (m *Model) bodyLines() []string {
	switch {
	case m.dialog != nil && !m.commandFits():
		return []string{m.Theme.Error.Render(m.Theme.Truncate("make the window larger to see the command", m.width))}
	case m.dialog != nil:
		return m.dialogLines()
	case m.screen == screenNamespaces:
		return m.namespaceLines()
	case m.screen == screenOverview:
		return m.overviewLines()
	default:
		return m.pager.lines[min(m.pager.firstVisible, len(m.pager.lines)):]
	}
}

func (m *Model) overviewLines() []string {
	t := &m.Theme
	if len(m.rows) == 0 {
		return []string{"", t.Truncate("  "+m.emptyText(), m.width)}
	}
	lines := []string{m.table.HeaderLine()}
	for i := m.firstVisible; i < min(m.firstVisible+m.listHeight(), len(m.rows)); i++ {
		lines = append(lines, m.table.RowLine(m.rows[i], m.serverTime, i == m.cursor))
	}
	return lines
}

// emptyText says why no rows are shown.
func (m *Model) emptyText() string {
	switch {
	case !m.store.HasSynced():
		return "loading" + m.Theme.Ellipsis()
	case m.totals.Objects > 0:
		return "nothing matches: esc clears the filter"
	}
	for _, kind := range view.PrimitiveKinds() {
		if denied := m.store.DeniedMessage(kind); denied != "" {
			return denied
		}
	}
	if m.Namespace == "" {
		return render.NoObjectsText
	}
	return render.NoObjectsText + " (0: all namespaces)"
}

func (m *Model) eventLines() []string {
	t := &m.Theme
	lines := []string{t.TitledRule(render.EventsTitle, m.width)}
	height := m.eventHeight()
	if denied := m.store.DeniedMessage(view.KindEvent); denied != "" {
		lines = append(lines, t.Muted.Render(t.Truncate("  "+denied, m.width)))
	}
	for _, e := range m.store.Events(view.Ref{}, height) {
		lines = append(lines, t.EventLine(e, m.serverTime, m.width, m.Namespace == ""))
	}
	for len(lines) < height+1 {
		lines = append(lines, "")
	}
	return lines[:height+1]
}

func (m *Model) footerLine() string {
	t := &m.Theme
	switch {
	case m.filtering:
		return t.Truncate("/"+t.Sanitize(m.filter.text), m.width-1) + t.Active.Render(t.TextCursor())
	case m.dialog != nil:
		return m.keyHints(m.dialogBindings()...)
	case m.notice.text != "" && m.serverTime.Before(m.notice.until):
		paint := t.Success
		if m.notice.isError {
			paint = t.Error
		}
		return paint.Render(t.Truncate(t.Sanitize(m.notice.text), m.width))
	}
	k := &m.keys
	switch m.screen {
	case screenOverview:
		hints := []key.Binding{k.open, k.filter, k.help, k.quit}
		if row := m.store.Row(m.selected); row != nil {
			hints = append(hints, k.actionBindings(row.Kind)...)
		}
		return m.keyHints(append(hints, k.sort, k.namespace, k.yaml)...)
	case screenDetails:
		hints := []key.Binding{k.back, k.yaml, k.help, k.quit}
		if row := m.store.Row(m.selected); row != nil {
			hints = append(hints, k.actionBindings(row.Kind)...)
		}
		return m.withScrollPosition(m.keyHints(hints...))
	case screenNamespaces:
		up := key.NewBinding(key.WithHelp(t.ArrowKeysText(), "choose"))
		take := key.NewBinding(key.WithHelp("enter", "go there"))
		return m.keyHints(take, up, k.back)
	default:
		return m.withScrollPosition(m.keyHints(k.back, k.down, k.up, k.quit))
	}
}

func (m *Model) dialogBindings() []key.Binding {
	d, k := m.dialog, &m.keys
	switch {
	case d.deniedText != "", d.failureText != "":
		return []key.Binding{k.back}
	case d.cancelRun != nil:
		b := k.back
		b.SetHelp("esc", "cancel")
		return []key.Binding{b}
	case d.action.Prompt != "":
		b := k.back
		b.SetHelp("esc", "cancel")
		return []key.Binding{k.accept, b}
	default:
		return []key.Binding{k.yes, k.no}
	}
}

// withScrollPosition adds the scroll position on the right, if there is room.
func (m *Model) withScrollPosition(line string) string {
	if len(m.pager.lines) <= m.bodyHeight() {
		return line
	}
	text := fmt.Sprintf("%d-%d of %d", m.pager.firstVisible+1, min(m.pager.firstVisible+m.bodyHeight(), len(m.pager.lines)), len(m.pager.lines))
	gap := m.width - ansi.StringWidth(line) - len(text)
	if gap < 1 {
		return line
	}
	return line + strings.Repeat(" ", gap) + m.Theme.Muted.Render(text)
}

// keyHints shows the keys and their actions, as many as fit.
func (m *Model) keyHints(bindings ...key.Binding) string {
	var line strings.Builder
	used := 0
	for _, b := range bindings {
		h := b.Help()
		width := render.Width(h.Key) + 1 + render.Width(h.Desc)
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
		line.WriteString(m.Theme.Active.Render(h.Key) + " " + m.Theme.Muted.Render(h.Desc))
	}
	return line.String()
}
