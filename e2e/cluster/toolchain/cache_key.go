package toolchain

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"golang.org/x/mod/modfile"
)

// pinnedVersion reads the version of module from the go.mod in dir.
func pinnedVersion(dir, module string) (string, error) {
	if module == "" {
		return "", nil
	}
	path := filepath.Join(dir, "go.mod")
	data, err := os.ReadFile(path)
	if err != nil {
		return "", err
	}
	mod, err := modfile.ParseLax(path, data, nil)
	if err != nil {
		return "", err
	}
	for _, req := range mod.Require {
		if req.Mod.Path == module {
			return req.Mod.Version, nil
		}
	}
	return "", fmt.Errorf("%s does not require %s", path, module)
}

// goEnv returns everything about the Go installation that changes what it builds.
func goEnv(ctx context.Context, dir string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "env", "GOVERSION", "GOOS", "GOARCH")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off")
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("go env: %w: is Go installed and on PATH?", err)
	}
	return strings.Join(strings.Fields(string(out)), " "), nil
}

// cacheKey names a cache entry: the version, for people, and a hash of everything that goes into the binary: the module files,
// our own sources, flags, Go.
func cacheKey(dir, version, goenv string, tl tool) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%q\n%v\n%s\n", goenv, tl.tags, tl.cgo, tl.ldflags(version))
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() || !isHashedFile(d.Name()) {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		f, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = f.Close() }()
		// Name and length come first: otherwise a byte could move from one file to the next unnoticed.
		info, err := f.Stat()
		if err != nil {
			return err
		}
		fmt.Fprintf(h, "%s %d\n", filepath.ToSlash(rel), info.Size())
		_, err = io.Copy(h, f)
		return err
	})
	if err != nil {
		return "", err
	}
	hash := hex.EncodeToString(h.Sum(nil))[:10]
	if version == "" {
		return hash, nil
	}
	return version + "-" + hash, nil
}

func isHashedFile(name string) bool {
	return name == "go.mod" || name == "go.sum" ||
		strings.HasSuffix(name, ".go") && !strings.HasSuffix(name, "_test.go")
}

func buildArgs(tl tool, bin binary, version, out string) []string {
	args := []string{"build", "-trimpath", "-buildvcs=false", "-mod=readonly", "-ldflags", tl.ldflags(version), "-o", out}
	if len(tl.tags) > 0 {
		args = append(args, "-tags", strings.Join(tl.tags, ","))
	}
	return append(args, bin.pkg)
}

// buildEnv drops variables that the caller may have set for its own builds: they are not part of the key, so they must not change
// the result.
func buildEnv(environ []string, tl tool) []string {
	env := make([]string, 0, len(environ)+3)
	for _, kv := range environ {
		name, _, _ := strings.Cut(kv, "=")
		switch name {
		case "GOFLAGS", "GOWORK", "CGO_ENABLED", "GOEXPERIMENT", "GODEBUG":
		default:
			env = append(env, kv)
		}
	}
	cgo := "0"
	if tl.cgo {
		cgo = "1"
	}
	return append(env, "GOFLAGS=", "GOWORK=off", "CGO_ENABLED="+cgo)
}
