package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"testing"

	"github.com/LogicIQ/konductor/e2e/cluster"
)

// cleanupDirEnv is the environment variable with the cluster's directory that makes this program a cleanup process.
const cleanupDirEnv = "KONDUCTOR_PODS_UNDERTAKER_OF"

// cleanupProcess is a process that removes the cluster when this one has ended, however it ended: a panic in a test, the timeout
// of "go test" and SIGKILL leave no time to do so here.
type cleanupProcess struct {
	cmd         *exec.Cmd
	parentAlive io.WriteCloser // closed by the kernel when this process ends
}

// startCleanupProcess starts the cleanup process of the cluster in dir.
func startCleanupProcess(dir string) (*cleanupProcess, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), cleanupDirEnv+"="+dir)
	// Ctrl-C is for the tests; the cleanup comes later.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the process that cleans up: %w", err)
	}
	return &cleanupProcess{cmd: cmd, parentAlive: alive}, nil
}

// cleanUpAndWait removes the cluster and ends the cleanup process.
func (u *cleanupProcess) cleanUpAndWait(dir string) error {
	return errors.Join(removeCluster(dir), u.parentAlive.Close(), u.cmd.Wait())
}

// runCleanupProcess is the cleanup process. It returns the process's exit code.
func runCleanupProcess(dir string) int {
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		return 1
	}
	if err := removeCluster(dir); err != nil {
		return 1
	}
	return 0
}

func removeCluster(dir string) error {
	if err := cluster.Down(context.Background(), dir); err != nil {
		return fmt.Errorf("removing the cluster: %w", err)
	}
	return os.RemoveAll(dir)
}

// skipped counts the skipped tests by reason.
var skipped skipCounter

type skipCounter struct {
	mu       sync.Mutex
	byReason map[string]int
}

// skip skips the test and counts the reason.
func (s *skipCounter) skip(t *testing.T, reason string) {
	t.Helper()
	s.mu.Lock()
	if s.byReason == nil {
		s.byReason = map[string]int{}
	}
	s.byReason[reason]++
	s.mu.Unlock()
	t.Skip(reason)
}

// printSummary prints a line per reason.
func (s *skipCounter) printSummary(out io.Writer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var lines []string
	for reason, n := range s.byReason {
		lines = append(lines, fmt.Sprintf("pods: %d tests skipped: %s", n, reason))
	}
	slices.Sort(lines)
	for _, line := range lines {
		fmt.Fprintln(out, line)
	}
}
