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
	"github.com/LogicIQ/konductor/internal/view"
	"github.com/LogicIQ/konductor/internal/view/viewtest"
)

func TestConfirmRunsShownCommand(t *testing.T) {
	for name, c := range map[string]struct {
		on    string
		keys  []string
		shown string
		agree string
		runs  string
	}{
		"delete": {"gate/cleanup", []string{"ctrl+d"}, "$ kubectl konductor gate delete cleanup --namespace=etl --yes --uid=uid-etl-cleanup", "y", "gate delete cleanup --namespace=etl --yes --uid=uid-etl-cleanup"},
		"break":  {"lease/db-migration", []string{"b"}, "$ kubectl konductor lease break db-migration --namespace=etl --holder=migrate-7c9f --fencing-token=4711 --yes", "y", "lease break db-migration --namespace=etl --holder=migrate-7c9f --fencing-token=4711 --yes"},
		"arrive": {
			"barrier/extracts-done", []string{"a"}, "$ kubectl konductor barrier arrive extracts-done --namespace=etl --holder=laptop --fail-if-missing --uid=uid-etl-extracts-done",
			"enter", "barrier arrive extracts-done --namespace=etl --holder=laptop --fail-if-missing --uid=uid-etl-extracts-done",
		},
		"arrive as somebody else": {
			"barrier/extracts-done", []string{"a", "ctrl+u", "job/it's"}, `--holder='job/it'\''s'`, "enter",
			"barrier arrive extracts-done --namespace=etl --holder=job/it's --fail-if-missing --uid=uid-etl-extracts-done",
		},
		"release": {"semaphore/api-calls", []string{"r"}, "$ kubectl konductor semaphore release api-calls --namespace=etl --holder=laptop --uid=uid-etl-api-calls", "enter", "semaphore release api-calls --namespace=etl --holder=laptop --uid=uid-etl-api-calls"},
		"resize":  {"semaphore/api-calls", []string{"z", "backspace", "20"}, "$ kubectl konductor semaphore resize api-calls --namespace=etl --permits=20 --current-permits=3 --uid=uid-etl-api-calls", "enter", "semaphore resize api-calls --namespace=etl --permits=20 --current-permits=3 --uid=uid-etl-api-calls"},
		"from the details": {
			"semaphore/paused", []string{"enter", "ctrl+d"}, "$ kubectl konductor semaphore delete paused --namespace=etl --unless-held --yes --uid=uid-etl-paused", "y", "semaphore delete paused --namespace=etl --unless-held --yes --uid=uid-etl-paused",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestDashboard(t, 140, 24, viewtest.PipelineObjects()...).selectObject(c.on).typeKeys(c.keys...).expectText(c.shown)
			if len(s.cluster.commands) > 0 {
				t.Fatalf("it ran without being confirmed: %q", s.cluster.commands)
			}
			s.typeKeys(c.agree)
			if len(s.cluster.commands) != 1 {
				t.Fatalf("%d commands ran, want one", len(s.cluster.commands))
			}
			if diff := cmp.Diff(c.runs, strings.Join(s.cluster.commands[0], " ")); diff != "" {
				t.Errorf("what ran (-want +got):\n%s", diff)
			}
			s.expectText(" done")
		})
	}
}

func TestUnconfirmedActionDoesNotRun(t *testing.T) {
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
			s := newTestDashboard(t, 100, 24, viewtest.PipelineObjects()...).typeKeys("ctrl+d").typeKeys(keys...).expectFits()
			if len(s.cluster.commands) > 0 {
				t.Errorf("it ran %q", s.cluster.commands)
			}
		})
	}
}

func TestPastedTextIsIgnored(t *testing.T) {
	s := newTestDashboard(t, 100, 24, viewtest.PipelineObjects()...)
	s.Update(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("q"), Paste: true})
	s.typeKeys("ctrl+d")
	s.send(tea.KeyMsg{Type: tea.KeyRunes, Runes: []rune("y"), Paste: true})
	if len(s.cluster.commands) > 0 {
		t.Errorf("it ran %q", s.cluster.commands)
	}
}

func TestActionDenied(t *testing.T) {
	s := newTestDashboard(t, 100, 24, viewtest.PipelineObjects()...)
	s.cluster.forbidden = true
	s.selectObject("lease/db-migration").typeKeys("b").expectText("you can't delete claims.konductor.io in namespace etl: ask")
	s.typeKeys("y")
	if len(s.cluster.commands) > 0 {
		t.Errorf("it ran %q", s.cluster.commands)
	}
	s.typeKeys("esc").expectText("lease/db-migration", "enter details")
}

