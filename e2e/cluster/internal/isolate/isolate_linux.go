// Package isolate gives a cluster with a node its own processes, mounts, network and host name. When the first process in there
// ends, however it ends, the kernel removes the namespaces with everything in them.
package isolate

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// SysProcAttr returns the attributes with which to start the process that will call Enter.
func SysProcAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{
		Setsid:     true, // outlives the terminal
		Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC,
	}
}

// Enter sets up the namespaces of the calling process.
func Enter(o Options) error {
	if os.Getpid() != 1 {
		return errors.New("isolate: not the first process of a namespace")
	}
	// This must come first: from here on, no mount reaches the host.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := setUpMounts(o); err != nil {
		return err
	}
	if err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return fmt.Errorf("mount /proc: %w", err)
	}
	// Pods with mount propagation need a shared tree; it is shared only in here.
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("make mounts shared: %w", err)
	}
	if err := unix.Sethostname([]byte(o.Hostname)); err != nil {
		return fmt.Errorf("set host name: %w", err)
	}
	return setUpNetwork(o)
}

// setUpMounts hides the directories that the node's programs write to without being configured (/run/netns, /var/lib/cni,
// /var/log/containers and the like) behind empty ones in memory.
func setUpMounts(o Options) error {
	// Descriptors still lead to directories that are hidden afterwards.
	open := map[string]int{}
	defer func() {
		for _, fd := range open {
			_ = unix.Close(fd)
		}
	}()
	sources := map[string]string{} // by target
	for _, dir := range o.KeepVisible {
		sources[dir] = dir
	}
	for target, source := range o.BindMounts {
		sources[target] = source
	}
	for target, source := range sources {
		fd, err := unix.Open(source, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("open %s: %w", source, err)
		}
		open[target] = fd
	}
	resolvConf, _ := filepath.EvalSymlinks("/etc/resolv.conf")

	hidden := []string{"/run", "/var/lib", "/var/log"}
	if real, err := filepath.EvalSymlinks("/var/run"); err == nil && real != "/run" {
		hidden = append(hidden, real)
	}
	for _, dir := range hidden {
		if err := unix.Mount("konductor", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755"); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	for _, target := range slices.Sorted(maps.Keys(open)) { // a directory before those in it
		fd := open[target]
		source := fmt.Sprintf("/proc/self/fd/%d", fd)
		if sources[target] == target && !isBelow(target, hidden) {
			continue
		}
		if err := os.MkdirAll(target, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(source, target, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
			return fmt.Errorf("mount %s: %w", target, err)
		}
	}
	// containerd copies it for Pods that don't have one of their own.
	if isBelow(resolvConf, hidden) {
		if err := os.MkdirAll(filepath.Dir(resolvConf), 0o755); err != nil {
			return err
		}
		return os.WriteFile(resolvConf, nil, 0o644)
	}
	return nil
}

func isBelow(path string, dirs []string) bool {
	for _, dir := range dirs {
		if strings.HasPrefix(path, dir+"/") {
			return true
		}
	}
	return false
}
