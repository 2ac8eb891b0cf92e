//go:build unix && !linux

package process

import (
	"fmt"
	"os/exec"
	"strconv"
	"syscall"
)

func dieWithParent(attr *syscall.SysProcAttr) *syscall.SysProcAttr { return attr }

// killOnParentDeath starts a shell that blocks on a pipe whose other end only this process holds. The end of this process closes
// the pipe, and the shell kills pid. unwatch ends the shell first, so that a reused pid is never killed.
func killOnParentDeath(pid int) (unwatch func(), err error) {
	cmd := exec.Command("/bin/sh", "-c", `read _; kill -9 "$1"`, "watchdog", strconv.Itoa(pid))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	return func() {
		_ = cmd.Process.Kill()
		_ = pipe.Close()
		_ = cmd.Wait()
	}, nil
}
