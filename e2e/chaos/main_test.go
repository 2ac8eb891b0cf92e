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
	// Connections that break are what this is about, not news.
	klog.SetLogger(logr.Discard())
	log.SetLogger(logr.Discard())
	code := m.Run()
	if err := leftovers(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// leftovers reports goroutines that are still there when all campaigns are over.
func leftovers() error {
	err := goleak.Find(
		// Idle connections, which client-go keeps for the whole life of a process.
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

// folder returns where things are built and left: below bin, so that they outlive the test.
func folder(t *testing.T) string {
	t.Helper()
	root, err := manifest.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, "bin", "chaos")
}

// build builds koncli.
func build(t *testing.T, tags ...string) string {
	t.Helper()
	if err := os.MkdirAll(folder(t), 0o755); err != nil {
		t.Fatal(err)
	}
	koncli, err := operators.Build(t.Context(), folder(t), tags...)
	if err != nil {
		t.Fatal(err)
	}
	return koncli
}

// siteFor starts a control plane for a test.
func siteFor(t *testing.T, unguarded bool) *Site {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
	t.Cleanup(cancel)
	site, err := NewSite(ctx, unguarded, t.Logf)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := site.Close(); err != nil {
			t.Error(err)
		}
	})
	return site
}

// campaign runs one. What it leaves is removed when the test succeeds.
func campaignOf(t *testing.T, site *Site, name string, o Options) *Report {
	t.Helper()
	o.Dir, o.Log = filepath.Join(folder(t), name), t.Logf
	if err := Prepare(o.Dir); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if !t.Failed() {
			_ = os.RemoveAll(o.Dir)
		}
	})
	report, err := Run(t.Context(), site, o)
	if err != nil {
		t.Fatalf("%v: see %s", err, o.Dir)
	}
	report.Print(t.Output())
	return report
}
