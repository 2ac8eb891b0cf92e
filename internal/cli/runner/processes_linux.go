package runner

import (
	"bytes"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// canAdoptOrphans says that a process can become the parent of its orphaned descendants.
const canAdoptOrphans = true

// becomeSubreaper makes this process the parent of every descendant whose own parent has ended, so that none escapes.
func becomeSubreaper() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// setParentDeathSignal has the kernel kill the command when the thread that starts it, the supervisor's first, ends.
func setParentDeathSignal(attr *unix.SysProcAttr) { attr.Pdeathsig = unix.SIGKILL }

// setProcessName changes this process's name in lists of processes. Those show the name of the first thread, which need not
// be the calling one.
func setProcessName(name string) {
	// Without /proc the name stays.
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
}

// process is a process as /proc shows it.
type process struct {
	pid, ppid, pgid, sid int
	name                 string
	// zombie says that it has ended and has not been reaped.
	zombie bool
}

// listProcesses returns all processes visible from here. If /proc belongs to another PID namespace, as after unshare --pid
// without --mount-proc, it returns this process and its descendants, with their numbers in this namespace.
func listProcesses() []process {
	all := readProc()
	link, err := os.Readlink("/proc/self")
	if self, notNumber := strconv.Atoi(link); err == nil && notNumber == nil && self != os.Getpid() {
		return translateToOwnNamespace(all, self, readNamespacedIDs)
	}
	return all
}

// readProc returns all processes in /proc.
func readProc() []process {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil
	}
	defer func() { _ = dir.Close() }()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil
	}
	var found []process
	for _, name := range names {
		pid, err := strconv.Atoi(name)
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + name + "/stat")
		if err != nil {
			continue // It has ended in the meantime.
		}
		if p, ok := parseStat(stat); ok {
			p.pid = pid
			found = append(found, p)
		}
	}
	return found
}

// parseStat parses a line of /proc/PID/stat, see proc(5). Its second field is the name in parentheses, which can contain
// anything; after that come the state, the parent, the process group and the session.
func parseStat(stat []byte) (p process, ok bool) {
	begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if begin < 0 || end < begin {
		return p, false
	}
	p.name = string(stat[begin+1 : end])
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 4 {
		return p, false
	}
	p.zombie = string(fields[0]) == "Z"
	for i, n := range []*int{&p.ppid, &p.pgid, &p.sid} {
		var err error
		if *n, err = strconv.Atoi(string(fields[i+1])); err != nil {
			return p, false
		}
	}
	return p, true
}

// namespacedIDs are the numbers of a process, its group and its session in each PID namespace, from that of /proc inward.
type namespacedIDs struct{ pids, pgids, sids []int }

// readNamespacedIDs reads the namespacedIDs of a process.
func readNamespacedIDs(pid int) (n namespacedIDs) {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return n // It has ended in the meantime.
	}
	for key, list := range map[string]*[]int{"\nNSpid:": &n.pids, "\nNSpgid:": &n.pgids, "\nNSsid:": &n.sids} {
		_, line, _ := bytes.Cut(status, []byte(key))
		line, _, _ = bytes.Cut(line, []byte("\n"))
		for _, field := range bytes.Fields(line) {
			number, err := strconv.Atoi(string(field))
			if err != nil {
				break
			}
			*list = append(*list, number)
		}
	}
	return n
}

// translateToOwnNamespace returns self, a number in /proc, and its descendants, with their numbers in self's namespace. All
// of them are in that namespace or in one nested in it.
func translateToOwnNamespace(all []process, self int, readIDs func(pid int) namespacedIDs) []process {
	children := map[int][]process{}
	var next []process
	for _, p := range all {
		children[p.ppid] = append(children[p.ppid], p)
		if p.pid == self {
			next = append(next, p)
		}
	}
	own := len(readIDs(self).pids) - 1
	here := map[int]int{}
	var found []process
	for ; len(next) > 0; next = next[1:] {
		p := next[0]
		n := readIDs(p.pid)
		if own < 0 || len(n.pids) <= own || len(n.pgids) <= own || len(n.sids) <= own {
			continue
		}
		next = append(next, children[p.pid]...)
		here[p.pid] = n.pids[own]
		p.pid, p.ppid, p.pgid, p.sid = n.pids[own], here[p.ppid], n.pgids[own], n.sids[own]
		found = append(found, p)
	}
	return found
}
