package pods

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

// maxParallelTests is how many tests run at the same time. They spend much of their time waiting for containers to start.
const maxParallelTests = 4

// requiredArtifacts is what the tests need and "make image.tar" builds, in the directory bin of the checkout.
var requiredArtifacts = []string{"image.tar", "koncli", "kubectl-konductor"}

// sharedCluster is the cluster of all tests.
var sharedCluster struct {
	*cluster.Cluster
	bin     string // the directory with the artifacts
	kubectl string // the directory with kubectl
	missing string // why there is no cluster; empty if there is one
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(cleanupDirEnv); dir != "" {
		os.Exit(runCleanupProcess(dir))
	}
	flag.Parse()
	// The tests break watches by stopping the API server; logging that would only be noise.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	log.SetLogger(logr.Discard())
	code, err := runTests(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pods:", err)
		code = 1
	}
	skipped.printSummary(os.Stdout)
	os.Exit(code)
}

// runTests starts the cluster, runs the tests, and removes the cluster again.
func runTests(m *testing.M) (code int, err error) {
	if err := setParallel(); err != nil {
		return 1, err
	}
	if sharedCluster.missing = unsupportedReason(); sharedCluster.missing != "" {
		return m.Run(), nil
	}
	if err := findArtifacts(); err != nil {
		return 1, err
	}
	// The name is short because the length of a socket's path is limited.
	dir, err := os.MkdirTemp("", "kpods-")
	if err != nil {
		return 1, err
	}
	cleanup, err := startCleanupProcess(dir)
	if err != nil {
		return 1, errors.Join(err, os.RemoveAll(dir))
	}
	defer func() { err = errors.Join(err, cleanup.cleanUpAndWait(dir)) }()
	if err := startSharedCluster(dir); err != nil {
		return 1, err
	}
	if sharedCluster.missing != "" && os.Getenv("CI") == "true" {
		return 1, fmt.Errorf("no Pods can run, although this is root on Linux with CI=true: %s", sharedCluster.missing)
	}
	return m.Run(), nil
}

// unsupportedReason returns why this machine can't run Pods, as far as is known beforehand.
func unsupportedReason() string {
	switch {
	case runtime.GOOS != "linux":
		return "Pods run on Linux only, and this is " + runtime.GOOS
	case os.Geteuid() != 0:
		return "running Pods needs root"
	default:
		return ""
	}
}

// findArtifacts finds the artifacts; its error says how to build them.
func findArtifacts() error {
	root, err := manifest.RepoRoot()
	if err != nil {
		return err
	}
	sharedCluster.bin = filepath.Join(root, "bin")
	for _, name := range requiredArtifacts {
		if _, err := os.Stat(filepath.Join(sharedCluster.bin, name)); err != nil {
			return fmt.Errorf("bin/%s is missing: build it with \"make image.tar\", or run these tests with \"make test-pods\"", name)
		}
	}
	return nil
}

// startSharedCluster starts the cluster and installs konductor.
func startSharedCluster(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute) // the first time everything is built
	defer cancel()
	begin := time.Now()
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, "    "+format+"\n", args...) }
	var err error
	if sharedCluster.Cluster, err = cluster.Up(ctx, cluster.Options{Dir: dir, Log: say}); err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	if sharedCluster.missing = sharedCluster.NoNodeReason(); sharedCluster.missing != "" {
		return nil
	}
	if err := sharedCluster.LoadImage(ctx, filepath.Join(sharedCluster.bin, "image.tar")); err != nil {
		return err
	}
	tools, err := toolchain.Open(say)
	if err != nil {
		return err
	}
	kubectl, err := tools.Path(ctx, "kubectl")
	if err != nil {
		return err
	}
	sharedCluster.kubectl = filepath.Dir(kubectl)
	if err := install.Chart(ctx, tools, sharedCluster.Kubeconfig()); err != nil {
		return err
	}
	say("konductor installed, %s after the start", time.Since(begin).Round(100*time.Millisecond))
	return nil
}

// setParallel sets -parallel to maxParallelTests, unless the caller has set it.
func setParallel() error {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", fmt.Sprint(maxParallelTests))
}
