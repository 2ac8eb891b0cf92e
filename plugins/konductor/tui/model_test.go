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
	"github.com/LogicIQ/konductor/plugins/konductor/frame"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
	"github.com/LogicIQ/konductor/plugins/konductor/view/viewtest"
)

var update = flag.Bool("update", false, "write the golden frames anew: look at every one that changes")

// fakeFeed is a feed of which the test brings the news itself.
type fakeFeed struct {
	behind []string
	closed bool
}

func (f *fakeFeed) Changed() <-chan struct{} { return nil }
func (f *fakeFeed) Take() view.News          { return view.News{} }
func (f *fakeFeed) Behind(namespace string)  { f.behind = append(f.behind, namespace) }
func (f *fakeFeed) Close()                   { f.closed = true }

// fakeCluster answers as it is told.
type fakeCluster struct {
	forbidden bool
	mayErr    error
	ran       [][]string
	runErr    error
	followed  []string
	names     []string
}

func (c *fakeCluster) Follow(namespace string) (Feed, error) {
	c.followed = append(c.followed, namespace)
	return &fakeFeed{}, nil
}
func (c *fakeCluster) Namespaces(context.Context) ([]string, error) {
	if c.names == nil {
		return nil, errors.New("forbidden")
	}
	return c.names, nil
}
func (c *fakeCluster) May(context.Context, view.Right) (bool, error) { return !c.forbidden, c.mayErr }
func (c *fakeCluster) Run(_ context.Context, args []string) (string, error) {
	c.ran = append(c.ran, args)
	return strings.Join(args[:3], " ") + " done\n", c.runErr
}
func (c *fakeCluster) CommandLine(args []string) string {
	return view.CommandLine("kubectl konductor", args)
}

// stage is a dashboard, and what is around it.
type stage struct {
	*Model
	t       *testing.T
	cluster *fakeCluster
	feed    *fakeFeed
}

func open(t *testing.T, width, height int, objects ...metav1.Object) *stage {
	t.Helper()
	s := &stage{t: t, cluster: &fakeCluster{}, feed: &fakeFeed{}}
	s.Model = New(t.Context(), Options{
		Cluster: s.cluster, Feed: s.feed, First: viewtest.News(objects...), Namespace: "etl", Context: "prod", Theme: frame.Plain(false),
		Clock: viewtest.Now, Self: "laptop",
	})
	s.send(tea.WindowSizeMsg{Width: width, Height: height})
	return s
}

