package tui

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/charmbracelet/lipgloss"
	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"github.com/muesli/termenv"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/view"
	"github.com/LogicIQ/konductor/internal/view/viewtest"
)

var update = flag.Bool("update", false, "write the golden frames anew: look at every one that changes")

// fakeFeed is a feed whose deltas the test delivers itself.
type fakeFeed struct {
	workloadNamespaces []string
	closed             bool
}

func (f *fakeFeed) Changed() <-chan struct{} { return nil }
func (f *fakeFeed) Drain() view.Delta        { return view.Delta{} }
func (f *fakeFeed) WatchWorkloads(namespace string) {
	f.workloadNamespaces = append(f.workloadNamespaces, namespace)
}
func (f *fakeFeed) Close() { f.closed = true }

// fakeCluster returns the answers that a test sets.
type fakeCluster struct {
	forbidden         bool
	isAllowedErr      error
	commands          [][]string
	runErr            error
	watchedNamespaces []string
	namespaces        []string
}

func (c *fakeCluster) WatchNamespace(namespace string) (Feed, error) {
	c.watchedNamespaces = append(c.watchedNamespaces, namespace)
	return &fakeFeed{}, nil
}
func (c *fakeCluster) ListNamespaces(context.Context) ([]string, error) {
	if c.namespaces == nil {
		return nil, errors.New("forbidden")
	}
	return c.namespaces, nil
}
func (c *fakeCluster) IsAllowed(context.Context, view.Permission) (bool, error) {
	return !c.forbidden, c.isAllowedErr
}
func (c *fakeCluster) RunCommand(_ context.Context, args []string) (string, error) {
	c.commands = append(c.commands, args)
	return strings.Join(args[:3], " ") + " done\n", c.runErr
}
func (c *fakeCluster) CommandLine(args []string) string {
	return view.CommandLine("kubectl konductor", args)
}

// testDashboard is a dashboard and its fakes.
type testDashboard struct {
	*Model
	t       *testing.T
	cluster *fakeCluster
	feed    *fakeFeed
}

func newTestDashboard(t *testing.T, width, height int, objects ...metav1.Object) *testDashboard {
	t.Helper()
	s := &testDashboard{t: t, cluster: &fakeCluster{}, feed: &fakeFeed{}}
	s.Model = New(t.Context(), Options{
		Cluster: s.cluster, Feed: s.feed, Initial: viewtest.FullDelta(objects...), Namespace: "etl", Context: "prod", Theme: render.NewPlainTheme(false),
		Clock: viewtest.Now, OwnHolder: "laptop",
	})
	s.send(tea.WindowSizeMsg{Width: width, Height: height})
	return s
}

// send sends the dashboard a message, and then the messages that result from it.
func (s *testDashboard) send(msg tea.Msg) {
	s.t.Helper()
	_, cmd := s.Update(msg)
	for cmd != nil {
		next := cmd()
		switch next.(type) {
		case nil, tea.BatchMsg, tea.QuitMsg:
			return
		}
		_, cmd = s.Update(next)
	}
}

// typeKeys types keys: names of keys, or text.
func (s *testDashboard) typeKeys(keys ...string) *testDashboard {
	s.t.Helper()
	special := map[string]tea.KeyType{
		"enter": tea.KeyEnter, "esc": tea.KeyEsc, "ctrl+d": tea.KeyCtrlD, "ctrl+c": tea.KeyCtrlC, "down": tea.KeyDown, "up": tea.KeyUp,
		"pgdown": tea.KeyPgDown, "backspace": tea.KeyBackspace, "ctrl+u": tea.KeyCtrlU, "ctrl+w": tea.KeyCtrlW, "ctrl+f": tea.KeyCtrlF, "ctrl+b": tea.KeyCtrlB,
	}
	for _, k := range keys {
		if kind, ok := special[k]; ok {
			s.send(tea.KeyMsg{Type: kind})
			continue
		}
		for _, r := range k {
			s.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune{r}})
		}
	}
	return s
}

