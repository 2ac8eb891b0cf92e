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

// sideBySide is how many tests run at the same time. They spend much of their time waiting for containers to start.
const sideBySide = 4

// built is what the tests need and "make image.tar" builds, in the folder bin of the checkout.
var built = []string{"image.tar", "koncli", "kubectl-konductor"}

// ground is what all tests stand on.
var ground struct {
	*cluster.Cluster
	bin     string // the folder that has what was built
	kubectl string // the folder that has kubectl
	missing string // why there is no cluster to test on; empty if there is one
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(undertakerOf); dir != "" {
		os.Exit(undertake(dir))
	}
	flag.Parse()
	// Watches that break when the API server is stopped are part of the tests, not news.
	klog.LogToStderr(false)
	klog.SetOutput(io.Discard)
	log.SetLogger(logr.Discard())
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, "pods:", err)
		code = 1
	}
	skipped.print(os.Stdout)
	os.Exit(code)
}

// run starts the cluster, runs the tests, and removes the cluster again.
func run(m *testing.M) (code int, err error) {
	if err := raiseParallel(); err != nil {
		return 1, err
	}
	if ground.missing = obstacle(); ground.missing != "" {
		return m.Run(), nil
	}
	if err := findBuilt(); err != nil {
		return 1, err
	}
	// The name is short because there are limits to the length of a socket's path.
	dir, err := os.MkdirTemp("", "kpods-")
	if err != nil {
		return 1, err
	}
	keeper, err := appointUndertaker(dir)
	if err != nil {
		return 1, errors.Join(err, os.RemoveAll(dir))
	}
	defer func() { err = errors.Join(err, keeper.bury(dir)) }()
	if err := prepare(dir); err != nil {
		return 1, err
	}
	if ground.missing != "" && os.Getenv("CI") == "true" {
		return 1, fmt.Errorf("no Pods can run, although this is root on Linux with CI=true: %s", ground.missing)
	}
	return m.Run(), nil
}

// obstacle says why no Pods can run on this machine, as far as can be told beforehand.
func obstacle() string {
	switch {
	case runtime.GOOS != "linux":
		return "Pods run on Linux only, and this is " + runtime.GOOS
	case os.Geteuid() != 0:
		return "running Pods needs root"
	default:
		return ""
	}
}

// findBuilt finds what was built, or says how to build it.
func findBuilt() error {
	root, err := manifest.Root()
	if err != nil {
		return err
	}
	ground.bin = filepath.Join(root, "bin")
	for _, name := range built {
		if _, err := os.Stat(filepath.Join(ground.bin, name)); err != nil {
			return fmt.Errorf("bin/%s is missing: build it with \"make image.tar\", or run these tests with \"make test-pods\"", name)
		}
	}
	return nil
}

// prepare starts the cluster and installs konductor.
func prepare(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Minute) // the first time everything is built
	defer cancel()
	begin := time.Now()
	say := func(format string, args ...any) { fmt.Fprintf(os.Stderr, "    "+format+"\n", args...) }
	var err error
	if ground.Cluster, err = cluster.Up(ctx, cluster.Options{Dir: dir, Log: say}); err != nil {
		return fmt.Errorf("starting the cluster: %w", err)
	}
	if ground.missing = ground.NoNode(); ground.missing != "" {
		return nil
	}
	if err := ground.LoadImage(ctx, filepath.Join(ground.bin, "image.tar")); err != nil {
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
	ground.kubectl = filepath.Dir(kubectl)
	if err := install.Chart(ctx, tools, ground.Kubeconfig()); err != nil {
		return err
	}
	say("konductor installed, %s after the start", time.Since(begin).Round(100*time.Millisecond))
	return nil
}

// raiseParallel sets -parallel, unless the caller did.
func raiseParallel() error {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == "test.parallel" })
	if given {
		return nil
	}
	return flag.Set("test.parallel", fmt.Sprint(sideBySide))
}
