package tui

import (
	"errors"
	"strings"
	"testing"
	"time"

	tea "github.com/charmbracelet/bubbletea"
	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
	"github.com/LogicIQ/konductor/plugins/konductor/view/viewtest"
)

func TestAnActionRunsTheCommandThatWasShown(t *testing.T) {
	for name, c := range map[string]struct {
		on    string
		keys  []string
		shown string
		agree string
		runs  string
	}{
		"delete": {"gate/cleanup", []string{"ctrl+d"}, "$ kubectl konductor gate delete cleanup --namespace=etl --yes", "y", "gate delete cleanup --namespace=etl --yes"},
		"break":  {"lease/db-migration", []string{"b"}, "$ kubectl konductor lease break db-migration --namespace=etl --holder=migrate-7c9f --yes", "y", "lease break db-migration --namespace=etl --holder=migrate-7c9f --yes"},
		"arrive": {
			"barrier/extracts-done", []string{"a"}, "$ kubectl konductor barrier arrive extracts-done --namespace=etl --holder=laptop --fail-if-missing",
			"enter", "barrier arrive extracts-done --namespace=etl --holder=laptop --fail-if-missing",
		},
		"arrive as somebody else": {
			"barrier/extracts-done", []string{"a", "ctrl+u", "job/it's"}, `--holder='job/it'\''s'`, "enter",
			"barrier arrive extracts-done --namespace=etl --holder=job/it's --fail-if-missing",
		},
		"release": {"semaphore/api-calls", []string{"r"}, "$ kubectl konductor semaphore release api-calls --namespace=etl --holder=laptop", "enter", "semaphore release api-calls --namespace=etl --holder=laptop"},
		"resize":  {"semaphore/api-calls", []string{"z", "backspace", "20"}, "$ kubectl konductor semaphore resize api-calls --namespace=etl --permits=20", "enter", "semaphore resize api-calls --namespace=etl --permits=20"},
		"from the details": {
			"semaphore/paused", []string{"enter", "ctrl+d"}, "$ kubectl konductor semaphore delete paused --namespace=etl --yes", "y", "semaphore delete paused --namespace=etl --yes",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, 140, 24, viewtest.Pipeline()...).selects(c.on).press(c.keys...).shows(c.shown)
			if len(s.cluster.ran) > 0 {
				t.Fatalf("it ran without being confirmed: %q", s.cluster.ran)
			}
			s.press(c.agree)
			if len(s.cluster.ran) != 1 {
				t.Fatalf("%d commands ran, want one", len(s.cluster.ran))
			}
			if diff := cmp.Diff(c.runs, strings.Join(s.cluster.ran[0], " ")); diff != "" {
				t.Errorf("what ran (-want +got):\n%s", diff)
			}
			s.shows(" done")
		})
	}
}

func TestNothingRunsThatWasNotConfirmed(t *testing.T) {
	for name, keys := range map[string][]string{
		"cancelled":                       {"esc", "y"},
		"answered with no":                {"n", "y"},
		"answered with another key":       {"x", "enter", "j"},
		"the permits are no number":       {"esc", "s", "s", "s", "g", "z", "ctrl+u", "many", "enter"},
		"the permits are below zero":      {"esc", "s", "s", "s", "g", "z", "ctrl+u", "-1", "enter"},
		"nobody is named":                 {"esc", "s", "s", "s", "g", "r", "ctrl+u", "enter"},
		"a gate can't be arrived at":      {"esc", "/", "gate", "enter", "a", "enter", "y"},
		"nobody holds what is to be free": {"esc", "/", "nightly", "enter", "b", "y"},
	} {
		t.Run(name, func(t *testing.T) {
			s := open(t, 100, 24, viewtest.Pipeline()...).press("ctrl+d").press(keys...).fits()
			if len(s.cluster.ran) > 0 {
				t.Errorf("it ran %q", s.cluster.ran)
			}
		})
	}
}

func TestPastedTextIsNoCommand(t *testing.T) {
	s := open(t, 100, 24, viewtest.Pipeline()...)
	s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("q"), Paste: true})
	s.press("ctrl+d")
	s.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("y"), Paste: true})
	if len(s.cluster.ran) > 0 {
		t.Errorf("it ran %q", s.cluster.ran)
	}
}

func TestAMissingRightIsRefusedPolitely(t *testing.T) {
	s := open(t, 100, 24, viewtest.Pipeline()...)
	s.cluster.forbidden = true
	s.selects("lease/db-migration").press("b").shows("you may not delete claims.konductor.io in namespace etl: ask")
	s.press("y")
	if len(s.cluster.ran) > 0 {
		t.Errorf("it ran %q", s.cluster.ran)
	}
	s.press("esc").shows("lease/db-migration", "enter details")
}

func TestWhenTheRightCantBeAskedForTheActionTells(t *testing.T) {
	s := open(t, 100, 24, viewtest.Pipeline()...)
	s.cluster.forbidden, s.cluster.mayErr = true, errors.New("no answer")
	s.selects("lease/db-migration").press("b", "y")
	if len(s.cluster.ran) != 1 {
		t.Errorf("ran %q", s.cluster.ran)
	}
}

func TestAFailedActionShowsItsFailure(t *testing.T) {
	s := open(t, 100, 24, viewtest.Pipeline()...)
	s.cluster.runErr = errors.New("lease/db-migration not found in namespace etl")
	s.selects("lease/db-migration").press("b", "y").shows("lease/db-migration not found in namespace etl", "$ kubectl konductor lease break")
	s.press("y", "j").shows("not found")
	if len(s.cluster.ran) != 1 {
		t.Errorf("it ran again: %q", s.cluster.ran)
	}
	s.press("esc").lacks("not found")
}

func TestAHoldThatWasHandedOverIsNotBroken(t *testing.T) {
	s := open(t, 100, 24, viewtest.Pipeline()...).selects("lease/db-migration").press("b")
	s.hear(view.News{Kinds: []view.KindNews{{Kind: konductorv1.KindLease, Put: []metav1.Object{viewtest.Lease("etl", "db-migration", "migrate-b", time.Second, 2)}}}})
	s.press("y").shows("lease/db-migration has been handed over to migrate-b in the meantime: nothing was done")
	if len(s.cluster.ran) > 0 {
		t.Errorf("it ran %q", s.cluster.ran)
	}
}

func TestACommandThatCantBeSeenWholeIsNotRun(t *testing.T) {
	long := strings.Repeat("a-long-name-", 20)
	s := open(t, 40, 6, viewtest.Barrier("etl", long, 0, 0, 1, 0)).press("ctrl+d").shows("make the window larger").press("y")
	if len(s.cluster.ran) > 0 {
		t.Errorf("it ran %q", s.cluster.ran)
	}
	s.send(tea.WindowSizeMsg{Width: 100, Height: 24})
	s.shows("$ kubectl konductor barrier delete").press("y")
	if len(s.cluster.ran) != 1 {
		t.Errorf("ran %q", s.cluster.ran)
	}
}