// receive delivers a delta.
func (s *testDashboard) receive(n view.Delta) *testDashboard {
	s.Update(deltaMsg{s.Feed, n})
	return s
}

// selectObject moves to the row of an object.
func (s *testDashboard) selectObject(ref string) *testDashboard {
	s.t.Helper()
	s.typeKeys("g")
	for range s.rows {
		if s.selected.String() == ref {
			return s
		}
		s.typeKeys("j")
	}
	s.t.Fatalf("there is no row %s", ref)
	return s
}

// expectFits fails the test unless the frame fills the terminal exactly.
func (s *testDashboard) expectFits() *testDashboard {
	s.t.Helper()
	lines := strings.Split(s.View(), "\n")
	if len(lines) != s.height {
		s.t.Errorf("%d lines in a terminal of %d:\n%s", len(lines), s.height, s.View())
	}
	for _, line := range lines {
		if w := ansi.StringWidth(line); w > s.width {
			s.t.Errorf("%d columns in a terminal of %d: %q", w, s.width, line)
		}
	}
	return s
}

// expectText fails the test unless the frame contains all of these texts.
func (s *testDashboard) expectText(texts ...string) *testDashboard {
	s.t.Helper()
	s.expectFits()
	for _, text := range texts {
		if !strings.Contains(s.View(), text) {
			s.t.Errorf("the frame lacks %q:\n%s", text, s.View())
		}
	}
	return s
}

func (s *testDashboard) expectNoText(text string) *testDashboard {
	s.t.Helper()
	if strings.Contains(s.View(), text) {
		s.t.Errorf("the frame has %q:\n%s", text, s.View())
	}
	return s
}

// expectGolden compares the frame with a golden file, which a person has checked.
func (s *testDashboard) expectGolden(name string) {
	s.t.Helper()
	s.expectFits()
	file := filepath.Join("testdata", strings.ReplaceAll(name, " ", "-")+".txt")
	got := s.View() + "\n"
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			s.t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		s.t.Errorf("%s (-want +got):\n%s", file, diff)
	}
}

// terminalSizes are terminals from tiny to very wide.
var terminalSizes = [][2]int{{40, 10}, {80, 24}, {120, 40}, {220, 50}}

func TestGoldenFrames(t *testing.T) {
	screens := map[string]func(*testDashboard){
		"overview":       func(*testDashboard) {},
		"barrier":        func(s *testDashboard) { s.selectObject("barrier/extracts-done").typeKeys("enter") },
		"failed barrier": func(s *testDashboard) { s.selectObject("barrier/uploads").typeKeys("enter") },
		"gate":           func(s *testDashboard) { s.selectObject("gate/dependencies-ready").typeKeys("d") },
		"lease":          func(s *testDashboard) { s.selectObject("lease/db-migration").typeKeys("enter") },
		"semaphore":      func(s *testDashboard) { s.selectObject("semaphore/db-connections").typeKeys("enter") },
		"yaml":           func(s *testDashboard) { s.selectObject("lease/db-migration").typeKeys("y") },
		"help":           func(s *testDashboard) { s.typeKeys("?") },
		"delete":         func(s *testDashboard) { s.selectObject("lease/db-migration").typeKeys("ctrl+d") },
		"break":          func(s *testDashboard) { s.selectObject("lease/db-migration").typeKeys("b") },
		"arrive":         func(s *testDashboard) { s.selectObject("barrier/extracts-done").typeKeys("a") },
		"refused": func(s *testDashboard) {
			s.cluster.forbidden = true
			s.selectObject("semaphore/api-calls").typeKeys("z")
		},
		"failure": func(s *testDashboard) {
			s.cluster.runErr = errors.New("lease.konductor.io/db-migration: laptop has no hold on lease/db-migration and is not queued")
			s.selectObject("lease/db-migration").typeKeys("r", "enter")
		},
		"namespaces": func(s *testDashboard) {
			s.cluster.namespaces = []string{"default", "etl", "reports", "kube-system"}
			s.typeKeys("n", "e")
		},
		"filter": func(s *testDashboard) { s.typeKeys("/", "waiting") },
		"sorted": func(s *testDashboard) { s.typeKeys("s", "j") },
		"reconnecting": func(s *testDashboard) {
			s.receive(view.Delta{Connection: view.Connection{Down: true, DownSince: viewtest.Now().Add(-12 * time.Second), LastError: "dial tcp 10.0.0.1:6443: connect: connection refused"}})
		},
	}
	for name, do := range screens {
		for _, size := range terminalSizes {
			name := fmt.Sprintf("%s %dx%d", name, size[0], size[1])
			t.Run(name, func(t *testing.T) {
				s := newTestDashboard(t, size[0], size[1], viewtest.PipelineObjects()...)
				do(s)
				s.expectGolden(name)
			})
		}
	}
}

