package runner

import (
	"bytes"

	"golang.org/x/sys/unix"
)

// canAdoptOrphans says that a process can become the parent of its orphaned descendants. On macOS it can't: an orphan that
// has left the command's process group escapes.
const canAdoptOrphans = false

func becomeSubreaper() error { return nil }

// setParentDeathSignal does nothing: only Linux has parent death signals.
func setParentDeathSignal(*unix.SysProcAttr) {}

// setProcessName does nothing: on macOS a process is named after its file.
func setProcessName(string) {}

// process is a process as the kernel shows it.
type process struct {
	pid, ppid, pgid int
	name            string
	// zombie says that it has ended and has not been reaped.
	zombie bool
}

// listProcesses returns all processes visible from here.
func listProcesses() []process {
	all, err := unix.SysctlKinfoProcSlice("kern.proc.all")
	if err != nil {
		return nil
	}
	found := make([]process, len(all))
	for i := range all {
		const ended = 5 // SZOMB
		p := &all[i]
		name, _, _ := bytes.Cut(p.Proc.P_comm[:], []byte{0})
		found[i] = process{
			pid: int(p.Proc.P_pid), ppid: int(p.Eproc.Ppid), pgid: int(p.Eproc.Pgid),
			name: string(name), zombie: p.Proc.P_stat == ended,
		}
	}
	return found
}
