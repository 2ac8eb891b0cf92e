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

// downTimeout bounds the removal of a cluster; it takes well under a second,
// unless the kernel is busy.
const downTimeout = time.Minute

// Down ends the cluster in dir and removes every trace: processes, control groups,
// files. It does so for what a crash left as well, and when there is nothing, it
// does nothing. Mounts, network devices and addresses need no removal: they are
// in namespaces that end with the processes.
func Down(ctx context.Context, dir string) error {
	dir, err := canonical(dir)
	if err != nil {
		return err
	}
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return remove(ctx, dir) // somebody may have removed the folder alone
	}
	unlock, err := filelock.Acquire(ctx, supervisor.LockFile(dir), func() {})
	if err != nil {
		return fmt.Errorf("cluster in %s: %w", dir, err)
	}
	defer unlock()
	return remove(ctx, dir)
}

// remove needs the lock of dir.
func remove(ctx context.Context, dir string) error {
	if err := end(ctx, dir); err != nil {
		return err
	}
	if err := supervisor.Remove(dir); err != nil {
		return fmt.Errorf("remove the cluster in %s: %w", dir, err)
	}
	return nil
}

// end ends all processes and removes the control groups, but leaves the files.
func end(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, downTimeout)
	defer cancel()
	cgroupRoot := supervisor.CgroupRoot(dir)
	for {
		processes, err := processesOf(dir)
		if err != nil {
			return fmt.Errorf("end the cluster in %s: %w", dir, err)
		}
		if len(processes) == 0 {
			break
		}
		for _, p := range processes {
			if err := kill(ctx, p, cgroupRoot); err != nil {
				return fmt.Errorf("end the cluster in %s: %w", dir, err)
			}
		}
	}
	if err := cgroup.Remove(ctx, cgroupRoot); err != nil {
		return fmt.Errorf("end the cluster in %s: %w", dir, err)
	}
	return nil
}

// processesOf gives the processes of the cluster in dir, the supervisor first: it
// would start again what ends before it.
func processesOf(dir string) ([]state.ProcessID, error) {
	marked, err := state.Marked(dir)
	if err != nil {
		return nil, err
	}
	var first, rest []state.ProcessID
	record, err := supervisor.Load(dir)
	if err == nil && record.Supervisor.Alive() {
		first = append(first, record.Supervisor)
	}
	for p, component := range marked {
		switch {
		case p == record.Supervisor:
		case component == supervisor.Component:
			first = append(first, p)
		default:
			rest = append(rest, p)
		}
	}
	return append(first, rest...), nil
}

// kill kills a process and, if it is the first of its namespace, all others
// there. One that is frozen by its control group has to be let run to end.
func kill(ctx context.Context, p state.ProcessID, cgroupRoot string) error {
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