func TestGoldenFrameEmpty(t *testing.T) {
	for _, size := range terminalSizes {
		name := fmt.Sprintf("nothing %dx%d", size[0], size[1])
		t.Run(name, func(t *testing.T) { newTestDashboard(t, size[0], size[1]).expectGolden(name) })
	}
}

func TestGoldenFrameThousandObjects(t *testing.T) {
	for _, size := range terminalSizes {
		name := fmt.Sprintf("a thousand %dx%d", size[0], size[1])
		t.Run(name, func(t *testing.T) {
			s := newTestDashboard(t, size[0], size[1], viewtest.ManyObjects(1000)...)
			s.Namespace = ""
			s.typeKeys("G", "k").expectGolden(name)
		})
	}
}

func TestGoldenFrameColors(t *testing.T) {
	for name, c := range map[string]struct {
		dark    bool
		profile termenv.Profile
	}{
		"dark":           {true, termenv.TrueColor},
		"light":          {false, termenv.TrueColor},
		"sixteen colors": {true, termenv.ANSI},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestDashboard(t, 120, 30, viewtest.PipelineObjects()...)
			r := lipgloss.NewRenderer(io.Discard)
			r.SetColorProfile(c.profile)
			r.SetHasDarkBackground(c.dark)
			s.Theme = render.NewTheme(r, false)
			s.refreshRows()
			s.expectGolden("colors " + name)
		})
	}
}

func TestASCIITheme(t *testing.T) {
	s := newTestDashboard(t, 80, 24, viewtest.PipelineObjects()...)
	s.Theme = render.NewPlainTheme(true)
	s.refreshRows()
	s.expectGolden("ascii 80x24")
	s.selectObject("barrier/extracts-done")
	for _, keys := range [][]string{{"enter"}, {"esc", "?"}, {"esc", "ctrl+d"}, {"esc", "n"}, {"esc", "/", "x"}} {
		s.typeKeys(keys...)
		if i := strings.IndexFunc(s.View(), func(r rune) bool { return r > '~' }); i >= 0 {
			t.Errorf("after %q there is %q:\n%s", keys, s.View()[i:i+4], s.View())
		}
	}
}

func TestScreensAtAllSizes(t *testing.T) {
	for name, keys := range map[string][]string{
		"the overview": {}, "details": {"enter"}, "yaml": {"y"}, "help": {"?"}, "a confirmation": {"ctrl+d"}, "an input": {"a"},
		"namespaces": {"n"}, "the filter": {"/", "e"}, "yaml of details": {"enter", "y"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestDashboard(t, 80, 24, viewtest.PipelineObjects()...).selectObject("barrier/extracts-done").typeKeys(keys...)
			for _, size := range [][2]int{{220, 50}, {40, 10}, {120, 40}, {20, 5}, {1, 1}, {300, 3}, {10, 100}, {59, 12}, {60, 12}, {99, 24}, {100, 24}, {80, 24}} {
				s.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
				s.expectFits()
			}
		})
	}
}

