// Command testversions runs tests on several versions of Kubernetes, one after the other, and prints a summary of what it ran on
// each. A skipped test fails the run, and so does a package without tests: everything requested must pass on each version.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("testversions", flag.ContinueOnError)
	wanted := flags.String("versions", "", "minor versions of Kubernetes, separated by spaces or commas (default all that are pinned: "+strings.Join(toolchain.KubernetesVersions(), " ")+")")
	pattern := flags.String("run", "", "only the tests that match, as with go test")
	timeout := flags.Duration("timeout", 40*time.Minute, "how long a package may take on a version")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if flags.NArg() == 0 {
		return errors.New("name the packages to test, for example ./crd")
	}
	versions := strings.FieldsFunc(*wanted, func(r rune) bool { return r == ' ' || r == ',' })
	if len(versions) == 0 {
		versions = toolchain.KubernetesVersions()
	}
	var reports []*versionReport
	for _, version := range versions {
		release, err := selectVersion(ctx, version, out)
		if err != nil {
			return err
		}
		r := newVersionReport(version, release, out)
		reports = append(reports, r)
		goArgs := append([]string{"test", "-json", "-count=1", "-timeout=" + timeout.String(), "-run=" + *pattern}, flags.Args()...)
		if err := r.runTests(ctx, goArgs); err != nil {
			return err
		}
	}
	bad := 0
	fmt.Fprintln(out)
	for _, r := range reports {
		bad += r.printSummary()
	}
	if bad > 0 {
		return fmt.Errorf("%d packages did not pass", bad)
	}
	return nil
}

// selectVersion builds the programs of a version, so that tests find them built, and selects it for all child processes. It
// returns the pinned release.
func selectVersion(ctx context.Context, version string, out io.Writer) (release string, err error) {
	if err := os.Setenv(toolchain.KubernetesEnv, version); err != nil {
		return "", err
	}
	tools, err := toolchain.Open(func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) })
	if err != nil {
		return "", err
	}
	paths, err := tools.Paths(ctx, "etcd", "kube-apiserver", "kube-controller-manager", "kubectl")
	if err != nil {
		return "", err
	}
	said, err := exec.CommandContext(ctx, paths["kube-apiserver"], "--version").Output()
	if err != nil {
		return "", fmt.Errorf("kube-apiserver of %s: %w", version, err)
	}
	return strings.TrimPrefix(strings.TrimSpace(string(said)), "Kubernetes "), nil
}

// runTests runs go test in the module of this program and reads its events.
func (r *versionReport) runTests(ctx context.Context, args []string) error {
	e2e, err := toolchain.ModuleRoot()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir, cmd.Stderr = filepath.Clean(e2e), r.out
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	events, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	fmt.Fprintf(r.out, "\nKubernetes %s: go %s\n", r.release, strings.Join(args, " "))
	if err := cmd.Start(); err != nil {
		return err
	}
	readErr := r.readEvents(events)
	var exit *exec.ExitError
	if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
		return err
	}
	if err := context.Cause(ctx); err != nil {
		return err
	}
	if err == nil && exit != nil && len(r.packages) == 0 {
		return fmt.Errorf("go test ran nothing: %w", exit)
	}
	return readErr
}
