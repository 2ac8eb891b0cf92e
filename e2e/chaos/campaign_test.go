package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// TestKonductorKeepsItsPromisesWhileEverythingFails is a short campaign. "make chaos" runs longer ones.
func TestKonductorKeepsItsPromisesWhileEverythingFails(t *testing.T) {
	seed := uint64(rand.Uint32())
	if given := os.Getenv("CHAOS_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("CHAOS_SEED: %v", err)
		}
	}
	koncli := build(t)
	site := siteFor(t, false)
	report := campaignOf(t, site, fmt.Sprint(seed), Options{
		Lasts: 20 * time.Second, Seed: seed, Koncli: koncli, SDK: 8, Commands: 4, Patience: 90 * time.Second,
	})
	for _, v := range report.Violations {
		t.Error(v)
	}
	if report.Grants < 50 || report.Faults["operator killed"] == 0 {
		t.Errorf("there were %d grants and %d operators killed: the campaign shows nothing", report.Grants, report.Faults["operator killed"])
	}
	if report.Skewed > 0 && !clocksAreWrong(t, filepath.Join(folder(t), fmt.Sprint(seed))) {
		t.Error("no operator's log shows a wall clock that is an hour off, though some were started with one")
	}
	if t.Failed() {
		t.Logf("to run it again: make test-chaos CHAOS_SEED=%d", seed)
	}
}

// TestACampaignThatIsInterruptedSaysSo makes sure that what an impatient person leaves unfinished is not taken for a
// broken promise.
func TestACampaignThatIsInterruptedSaysSo(t *testing.T) {
	koncli, site := build(t), siteFor(t, false)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	report, err := Run(ctx, site, Options{
		Lasts: time.Second, Seed: 1, Koncli: koncli, Dir: t.TempDir(), SDK: 2, Commands: 1, Patience: 90 * time.Second, SpareControlPlane: true,
		Log: func(format string, args ...any) {
			t.Logf(format, args...)
			if strings.HasPrefix(format, "faults have stopped") {
				interrupt()
			}
		},
	})
	if err == nil || !strings.Contains(err.Error(), "interrupted before all was quiet") || report != nil {
		t.Errorf("it reported %+v and said %v", report, err)
	}
}

// clocksAreWrong reports whether an operator's log has a line that was written an hour ago, or will be in an hour.
func clocksAreWrong(t *testing.T, dir string) bool {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "operator-*.log"))
	if err != nil {
		t.Fatal(err)
	}
	stamp := regexp.MustCompile(`(?m)^time=(\S+)`)
	for _, log := range logs {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range stamp.FindAllStringSubmatch(string(text), -1) {
			at, err := time.Parse(time.RFC3339Nano, m[1])
			if err == nil && time.Since(at).Abs() > 30*time.Minute {
				return true
			}
		}
	}
	return false
}

// TestNoBuildButABrokenOneCanBreakARule makes sure that the switch is not in the product.
func TestNoBuildButABrokenOneCanBreakARule(t *testing.T) {
	for binary, want := range map[string]bool{build(t): false, build(t, brokenTag): true} {
		text, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(text), brokenVariable); got != want {
			t.Errorf("%s knows of %s: %t", binary, brokenVariable, got)
		}
	}
}
