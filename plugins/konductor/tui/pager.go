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
	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// pager is a text that is longer than the screen: details, YAML, help.
type pager struct {
	lines []string
	top   int
}

// refreshPager makes the text anew from what is known by now.
func (m *Model) refreshPager() {
	switch m.screen {
	case details:
		m.pager.lines = m.detailLines()
	case yamlText:
		m.pager.lines = m.yamlLines()
	case helpText:
		m.pager.lines = m.helpLines()
	case overview, namespaces:
		return
	}
	m.scrollTo(m.pager.top)
}

func (m *Model) scrollTo(top int) {
	m.pager.top = max(min(top, len(m.pager.lines)-m.bodyHeight()), 0)
}

func (m *Model) pressPager(msg tea.KeyMsg) tea.Cmd {
	page := max(m.bodyHeight()-1, 1)
	switch {
	case key.Matches(msg, m.keys.down):
		m.scrollTo(m.pager.top + 1)
	case key.Matches(msg, m.keys.up):
		m.scrollTo(m.pager.top - 1)
	case key.Matches(msg, m.keys.first):
		m.scrollTo(0)
	case key.Matches(msg, m.keys.last):
		m.scrollTo(len(m.pager.lines))
	case key.Matches(msg, m.keys.pageDown):
		m.scrollTo(m.pager.top + page)
	case key.Matches(msg, m.keys.pageUp):
		m.scrollTo(m.pager.top - page)
	case key.Matches(msg, m.keys.back):
		m.goBack()
	case m.screen == details && key.Matches(msg, m.keys.yaml):
		m.from = details
		m.show(yamlText)
	case m.screen == details:
		return m.act(msg)
	}
	return nil
}

// goBack returns to where this screen was asked for.
func (m *Model) goBack() {
	switch m.screen {
	case details:
		m.show(overview)
		m.lookBehind("")
	case yamlText, helpText:
		m.show(m.from)
		if m.from == yamlText {
			// Help was asked for there. Whatever came before it, details are never wrong.
			m.from = overview
		}
	case overview, namespaces:
		m.show(overview)
	}
	m.arrange()
}

func (m *Model) detailLines() []string {
	d, ok := m.world.Detail(m.selected, m.now)
	if !ok {
		return []string{"", "  " + m.selected.String() + " is gone: esc goes back"}
	}
	return m.Theme.Detail(&d, m.width, m.now)
}

func (m *Model) yamlLines() []string {
	obj := m.world.Object(m.selected)
	if obj == nil {
		return []string{"", "  " + m.selected.String() + " is gone: esc goes back"}
	}
	text, err := toYAML(obj)
	if err != nil {
		return []string{"  " + err.Error()}
	}
	var lines []string
	for _, line := range strings.Split(strings.TrimRight(text, "\n"), "\n") {
		lines = append(lines, strings.Split(ansi.Hardwrap(m.Theme.Clean(line), max(m.width, 1), true), "\n")...)
	}
	return lines
}

// toYAML writes an object as kubectl get -o yaml does.
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
	for _, s := range m.keys.sections() {
		lines = append(lines, m.Theme.Accent.On(m.Theme.Cut(s.title, m.width)))
		for _, b := range s.bindings {
			keys := b.Help().Key + strings.Repeat(" ", max(8-len(b.Help().Key), 1))
			for i, part := range strings.Split(ansi.Wrap(b.Help().Desc, max(m.width-12, 8), ""), "\n") {
				if i > 0 {
					keys = strings.Repeat(" ", 8)
				}
				lines = append(lines, m.Theme.Cut("  "+keys+" "+part, m.width))
			}
		}
		lines = append(lines, "")
	}
	lines = append(lines, m.Theme.Accent.On(m.Theme.Cut("States", m.width)))
	for _, state := range []view.State{
		view.Waiting, view.Open, view.Failed, view.Timeout, view.Cycle, view.Available, view.Held, view.Ready, view.Full, view.Paused, view.Unseen, view.Deleting,
	} {
		lines = append(lines, m.Theme.Cut("  "+m.Theme.State(state, 12)+view.Meaning(state), m.width))
	}
	return lines
}
