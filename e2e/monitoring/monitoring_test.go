package monitoring_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/LogicIQ/konductor/e2e/cluster/toolchain/toolchaintest"
	"github.com/LogicIQ/konductor/e2e/manifest"
	"github.com/LogicIQ/konductor/e2e/monitoring"
)

// runPromtool runs promtool and fails the test if promtool fails.
func runPromtool(t *testing.T, args ...string) {
	t.Helper()
	path := toolchaintest.ProgramPath(t, "promtool")
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Fatalf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestAlertRules(t *testing.T) {
	// promtool looks for rule files in the directory of the test file.
	dir := t.TempDir()
	rules, err := monitoring.RulesFile()
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range []string{rules, "testdata/rules_test.yaml"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(from)), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	runPromtool(t, "check", "rules", "--lint=all", "--lint-fatal", filepath.Join(dir, "rules.yaml"))
	runPromtool(t, "test", "rules", filepath.Join(dir, "rules_test.yaml"))
}

func TestAlertsHaveTestsAndRunbooks(t *testing.T) {
	alerts, err := monitoring.ReadAlerts()
	if err != nil {
		t.Fatal(err)
	}
	if len(alerts) == 0 {
		t.Fatal("there are no alerts")
	}
	root, err := manifest.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs/observability.md"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile("testdata/rules_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alerts {
		want := "https://github.com/LogicIQ/konductor/blob/main/docs/observability.md#" + strings.ToLower(a.Name)
		if got := a.Annotations["runbook_url"]; got != want {
			t.Errorf("%s has the runbook %q, want %q", a.Name, got, want)
		}
		if !strings.Contains(string(page), "\n### "+a.Name+"\n") {
			t.Errorf("docs/observability.md has no section %s", a.Name)
		}
		if !strings.Contains(string(tests), "alertname: "+a.Name+"\n        exp_alerts:") {
			t.Errorf("no test shows that %s fires", a.Name)
		}
		if a.Labels["severity"] == "" || a.Annotations["summary"] == "" || a.Annotations["description"] == "" {
			t.Errorf("%s lacks a severity, a summary or a description", a.Name)
		}
	}
}
