package tui

import (
	"slices"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"

	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

func (m *Model) pressOverview(msg tea.KeyMsg) tea.Cmd {
	page := max(m.listHeight()-1, 1)
	switch {
	case key.Matches(msg, m.keys.down):
		m.moveTo(m.cursor + 1)
	case key.Matches(msg, m.keys.up):
		m.moveTo(m.cursor - 1)
	case key.Matches(msg, m.keys.first):
		m.moveTo(0)
	case key.Matches(msg, m.keys.last):
		m.moveTo(len(m.rows) - 1)
	case key.Matches(msg, m.keys.pageDown):
		m.moveTo(m.cursor + page)
	case key.Matches(msg, m.keys.pageUp):
		m.moveTo(m.cursor - page)
	case key.Matches(msg, m.keys.back):
		m.filter = input{}
		m.arrange()
	case key.Matches(msg, m.keys.filter):
		m.filtering = true
	case key.Matches(msg, m.keys.sort):
		orders := view.Orders()
		m.order = orders[(slices.Index(orders, m.order)+1)%len(orders)]
		m.arrange()
	case key.Matches(msg, m.keys.all):
		return m.switchTo("")
	case key.Matches(msg, m.keys.namespace):
		return m.choose()
	case len(m.rows) == 0:
	case key.Matches(msg, m.keys.open, m.keys.describe):
		m.show(details)
		m.lookBehind(m.selected.Namespace)
	case key.Matches(msg, m.keys.yaml):
		m.from = overview
		m.show(yamlText)
	default:
		return m.act(msg)
	}
	return nil
}

// lookBehind follows the Pods and Jobs of a namespace, or none.
func (m *Model) lookBehind(namespace string) {
	m.Feed.Behind(namespace)
	if namespace == "" {
		m.world.Forget(view.KindPod, view.KindJob)
	}
}

func (m *Model) pressFilter(msg tea.KeyMsg) {
	switch {
	case key.Matches(msg, m.keys.accept):
		m.filtering = false
	case key.Matches(msg, m.keys.back):
		m.filtering, m.filter = false, input{}
	default:
		m.filter.press(msg)
	}
	m.arrange()
}
