package child

import (
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// beFirst is the life of the first process of a container, in which somebody leaves processes behind.
func beFirst() error {
	if err := unix.Mount("proc", "/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	defer ReapOrphans()()
	// As kubectl exec does: a session of its own, whose processes nobody here waits for.
	_, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", "(sleep 0.1; exit 3) & (sleep 0.2) & exit 0"},
		&syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true}})
	if err != nil {
		return err
	}
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(5 * time.Millisecond) {
		if len(processes()) == 1 {
			return nil
		}
	}
	return fmt.Errorf("somebody is left: %+v", processes())
}

func TestTheFirstProcessOfAContainerReapsWhatOthersLeaveBehind(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can make a container's namespaces")
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	first := exec.Command(self, "first")
	first.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWPID | unix.CLONE_NEWNS, Unshareflags: unix.CLONE_NEWNS}
	if out, err := first.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