// send gives the dashboard a message, and then what comes of it.
func (s *stage) send(msg tea.Msg) {
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

// press types keys: names of keys, or text.
func (s *stage) press(keys ...string) *stage {
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

// hear brings news.
func (s *stage) hear(n view.News) *stage {
	s.Update(news{s.Feed, n})
	return s
}

// selects moves to the row of an object.
func (s *stage) selects(ref string) *stage {
	s.t.Helper()
	s.press("g")
	for range s.rows {
		if s.selected.String() == ref {
			return s
		}
		s.press("j")
	}
	s.t.Fatalf("there is no row %s", ref)
	return s
}

// fits fails the test unless the frame fills the terminal exactly.
func (s *stage) fits() *stage {
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

// shows fails the test unless the frame has all of these texts.
func (s *stage) shows(texts ...string) *stage {
	s.t.Helper()
	s.fits()
	for _, text := range texts {
		if !strings.Contains(s.View(), text) {
			s.t.Errorf("the frame lacks %q:\n%s", text, s.View())
		}
	}
	return s
}

func (s *stage) lacks(text string) *stage {
	s.t.Helper()
	if strings.Contains(s.View(), text) {
		s.t.Errorf("the frame has %q:\n%s", text, s.View())
	}
	return s
}

// golden compares the frame with the one that was looked at.
func (s *stage) golden(name string) {
	s.t.Helper()
	s.fits()
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

// sizes are terminals from tiny to very wide.
var sizes = [][2]int{{40, 10}, {80, 24}, {120, 40}, {220, 50}}

func TestFramesLookAsTheyDid(t *testing.T) {
	screens := map[string]func(*stage){
		"overview":       func(*stage) {},
		"barrier":        func(s *stage) { s.selects("barrier/extracts-done").press("enter") },
		"failed barrier": func(s *stage) { s.selects("barrier/uploads").press("enter") },
		"gate":           func(s *stage) { s.selects("gate/dependencies-ready").press("d") },
		"lease":          func(s *stage) { s.selects("lease/db-migration").press("enter") },
		"semaphore":      func(s *stage) { s.selects("semaphore/db-connections").press("enter") },
		"yaml":           func(s *stage) { s.selects("lease/db-migration").press("y") },
		"help":           func(s *stage) { s.press("?") },
		"delete":         func(s *stage) { s.selects("lease/db-migration").press("ctrl+d") },
		"break":          func(s *stage) { s.selects("lease/db-migration").press("b") },
		"arrive":         func(s *stage) { s.selects("barrier/extracts-done").press("a") },
		"refused": func(s *stage) {
			s.cluster.forbidden = true
			s.selects("semaphore/api-calls").press("z")
		},
		"failure": func(s *stage) {
			s.cluster.runErr = errors.New("lease.konductor.io/db-migration: laptop neither holds lease/db-migration nor waits for it")
			s.selects("lease/db-migration").press("r", "enter")
		},
		"namespaces": func(s *stage) {
			s.cluster.names = []string{"default", "etl", "reports", "kube-system"}
			s.press("n", "e")
		},
		"filter": func(s *stage) { s.press("/", "waiting") },
		"sorted": func(s *stage) { s.press("s", "j") },
		"reconnecting": func(s *stage) {
			s.hear(view.News{Link: view.Link{Down: true, Since: viewtest.Now().Add(-12 * time.Second), Why: "dial tcp 10.0.0.1:6443: connect: connection refused"}})
		},
	}
	for name, do := range screens {
		for _, size := range sizes {
			name := fmt.Sprintf("%s %dx%d", name, size[0], size[1])
			t.Run(name, func(t *testing.T) {
				s := open(t, size[0], size[1], viewtest.Pipeline()...)
				do(s)
				s.golden(name)
			})
		}
	}
}

func TestThereIsNothingToSee(t *testing.T) {
	for _, size := range sizes {
		name := fmt.Sprintf("nothing %dx%d", size[0], size[1])
		t.Run(name, func(t *testing.T) { open(t, size[0], size[1]).golden(name) })
	}
}

func TestAThousandObjectsFit(t *testing.T) {
	for _, size := range sizes {
		name := fmt.Sprintf("a thousand %dx%d", size[0], size[1])
		t.Run(name, func(t *testing.T) {
			s := open(t, size[0], size[1], viewtest.Many(1000)...)
			s.Namespace = ""
			s.press("G", "k").golden(name)
		})
	}
}

func TestColoursSuitTheBackground(t *testing.T) {
	for name, c := range map[string]struct {
		dark    bool
		profile termenv.Profile
	}{
		"dark":           {true, termenv.TrueColor},
		"light":          {false, termenv.TrueColor},
		"sixteen colors": {true, termenv.ANSI},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, 120, 30, viewtest.Pipeline()...)
			r := lipgloss.NewRenderer(io.Discard)
			r.SetColorProfile(c.profile)
			r.SetHasDarkBackground(c.dark)
			s.Theme = frame.NewTheme(r, false)
			s.arrange()
			s.golden("colors " + name)
		})
	}
}

func TestASCIIIsEnough(t *testing.T) {
	s := open(t, 80, 24, viewtest.Pipeline()...)
	s.Theme = frame.Plain(true)
	s.arrange()
	s.golden("ascii 80x24")
	s.selects("barrier/extracts-done")
	for _, keys := range [][]string{{"enter"}, {"esc", "?"}, {"esc", "ctrl+d"}, {"esc", "n"}, {"esc", "/", "x"}} {
		s.press(keys...)
		if i := strings.IndexFunc(s.View(), func(r rune) bool { return r > '~' }); i >= 0 {
			t.Errorf("after %q there is %q:\n%s", keys, s.View()[i:i+4], s.View())
		}
	}
}

func TestEveryScreenSurvivesEverySize(t *testing.T) {
	for name, keys := range map[string][]string{
		"the overview": {}, "details": {"enter"}, "yaml": {"y"}, "help": {"?"}, "a confirmation": {"ctrl+d"}, "an input": {"a"},
		"namespaces": {"n"}, "the filter": {"/", "e"}, "yaml of details": {"enter", "y"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, 80, 24, viewtest.Pipeline()...).selects("barrier/extracts-done").press(keys...)
			for _, size := range [][2]int{{220, 50}, {40, 10}, {120, 40}, {20, 5}, {1, 1}, {300, 3}, {10, 100}, {59, 12}, {60, 12}, {99, 24}, {100, 24}, {80, 24}} {
				s.send(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
				s.fits()
			}
		})
	}
}

