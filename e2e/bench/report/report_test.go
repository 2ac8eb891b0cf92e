package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestBudgets(t *testing.T) {
	for name, tc := range map[string]struct {
		row  Row
		want bool
	}{
		"no budget is none missed":               {NewRow("x", 5, "ms").WithLowerBound(1), true},
		"a ratio within its budget":              {NewRow("x", 3, "ms").WithLowerBound(2).AtMost(1.5), true},
		"a ratio over its budget":                {NewRow("x", 3.2, "ms").WithLowerBound(2).AtMost(1.5), false},
		"a value over its budget":                {NewRow("x", 26, "MB").AtMost(25), false},
		"a rate that is large enough":            {NewRow("x", 6, "/s").WithLowerBound(10).AtLeast(0.6), true},
		"a rate that is too small":               {NewRow("x", 5, "/s").WithLowerBound(10).AtLeast(0.6), false},
		"zero where zero is the budget":          {NewRow("x", 0, "writes").AtMost(0), true},
		"a little more where zero is the budget": {NewRow("x", 1, "writes").AtMost(0), false},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.row.OK != tc.want {
				t.Errorf("ok is %t", tc.row.OK)
			}
		})
	}
}

func TestWriteTable(t *testing.T) {
	var out strings.Builder
	rows := []Row{
		NewRow("uncontended acquire, p50", 6.6, "ms").WithLowerBound(4).AtMost(1.6).InSection("Speed"),
		NewRow("image", 17.93, "MB").AtMost(25).InSection("Size"),
		NewRow("note", 30, "writes").InSection("Size"),
	}
	if err := WriteTable(&out, rows); err != nil {
		t.Fatal(err)
	}
	want := `  measure                       value  floor   ratio   budget      ok

Speed
  uncontended acquire, p50    6.60 ms   4 ms  1.65 ×  ≤ 1.6 ×  MISSED

Size
  image                       17.9 MB                 ≤ 25 MB     yes
  note                      30 writes
`
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("table (-want +got):\n%s", diff)
	}
	if got := MissedBudgets(rows); len(got) != 1 {
		t.Errorf("missed: %v", got)
	}
}

func TestWriteJSON(t *testing.T) {
	file := filepath.Join(t.TempDir(), "bench.json")
	if err := WriteJSON(file, []Row{NewRow("a", 3, "ms").WithLowerBound(2).AtMost(1), NewRow("b", 1, "MB")}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := `[
  {
    "name": "a",
    "value": 3,
    "unit": "ms",
    "floor": 2,
    "ratio": 1.5,
    "budget": 1,
    "ok": false
  },
  {
    "name": "b",
    "value": 1,
    "unit": "MB",
    "floor": null,
    "ratio": null,
    "budget": null,
    "ok": true
  }
]
`
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
}

func TestUpdateDocsPage(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	before, after := "# By hand\n\n"+rowsBeginMarker+"\n", "old\n"+rowsEndMarker+"\n\nalso by hand\n"
	if err := os.WriteFile(file, []byte(before+after), 0o600); err != nil {
		t.Fatal(err)
	}
	rows := []Row{NewRow("a", 3, "ms").WithLowerBound(2).AtMost(1).WithNote("N=1").InSection("Speed")}
	if err := UpdateDocsPage(file, rows, Machine{Cores: 2, OS: "linux/amd64", Go: "1.26", Kubernetes: "v1.36.3", Etcd: "3.6.16", Preset: "full"}); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want := "# By hand\n\n" + rowsBeginMarker + `

Measured on 2 cores (linux/amd64) with Go 1.26, Kubernetes v1.36.3 and etcd 3.6.16, all on that machine: API server, etcd, operator and
clients share the cores. Effort: full.

### Speed

| measure | value | floor | ratio | budget | ok | how |
|---|--:|--:|--:|--:|---|---|
| a | 3 ms | 2 ms | 1.50 × | ≤ 1 × | MISSED | N=1 |

1 budgets are missed.

` + rowsEndMarker + "\n\nalso by hand\n"
	if diff := cmp.Diff(want, string(text)); diff != "" {
		t.Errorf("page (-want +got):\n%s", diff)
	}
}

func TestUpdateDocsPageWithoutMarkers(t *testing.T) {
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte("# By hand\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := UpdateDocsPage(file, nil, Machine{}); err == nil {
		t.Error("no error")
	}
}
