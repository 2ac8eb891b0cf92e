// Package cgroup creates and removes the control group that a cluster's Pods run in, with version 1 (a tree per controller) and
// version 2 (one tree).
package cgroup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/prometheus/procfs"
)

// mount is a mounted tree of control groups.
type mount struct {
	dir  string
	isV2 bool
}

// Create creates the group in every tree. It fails where the trees are missing or read-only, as in an ordinary container.
func Create(name string) error {
	mounts, err := cgroupMounts()
	if err != nil {
		return err
	}
	if len(mounts) == 0 {
		return errors.New("no control groups are mounted")
	}
	for _, m := range mounts {
		if m.isV2 {
			delegateControllers(m.dir)
		}
		dir := filepath.Join(m.dir, name)
		if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("control group: %w", err)
		}
		if m.isV2 {
			delegateControllers(dir)
		}
	}
	return nil
}

// delegateControllers enables every available controller for the groups below dir. Failures are ignored: the kubelet reports a
// controller that it lacks.
func delegateControllers(dir string) {
	available, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, controller := range strings.Fields(string(available)) {
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
}

// Thaw thaws the group's processes. With version 1 a frozen process ignores even SIGKILL, and runc freezes a container for a
// moment to signal all of it.
func Thaw(name string) {
	mounts, err := cgroupMounts()
	if err != nil {
		return
	}
	for _, m := range mounts {
		for _, dir := range listGroups(filepath.Join(m.dir, name)) {
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
	mounts, err := cgroupMounts()
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

// removeTree removes groups from the bottom up. The files in them can't be removed and needn't be.
func removeTree(root string) error {
	dirs := listGroups(root)
	for i := len(dirs) - 1; i >= 0; i-- {
		if err := os.Remove(dirs[i]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// listGroups returns root and all groups below it, each before those below it.
func listGroups(root string) []string {
	var dirs []string
	// A group that vanishes during the walk needs no removal.
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	return dirs
}

func cgroupMounts() ([]mount, error) {
	all, err := procfs.GetMounts()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // not Linux
	}
	var found []mount
	seen := map[string]bool{}
	for _, m := range all {
		if (m.FSType == "cgroup" || m.FSType == "cgroup2") && !seen[m.MountPoint] {
			seen[m.MountPoint] = true
			found = append(found, mount{dir: m.MountPoint, isV2: m.FSType == "cgroup2"})
		}
	}
	return found, err
}
