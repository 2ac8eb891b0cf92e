// Package tui is the live dashboard: a Bubble Tea program that shows a view.World as it changes. Update and View are
// pure but for what was handed in: the feed of news, the cluster to act on, and the clock.
//
// model.go has the state and what changes it, draw.go the frame, overview.go, details.go, dialog.go and namespaces.go
// one screen each.
package tui

import (
	"context"
	"fmt"
	"time"

	"github.com/charmbracelet/bubbles/key"
	tea "github.com/charmbracelet/bubbletea"

	"github.com/LogicIQ/konductor/plugins/konductor/frame"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// Feed brings news.
type Feed interface {
	// Changed gets a value when there is news to take, and is closed by Close.
	Changed() <-chan struct{}
	// Take returns what is new since the last time.
	Take() view.News
	// Behind follows the Pods and Jobs of a namespace too; of none when it is empty.
	Behind(namespace string)
	// Close ends the feed.
	Close()
}

// Cluster is what the dashboard looks at and acts on.
type Cluster interface {
	// Follow begins to follow a namespace; all when it is empty.
	Follow(namespace string) (Feed, error)
	// Namespaces returns the namespaces that there are.
	Namespaces(ctx context.Context) ([]string, error)
	// May asks the API server whether we have a right.
	May(ctx context.Context, right view.Right) (bool, error)
	// Run runs a command line of this program and returns what it says.
	Run(ctx context.Context, args []string) (string, error)
	// CommandLine returns a command line as it is typed.
	CommandLine(args []string) string
}

// Options are what a Model is made of.
type Options struct {
	Cluster Cluster
	// Feed follows Namespace already, and First is what it brought so far.
	Feed      Feed
	First     view.News
	Namespace string
	// Context is the name of the cluster for people.
	Context string
	Theme   frame.Theme
	// Clock returns the present time of this machine.
	Clock func() time.Time
	// Self is the name under which this machine takes part.
	Self string
}

// screen is what is shown.
type screen int

const (
	overview screen = iota
	details
	yamlText
	helpText
	namespaces
)

// Model is the state of the dashboard.
type Model struct {
	Options
	ctx    context.Context
	keys   keys
	width  int
	height int
	now    time.Time // of the API server's clock

	world *view.World
	rows  []*view.Row // filtered and sorted
	tally view.Tally
	table frame.Table
	order view.Order

	screen   screen
	from     screen // where help and YAML were asked for
	selected view.Ref
	cursor   int
	top      int
	pager    pager

	filter    input
	filtering bool
	dialog    *dialog
	chooser   chooser
	notice    notice
}

// notice is what the last line says instead of the keys.
type notice struct {
	text  string
	bad   bool
	until time.Time
}

// New returns a dashboard. The requests that it makes end with ctx.
func New(ctx context.Context, o Options) *Model {
	m := &Model{Options: o, ctx: ctx, keys: newKeys(), world: view.NewWorld(), order: view.ByKind, width: 80, height: 24}
	m.world.Apply(o.First)
	m.tell()
	m.arrange()
	return m
}

// Close ends what the dashboard has begun.
func (m *Model) Close() { m.Feed.Close() }

type (
	tick struct{}
	// news came from a feed; of one that is not followed any more it is ignored.
	news struct {
		feed Feed
		view.News
	}
	followed struct {
		namespace string
		feed      Feed
		err       error
	}
)

// Init begins to wait for news and for the clock.
func (m *Model) Init() tea.Cmd { return tea.Batch(await(m.Feed), nextTick()) }

func await(feed Feed) tea.Cmd {
	return func() tea.Msg {
		if _, ok := <-feed.Changed(); !ok {
			return nil
		}
		return news{feed, feed.Take()}
	}
}

func nextTick() tea.Cmd {
	return tea.Tick(time.Second, func(time.Time) tea.Msg { return tick{} })
}

// Update takes in what happened.
func (m *Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
		m.arrange()
	case tick:
		m.tell()
		return m, nextTick()
	case news:
		return m, m.hear(msg)
	case followed:
		return m, m.follow(msg)
	case named:
		m.chooser.named(msg)
	case permitted:
		m.dialog.permitted(msg)
	case ran:
		m.ran(msg)
	case tea.KeyMsg:
		return m, m.pressEach(msg)
	}
	return m, nil
}