func TestPermissionCheckFails(t *testing.T) {
	s := newTestDashboard(t, 100, 24, viewtest.PipelineObjects()...)
	s.cluster.forbidden, s.cluster.isAllowedErr = true, errors.New("no answer")
	s.selectObject("lease/db-migration").typeKeys("b", "y")
	if len(s.cluster.commands) != 1 {
		t.Errorf("ran %q", s.cluster.commands)
	}
}

func TestFailedActionShowsError(t *testing.T) {
	s := newTestDashboard(t, 100, 24, viewtest.PipelineObjects()...)
	s.cluster.runErr = errors.New("lease/db-migration not found in namespace etl")
	s.selectObject("lease/db-migration").typeKeys("b", "y").expectText("lease/db-migration not found in namespace etl", "$ kubectl konductor lease break")
	s.typeKeys("y", "j").expectText("not found")
	if len(s.cluster.commands) != 1 {
		t.Errorf("it ran again: %q", s.cluster.commands)
	}
	s.typeKeys("esc").expectNoText("not found")
}

func TestBreakAfterHandover(t *testing.T) {
	s := newTestDashboard(t, 100, 24, viewtest.PipelineObjects()...).selectObject("lease/db-migration").typeKeys("b")
	s.receive(view.Delta{Kinds: []view.KindDelta{{Kind: konductorv1.KindLease, Upserted: []metav1.Object{viewtest.Lease("etl", "db-migration", "migrate-b", time.Second, 2)}}}})
	s.typeKeys("y").expectText("lease/db-migration has been granted to migrate-b in the meantime: nothing was done")
	if len(s.cluster.commands) > 0 {
		t.Errorf("it ran %q", s.cluster.commands)
	}
}

func TestActionOnChangedObject(t *testing.T) {
	anew := func(obj metav1.Object) metav1.Object { obj.SetUID("another"); return obj }
	deleting := func(obj metav1.Object) metav1.Object {
		at := metav1.NewTime(viewtest.Now())
		obj.SetDeletionTimestamp(&at)
		return obj
	}
	for name, c := range map[string]struct {
		on, agree string
		keys      []string
		kind      string
		now       metav1.Object
		says      string
	}{
		"a gate that was made anew": {
			"gate/cleanup", "y", []string{"ctrl+d"}, konductorv1.KindGate, anew(viewtest.Gate("etl", "cleanup", 0, "a")),
			"gate/cleanup was deleted and recreated in the meantime: nothing was done",
		},
		"a barrier that was made anew": {
			"barrier/extracts-done", "enter", []string{"a"}, konductorv1.KindBarrier, anew(viewtest.Barrier("etl", "extracts-done", 1, 0, 10, 0)),
			"barrier/extracts-done was deleted and recreated in the meantime: nothing was done",
		},
		"a barrier that is being deleted": {
			"barrier/extracts-done", "enter", []string{"a"}, konductorv1.KindBarrier, deleting(viewtest.Barrier("etl", "extracts-done", 1, 0, 10, 0)),
			"barrier/extracts-done is being deleted now: nothing was done",
		},
		"a semaphore that was resized": {
			"semaphore/api-calls", "enter", []string{"z", "backspace", "20"}, konductorv1.KindSemaphore, viewtest.Semaphore("etl", "api-calls", 8, 0),
			"semaphore/api-calls now has 8 permits, not 3: nothing was done",
		},
		"a free lease that was acquired": {
			"lease/nightly-report", "y", []string{"ctrl+d"}, konductorv1.KindLease, viewtest.Lease("etl", "nightly-report", "somebody", time.Second, 0),
			"lease/nightly-report has been acquired by somebody in the meantime: nothing was done",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newTestDashboard(t, 140, 24, viewtest.PipelineObjects()...).selectObject(c.on).typeKeys(c.keys...)
			s.receive(view.Delta{Kinds: []view.KindDelta{{Kind: c.kind, Upserted: []metav1.Object{c.now}}}})
			s.typeKeys(c.agree).expectText(c.says)
			if len(s.cluster.commands) > 0 {
				t.Errorf("it ran %q", s.cluster.commands)
			}
		})
	}
}

func TestCommandNotFullyVisible(t *testing.T) {
	long := strings.Repeat("a-long-name-", 20)
	s := newTestDashboard(t, 40, 6, viewtest.Barrier("etl", long, 0, 0, 1, 0)).typeKeys("ctrl+d").expectText("make the window larger").typeKeys("y")
	if len(s.cluster.commands) > 0 {
		t.Errorf("it ran %q", s.cluster.commands)
	}
	s.send(tea.WindowSizeMsg{Width: 100, Height: 24})
	s.expectText("$ kubectl konductor barrier delete").typeKeys("y")
	if len(s.cluster.commands) != 1 {
		t.Errorf("ran %q", s.cluster.commands)
	}
}
