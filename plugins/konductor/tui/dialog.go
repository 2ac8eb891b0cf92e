package tui

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/x/ansi"

	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// dialog asks to confirm an action, and shows how it went if it went wrong.
type dialog struct {
	action  view.Action
	given   input
	checked bool   // the API server has said whether we have the right
	refusal string // why it is not done; empty: it can be
	running context.CancelFunc
	failure string
}

type (
	permitted struct {
		dialog *dialog
		ok     bool
		err    error
	}
	ran struct {
		dialog *dialog
		said   string
		err    error
	}
)

// confirm opens a dialog, and asks the API server whether we have the right while people read.
func (m *Model) confirm(action view.Action) tea.Cmd {
	d := &dialog{action: action, given: input{action.Given}}
	m.dialog = d
	return func() tea.Msg {
		ok, err := m.Cluster.May(m.ctx, action.Right)
		return permitted{d, ok, err}
	}
}

// permitted takes in what the API server says about the right. When it can't be asked, the action itself will tell.
func (d *dialog) permitted(p permitted) {
	if d == nil || d != p.dialog {
		return
	}
	d.checked = true
	if p.err == nil && !p.ok {
		r := d.action.Right
		d.refusal = fmt.Sprintf("you may not %s %s in namespace %s: ask whoever manages its roles for that right", r.Verb, r.Resource, r.Namespace)
	}
}

// wrong says why it can't be confirmed yet; empty: it can.
func (d *dialog) wrong() string {
	switch {
	case d.refusal != "":
		return d.refusal
	case d.failure != "":
		return d.failure
	case d.action.Asks != "":
		return d.action.Check(d.given.text)
	default:
		return ""
	}
}

func (m *Model) pressDialog(msg tea.KeyMsg) tea.Cmd {
	d := m.dialog
	over := d.refusal != "" || d.failure != ""
	typing := d.action.Asks != "" && !over && d.running == nil
	switch {
	case key.Matches(msg, m.keys.back), !typing && key.Matches(msg, m.keys.no), over && key.Matches(msg, m.keys.accept):
		if d.running != nil {
			d.running()
			m.say(true, "%s %s: broken off, see how it stands", d.action.Verb, d.action.Ref)
		}
		m.dialog = nil
	case over, d.running != nil:
	case typing && key.Matches(msg, m.keys.accept), !typing && !msg.Paste && key.Matches(msg, m.keys.yes):
		return m.runConfirmed()
	case typing:
		d.given.press(msg)
	}
	return nil
}

// runConfirmed runs what was confirmed, if it is still what it was.
func (m *Model) runConfirmed() tea.Cmd {
	d := m.dialog
	if !d.checked || d.wrong() != "" || !m.dialogFits() {
		return nil
	}
	if overtaken := d.action.Overtaken(m.world.Row(d.action.Ref)); overtaken != "" {
		d.failure = overtaken + ": nothing was done"
		return nil
	}
	ctx, cancel := context.WithCancel(m.ctx)
	d.running = cancel
	args := d.action.Args(d.given.text)
	return func() tea.Msg {
		defer cancel()
		said, err := m.Cluster.Run(ctx, args)
		return ran{d, said, err}
	}
}

// ran takes in how it went.
func (m *Model) ran(r ran) {
	failure := ""
	if r.err != nil {
		failure = strings.TrimSpace(r.err.Error())
	}
	switch {
	case r.dialog != m.dialog:
		// It was broken off, and people have been told.
		if r.err != nil && !errors.Is(r.err, context.Canceled) {
			m.say(true, "%s", failure)
		}
	case r.err != nil:
		r.dialog.failure, r.dialog.running = failure, nil
	default:
		m.dialog = nil
		m.say(false, "%s", strings.Join(strings.Fields(r.said), " "))
	}
}

// dialogLines draws the dialog. The command is shown whole or not at all.
func (m *Model) dialogLines() []string {
	d, t := m.dialog, &m.Theme
	width := max(m.width-4, 1)
	wrap := func(text string) []string { return strings.Split(ansi.Wrap(t.Clean(text), width, ""), "\n") }
	head := []string{t.Accent.On(t.Cut(d.action.Verb+" "+d.action.Ref.String(), width))}
	if d.action.Asks != "" && d.refusal == "" && d.failure == "" {
		head = append(head, t.Cut(d.action.Asks+": "+t.Clean(d.given.text), width-1)+t.Busy.On(t.Cursor()))
	}
	command := d.commandLines(m, width)
	var tail []string
	wrong := d.wrong()
	switch {
	case wrong != "":
		for _, line := range wrap(wrong) {
			tail = append(tail, t.Bad.On(line))
		}
	case d.running != nil:
		tail = []string{t.Busy.On("running" + t.Ellipsis())}
	case !d.checked:
		tail = []string{t.Dim.On("asking whether you may" + t.Ellipsis())}
	default:
		for _, line := range wrap(d.action.Warning) {
			tail = append(tail, t.Wait.On(line))
		}
	}
	lines := slices.Concat(head, command)
	if room := m.bodyHeight() - len(lines); room < len(tail) && room >= 0 {
		tail = tail[:room]
	}
	if m.bodyHeight()-len(lines)-len(tail) >= 3 {
		// There is room to breathe.
		lines = slices.Concat([]string{""}, head, []string{""}, command, []string{""})
	}
	lines = append(lines, tail...)
	for i, line := range lines {
		lines[i] = "  " + line
	}
	return lines
}

func (d *dialog) commandLines(m *Model, width int) []string {
	text := m.Theme.Clean("$ " + m.Cluster.CommandLine(d.action.Args(d.given.text)))
	return strings.Split(ansi.Hardwrap(text, width, true), "\n")
}

// dialogFits reports whether the whole command can be seen.
func (m *Model) dialogFits() bool {
	lines := 1 + len(m.dialog.commandLines(m, max(m.width-4, 1)))
	if m.dialog.action.Asks != "" {
		lines++
	}
	return lines <= m.bodyHeight()
}
