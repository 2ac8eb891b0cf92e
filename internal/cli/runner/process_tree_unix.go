//go:build unix

package runner

import (
	"errors"
	"maps"
	"slices"

	"golang.org/x/sys/unix"
)

// processTree is the command and everything it has started. It must be used by one goroutine: a process keeps its PID until
// it is reaped, so between two calls of reap a signal reaches the intended process.
type processTree struct {
	// commandPID is the command's process ID.
	commandPID int
	// pgid is the process group that the command was started in. If that is its own, it contains only the command's
	// processes.
	pgid          int
	commandExited bool
	waitStatus    unix.WaitStatus
	// onLostPGID is the OnLost process, which is not part of the command and has its own group; zero: none.
	onLostPGID int
	// onDenied is called for processes that can't be sent a signal; nil: not needed.
	onDenied func(p process, sig unix.Signal)
}

func (f *processTree) hasOwnGroup() bool { return f.pgid == f.commandPID }

// reap reaps the processes that have ended, and reports whether any is left. onStopped is called with true when the command
// itself was stopped by a signal, and with false when it continues.
func (f *processTree) reap(onStopped func(bool)) (left bool) {
	for {
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, unix.WNOHANG|unix.WUNTRACED|unix.WCONTINUED, nil)
		switch {
		case errors.Is(err, unix.EINTR):
			continue
		case err != nil: // ECHILD: no children
			return !canAdoptOrphans && f.hasUnadoptedProcesses()
		case pid == 0:
			return true
		case pid == f.commandPID && status.Stopped():
			onStopped(true)
		case pid == f.commandPID && status.Continued():
			onStopped(false)
		case pid == f.commandPID:
			f.commandExited, f.waitStatus = true, status
		}
	}
}

// hasUnadoptedProcesses reports whether processes are left that are no children of this one. In a group that is not the
// command's own, processes that have lost their parent can't be told from unrelated ones.
func (f *processTree) hasUnadoptedProcesses() bool {
	if f.hasOwnGroup() {
		return unix.Kill(-f.pgid, 0) == nil
	}
	return !f.commandExited && unix.Kill(f.commandPID, 0) == nil
}

// result returns how the command has ended, with the exit code that a shell would report.
func (f *processTree) result() Result {
	if f.waitStatus.Signaled() {
		sig := int(f.waitStatus.Signal())
		return Result{ExitCode: 128 + sig, Signal: sig}
	}
	return Result{ExitCode: f.waitStatus.ExitStatus()}
}

// forward sends a signal to the command, and to what it has started in its process group. With toGroup every process of
// that group has got it already.
func (f *processTree) forward(sig unix.Signal, toGroup bool) {
	members := f.members()
	if f.hasOwnGroup() && f.stillOwnsGroup(members) {
		// The error is ignored: the group may be gone.
		_ = unix.Kill(-f.pgid, sig)
		f.reportDeniedMembers(members, sig)
		return
	}
	for _, m := range members {
		if inGroup := m.pgid == f.pgid; inGroup && !toGroup || !inGroup && m.pid == f.commandPID {
			f.signalOne(m, sig)
		}
	}
}

// signalAll sends a signal once to every process: to the command's process group, and to those that have left it. With
// includeOnLost it includes the OnLost process. It returns those that could be sent the signal.
func (f *processTree) signalAll(sig unix.Signal, includeOnLost bool) (reached map[int]bool) {
	members := f.members()
	grouped := f.hasOwnGroup() && f.stillOwnsGroup(members)
	if grouped {
		_ = unix.Kill(-f.pgid, sig)
		f.reportDeniedMembers(members, sig)
	}
	done, reached := map[int]bool{}, map[int]bool{}
	// Processes that are started in the meantime, by one that hasn't got the signal yet, are found in the next round.
	const rounds = 5
	for round, found := 0, true; found && round < rounds; round++ {
		found = false
		for _, m := range members {
			if done[m.pid] || !includeOnLost && m.pgid == f.onLostPGID {
				continue
			}
			done[m.pid] = true
			if grouped && m.pgid == f.pgid {
				reached[m.pid] = unix.Kill(m.pid, 0) == nil
				continue
			}
			found = true
			reached[m.pid] = f.signalOne(m, sig)
		}
		members = f.members()
	}
	maps.DeleteFunc(reached, func(_ int, was bool) bool { return !was })
	return reached
}

// signalOne sends a signal to one process, and reports whether it could be sent.
func (f *processTree) signalOne(p process, sig unix.Signal) bool {
	err := unix.Kill(p.pid, sig)
	if errors.Is(err, unix.EPERM) && f.onDenied != nil {
		f.onDenied(p, sig)
	}
	return err == nil
}

// reportDeniedMembers reports the processes in the command's process group that can't be sent a signal.
func (f *processTree) reportDeniedMembers(members []process, sig unix.Signal) {
	for _, m := range members {
		if m.pgid == f.pgid && errors.Is(unix.Kill(m.pid, 0), unix.EPERM) && f.onDenied != nil {
			f.onDenied(m, sig)
		}
	}
}

// stillOwnsGroup reports whether the process group is still the command's: once all its processes are gone, the kernel may
// reuse its number.
func (f *processTree) stillOwnsGroup(members []process) bool {
	return !f.commandExited || slices.ContainsFunc(members, func(m process) bool { return m.pgid == f.pgid })
}

// members returns all running descendants of this process, and the members of the command's own process group. Processes
// that are being started may be missing, so a caller that must end them all has to repeat.
func (f *processTree) members() []process {
	children := map[int][]process{}
	var found []process
	for _, p := range listProcesses() {
		children[p.ppid] = append(children[p.ppid], p)
		if !canAdoptOrphans && f.hasOwnGroup() && p.pgid == f.pgid && p.ppid == 1 {
			found = append(found, p)
		}
	}
	seen := map[int]bool{}
	for next := []int{unix.Getpid()}; len(next) > 0; next = next[1:] {
		for _, c := range children[next[0]] {
			if seen[c.pid] {
				continue
			}
			seen[c.pid] = true
			next = append(next, c.pid)
			if !c.zombie {
				found = append(found, c)
			}
		}
	}
	if !f.commandExited && f.commandPID != 0 && !seen[f.commandPID] {
		// The command itself is known even where processes can't be listed.
		found = append(found, process{pid: f.commandPID, ppid: unix.Getpid(), pgid: f.pgid})
	}
	return found
}
