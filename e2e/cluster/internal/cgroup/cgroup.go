// Package cgroup makes and removes the control group that a cluster's Pods run in,
// with version 1 (a tree per controller) and version 2 (one tree).
package cgroup

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// mount is a mounted tree of control groups.
type mount struct {
	dir string
	v2  bool
}

// Create makes the group in every tree. It fails where the trees are missing or
// read-only, as in an ordinary container.
func Create(name string) error {
	mounts, err := mounts()
	if err != nil {
		return err
	}
	if len(mounts) == 0 {
		return errors.New("no control groups are mounted")
	}
	for _, m := range mounts {
		if m.v2 {
			delegate(m.dir)
		}
		dir := filepath.Join(m.dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("control group: %w", err)
		}
		if m.v2 {
			delegate(dir)
		}
	}
	return nil
}

// delegate hands every controller there is on to the groups below dir. What
// can't be handed on is missed by the kubelet, which names it.
func delegate(dir string) {
	available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, controller := range strings.Fields(string(available)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
}

// Thaw lets the group's processes run. With version 1 a frozen process ignores
// even SIGKILL, and runc freezes a container for a moment to signal all of it.
func Thaw(name string) {
	mounts, err := mounts()
	if err != nil {
		return
	}
	for _, m := range mounts {
		for _, dir := range groups(filepath.Join(m.dir, name)) {
			state := filepath.Join(dir, "freezer.state")
			if _, err := os.Stat(state); err == nil {
				_ = os.WriteFile(state, []byte("THAWED"), 0o644)
			}
		}
	}
}

// Remove removes the group and all below it from every tree. The kernel takes a
// moment to drop ended processes from their groups; Remove waits that long, up to
// ctx.
func Remove(ctx context.Context, name string) error {
	mounts, err := mounts()
	if err != nil {
		return err
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		var errs []error
		for _, m := range mounts {
			errs = append(errs, removeTree(filepath.Join(m.dir, name)))
		}
		err := errors.Join(errs...)
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("control group: %w", err)
		}
	}
}

// removeTree removes groups from the bottom up. The files in them can't be
// removed and needn't be.
func removeTree(root string) error {
	dirs := groups(root)
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := os.Remove(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// groups lists root and all groups below it, each before those below it.
func groups(root string) []string {
	var dirs []string
	// A group may go away during the walk, which is what is wanted.
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

func mounts() ([]mount, error) {
	f, err := os.Open("/proc/self/mounts")
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // not Linux
		}
		return nil, err
	}
	defer func() { _ = f.Close() }()
	var found []mount
	seen := map[string]bool{}
	for scanner := bufio.NewScanner(f); scanner.Scan(); {
		fields := strings.Fields(scanner.Text())
		if len(fields) < 3 || seen[fields[1]] {
			continue
		}
		if kind := fields[2]; kind == "cgroup" || kind == "cgroup2" {
			seen[fields[1]] = true
			found = append(found, mount{dir: fields[1], v2: kind == "cgroup2"})
		}
	}
	return found, nil
}
