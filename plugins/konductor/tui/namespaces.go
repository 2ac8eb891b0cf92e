package tui

import (
	"slices"
	"strings"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
)

// chooser is the screen where another namespace is chosen: by its name, a part of it, or from the list.
type chooser struct {
	names  []string
	typed  input
	cursor int
	note   string
}

type named struct {
	names []string
	err   error
}

// allNamespaces is the first in the list.
const allNamespaces = "all namespaces"

// choose opens the screen. Those that are known already are there at once.
func (m *Model) choose() tea.Cmd {
	m.chooser = chooser{names: m.world.Namespaces()}
	m.show(namespaces)
	return func() tea.Msg {
		names, err := m.Cluster.Namespaces(m.ctx)
		return named{names, err}
	}
}

func (c *chooser) named(n named) {
	if n.err != nil {
		c.note = "you may not list namespaces: type the name of one"
		return
	}
	c.names = slices.Clone(n.names)
	slices.Sort(c.names)
}

// offers returns what can be chosen: what contains what was typed, and what was typed itself.
func (c *chooser) offers() []string {
	var offers []string
	for _, name := range append([]string{allNamespaces}, c.names...) {
		if strings.Contains(name, c.typed.text) {
			offers = append(offers, name)
		}
	}
	if c.typed.text != "" && !slices.Contains(offers, c.typed.text) {
		offers = append(offers, c.typed.text)
	}
	return offers
}

func (m *Model) pressNamespaces(msg tea.KeyMsg) tea.Cmd {
	c := &m.chooser
	offers := c.offers()
	switch {
	case key.Matches(msg, m.keys.back):
		m.show(overview)
	case msg.Type == tea.KeyDown, msg.Type == tea.KeyCtrlN:
		c.cursor = min(c.cursor+1, len(offers)-1)
	case msg.Type == tea.KeyUp, msg.Type == tea.KeyCtrlP:
		c.cursor = max(c.cursor-1, 0)
	case key.Matches(msg, m.keys.accept):
		choice := offers[min(c.cursor, len(offers)-1)]
		if choice == allNamespaces {
			choice = ""
		}
		return m.switchTo(choice)
	default:
		c.typed.press(msg)
		c.cursor = 0
	}
	return nil
}

func (m *Model) namespaceLines() []string {
	c, t := &m.chooser, &m.Theme
	lines := []string{t.Cut("namespace: "+t.Clean(c.typed.text), m.width-1) + t.Busy.On(t.Cursor())}
	if c.note != "" {
		lines = append(lines, t.Dim.On(t.Cut("  "+c.note, m.width)))
	}
	offers := c.offers()
	visible := max(m.bodyHeight()-len(lines), 1)
	begin := max(c.cursor-visible+1, 0)
	for i := begin; i < min(begin+visible, len(offers)); i++ {
		line := "  " + offers[i]
		if i == c.cursor {
			lines = append(lines, t.Selected.On(t.Fit(t.Marker()+offers[i], m.width)))
			continue
		}
		lines = append(lines, t.Cut(line, m.width))
	}
	return lines
}
