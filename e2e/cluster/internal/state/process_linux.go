package state

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"
)

// startTime returns the clock ticks between boot and the start of the process. It fails if there is no such process; a zombie
// counts as ended.
func startTime(pid int) (string, error) {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return "", err
	}
	stat, err := p.Stat()
	if err != nil {
		return "", err
	}
	if stat.State == "Z" || stat.State == "X" {
		return "", errors.New("the process has ended")
	}
	return strconv.FormatUint(stat.Starttime, 10), nil
}

// FindMarkedProcesses returns the running processes of the cluster in dir, with their components. Other users' processes, whose
// environment can't be read, are skipped.
func FindMarkedProcesses(dir string) (map[ProcessID]string, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	marked := map[ProcessID]string{}
	for _, p := range all {
		if p.PID == os.Getpid() {
			continue
		}
		// Read the identity first: if the pid is reused between the two reads, no process has that identity any more.
		id, err := Identify(p.PID)
		if err != nil {
			continue
		}
		environ, err := p.Environ()
		if err != nil {
			continue
		}
		if component, ok := componentFromEnviron(environ, dir); ok {
			marked[id] = component
		}
	}
	return marked, nil
}

// Kill kills that very process and waits until it has ended, and with the first process of a namespace all others in it.
func (p ProcessID) Kill(ctx context.Context) error {
	// The descriptor is of whatever process has the pid now; if that is p, it stays p's, so that no other process can be killed
	// below.
	fd, err := unix.PidfdOpen(p.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("process %d: %w", p.PID, err)
	}
	defer func() { _ = unix.Close(fd) }()
	if !p.IsAlive() {
		return nil
	}
	if err := unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	return waitForExit(ctx, p.PID, fd)
}

func waitForExit(ctx context.Context, pid, fd int) error {
	// A context can't interrupt poll: check it at intervals.
	const interval = 100 // ms
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, interval)
		switch {
		case n > 0:
			return nil
		case err != nil && !errors.Is(err, unix.EINTR):
			return fmt.Errorf("wait for process %d: %w", pid, err)
		case ctx.Err() != nil:
			return fmt.Errorf("process %d does not end: %w", pid, ctx.Err())
		}
	}
}
