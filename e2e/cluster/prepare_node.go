package cluster

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/LogicIQ/konductor/e2e/cluster/image"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/cgroup"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervisor"
)

// noNodeReason returns why this machine can't have a node; empty if no reason is known yet.
func noNodeReason() string {
	switch {
	case runtime.GOOS != "linux":
		return "a node needs Linux"
	case os.Geteuid() != 0:
		return "a node needs root"
	}
	if _, err := exec.LookPath("runc"); err == nil {
		return ""
	}
	if _, err := exec.LookPath("gcc"); err == nil {
		return ""
	}
	return "a node needs runc, or gcc to build it: install either"
}

// prepareNode prepares what a node needs: programs, images, a control group.
func (s clusterStarter) prepareNode(ctx context.Context) (*component.NodeSetup, map[string]string, error) {
	names := []string{
		component.Etcd, component.APIServer, component.ControllerManager, component.Scheduler,
		component.Containerd, "containerd-shim-runc-v2", "ctr", component.Kubelet, "bridge", "host-local",
	}
	binaries, err := s.tools.Paths(ctx, names...)
	if err != nil {
		return nil, nil, err
	}
	runc, err := s.runcPath(ctx)
	if err != nil {
		return nil, nil, err
	}
	if err := s.writeImageArchives(ctx); err != nil {
		return nil, nil, err
	}
	root := supervisor.CgroupRoot(s.dir)
	if err := cgroup.Create(root); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", errNoNode, err)
	}
	return &component.NodeSetup{
		CgroupRoot:  root,
		CNIBin:      filepath.Dir(binaries["bridge"]),
		Runc:        runc,
		Snapshotter: snapshotter(s.dir),
	}, binaries, nil
}

// runcPath prefers the installed one, if it can apply seccomp profiles as a real node's does; the one built here can't, and needs
// a wrapper.
func (s clusterStarter) runcPath(ctx context.Context) (string, error) {
	if path, err := exec.LookPath("runc"); err == nil {
		out, err := exec.CommandContext(ctx, path, "--version").Output()
		if err == nil && strings.Contains(string(out), "libseccomp") {
			return filepath.Abs(path)
		}
	}
	paths, err := s.tools.Paths(ctx, "runc", "runc-noseccomp")
	if err != nil {
		return "", err
	}
	return paths["runc-noseccomp"], nil
}

// writeImageArchives writes the archives that the supervisor imports.
func (s clusterStarter) writeImageArchives(ctx context.Context) error {
	dir := component.Layout{Dir: supervisor.DataDir(s.dir)}.Images()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	pause, err := s.tools.Path(ctx, "pause")
	if err != nil {
		return err
	}
	shell, err := s.shellImage(ctx)
	if err != nil {
		return err
	}
	var writes errgroup.Group
	writes.Go(func() error {
		i, err := image.ProgramImage(component.PauseImage, "pause", pause)
		if err != nil {
			return err
		}
		return image.WriteArchive(filepath.Join(dir, "pause.tar"), i)
	})
	writes.Go(func() error { return image.WriteArchive(filepath.Join(dir, "shell.tar"), shell) })
	return writes.Wait()
}

// shellImage uses this machine's busybox if that is static, else the shell in e2e/tools.
func (s clusterStarter) shellImage(ctx context.Context) (image.Image, error) {
	program, err := exec.LookPath("busybox")
	if err != nil || !image.IsStatic(program) {
		if program, err = s.tools.Path(ctx, "shell"); err != nil {
			return image.Image{}, err
		}
	}
	names, err := exec.CommandContext(ctx, program, "--list").Output()
	if err != nil {
		return image.Image{}, fmt.Errorf("%s --list: %w", program, err)
	}
	return image.MultiCallImage(component.ShellImage, "busybox", program, strings.Fields(string(names)))
}