// pressEach takes in keys one by one: those that were typed fast, or came over a slow line, come as one message.
func (m *Model) pressEach(msg tea.KeyMsg) tea.Cmd {
	if msg.Type != tea.KeyRunes || msg.Paste || len(msg.Runes) < 2 {
		return m.press(msg)
	}
	var commands []tea.Cmd
	for _, r := range msg.Runes {
		commands = append(commands, m.press(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}, Alt: msg.Alt}))
	}
	return tea.Batch(commands...)
}

// tell notes what time it is.
func (m *Model) tell() {
	m.now = m.Clock().Add(m.world.Skew())
	m.refreshPager()
}

func (m *Model) hear(n news) tea.Cmd {
	if n.feed != m.Feed {
		return nil
	}
	m.world.Apply(n.News)
	m.tell()
	m.arrange()
	return await(m.Feed)
}

// arrange puts the rows in order, and keeps the selected one selected.
func (m *Model) arrange() {
	all := m.world.Rows()
	m.tally = view.Count(all)
	m.rows = view.Filter(all, m.filter.text)
	view.Sort(m.rows, m.order)
	m.table = frame.NewTable(m.Theme, m.rows, m.width, m.Namespace == "")
	for i, r := range m.rows {
		if r.Ref == m.selected {
			m.cursor = i
			break
		}
	}
	m.moveTo(m.cursor)
	m.refreshPager()
}

// moveTo selects the row at that place, or the nearest that there is.
func (m *Model) moveTo(place int) {
	m.cursor = max(min(place, len(m.rows)-1), 0)
	if m.cursor < len(m.rows) && m.screen == overview {
		m.selected = m.rows[m.cursor].Ref
	}
	visible := max(m.listHeight(), 1)
	m.top = max(min(m.top, m.cursor, len(m.rows)-visible), m.cursor-visible+1, 0)
}

func (m *Model) say(bad bool, format string, args ...any) {
	const stays = 5 * time.Second
	m.notice = notice{text: fmt.Sprintf(format, args...), bad: bad, until: m.now.Add(stays)}
}

// press takes in a key.
func (m *Model) press(msg tea.KeyMsg) tea.Cmd {
	switch {
	case key.Matches(msg, m.keys.interrupt):
		return tea.Quit
	case key.Matches(msg, m.keys.suspend):
		return tea.Suspend
	case m.dialog != nil:
		return m.pressDialog(msg)
	case m.filtering:
		m.pressFilter(msg)
		return nil
	case m.screen == namespaces:
		return m.pressNamespaces(msg)
	case msg.Paste:
		// Nobody means a pasted text to be commands.
		return nil
	}
	m.notice = notice{}
	switch {
	case key.Matches(msg, m.keys.quit):
		return tea.Quit
	case key.Matches(msg, m.keys.help):
		if m.screen != helpText {
			m.from = m.screen
			m.show(helpText)
		}
		return nil
	}
	if m.screen == overview {
		return m.pressOverview(msg)
	}
	return m.pressPager(msg)
}

// show changes the screen.
func (m *Model) show(s screen) {
	m.screen = s
	m.pager = pager{}
	m.refreshPager()
}

// act asks to confirm what a key stands for, if it is an action on the selected object.
func (m *Model) act(msg tea.KeyMsg) tea.Cmd {
	row := m.world.Row(m.selected)
	if row == nil {
		return nil
	}
	for _, verb := range []string{view.Arrive, view.Release, view.Break, view.Resize, view.Delete} {
		if !key.Matches(msg, m.keys.action(verb)) {
			continue
		}
		action, ok := row.Action(verb, m.Self)
		if !ok {
			m.say(true, "%s: there is nothing to %s", row, verb)
			return nil
		}
		if action.Impossible != "" {
			m.say(true, "%s", action.Impossible)
			return nil
		}
		return m.confirm(action)
	}
	return nil
}

// switchTo begins to follow another namespace.
func (m *Model) switchTo(namespace string) tea.Cmd {
	m.show(overview)
	if namespace == m.Namespace {
		return nil
	}
	return func() tea.Msg {
		feed, err := m.Cluster.Follow(namespace)
		return followed{namespace, feed, err}
	}
}

func (m *Model) follow(f followed) tea.Cmd {
	if f.err != nil {
		m.say(true, "%v", f.err)
		return nil
	}
	before := m.Feed
	m.Feed, m.Namespace, m.world = f.feed, f.namespace, view.NewWorld()
	m.cursor, m.top, m.selected = 0, 0, view.Ref{}
	m.show(overview)
	m.tell()
	m.arrange()
	return tea.Batch(await(m.Feed), func() tea.Msg { before.Close(); return nil })
}
