package bench

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/LogicIQ/konductor/e2e/bench/benchenv"
	"github.com/LogicIQ/konductor/e2e/bench/measures"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

func TestMain(m *testing.M) {
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// TestRunMeasuresEverySection runs all sections with numbers so small that the values mean nothing: it checks that every row is
// there. No time is checked.
func TestRunMeasuresEverySection(t *testing.T) {
	koncli := buildKoncli(t)
	result, err := Run(t.Context(), Options{
		Options: benchenv.Options{Koncli: koncli, Log: t.Logf},
		Preset:  smoke(),
	})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range result.Rows {
		names = append(names, r.Name)
		// An exponent below zero means that it got cheaper, which with numbers so small is chance.
		negative := r.Value < 0 && !strings.HasSuffix(r.Name, "exponent")
		if negative || (r.LowerBound != nil && *r.LowerBound <= 0) || (r.LowerBound == nil) != (r.Ratio == nil) {
			t.Errorf("%q makes no sense: %+v", r.Name, r)
		}
		if r.Unit == "Pods" && !r.OK {
			t.Errorf("%q: %v", r.Name, r.Value)
		}
	}
	for _, want := range expectedRows() {
		if !slices.ContainsFunc(names, func(name string) bool { return strings.HasPrefix(name, want) }) {
			t.Errorf("no row is called %q", want)
		}
	}
	if t.Failed() {
		t.Logf("there are:\n%s", strings.Join(names, "\n"))
	}
}

// smoke runs all measurements with values that mean nothing, to test that they work.
func smoke() measures.Preset {
	return measures.Preset{
		Name: "smoke", Warmup: 1, FastRepetitions: 2, SlowRepetitions: 1, RatePeriod: 100 * time.Millisecond,
		QueueLengths: []int{1, 3}, BarrierParticipants: 4, SmallCount: 3, LargeCount: 6, JunkClaims: 8, ObjectCounts: []int{20, 40}, Clients: 3, PermitCounts: []int{2},
		GateCount: 3, DashboardObjects: 4, DashboardDuration: time.Second, IdlePeriod: 2 * time.Second, ProcessRuns: 2,
		GrowthSizes: []int{2, 4}, HolderCounts: []int{2, 4}, LeaderCrashes: 1,
	}
}

// expectedRows are the prefixes of the names of the rows that must be there.
func expectedRows() []string {
	e := smoke()
	names := []string{
		"floor: one create", "floor: request→grant→seen, p50", "floor: one update seen by", "floor: creates per second",
		"uncontended acquire, p50", "uncontended acquire, p99",
		"grant with 6 pending against 3",
		"barrier: last arrival until 4 waiters go", "barrier: 4 arrive at once, arrivals per second", "barrier: 4 arrive at once, first call until open",
		"acquire and release: 3 clients, 2 permits", "operator CPU per 1000 grants",
		"held Job completed until the next is started, p50", "40 held Jobs wait: one completed until the next is started, p50",
		"20 held Jobs wait: operator memory for each", "40 held Jobs wait: their Pods",
		"held Job started with 40 waiting against 20", "operator CPU per held Job with 40 waiting against 20",
		"3 gates over as many Jobs: Job done until gate open, p50",
		"operator memory, having seen them come", "operator memory, freshly started",
		"20 objects: operator memory", "40 objects: handover with 2 waiting, p50", "40 objects: operator CPU per minute at rest",
		"40 objects: kube-apiserver memory", "40 objects: etcd memory", "40 objects: etcd database", "40 objects: operator start until ready, p50",
		"handover with 8 junk claims in another namespace against none",
		"writes per minute at rest", "koncli barrier wait on an open barrier, p50", "container image, compressed",
		"dashboard CPU, 4 objects, 50 changes/s", "dashboard first frame, 4 objects, after the data, p50",
		"koncli status all, 4 objects, p50", "koncli graph, 4 objects, p50", "koncli why, 4 objects, p50",
		"operator killed until the next grant",
		"handover with n waiting: exponent", "acquire as holder number n: exponent", "last arrival until open with n barriers: exponent",
		"n arrive at once, first call until open: exponent",
		"etcd mutex: uncontended lock and unlock", "etcd mutex: handover with 1 waiting",
		"client-go leader election: released", "client-go leader election: crashed",
	}
	for _, n := range e.QueueLengths {
		names = append(names, fmt.Sprintf("handover with %d waiting, p50", n))
	}
	return names
}

// buildKoncli builds koncli from the current sources.
func buildKoncli(t *testing.T) string {
	t.Helper()
	root, err := manifest.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	koncli := filepath.Join(t.TempDir(), "koncli")
	begin := time.Now()
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags=-s -w", "-o", koncli, "./plugins/konductor")
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building koncli: %v\n%s", err, out)
	}
	t.Logf("built koncli in %s", time.Since(begin).Round(time.Second))
	return koncli
}
