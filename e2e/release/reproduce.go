package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// CopyCheckout copies a checkout to dir, which must not exist: its commit and tags, and the files as they are now, including
// uncommitted changes. Files that git ignores are left out.
func CopyCheckout(ctx context.Context, checkout, dir string) error {
	if _, err := runGit(ctx, checkout, "clone", "--quiet", "--no-checkout", checkout, dir); err != nil {
		return err
	}
	list, err := runGit(ctx, checkout, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--deduplicate")
	if err != nil {
		return err
	}
	for name := range strings.SplitSeq(strings.TrimSuffix(list, "\x00"), "\x00") {
		err := copyFile(filepath.Join(checkout, name), filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // git lists files that were deleted without a commit
			return err
		}
	}
	_, err = runGit(ctx, dir, "reset", "--quiet")
	return err
}

func runGit(ctx context.Context, dir string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("git %s: %w: %s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return string(out), nil
}

func copyFile(from, to string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, info.Mode().Perm())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

// CompareBuilds compares the output directories of two builds, file by file, and returns the names of files that differ or exist
// only in one of them. Goreleaser's records of its run, which contain the time and the machine, are ignored.
func CompareBuilds(first, second string) ([]string, error) {
	a, err := listReleaseFiles(first)
	if err != nil {
		return nil, err
	}
	b, err := listReleaseFiles(second)
	if err != nil {
		return nil, err
	}
	var differ []string
	for _, name := range slices.Compact(slices.Sorted(slices.Values(append(slices.Clone(a), b...)))) {
		same, err := hasSameContent(filepath.Join(first, name), filepath.Join(second, name))
		if err != nil {
			return nil, err
		}
		if !same {
			differ = append(differ, name)
		}
	}
	return differ, nil
}

// listReleaseFiles returns the files of a build that are released.
func listReleaseFiles(dir string) ([]string, error) {
	var names []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		switch name {
		case "artifacts.json", "config.yaml", "metadata.json":
		default:
			names = append(names, name)
		}
		return nil
	})
	if err == nil && len(names) == 0 {
		err = fmt.Errorf("%s is empty", dir)
	}
	return names, err
}

func hasSameContent(first, second string) (bool, error) {
	a, err := os.ReadFile(first)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	b, err := os.ReadFile(second)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return bytes.Equal(a, b), err
}