func TestWhatComesFromTheClusterMovesNoCursor(t *testing.T) {
	evil := "\x1b[2J\x1b]0;owned\x07evil\u202e\r\n" + strings.Repeat("名", 300)
	lease := viewtest.Lease("etl", "db", evil, time.Minute, 0)
	claim := viewtest.Claim("etl", konductorv1.KindLease, "db", evil, time.Minute, 0, false)
	event := viewtest.Event("etl", konductorv1.KindLease, "db", time.Minute, true, "Granted", evil)
	for _, size := range sizes {
		s := open(t, size[0], size[1], lease, claim, event)
		for _, keys := range [][]string{nil, {"enter"}, {"y"}, {"esc", "esc", "b"}, {"esc", "r"}, {"esc", "ctrl+d"}} {
			s.press(keys...).fits()
			if i := strings.IndexAny(s.View(), "\x1b\x07\r\u202e"); i >= 0 {
				t.Errorf("after %q the frame has %q", keys, s.View()[i:min(i+12, len(s.View()))])
			}
		}
	}
}

func TestMovingAroundKeepsTheSelectedRowInSight(t *testing.T) {
	s := open(t, 80, 24, viewtest.Many(1000)...)
	visible := func() {
		t.Helper()
		if s.cursor < s.top || s.cursor >= s.top+s.listHeight() {
			t.Fatalf("row %d is selected, and rows %d to %d are shown", s.cursor, s.top, s.top+s.listHeight()-1)
		}
		s.shows("▸ ")
	}
	for _, k := range []string{"j", "j", "pgdown", "ctrl+f", "k", "ctrl+b", "G", "k", "k", "g", "down", "up", "s", "s", "j", "s", "s", "s"} {
		s.press(k)
		visible()
	}
	s.press("G")
	selected := s.selected
	s.hear(view.News{Kinds: []view.KindNews{{Kind: konductorv1.KindBarrier, Put: []metav1.Object{viewtest.Barrier("aaa", "first", 0, 0, 1, 0)}}}})
	visible()
	if s.selected != selected {
		t.Errorf("%s is selected after news of another, want %s still", s.selected, selected)
	}
	s.hear(view.News{Kinds: []view.KindNews{{Kind: selected.Kind, Gone: []view.Ref{selected}}}})
	visible()
	s.send(tea.WindowSizeMsg{Width: 40, Height: 10})
	visible()
}

func TestFilterAndSort(t *testing.T) {
	s := open(t, 80, 24, viewtest.Pipeline()...)
	s.press("/", "lease db").shows("lease/db-migration", "/lease db").lacks("barrier/checks")
	s.press("enter").shows("etl /lease db").press("esc").shows("barrier/checks")
	s.press("/", "!barrier").lacks("barrier/checks").press("ctrl+u", "nonsense").shows("nothing matches")
	s.press("backspace", "ctrl+w", "migrate-7c9f").shows("lease/db-migration").press("esc").shows("barrier/checks")
	s.press("s").shows("by state")
	if first := s.rows[0]; first.State != view.Failed {
		t.Errorf("sorted by state, %s %s is first", first, first.State)
	}
	s.press("s", "s").shows("by waiting")
	if first := s.rows[0]; first.Name != "api-calls" {
		t.Errorf("sorted by waiting, %s is first", first)
	}
}

