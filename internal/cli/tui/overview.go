package tui

import (
	"slices"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"

	"github.com/LogicIQ/konductor/internal/view"
)

func (m *Model) handleOverviewKey(msg tea.KeyMsg) tea.Cmd {
	page := max(m.listHeight()-1, 1)
	switch {
	case key.Matches(msg, m.keys.down):
		m.selectRow(m.cursor + 1)
	case key.Matches(msg, m.keys.up):
		m.selectRow(m.cursor - 1)
	case key.Matches(msg, m.keys.first):
		m.selectRow(0)
	case key.Matches(msg, m.keys.last):
		m.selectRow(len(m.rows) - 1)
	case key.Matches(msg, m.keys.pageDown):
		m.selectRow(m.cursor + page)
	case key.Matches(msg, m.keys.pageUp):
		m.selectRow(m.cursor - page)
	case key.Matches(msg, m.keys.back):
		m.filter = textInput{}
		m.refreshRows()
	case key.Matches(msg, m.keys.filter):
		m.filtering = true
	case key.Matches(msg, m.keys.sort):
		orders := view.SortOrders()
		m.sortOrder = orders[(slices.Index(orders, m.sortOrder)+1)%len(orders)]
		m.refreshRows()
	case key.Matches(msg, m.keys.allNamespaces):
		return m.switchNamespace("")
	case key.Matches(msg, m.keys.namespace):
		return m.openNamespacePicker()
	case len(m.rows) == 0:
	case key.Matches(msg, m.keys.open, m.keys.describe):
		m.showScreen(screenDetails)
		m.watchWorkloads(m.selected.Namespace)
	case key.Matches(msg, m.keys.yaml):
		m.previousScreen = screenOverview
		m.showScreen(screenYAML)
	default:
		return m.handleActionKey(msg)
	}
	return nil
}

// watchWorkloads watches the Pods and Jobs of a namespace; empty: none.
func (m *Model) watchWorkloads(namespace string) {
	m.Feed.WatchWorkloads(namespace)
	if namespace == "" {
		m.store.DropKinds(view.KindPod, view.KindJob)
	}
}

func (m *Model) handleFilterKey(msg tea.KeyMsg) {
	switch {
	case key.Matches(msg, m.keys.accept):
		m.filtering = false
	case key.Matches(msg, m.keys.back):
		m.filtering, m.filter = false, textInput{}
	default:
		m.filter.handleKey(msg)
	}
	m.refreshRows()
}
