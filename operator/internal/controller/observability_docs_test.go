package controller

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// readRepoFile reads a file of this repository.
func readRepoFile(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../..", path))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// registeredMetricNames returns the names of all metrics.
func registeredMetricNames(t *testing.T) map[string]bool {
	t.Helper()
	registry, m := newTestRegistry(t, true, time.Unix(1000, 0))
	m.measureReconcile("Semaphore", reconcile.Func(nil))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, f := range families {
		names[f.GetName()] = true
	}
	return names
}

func TestEveryMetricIsDocumented(t *testing.T) {
	docs := readRepoFile(t, "docs/observability.md")
	for name := range registeredMetricNames(t) {
		if !strings.Contains(docs, "\n| `"+name+"` |") {
			t.Errorf("docs/observability.md has no row for %s", name)
		}
	}
}

func TestDocsDashboardAndAlertsUseExistingMetrics(t *testing.T) {
	names := registeredMetricNames(t)
	for _, path := range []string{
		"docs/observability.md", "charts/konductor/files/monitoring/rules.yaml", "charts/konductor/files/monitoring/dashboards/konductor.json",
	} {
		found := regexp.MustCompile(`\bkonductor_[a-z_]+`).FindAllString(readRepoFile(t, path), -1)
		if len(found) == 0 {
			t.Errorf("%s speaks of no metric", path)
		}
		for _, name := range found {
			name = strings.TrimSuffix(strings.TrimSuffix(name, "_bucket"), "_count")
			if !names[name] {
				t.Errorf("%s speaks of %s, which doesn't exist", path, name)
			}
		}
	}
}

// A handover takes milliseconds, a nightly job hours: both durations must be visible within a factor of five.
func TestHistogramBucketsCoverMillisecondsToDays(t *testing.T) {
	registry, _ := newTestRegistry(t, true, time.Unix(1000, 0))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, f := range families {
		if f.GetName() == "konductor_reconcile_seconds" || f.GetMetric()[0].GetHistogram() == nil {
			continue
		}
		seen++
		last := .001
		for _, b := range f.GetMetric()[0].GetHistogram().GetBucket() {
			if b.GetUpperBound() > 5*last {
				t.Errorf("%s knows nothing between %v s and %v s", f.GetName(), last, b.GetUpperBound())
			}
			last = b.GetUpperBound()
		}
		if day := (24 * time.Hour).Seconds(); last < day {
			t.Errorf("%s ends at %v s", f.GetName(), last)
		}
	}
	if seen != 3 {
		t.Errorf("%d histograms of what users do, want 3", seen)
	}
}

func TestEveryEventReasonIsDocumented(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../../apis/v1/common_types.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	docs := readRepoFile(t, "docs/observability.md")
	reasons := 0
	ast.Inspect(file, func(n ast.Node) bool {
		constant, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(constant.Names[0].Name, "Event") {
			return true
		}
		literal, ok := constant.Values[0].(*ast.BasicLit)
		if !ok {
			t.Errorf("%s is no plain string", constant.Names[0].Name)
			return true
		}
		reason, err := strconv.Unquote(literal.Value)
		if err != nil {
			t.Error(err)
		}
		reasons++
		if !strings.Contains(docs, "\n| `"+reason+"` | ") {
			t.Errorf("docs/observability.md has no row for the reason %s", reason)
		}
		return true
	})
	if reasons == 0 {
		t.Error("there are no reasons")
	}
}
