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

// undertakerOf is the environment variable that makes this program the undertaker of the cluster in that folder.
const undertakerOf = "KONDUCTOR_PODS_UNDERTAKER_OF"

// undertaker is a process that removes the cluster when this one is gone, whatever ended it: a panic in a test, the
// timeout of "go test" and SIGKILL leave no time to do so here.
type undertaker struct {
	cmd   *exec.Cmd
	alive io.WriteCloser // closed by the kernel when this process ends
}

// appointUndertaker starts the undertaker of the cluster in dir.
func appointUndertaker(dir string) (*undertaker, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), undertakerOf+"="+dir)
	// Ctrl-C is for the tests; it comes later.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	alive, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the process that cleans up: %w", err)
	}
	return &undertaker{cmd: cmd, alive: alive}, nil
}

// bury removes the cluster, when all has gone well enough for it to be done here, and dismisses the undertaker.
func (u *undertaker) bury(dir string) error {
	return errors.Join(removeCluster(dir), u.alive.Close(), u.cmd.Wait())
}

// undertake is what the undertaker does. Its exit code is that of the process.
func undertake(dir string) int {
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

// skipped are the tests that were skipped, by the reason.
var skipped skips

type skips struct {
	mu       sync.Mutex
	byReason map[string]int
}

// skip skips the test and remembers why.
func (s *skips) skip(t *testing.T, reason string) {
	t.Helper()
	s.mu.Lock()
	if s.byReason == nil {
		s.byReason = map[string]int{}
	}
	s.byReason[reason]++
	s.mu.Unlock()
	t.Skip(reason)
}

// print says in a line per reason what was skipped.
func (s *skips) print(out io.Writer) {
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