func TestControlCharactersAreSanitized(t *testing.T) {
	evil := "\x1b[2J\x1b]0;owned\x07evil\u202e\r\n" + strings.Repeat("名", 300)
	lease := viewtest.Lease("etl", "db", evil, time.Minute, 0)
	claim := viewtest.Claim("etl", konductorv1.KindLease, "db", evil, time.Minute, 0, false)
	event := viewtest.Event("etl", konductorv1.KindLease, "db", time.Minute, true, "Granted", evil)
	for _, size := range terminalSizes {
		s := newTestDashboard(t, size[0], size[1], lease, claim, event)
		for _, keys := range [][]string{nil, {"enter"}, {"y"}, {"esc", "esc", "b"}, {"esc", "r"}, {"esc", "ctrl+d"}} {
			s.typeKeys(keys...).expectFits()
			if i := strings.IndexAny(s.View(), "\x1b\x07\r\u202e"); i >= 0 {
				t.Errorf("after %q the frame has %q", keys, s.View()[i:min(i+12, len(s.View()))])
			}
		}
	}
}

func TestSelectedRowStaysVisible(t *testing.T) {
	s := newTestDashboard(t, 80, 24, viewtest.ManyObjects(1000)...)
	visible := func() {
		t.Helper()
		if s.cursor < s.firstVisible || s.cursor >= s.firstVisible+s.listHeight() {
			t.Fatalf("row %d is selected, and rows %d to %d are shown", s.cursor, s.firstVisible, s.firstVisible+s.listHeight()-1)
		}
		s.expectText("▸ ")
	}
	for _, k := range []string{"j", "j", "pgdown", "ctrl+f", "k", "ctrl+b", "G", "k", "k", "g", "down", "up", "s", "s", "j", "s", "s", "s"} {
		s.typeKeys(k)
		visible()
	}
	s.typeKeys("G")
	selected := s.selected
	s.receive(view.Delta{Kinds: []view.KindDelta{{Kind: konductorv1.KindBarrier, Upserted: []metav1.Object{viewtest.Barrier("aaa", "first", 0, 0, 1, 0)}}}})
	visible()
	if s.selected != selected {
		t.Errorf("%s is selected after news of another, want %s still", s.selected, selected)
	}
	s.receive(view.Delta{Kinds: []view.KindDelta{{Kind: selected.Kind, Deleted: []view.Ref{selected}}}})
	visible()
	s.send(tea.WindowSizeMsg{Width: 40, Height: 10})
	visible()
}

func TestFilterAndSort(t *testing.T) {
	s := newTestDashboard(t, 80, 24, viewtest.PipelineObjects()...)
	s.typeKeys("/", "lease db").expectText("lease/db-migration", "/lease db").expectNoText("barrier/checks")
	s.typeKeys("enter").expectText("etl /lease db").typeKeys("esc").expectText("barrier/checks")
	s.typeKeys("/", "!barrier").expectNoText("barrier/checks").typeKeys("ctrl+u", "nonsense").expectText("nothing matches")
	s.typeKeys("backspace", "ctrl+w", "migrate-7c9f").expectText("lease/db-migration").typeKeys("esc").expectText("barrier/checks")
	s.typeKeys("s").expectText("by state")
	if first := s.rows[0]; first.State != view.StateFailed {
		t.Errorf("sorted by state, %s %s is first", first, first.State)
	}
	s.typeKeys("s", "s").expectText("by waiting")
	if first := s.rows[0]; first.Name != "api-calls" {
		t.Errorf("sorted by waiting, %s is first", first)
	}
}

