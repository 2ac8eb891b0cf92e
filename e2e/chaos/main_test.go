package chaos

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/goleak"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/LogicIQ/konductor/e2e/chaos/operators"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

func TestMain(m *testing.M) {
	flag.Parse()
	// Broken connections are the subject of these tests; logging them would only be noise.
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	code := m.Run()
	if err := findLeakedGoroutines(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// findLeakedGoroutines returns an error if goroutines are left when all campaigns are over.
func findLeakedGoroutines() error {
	err := goleak.Find(
		// client-go keeps idle connections for the whole life of a process.
		goleak.IgnoreAnyFunction("net/http.(*http2ClientConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http/internal/http2.(*ClientConn).readLoop"),
		goleak.IgnoreAnyFunction("golang.org/x/net/http2.(*ClientConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreAnyFunction("k8s.io/client-go/transport.(*tlsTransportCache).startGC"),
		goleak.IgnoreAnyFunction("k8s.io/klog/v2.(*flushDaemon).run.func1"),
		// The thread that starts a control plane's processes stays: they die with it.
		goleak.IgnoreAnyFunction("github.com/LogicIQ/konductor/e2e/internal/process.(*Group).serveStarts"),
	)
	if err != nil {
		return fmt.Errorf("goroutines are left at the end: %w", err)
	}
	return nil
}

// outputDir returns a directory below bin for builds and output, which outlive the test.
func outputDir(t *testing.T) string {
	t.Helper()
	root, err := manifest.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "bin", "chaos")
}

func buildKoncli(t *testing.T, tags ...string) string {
	t.Helper()
	if err := os.MkdirAll(outputDir(t), 0o755); err != nil {
		t.Fatal(err)
	}
	koncli, err := operators.Build(t.Context(), outputDir(t), tags...)
	if err != nil {
		t.Fatal(err)
	}
	return koncli
}

// startTestCluster starts a control plane for a test.
func startTestCluster(t *testing.T, withoutStatusValidation bool) *TestCluster {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	t.Cleanup(cancel)
	testCluster, err := NewTestCluster(ctx, withoutStatusValidation, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := testCluster.Close(); err != nil {
			t.Error(err)
		}
	})
	return testCluster
}

// runCampaign runs a campaign. Its output is removed when the test succeeds.
func runCampaign(t *testing.T, testCluster *TestCluster, name string, o Options) *Report {
	t.Helper()
	o.Dir, o.Log = filepath.Join(outputDir(t), name), t.Logf
	if err := PrepareDir(o.Dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(o.Dir)
		}
	})
	report, err := Run(t.Context(), testCluster, o)
	if err != nil {
		t.Fatalf("%v: see %s", err, o.Dir)
	}
	report.Print(t.Output())
	return report
}
