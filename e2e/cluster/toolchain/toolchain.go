// Package toolchain gives the programs a cluster is made of, as paths. Each is
// built from a Go module pinned below e2e/tools the first time it is asked for,
// and kept in a cache outside the checkout, so that every checkout of the same
// sources on a machine shares it.
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
	source string
	cache  string
	log    func(format string, args ...any)
}

// Open finds the pinned modules and the cache. Sources are looked for from the
// working directory upwards, so that the checkout one stands in wins, then where
// this package was compiled. log gets one line per build and may be nil.
func Open(log func(format string, args ...any)) (*Toolchain, error) {
	if log == nil {
		log = func(string, ...any) {}
	}
	e2e, err := SourceRoot()
	if err != nil {
		return nil, err
	}
	cache, err := cacheDir(os.Getenv)
	if err != nil {
		return nil, err
	}
	return &Toolchain{source: filepath.Join(e2e, "tools"), cache: filepath.Join(cache, "tools"), log: log}, nil
}

// SourceRoot is the folder of the e2e module.
func SourceRoot() (string, error) {
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
				if isFile(filepath.Join(candidate, "tools", "kubernetes", "go.mod")) {
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

// cacheDir follows the XDG rule on every system, macOS included, so that there
// is one place to name in the docs.
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

// Path gives the path of a binary and builds it if the cache has none.
func (t *Toolchain) Path(ctx context.Context, name string) (string, error) {
	tl, bin, err := find(name)
	if err != nil {
		return "", err
	}
	entry, version, err := t.entry(ctx, tl)
	if err != nil {
		return "", fmt.Errorf("%s: %w", name, err)
	}
	path := filepath.Join(entry, "bin", bin.name)
	if isFile(path) {
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
	if isFile(path) { // another process built it while this one waited
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

// entry is the cache folder of a tool and the version pinned in its go.mod.
func (t *Toolchain) entry(ctx context.Context, tl tool) (dir, version string, err error) {
	source := filepath.Join(t.source, tl.folder)
	version, err = pinnedVersion(source, tl.module)
	if err != nil {
		return "", "", err
	}
	goenv, err := goEnv(ctx, source)
	if err != nil {
		return "", "", err
	}
	key, err := key(source, version, goenv, tl)
	if err != nil {
		return "", "", err
	}
	return filepath.Join(t.cache, tl.folder+"-"+key), version, nil
}

func (t *Toolchain) build(ctx context.Context, tl tool, bin binary, version, path string) (err error) {
	if tl.cgo {
		if _, err := exec.LookPath(cCompiler()); err != nil {
			return fmt.Errorf("%s: needs a C compiler and %s is not on PATH: install one, or install %[1]s itself", bin.name, cCompiler())
		}
	}
	label := strings.TrimSpace(bin.name + " " + version)
	t.log("building %s for %s (%s on two cores, once)", label, platform(), bin.hint)
	start := time.Now()

	// Beside the final path, so that the rename stays on one file system.
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
	cmd.Dir = filepath.Join(t.source, tl.folder)
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

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func cCompiler() string {
	if cc := os.Getenv("CC"); cc != "" {
		return cc
	}
	return "gcc"
}

// Cache is the folder that all binaries are below.
func (t *Toolchain) Cache() string { return t.cache }
