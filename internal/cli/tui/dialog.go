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

	"github.com/LogicIQ/konductor/internal/view"
)

// confirmDialog asks to confirm an action, and shows the error if it failed.
type confirmDialog struct {
	action            view.Action
	answer            textInput
	permissionChecked bool   // the API server has answered whether we have the permission
	deniedText        string // why the action is denied; empty: it is not
	cancelRun         context.CancelFunc
	failureText       string
}

type (
	permissionMsg struct {
		dialog  *confirmDialog
		allowed bool
		err     error
	}
	commandFinishedMsg struct {
		dialog *confirmDialog
		output string
		err    error
	}
)

// openDialog opens a dialog, and meanwhile asks the API server whether we have the permission.
func (m *Model) openDialog(action view.Action) tea.Cmd {
	d := &confirmDialog{action: action, answer: textInput{action.DefaultInput}}
	m.dialog = d
	return func() tea.Msg {
		ok, err := m.Cluster.IsAllowed(m.ctx, action.Permission)
		return permissionMsg{d, ok, err}
	}
}

// handlePermission stores the answer about the permission. If there is no answer, the action itself is tried.
func (d *confirmDialog) handlePermission(p permissionMsg) {
	if d == nil || d != p.dialog {
		return
	}
	d.permissionChecked = true
	if p.err == nil && !p.allowed {
		r := d.action.Permission
		d.deniedText = fmt.Sprintf("you can't %s %s in namespace %s: ask an administrator for access", r.Verb, r.Resource, r.Namespace)
	}
}

// problemText says why the action can't be confirmed yet; empty: it can.
func (d *confirmDialog) problemText() string {
	switch {
	case d.deniedText != "":
		return d.deniedText
	case d.failureText != "":
		return d.failureText
	case d.action.Prompt != "":
		return d.action.ValidateInput(d.answer.text)
	default:
		return ""
	}
}

func (m *Model) handleDialogKey(msg tea.KeyMsg) tea.Cmd {
	d := m.dialog
	isFinal := d.deniedText != "" || d.failureText != ""
	typing := d.action.Prompt != "" && !isFinal && d.cancelRun == nil
	switch {
	case key.Matches(msg, m.keys.back), !typing && key.Matches(msg, m.keys.no), isFinal && key.Matches(msg, m.keys.accept):
		if d.cancelRun != nil {
			d.cancelRun()
			m.showNotice(true, "%s %s: canceled while running; check its status", d.action.Verb, d.action.Ref)
		}
		m.dialog = nil
	case isFinal, d.cancelRun != nil:
	case typing && key.Matches(msg, m.keys.accept), !typing && !msg.Paste && key.Matches(msg, m.keys.yes):
		return m.runConfirmedAction()
	case typing:
		d.answer.handleKey(msg)
	}
	return nil
}

// runConfirmedAction runs the confirmed action, unless the object has changed so that it doesn't apply any more.
func (m *Model) runConfirmedAction() tea.Cmd {
	d := m.dialog
	if !d.permissionChecked || d.problemText() != "" || !m.commandFits() {
		return nil
	}
	if staleReason := d.action.StaleReason(m.store.Row(d.action.Ref)); staleReason != "" {
		d.failureText = staleReason + ": nothing was done"
		return nil
	}
	ctx, cancel := context.WithCancel(m.ctx)
	d.cancelRun = cancel
	args := d.action.CommandArgs(d.answer.text)
	return func() tea.Msg {
		defer cancel()
		said, err := m.Cluster.RunCommand(ctx, args)
		return commandFinishedMsg{d, said, err}
	}
}

// handleCommandFinished shows the result of the action.
func (m *Model) handleCommandFinished(r commandFinishedMsg) {
	failure := ""
	if r.err != nil {
		failure = strings.TrimSpace(r.err.Error())
	}
	switch {
	case r.dialog != m.dialog:
		// The action was canceled, and the user has been notified.
		if r.err != nil && !errors.Is(r.err, context.Canceled) {
			m.showNotice(true, "%s", failure)
		}
	case r.err != nil:
		r.dialog.failureText, r.dialog.cancelRun = failure, nil
	default:
		m.dialog = nil
		m.showNotice(false, "%s", strings.Join(strings.Fields(r.output), " "))
	}
}

// dialogLines draws the dialog. The command is shown completely or not at all.
func (m *Model) dialogLines() []string {
	d, t := m.dialog, &m.Theme
	width := max(m.width-4, 1)
	wrap := func(text string) []string { return strings.Split(ansi.Wrap(t.Sanitize(text), width, ""), "\n") }
	head := []string{t.Accent.Render(t.Truncate(d.action.Verb+" "+d.action.Ref.String(), width))}
	if d.action.Prompt != "" && d.deniedText == "" && d.failureText == "" {
		head = append(head, t.Truncate(d.action.Prompt+": "+t.Sanitize(d.answer.text), width-1)+t.Active.Render(t.TextCursor()))
	}
	command := d.commandLines(m, width)
	var tail []string
	wrong := d.problemText()
	switch {
	case wrong != "":
		for _, line := range wrap(wrong) {
			tail = append(tail, t.Error.Render(line))
		}
	case d.cancelRun != nil:
		tail = []string{t.Active.Render("running" + t.Ellipsis())}
	case !d.permissionChecked:
		tail = []string{t.Muted.Render("checking permissions" + t.Ellipsis())}
	default:
		for _, line := range wrap(d.action.Warning) {
			tail = append(tail, t.Warning.Render(line))
		}
	}
	lines := slices.Concat(head, command)
	if room := m.bodyHeight() - len(lines); room < len(tail) && room >= 0 {
		tail = tail[:room]
	}
	if m.bodyHeight()-len(lines)-len(tail) >= 3 {
		// There is room for blank lines.
		lines = slices.Concat([]string{""}, head, []string{""}, command, []string{""})
	}
	lines = append(lines, tail...)
	for i, line := range lines {
		lines[i] = "  " + line
	}
	return lines
}

func (d *confirmDialog) commandLines(m *Model, width int) []string {
	text := m.Theme.Sanitize("$ " + m.Cluster.CommandLine(d.action.CommandArgs(d.answer.text)))
	return strings.Split(ansi.Hardwrap(text, width, true), "\n")
}

// commandFits reports whether the whole command is visible.
func (m *Model) commandFits() bool {
	lines := 1 + len(m.dialog.commandLines(m, max(m.width-4, 1)))
	if m.dialog.action.Prompt != "" {
		lines++
	}
	return lines <= m.bodyHeight()
}