func TestDetailsFollowWhatHappens(t *testing.T) {
	s := open(t, 80, 40, viewtest.Pipeline()...).selects("barrier/extracts-done").press("enter").shows("7/10", "job/extract/8", "pod extract-7-q8w1k Running")
	if diff := cmp.Diff([]string{"etl"}, s.feed.behind); diff != "" {
		t.Errorf("Pods and Jobs followed (-want +got):\n%s", diff)
	}
	s.hear(view.News{Kinds: []view.KindNews{{Kind: konductorv1.KindBarrier, Put: []metav1.Object{viewtest.Barrier("etl", "extracts-done", 10, 0, 10, 0)}}}})
	s.shows("10/10", "Open").lacks("Missing")
	ref := s.selected
	s.hear(view.News{Kinds: []view.KindNews{{Kind: ref.Kind, Gone: []view.Ref{ref}}}}).shows("barrier/extracts-done is gone")
	s.press("esc").shows("barrier/checks")
	if !slices.Equal(s.feed.behind, []string{"etl", ""}) {
		t.Errorf("Pods and Jobs followed: %q", s.feed.behind)
	}
}

func TestNewsOfAFeedThatWasLeftIsIgnored(t *testing.T) {
	s := open(t, 80, 24, viewtest.Pipeline()...)
	s.cluster.names = []string{"etl", "reports"}
	s.press("n", "reports", "enter").shows("reports", "loading")
	if !slices.Equal(s.cluster.followed, []string{"reports"}) {
		t.Errorf("followed %q", s.cluster.followed)
	}
	s.Update(news{s.feed, viewtest.News(viewtest.Pipeline()...)})
	s.lacks("extracts-done")
	s.hear(viewtest.News(viewtest.Lease("reports", "nightly", "me", time.Minute, 0))).shows("lease/nightly")
	s.press("0").shows("all namespaces")
	// Without the right to list them, one can be named.
	s.cluster.names = nil
	s.press("n").shows("type the name of one").press("elsewhere", "enter").shows("elsewhere")
}

func TestTimePassesByTheServersClock(t *testing.T) {
	s := open(t, 120, 24, viewtest.Lease("etl", "db", "me", 3*time.Minute, 0))
	s.shows("held by me for 3m")
	s.hear(view.News{Skew: 2 * time.Minute}).shows("held by me for 5m")
	later := viewtest.Now().Add(5 * time.Minute)
	s.Clock = func() time.Time { return later }
	s.Update(tick{})
	s.shows("held by me for 10m")
}

func TestKeysThatComeTogetherCountOneByOne(t *testing.T) {
	s := open(t, 80, 24, viewtest.Pipeline()...)
	s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("jjjk")})
	if s.cursor != 2 {
		t.Errorf("row %d is selected, want 2", s.cursor)
	}
	s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("/db")})
	s.shows("/db", "lease/db-migration").lacks("barrier/checks")
}

func TestQuitting(t *testing.T) {
	for _, screen := range [][]string{{}, {"enter"}, {"y"}, {"?"}} {
		for _, k := range []tea.KeyMsg{{Type: tea.KeyRunes, Runes: []rune{'q'}}, {Type: tea.KeyCtrlC}} {
			s := open(t, 80, 24, viewtest.Pipeline()...).press(screen...)
			_, cmd := s.Update(k)
			if cmd == nil || cmd() != tea.Quit() {
				t.Errorf("%s after %q doesn't quit", k, screen)
			}
		}
	}
	for _, busy := range [][]string{{"ctrl+d"}, {"/"}, {"n"}} {
		s := open(t, 80, 24, viewtest.Pipeline()...).press(busy...)
		if _, cmd := s.Update(tea.KeyMsg{Type: tea.KeyCtrlC}); cmd == nil || cmd() != tea.Quit() {
			t.Errorf("ctrl-c after %q doesn't quit", busy)
		}
	}
}
