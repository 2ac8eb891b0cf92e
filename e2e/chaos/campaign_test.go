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

// TestShortCampaign runs a short campaign. "make chaos" runs longer ones.
func TestShortCampaign(t *testing.T) {
	seed := uint64(rand.Uint32())
	if given := os.Getenv("CHAOS_SEED"); given != "" {
		var err error
		if seed, err = strconv.ParseUint(given, 10, 64); err != nil {
			t.Fatalf("CHAOS_SEED: %v", err)
		}
	}
	koncli := buildKoncli(t)
	testCluster := startTestCluster(t, false)
	report := runCampaign(t, testCluster, fmt.Sprint(seed), Options{
		FaultDuration: 20 * time.Second, Seed: seed, Koncli: koncli, SDKClients: 8, CommandClients: 4, JobClients: 3, QuiesceTimeout: 90 * time.Second,
	})
	for _, v := range report.Violations {
		t.Error(v)
	}
	if report.Grants < 50 || report.Faults["operator killed"] == 0 {
		t.Errorf("there were %d grants and %d operators killed: the campaign shows nothing", report.Grants, report.Faults["operator killed"])
	}
	if report.SkewedStarts > 0 && !hasSkewedTimestamps(t, filepath.Join(outputDir(t), fmt.Sprint(seed))) {
		t.Error("no operator's log shows a wall clock that is an hour off, though some were started with one")
	}
	if t.Failed() {
		t.Logf("to run it again: make test-chaos CHAOS_SEED=%d", seed)
	}
}

// TestRunInterrupted checks that what an interrupted campaign leaves unfinished is not reported as a violation.
func TestRunInterrupted(t *testing.T) {
	koncli, testCluster := buildKoncli(t), startTestCluster(t, false)
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	report, err := Run(ctx, testCluster, Options{
		FaultDuration: time.Second, Seed: 1, Koncli: koncli, Dir: t.TempDir(), SDKClients: 2, CommandClients: 1, QuiesceTimeout: 90 * time.Second, NoControlPlaneFaults: true,
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

// hasSkewedTimestamps reports whether an operator's log has a line whose time is about an hour off.
func hasSkewedTimestamps(t *testing.T, dir string) bool {
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

// TestMutantSwitchOnlyInMutantBuild checks that the product doesn't contain the switch for mutants.
func TestMutantSwitchOnlyInMutantBuild(t *testing.T) {
	for binary, want := range map[string]bool{buildKoncli(t): false, buildKoncli(t, mutantTag): true} {
		text, err := os.ReadFile(binary)
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Contains(string(text), mutantEnv); got != want {
			t.Errorf("%s knows of %s: %t", binary, mutantEnv, got)
		}
	}
}
