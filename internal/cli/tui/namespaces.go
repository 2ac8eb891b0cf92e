package tui

import (
	"slices"
	"strings"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
)

// namespacePicker is the screen for choosing another namespace: by its name, a part of it, or from the list.
type namespacePicker struct {
	names  []string
	query  textInput
	cursor int
	note   string
}

type namespacesMsg struct {
	names []string
	err   error
}

// allNamespaces is the first entry of the list.
const allNamespaces = "all namespaces"

// openNamespacePicker opens the screen. It shows the namespaces that are already known at once.
func (m *Model) openNamespacePicker() tea.Cmd {
	m.namespacePicker = namespacePicker{names: m.store.Namespaces()}
	m.showScreen(screenNamespaces)
	return func() tea.Msg {
		names, err := m.Cluster.ListNamespaces(m.ctx)
		return namespacesMsg{names, err}
	}
}

func (c *namespacePicker) setNamespaces(n namespacesMsg) {
	if n.err != nil {
		c.note = "can't list namespaces: type the name of one"
		return
	}
	c.names = slices.Clone(n.names)
	slices.Sort(c.names)
}

// candidates returns the entries to choose from: those that contain the query, and the query itself.
func (c *namespacePicker) candidates() []string {
	var offers []string
	for _, name := range append([]string{allNamespaces}, c.names...) {
		if strings.Contains(name, c.query.text) {
			offers = append(offers, name)
		}
	}
	if c.query.text != "" && !slices.Contains(offers, c.query.text) {
		offers = append(offers, c.query.text)
	}
	return offers
}

func (m *Model) handleNamespaceKey(msg tea.KeyMsg) tea.Cmd {
	c := &m.namespacePicker
	offers := c.candidates()
	switch {
	case key.Matches(msg, m.keys.back):
		m.showScreen(screenOverview)
	case msg.Type == tea.KeyDown, msg.Type == tea.KeyCtrlN:
		c.cursor = min(c.cursor+1, len(offers)-1)
	case msg.Type == tea.KeyUp, msg.Type == tea.KeyCtrlP:
		c.cursor = max(c.cursor-1, 0)
	case key.Matches(msg, m.keys.accept):
		choice := offers[min(c.cursor, len(offers)-1)]
		if choice == allNamespaces {
			choice = ""
		}
		return m.switchNamespace(choice)
	default:
		c.query.handleKey(msg)
		c.cursor = 0
	}
	return nil
}

func (m *Model) namespaceLines() []string {
	c, t := &m.namespacePicker, &m.Theme
	lines := []string{t.Truncate("namespace: "+t.Sanitize(c.query.text), m.width-1) + t.Active.Render(t.TextCursor())}
	if c.note != "" {
		lines = append(lines, t.Muted.Render(t.Truncate("  "+c.note, m.width)))
	}
	offers := c.candidates()
	visible := max(m.bodyHeight()-len(lines), 1)
	begin := max(c.cursor-visible+1, 0)
	for i := begin; i < min(begin+visible, len(offers)); i++ {
		line := "  " + offers[i]
		if i == c.cursor {
			lines = append(lines, t.Selected.Render(t.PadOrTruncate(t.SelectionMarker()+offers[i], m.width)))
			continue
		}
		lines = append(lines, t.Truncate(line, m.width))
	}
	return lines
}
