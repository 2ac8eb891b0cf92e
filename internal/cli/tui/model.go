// Package tui is the live dashboard: a Bubble Tea program that shows a view.Store as it changes. Update and View are pure
// except for what was passed in: the feed of deltas, the cluster to act on, and the clock.
//
// model.go has the state and its updates, draw.go the frame. overview.go, pager.go, dialog.go and namespaces.go have one
// screen each.
package tui

import (
	"context"
	"fmt"
	"time"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"

	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/view"
)

// Feed delivers deltas.
type Feed interface {
	// Changed receives a value when there is a delta to drain, and is closed by Close.
	Changed() <-chan struct{}
	// Drain returns the changes since the last call.
	Drain() view.Delta
	// WatchWorkloads also watches the Pods and Jobs of a namespace; empty: of none.
	WatchWorkloads(namespace string)
	// Close ends the feed.
	Close()
}

// Cluster is the cluster that the dashboard reads and changes.
type Cluster interface {
	// WatchNamespace starts to watch a namespace; empty: all.
	WatchNamespace(namespace string) (Feed, error)
	// ListNamespaces returns the names of all namespaces.
	ListNamespaces(ctx context.Context) ([]string, error)
	// IsAllowed asks the API server whether we have a permission.
	IsAllowed(ctx context.Context, right view.Permission) (bool, error)
	// RunCommand runs a command line of this program and returns its output.
	RunCommand(ctx context.Context, args []string) (string, error)
	// CommandLine returns a command line as a user would type it.
	CommandLine(args []string) string
}

// Options are the inputs of a Model.
type Options struct {
	Cluster Cluster
	// Feed watches Namespace already, and Initial is what it has delivered so far.
	Feed      Feed
	Initial   view.Delta
	Namespace string
	// Context is the displayed name of the cluster.
	Context string
	Theme   render.Theme
	// Clock returns the current time of this machine.
	Clock func() time.Time
	// OwnHolder is this machine's holder name.
	OwnHolder string
}

// screen is the displayed screen.
type screen int

const (
	screenOverview screen = iota
	screenDetails
	screenYAML
	screenHelp
	screenNamespaces
)

// Model is the state of the dashboard.
type Model struct {
	Options
	ctx        context.Context
	keys       keyMap
	width      int
	height     int
	serverTime time.Time // on the API server's clock

	store     *view.Store
	rows      []*view.Row // filtered and sorted
	totals    view.Totals
	table     render.Table
	sortOrder view.SortOrder

	screen         screen
	previousScreen screen // where help and YAML return to
	selected       view.Ref
	cursor         int
	firstVisible   int
	pager          pager

	filter          textInput
	filtering       bool
	dialog          *confirmDialog
	namespacePicker namespacePicker
	notice          notice
}

// notice is the message that the last line shows instead of the key hints.
type notice struct {
	text    string
	isError bool
	until   time.Time
}

// New returns a dashboard. Its requests end with ctx.
func New(ctx context.Context, o Options) *Model {
	m := &Model{Options: o, ctx: ctx, keys: newKeyMap(), store: view.NewStore(), sortOrder: view.ByKind, width: 80, height: 24}
	m.store.Apply(o.Initial)
	m.updateTime()
	m.refreshRows()
	return m
}

// Close closes the feed.
func (m *Model) Close() { m.Feed.Close() }

type (
	tickMsg struct{}
	// deltaMsg is a delta of a feed; it is ignored if the feed is no longer the current one.
	deltaMsg struct {
		feed Feed
		view.Delta
	}
	namespaceWatchedMsg struct {
		namespace string
		feed      Feed
		err       error
	}
)

// Init starts to wait for deltas and for the clock.
func (m *Model) Init() tea.Cmd { return tea.Batch(waitForDelta(m.Feed), nextTick()) }

func waitForDelta(feed Feed) tea.Cmd {
	return func() tea.Msg {
		if _, ok := <-feed.Changed(); !ok {
			return nil
		}
		return deltaMsg{feed, feed.Drain()}
	}
}

func nextTick() tea.Cmd {
	return tea.Tick(time.Second, func(time.Time) tea.Msg { return tickMsg{} })
}

// Update handles a message.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.refreshRows()
	case tickMsg:
		m.updateTime()
		return m, nextTick()
	case deltaMsg:
		return m, m.handleDelta(msg)
	case namespaceWatchedMsg:
		return m, m.handleNamespaceWatched(msg)
	case namespacesMsg:
		m.namespacePicker.setNamespaces(msg)
	case permissionMsg:
		m.dialog.handlePermission(msg)
	case commandFinishedMsg:
		m.handleCommandFinished(msg)
	case tea.KeyMsg:
		return m, m.handleKeys(msg)
	}
	return m, nil
}

