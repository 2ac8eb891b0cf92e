package tui

import (
	"strings"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/view"
)

// pager is a text that can be longer than the screen: details, YAML, help.
type pager struct {
	lines        []string
	firstVisible int
}

// refreshPager renders the text anew from the current state.
func (m *Model) refreshPager() {
	switch m.screen {
	case screenDetails:
		m.pager.lines = m.detailLines()
	case screenYAML:
		m.pager.lines = m.yamlLines()
	case screenHelp:
		m.pager.lines = m.helpLines()
	case screenOverview, screenNamespaces:
		return
	}
	m.scrollTo(m.pager.firstVisible)
}

func (m *Model) scrollTo(top int) {
	m.pager.firstVisible = max(min(top, len(m.pager.lines)-m.bodyHeight()), 0)
}

func (m *Model) handlePagerKey(msg tea.KeyMsg) tea.Cmd {
	page := max(m.bodyHeight()-1, 1)
	switch {
	case key.Matches(msg, m.keys.down):
		m.scrollTo(m.pager.firstVisible + 1)
	case key.Matches(msg, m.keys.up):
		m.scrollTo(m.pager.firstVisible - 1)
	case key.Matches(msg, m.keys.first):
		m.scrollTo(0)
	case key.Matches(msg, m.keys.last):
		m.scrollTo(len(m.pager.lines))
	case key.Matches(msg, m.keys.pageDown):
		m.scrollTo(m.pager.firstVisible + page)
	case key.Matches(msg, m.keys.pageUp):
		m.scrollTo(m.pager.firstVisible - page)
	case key.Matches(msg, m.keys.back):
		m.goBack()
	case m.screen == screenDetails && key.Matches(msg, m.keys.yaml):
		m.previousScreen = screenDetails
		m.showScreen(screenYAML)
	case m.screen == screenDetails:
		return m.handleActionKey(msg)
	}
	return nil
}

// goBack returns to the previous screen.
func (m *Model) goBack() {
	switch m.screen {
	case screenDetails:
		m.showScreen(screenOverview)
		m.watchWorkloads("")
	case screenYAML, screenHelp:
		m.showScreen(m.previousScreen)
		if m.previousScreen == screenYAML {
			// Help was opened from YAML, and only one previous screen is stored.
			m.previousScreen = screenOverview
		}
	case screenOverview, screenNamespaces:
		m.showScreen(screenOverview)
	}
	m.refreshRows()
}

func (m *Model) detailLines() []string {
	d, ok := m.store.Detail(m.selected, m.serverTime)
	if !ok {
		return []string{"", "  " + m.selected.String() + " is gone: esc goes back"}
	}
	return m.Theme.DetailLines(&d, m.width, m.serverTime)
}

func (m *Model) yamlLines() []string {
	obj := m.store.Object(m.selected)
	if obj == nil {
		return []string{"", "  " + m.selected.String() + " is gone: esc goes back"}
	}
	text, err := toYAML(obj)
	if err != nil {
		return []string{"  " + err.Error()}
	}
	var lines []string
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		lines = append(lines, strings.Split(ansi.Hardwrap(m.Theme.Sanitize(line), max(m.width, 1), true), "\n")...)
	}
	return lines
}

// toYAML returns an object as kubectl get -o yaml prints it.
func toYAML(obj metav1.Object) (string, error) {
	typed, ok := obj.(runtime.Object)
	if !ok {
		return "", nil
	}
	typed = typed.DeepCopyObject()
	if kind := kindOf(obj); kind != "" {
		typed.GetObjectKind().SetGroupVersionKind(konductorv1.GroupVersion().WithKind(kind))
	}
	text, err := yaml.Marshal(typed)
	return string(text), err
}

func kindOf(obj metav1.Object) string {
	switch obj.(type) {
	case *konductorv1.Barrier:
		return konductorv1.KindBarrier
	case *konductorv1.Gate:
		return konductorv1.KindGate
	case *konductorv1.Lease:
		return konductorv1.KindLease
	case *konductorv1.Semaphore:
		return konductorv1.KindSemaphore
	default:
		return ""
	}
}

func (m *Model) helpLines() []string {
	var lines []string
	for _, s := range m.keys.helpSections() {
		lines = append(lines, m.Theme.Accent.Render(m.Theme.Truncate(s.title, m.width)))
		for _, b := range s.bindings {
			keys := b.Help().Key + strings.Repeat(" ", max(8-len(b.Help().Key), 1))
			for i, part := range strings.Split(ansi.Wrap(b.Help().Desc, max(m.width-12, 8), ""), "\n") {
				if i > 0 {
					keys = strings.Repeat(" ", 8)
				}
				lines = append(lines, m.Theme.Truncate("  "+keys+" "+part, m.width))
			}
		}
		lines = append(lines, "")
	}
	lines = append(lines, m.Theme.Accent.Render(m.Theme.Truncate("States", m.width)))
	for _, state := range []view.State{
		view.StateWaiting, view.StateOpen, view.StateFailed, view.StateTimeout, view.StateCycle, view.StateAvailable, view.StateHeld, view.StateReady, view.StateFull, view.StatePaused, view.StateUnobserved, view.StateDeleting,
	} {
		lines = append(lines, m.Theme.Truncate("  "+m.Theme.FormatState(state, 12)+view.DescribeState(state), m.width))
	}
	return lines
}
