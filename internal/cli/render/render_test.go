package render

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/charmbracelet/x/ansi"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/LogicIQ/konductor/internal/view"
	"github.com/LogicIQ/konductor/internal/view/viewtest"
)

func TestProgressBar(t *testing.T) {
	plain := NewPlainTheme(true)
	for want, r := range map[string]view.Row{
		"..........":  {Total: 10},
		"#.........":  {Done: 1, Total: 1000000},
		"#########.":  {Done: 999999, Total: 1000000},
		"##########":  {Done: 10, Total: 10},
		"########## ": {Done: 12, Total: 10},
		"#####xx|..":  {Done: 5, Failed: 2, Total: 10, Quorum: 7},
		"|#########":  {Done: 10, Total: 10, Quorum: 0}, // replaced below
		"###xxxxxxx":  {Done: 3, Failed: 9, Total: 10},
		"          ":  {},
	} {
		switch {
		case r.Quorum == 0 && strings.HasPrefix(want, "|"):
			want, r.Quorum = "#|########", 1
		default:
			want = strings.TrimSuffix(want, " ")
		}
		if want == "" || r.Total == 0 {
			want = strings.Repeat(" ", 10)
		}
		if got := plain.progressBar(&r, 10); got != want {
			t.Errorf("%d of %d, %d failed, quorum %d: %q, want %q", r.Done, r.Total, r.Failed, r.Quorum, got, want)
		}
	}
}

func TestLineWidthLimit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		theme := NewPlainTheme(rapid.Bool().Draw(t, "ascii"))
		width := rapid.IntRange(1, 250).Draw(t, "width")
		name := rapid.SampledFrom([]string{"x", "名前の長いバリア", strings.Repeat("long-", 30), "a\nb\x1b[31m", "👩‍👩‍👧 family"}).Draw(t, "name")
		n := rapid.Int32Range(0, 1000000).Draw(t, "done")
		row := &view.Row{
			Ref: view.Ref{Kind: rapid.SampledFrom(view.PrimitiveKinds()).Draw(t, "kind"), Namespace: name, Name: name}, State: view.StateHeld, Done: n, Total: n + 1,
			Quorum: rapid.Int32Range(0, 10).Draw(t, "quorum"), Holds: []view.Hold{{Holder: name, Permits: 1}}, Message: name, Waiting: n,
		}
		tab := NewTable(theme, []*view.Row{row}, width, rapid.Bool().Draw(t, "namespaces"))
		detail := view.Detail{Row: row, Properties: []view.Property{{Name: "Name", Value: name}}, Sections: []view.Section{
			{Title: name, Columns: []string{"A", "B"}, Lines: []view.Line{{Cells: []string{name, name}}}, Footnote: name},
		}}
		lines := append(theme.DetailLines(&detail, width, viewtest.Now()),
			tab.HeaderLine(), tab.RowLine(row, viewtest.Now(), false), tab.RowLine(row, viewtest.Now(), true),
			theme.TitleLine(theme.Sanitize(name), view.Totals{Objects: 12, Waiting: 3, Failed: 1}, "live", width), theme.TitledRule("title", width),
			theme.ReconnectingLine(view.Connection{Down: true, LastError: name}, viewtest.Now(), width),
			theme.EventLine(view.Event{InvolvedObject: row.Ref, Reason: name, Message: name, LastTimestamp: viewtest.Now()}, viewtest.Now(), width, true))
		for _, line := range lines {
			if w := ansi.StringWidth(line); w > width {
				t.Fatalf("%d columns of %d: %q", w, width, line)
			}
			if strings.ContainsAny(line, "\n\x1b") {
				t.Fatalf("it moves the cursor: %q", line)
			}
		}
	})
}

func TestUnlimitedWidthTruncatesNothing(t *testing.T) {
	long := strings.Repeat("very-long-", 20)
	w := view.NewStore()
	w.Apply(viewtest.FullDelta(viewtest.Lease("etl", long, long, time.Minute, 0)))
	theme := NewPlainTheme(false)
	rows := w.Rows()
	tab := NewTable(theme, rows, 0, true)
	if line := tab.RowLine(rows[0], viewtest.Now(), false); strings.Count(line, long) != 2 {
		t.Errorf("the table cuts: %q", line)
	}
	d, _ := w.Detail(rows[0].Ref, viewtest.Now())
	if text := strings.Join(theme.DetailLines(&d, 0, viewtest.Now()), "\n"); strings.Count(text, long) < 4 || strings.Contains(text, "…") {
		t.Errorf("the details cut:\n%s", text)
	}
}

func TestOverviewLines(t *testing.T) {
	w := view.NewStore()
	w.Apply(viewtest.FullDelta(viewtest.ManyObjects(200)...))
	rows := w.Rows()
	view.Sort(rows, view.ByKind)
	once := Overview{Theme: NewPlainTheme(false), Width: 100, ScopeText: "all namespaces", ShowNamespaces: true, Rows: rows, Notes: []string{"can't list and watch events in all namespaces"}, Now: viewtest.Now()}
	lines := once.Lines()
	if diff := cmp.Diff(200+2+2, len(lines)); diff != "" {
		t.Errorf("lines (-want +got):\n%s", diff)
	}
	for i, r := range rows {
		if name := fmt.Sprintf("%04d", i); !strings.Contains(strings.Join(lines, "\n"), r.Name[len(r.Name)-4:]) {
			t.Errorf("row %s is missing: %s", name, r)
		}
	}
}