func TestDetailsUpdate(t *testing.T) {
	s := newTestDashboard(t, 80, 40, viewtest.PipelineObjects()...).selectObject("barrier/extracts-done").typeKeys("enter").expectText("7/10", "job/extract/8", "pod extract-7-q8w1k Running")
	if diff := cmp.Diff([]string{"etl"}, s.feed.workloadNamespaces); diff != "" {
		t.Errorf("Pods and Jobs followed (-want +got):\n%s", diff)
	}
	s.receive(view.Delta{Kinds: []view.KindDelta{{Kind: konductorv1.KindBarrier, Upserted: []metav1.Object{viewtest.Barrier("etl", "extracts-done", 10, 0, 10, 0)}}}})
	s.expectText("10/10", "Open").expectNoText("Missing")
	ref := s.selected
	s.receive(view.Delta{Kinds: []view.KindDelta{{Kind: ref.Kind, Deleted: []view.Ref{ref}}}}).expectText("barrier/extracts-done is gone")
	s.typeKeys("esc").expectText("barrier/checks")
	if !slices.Equal(s.feed.workloadNamespaces, []string{"etl", ""}) {
		t.Errorf("Pods and Jobs followed: %q", s.feed.workloadNamespaces)
	}
}

func TestSwitchNamespace(t *testing.T) {
	s := newTestDashboard(t, 80, 24, viewtest.PipelineObjects()...)
	s.cluster.namespaces = []string{"etl", "reports"}
	s.typeKeys("n", "reports", "enter").expectText("reports", "loading")
	if !slices.Equal(s.cluster.watchedNamespaces, []string{"reports"}) {
		t.Errorf("followed %q", s.cluster.watchedNamespaces)
	}
	s.Update(deltaMsg{s.feed, viewtest.FullDelta(viewtest.PipelineObjects()...)})
	s.expectNoText("extracts-done")
	s.receive(viewtest.FullDelta(viewtest.Lease("reports", "nightly", "me", time.Minute, 0))).expectText("lease/nightly")
	s.typeKeys("0").expectText("all namespaces")
	// Without permission to list them, one can be named.
	s.cluster.namespaces = nil
	s.typeKeys("n").expectText("type the name of one").typeKeys("elsewhere", "enter").expectText("elsewhere")
}

func TestServerTime(t *testing.T) {
	s := newTestDashboard(t, 120, 24, viewtest.Lease("etl", "db", "me", 3*time.Minute, 0))
	s.expectText("held by me for 3m")
	s.receive(view.Delta{ClockSkew: 2 * time.Minute}).expectText("held by me for 5m")
	later := viewtest.Now().Add(5 * time.Minute)
	s.Clock = func() time.Time { return later }
	s.Update(tickMsg{})
	s.expectText("held by me for 10m")
}

func TestSeveralKeysInOneMessage(t *testing.T) {
	s := newTestDashboard(t, 80, 24, viewtest.PipelineObjects()...)
	s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("jjjk")})
	if s.cursor != 2 {
		t.Errorf("row %d is selected, want 2", s.cursor)
	}
	s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("/db")})
	s.expectText("/db", "lease/db-migration").expectNoText("barrier/checks")
}

func TestQuit(t *testing.T) {
	for _, screen := range [][]string{{}, {"enter"}, {"y"}, {"?"}} {
		for _, k := range []tea.KeyMsg{{Type: tea.KeyRunes, Runes: []rune{'q'}}, {Type: tea.KeyCtrlC}} {
			s := newTestDashboard(t, 80, 24, viewtest.PipelineObjects()...).typeKeys(screen...)
			_, cmd := s.Update(k)
			if cmd == nil || cmd() != tea.Quit() {
				t.Errorf("%s after %q doesn't quit", k, screen)
			}
		}
	}
	for _, busy := range [][]string{{"ctrl+d"}, {"/"}, {"n"}} {
		s := newTestDashboard(t, 80, 24, viewtest.PipelineObjects()...).typeKeys(busy...)
		if _, cmd := s.Update(tea.KeyMsg{Type: tea.KeyCtrlC}); cmd == nil || cmd() != tea.Quit() {
			t.Errorf("ctrl-c after %q doesn't quit", busy)
		}
	}
}
