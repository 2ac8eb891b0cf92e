//go:build unix && !linux

package state

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// startTime asks ps, whose resolution is a second: enough to detect a reused process id, since an id is reused only after tens of
// thousands of processes.
func startTime(pid int) (string, error) {
	out, err := exec.Command("ps", "-o", "stat=,lstart=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return "", err
	}
	stat, start, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	if stat == "" || strings.HasPrefix(stat, "Z") {
		return "", errors.New("the process has ended")
	}
	return strings.Join(strings.Fields(start), " "), nil
}

// FindMarkedProcesses returns nothing: this system doesn't show the environment of a process. Components end with their
// supervisor here, whose id is recorded.
func FindMarkedProcesses(string) (map[ProcessID]string, error) { return nil, nil }

// Kill kills that very process and waits until it has ended.
func (p ProcessID) Kill(ctx context.Context) error {
	if !p.IsAlive() {
		return nil
	}
	if err := unix.Kill(p.PID, unix.SIGKILL); err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("kill process %d: %w", p.PID, err)
	}
	tick := time.NewTicker(20 * time.Millisecond) // the end of another's child isn't announced
	defer tick.Stop()
	for p.IsAlive() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("process %d does not end: %w", p.PID, ctx.Err())
		}
	}
	return nil
}
