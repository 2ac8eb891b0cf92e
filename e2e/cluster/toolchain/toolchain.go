// Package toolchain builds the programs of a cluster and returns their paths. Each is built from a Go module pinned below
// e2e/tools at its first use, and kept in a cache outside the checkout, which all checkouts of the same sources on a machine
// share.
package toolchain

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/filelock"
)

// Toolchain finds and builds binaries.
type Toolchain struct {
	toolsDir string
	cacheDir string
	// kubernetes is the directory below toolsDir that pins the Kubernetes in use.
	kubernetes string
	log        func(format string, args ...any)
}

// Open finds the pinned modules and the cache. Sources are looked for from the working directory upwards, so that the current
// checkout wins, then where this package was compiled. KubernetesEnv is read once, here. log gets one line per build and may be
// nil.
func Open(log func(format string, args ...any)) (*Toolchain, error) {
	if log == nil {
		log = func(string, ...any) {}
	}
	e2e, err := ModuleRoot()
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir(os.Getenv)
	if err != nil {
		return nil, err
	}
	kubernetes, err := kubernetesFolder(os.Getenv(KubernetesEnv))
	if err != nil {
		return nil, err
	}
	return &Toolchain{toolsDir: filepath.Join(e2e, "tools"), cacheDir: filepath.Join(cache, "tools"), kubernetes: kubernetes, log: log}, nil
}

// ModuleRoot returns the directory of the e2e module.
func ModuleRoot() (string, error) {
	var starts []string
	if wd, err := os.Getwd(); err == nil {
		starts = append(starts, wd)
	}
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		starts = append(starts, filepath.Dir(file))
	}
	for _, start := range starts {
		for dir := start; ; dir = filepath.Dir(dir) {
			for _, candidate := range []string{dir, filepath.Join(dir, "e2e")} {
				if isRegularFile(filepath.Join(candidate, "tools", "kubernetes", "go.mod")) {
					return candidate, nil
				}
			}
			if dir == filepath.Dir(dir) {
				break
			}
		}
	}
	return "", errors.New("e2e/tools not found: run this inside a checkout of konductor")
}

// cacheDir follows the XDG rule on every system, macOS included, so that the docs can name one place.
func cacheDir(getenv func(string) string) (string, error) {
	if dir := getenv("KONDUCTOR_CACHE"); dir != "" {
		return filepath.Abs(dir)
	}
	if dir := getenv("XDG_CACHE_HOME"); dir != "" {
		return filepath.Join(dir, "konductor"), nil
	}
	home := getenv("HOME")
	if home == "" {
		return "", errors.New("no cache directory: set KONDUCTOR_CACHE, XDG_CACHE_HOME or HOME")
	}
	return filepath.Join(home, ".cache", "konductor"), nil
}

// Path returns the path of a binary and builds it if it isn't in the cache.
func (t *Toolchain) Path(ctx context.Context, name string) (string, error) {
	tl, bin, err := findTool(t.kubernetes, name)
	if err != nil {
		return "", err
	}
	entry, version, err := t.cacheEntry(ctx, tl)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	path := filepath.Join(entry, "bin", bin.name)
	if isRegularFile(path) {
		return path, nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", fmt.Errorf("%s: cache: %w", name, err)
	}
	unlock, err := filelock.Acquire(ctx, filepath.Join(entry, ".lock"), func() {
		t.log("waiting for another build of %s", name)
	})
	if err != nil {
		return "", fmt.Errorf("%s: cache: %w", name, err)
	}
	defer unlock()
	if isRegularFile(path) { // another process built it while this one waited
		return path, nil
	}
	return path, t.build(ctx, tl, bin, version, path)
}

// Paths is Path for several binaries.
func (t *Toolchain) Paths(ctx context.Context, names ...string) (map[string]string, error) {
	paths := make(map[string]string, len(names))
	for _, name := range names {
		path, err := t.Path(ctx, name)
		if err != nil {
			return nil, err
		}
		paths[name] = path
	}
	return paths, nil
}

// cacheEntry returns the cache directory of a tool and the version pinned in its go.mod.
func (t *Toolchain) cacheEntry(ctx context.Context, tl tool) (dir, version string, err error) {
	source := filepath.Join(t.toolsDir, tl.folder)
	version, err = pinnedVersion(source, tl.module)
	if err != nil {
		return "", "", err
	}
	goenv, err := goEnv(ctx, source)
	if err != nil {
		return "", "", err
	}
	key, err := cacheKey(source, version, goenv, tl)
	if err != nil {
		return "", "", err
	}
	return filepath.Join(t.cacheDir, tl.folder+"-"+key), version, nil
}

func (t *Toolchain) build(ctx context.Context, tl tool, bin binary, version, path string) (err error) {
	if tl.cgo {
		if _, err := exec.LookPath(cCompiler()); err != nil {
			return fmt.Errorf("%s: needs a C compiler and %s is not on PATH: install one, or install %[1]s itself", bin.name, cCompiler())
		}
	}
	label := strings.TrimSpace(bin.name + " " + version)
	t.log("building %s for %s (%s on two cores, once)", label, platform(), bin.buildTimeHint)
	start := time.Now()

	// The file is next to the final path, so that the rename stays on one file system.
	tmp, err := os.MkdirTemp(filepath.Dir(filepath.Dir(path)), "build-")
	if err != nil {
		return fmt.Errorf("%s: cache: %w", bin.name, err)
	}
	defer func() {
		if rmErr := os.RemoveAll(tmp); err == nil && rmErr != nil {
			err = rmErr
		}
	}()
	out := filepath.Join(tmp, bin.name)
	cmd := exec.CommandContext(ctx, "go", buildArgs(tl, bin, version, out)...)
	cmd.Dir = filepath.Join(t.toolsDir, tl.folder)
	cmd.Env = buildEnv(os.Environ(), tl)
	if msg, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s in %s: %w\n%s", label, cmd.Dir, err, strings.TrimSpace(string(msg)))
	}
	if err := os.Rename(out, path); err != nil {
		return fmt.Errorf("%s: cache: %w", bin.name, err)
	}
	t.log("built %s in %s", label, time.Since(start).Round(100*time.Millisecond))
	return nil
}

func isRegularFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func cCompiler() string {
	if cc := os.Getenv("CC"); cc != "" {
		return cc
	}
	return "gcc"
}

// CacheDir returns the directory with all binaries.
func (t *Toolchain) CacheDir() string { return t.cacheDir }
