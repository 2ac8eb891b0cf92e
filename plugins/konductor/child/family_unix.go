//go:build unix

package child

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// family is the command and everything it has started. It is used by one goroutine: a process that nobody has reaped
// keeps its number, so what is signalled between two calls of reap is what was meant.
type family struct {
	// leader is the command, and its process group.
	leader int
	ended  bool
	status unix.WaitStatus
	// apart is a process that belongs to the keeper and not to the command, with its own group; zero: none.
	apart int
}

// reap takes note of those who have ended, and reports whether anybody is left. stopped is called when the command itself
// has been stopped by a signal.
func (f *family) reap(stopped func(unix.Signal)) (left bool) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG|unix.WUNTRACED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil: // ECHILD: no children
			return f.groupAlive()
		case pid == 0:
			return true
		case pid == f.leader && status.Stopped():
			stopped(status.StopSignal())
		case pid == f.leader:
			f.ended, f.status = true, status
		}
	}
}

// code is the exit code of the command, as a shell has it.
func (f *family) code() int {
	if f.status.Signaled() {
		return 128 + int(f.status.Signal())
	}
	return f.status.ExitStatus()
}

// pass sends a signal to the command's process group.
func (f *family) pass(sig unix.Signal) {
	if f.groupIsOurs(f.members()) {
		// It fails when the group is gone, which is as well.
		_ = unix.Kill(-f.leader, sig)
	}
}

// signal sends a signal to everybody once: to the command's process group, and to those who have left it. With apart
// also to what stands apart.
func (f *family) signal(sig unix.Signal, apart bool) {
	members := f.members()
	if f.groupIsOurs(members) {
		_ = unix.Kill(-f.leader, sig)
	}
	for _, m := range members {
		if m.group != f.leader && (apart || m.group != f.apart) {
			_ = unix.Kill(m.pid, sig)
		}
	}
}

// groupIsOurs reports whether the process group is still that of the command: once everybody in it is gone, its number
// may be given to others.
func (f *family) groupIsOurs(members []member) bool {
	return !f.ended || slices.ContainsFunc(members, func(m member) bool { return m.group == f.leader })
}

// member is a process of the family.
type member struct{ pid, group int }