// handleKeys handles keys one by one: keys that were typed fast, or came over a slow connection, arrive as one message.
func (m *Model) handleKeys(msg tea.KeyMsg) tea.Cmd {
	if msg.Type != tea.KeyRunes || msg.Paste || len(msg.Runes) < 2 {
		return m.handleKey(msg)
	}
	var commands []tea.Cmd
	for _, r := range msg.Runes {
		commands = append(commands, m.handleKey(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}, Alt: msg.Alt}))
	}
	return tea.Batch(commands...)
}

// updateTime updates the time.
func (m *Model) updateTime() {
	m.serverTime = m.Clock().Add(m.store.ClockSkew())
	m.refreshPager()
}

func (m *Model) handleDelta(n deltaMsg) tea.Cmd {
	if n.feed != m.Feed {
		return nil
	}
	m.store.Apply(n.Delta)
	m.updateTime()
	m.refreshRows()
	return waitForDelta(m.Feed)
}

// refreshRows filters and sorts the rows, and keeps the selection.
func (m *Model) refreshRows() {
	all := m.store.Rows()
	m.totals = view.CountRows(all)
	m.rows = view.Filter(all, m.filter.text)
	view.Sort(m.rows, m.sortOrder)
	m.table = render.NewTable(m.Theme, m.rows, m.width, m.Namespace == "")
	for i, r := range m.rows {
		if r.Ref == m.selected {
			m.cursor = i
			break
		}
	}
	m.selectRow(m.cursor)
	m.refreshPager()
}

// selectRow selects the row at an index, or the nearest one.
func (m *Model) selectRow(index int) {
	m.cursor = max(min(index, len(m.rows)-1), 0)
	if m.cursor < len(m.rows) && m.screen == screenOverview {
		m.selected = m.rows[m.cursor].Ref
	}
	visible := max(m.listHeight(), 1)
	m.firstVisible = max(min(m.firstVisible, m.cursor, len(m.rows)-visible), m.cursor-visible+1, 0)
}

func (m *Model) showNotice(bad bool, format string, args ...any) {
	const stays = 5 * time.Second
	m.notice = notice{text: fmt.Sprintf(format, args...), isError: bad, until: m.serverTime.Add(stays)}
}

// handleKey handles a key.
func (m *Model) handleKey(msg tea.KeyMsg) tea.Cmd {
	switch {
	case key.Matches(msg, m.keys.interrupt):
		return tea.Quit
	case key.Matches(msg, m.keys.suspend):
		return tea.Suspend
	case m.dialog != nil:
		return m.handleDialogKey(msg)
	case m.filtering:
		m.handleFilterKey(msg)
		return nil
	case m.screen == screenNamespaces:
		return m.handleNamespaceKey(msg)
	case msg.Paste:
		// Pasted text is never meant as commands.
		return nil
	}
	m.notice = notice{}
	switch {
	case key.Matches(msg, m.keys.quit):
		return tea.Quit
	case key.Matches(msg, m.keys.help):
		if m.screen != screenHelp {
			m.previousScreen = m.screen
			m.showScreen(screenHelp)
		}
		return nil
	}
	if m.screen == screenOverview {
		return m.handleOverviewKey(msg)
	}
	return m.handlePagerKey(msg)
}

// showScreen changes the screen.
func (m *Model) showScreen(s screen) {
	m.screen = s
	m.pager = pager{}
	m.refreshPager()
}

// handleActionKey opens a dialog if the key is an action on the selected object.
func (m *Model) handleActionKey(msg tea.KeyMsg) tea.Cmd {
	row := m.store.Row(m.selected)
	if row == nil {
		return nil
	}
	for _, verb := range []string{view.VerbArrive, view.VerbRelease, view.VerbBreak, view.VerbResize, view.VerbDelete} {
		if !key.Matches(msg, m.keys.actionBinding(verb)) {
			continue
		}
		action, ok := row.NewAction(verb, m.OwnHolder)
		if !ok {
			m.showNotice(true, "%s doesn't apply to %s", verb, row)
			return nil
		}
		if action.UnavailableReason != "" {
			m.showNotice(true, "%s", action.UnavailableReason)
			return nil
		}
		return m.openDialog(action)
	}
	return nil
}

// switchNamespace starts to watch another namespace.
func (m *Model) switchNamespace(namespace string) tea.Cmd {
	m.showScreen(screenOverview)
	if namespace == m.Namespace {
		return nil
	}
	return func() tea.Msg {
		feed, err := m.Cluster.WatchNamespace(namespace)
		return namespaceWatchedMsg{namespace, feed, err}
	}
}

func (m *Model) handleNamespaceWatched(f namespaceWatchedMsg) tea.Cmd {
	if f.err != nil {
		m.showNotice(true, "%v", f.err)
		return nil
	}
	before := m.Feed
	m.Feed, m.Namespace, m.store = f.feed, f.namespace, view.NewStore()
	m.cursor, m.firstVisible, m.selected = 0, 0, view.Ref{}
	m.showScreen(screenOverview)
	m.updateTime()
	m.refreshRows()
	return tea.Batch(waitForDelta(m.Feed), func() tea.Msg { before.Close(); return nil })
}
