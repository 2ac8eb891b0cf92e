package cluster

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/cgroup"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/filelock"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/state"
	"github.com/LogicIQ/konductor/e2e/cluster/internal/supervisor"
)

// downTimeout limits the removal of a cluster; it takes well under a second, unless the kernel is busy.
const downTimeout = time.Minute

// Down stops the cluster in dir and removes all that belongs to it: processes, control groups, files. It does so after a crash as
// well; without a cluster it does nothing. Mounts, network devices and addresses need no removal: they are in namespaces that end
// with the processes.
func Down(ctx context.Context, dir string) error {
	dir, err := canonicalPath(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return removeCluster(ctx, dir) // the directory may have been deleted by hand
	}
	unlock, err := filelock.Acquire(ctx, supervisor.LockFile(dir), func() {})
	if err != nil {
		return fmt.Errorf("cluster in %s: %w", dir, err)
	}
	defer unlock()
	return removeCluster(ctx, dir)
}

// removeCluster removes the cluster. The caller holds the lock of dir.
func removeCluster(ctx context.Context, dir string) error {
	if err := endProcesses(ctx, dir); err != nil {
		return err
	}
	if err := supervisor.RemoveAll(dir); err != nil {
		return fmt.Errorf("remove the cluster in %s: %w", dir, err)
	}
	return nil
}

// endProcesses ends all processes and removes the control groups, but leaves the files.
func endProcesses(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	cgroupRoot := supervisor.CgroupRoot(dir)
	for {
		processes, err := clusterProcesses(dir)
		if err != nil {
			return fmt.Errorf("end the cluster in %s: %w", dir, err)
		}
		if len(processes) == 0 {
			break
		}
		for _, p := range processes {
			if err := killProcess(ctx, p, cgroupRoot); err != nil {
				return fmt.Errorf("end the cluster in %s: %w", dir, err)
			}
		}
	}
	if err := cgroup.Remove(ctx, cgroupRoot); err != nil {
		return fmt.Errorf("end the cluster in %s: %w", dir, err)
	}
	return nil
}

// clusterProcesses returns the processes of the cluster in dir, the supervisor first: it would restart components that end before
// it.
func clusterProcesses(dir string) ([]state.ProcessID, error) {
	marked, err := state.FindMarkedProcesses(dir)
	if err != nil {
		return nil, err
	}
	var first, rest []state.ProcessID
	record, err := supervisor.Load(dir)
	if err == nil && record.Supervisor.IsAlive() {
		first = append(first, record.Supervisor)
	}
	for p, component := range marked {
		switch {
		case p == record.Supervisor:
		case component == supervisor.ComponentName:
			first = append(first, p)
		default:
			rest = append(rest, p)
		}
	}
	return append(first, rest...), nil
}

// killProcess kills a process and, if it is the first of its namespace, all others there. A process that is frozen by its control
// group must be thawed to end.
func killProcess(ctx context.Context, p state.ProcessID, cgroupRoot string) error {
	const patience = 2 * time.Second
	for {
		attempt, cancel := context.WithTimeout(ctx, patience)
		err := p.Kill(attempt)
		cancel()
		if err == nil || ctx.Err() != nil || !errors.Is(err, context.DeadlineExceeded) {
			return err
		}
		cgroup.Thaw(cgroupRoot)
	}
}
