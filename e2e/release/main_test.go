package release

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/LogicIQ/konductor/e2e/manifest"
)

// commitTime stands for the time of a commit.
var commitTime = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

func repoRoot(t *testing.T) string {
	t.Helper()
	root, err := manifest.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// mustRun runs a command in a directory and returns its output.
func mustRun(t *testing.T, dir string, env []string, name string, args ...string) string {
	t.Helper()
	out, err := runCommand(t.Context(), dir, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}

func runCommand(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// buildKoncliOnce builds konductor for a container of this machine's architecture, as for a release. Linking takes seconds, so
// all tests share it.
var buildKoncliOnce = sync.OnceValues(func() (string, error) {
	root, err := manifest.RepoRoot()
	if err != nil {
		return "", err
	}
	file := filepath.Join(sharedTempDir, "koncli")
	out, err := runCommand(context.Background(), root, []string{"CGO_ENABLED=0", "GOOS=linux"},
		"go", "build", "-trimpath", "-ldflags=-s -w", "-o", file, "./plugins/konductor")
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return file, nil
})

// sharedTempDir is a directory that tests share.
var sharedTempDir string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "konductor-release-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
	sharedTempDir = dir
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		code = 1
	}
	os.Exit(code)
}

func koncliBinary(t *testing.T) string {
	t.Helper()
	file, err := buildKoncliOnce()
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// checkVersion checks the version that a program prints.
func checkVersion(t *testing.T, version, name string, args ...string) {
	t.Helper()
	out := mustRun(t, t.TempDir(), []string{"KUBECONFIG=/dev/null"}, name, append(args, "version", "--client")...)
	if want := "Client Version: " + version + "\n"; out != want {
		t.Errorf("%s says %q, want %q", name, out, want)
	}
}

// buildEmptyProgram builds a program that does nothing.
func buildEmptyProgram(t *testing.T, arch string) string {
	t.Helper()
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "main.go"), "package main\n\nfunc main() {}\n")
	mustRun(t, dir, []string{"CGO_ENABLED=0", "GOOS=linux", "GOARCH=" + arch}, "go", "build", "-trimpath", "-o", "program", "main.go")
	return filepath.Join(dir, "program")
}

func writeFile(t *testing.T, file, content string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func readFile(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// writeTarGz writes a .tar.gz with one file.
func writeTarGz(t *testing.T, name string, data []byte) string {
	t.Helper()
	var out bytes.Buffer
	zw := gzip.NewWriter(&out)
	tw := tar.NewWriter(zw)
	if err := tw.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: int64(len(data)), Mode: 0o755}); err != nil {
		t.Fatal(err)
	}
	if _, err := tw.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := tw.Close(); err != nil {
		t.Fatal(err)
	}
	if err := zw.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "archive.tar.gz")
	writeFile(t, file, out.String())
	return file
}

// otherArch returns an architecture of the release that isn't this machine's.
func otherArch() string {
	if runtime.GOARCH == "arm64" {
		return "amd64"
	}
	return "arm64"
}
