package child

import (
	"golang.org/x/sys/unix"
)

// adoptOrphans makes this process the parent of every descendant whose own parent has ended, so that none gets away.
func adoptOrphans() error { return unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) }

// dieWithParent makes the command be killed when the thread that starts it, the keeper's first, is.
func dieWithParent(attr *unix.SysProcAttr) { attr.Pdeathsig = unix.SIGKILL }

// groupAlive is about those who are no children of ours. As orphans come to us, there are none.
func (*family) groupAlive() bool { return false }

// members returns all descendants of this process. Those that are started meanwhile may be missing, so who wants to end
// them all asks again.
func (*family) members() []member {
	children := map[int][]member{}
	for _, p := range processes() {
		children[p.parent] = append(children[p.parent], member{p.pid, p.group})
	}
	var found []member
	for next := []int{unix.Getpid()}; len(next) > 0; next = next[1:] {
		for _, c := range children[next[0]] {
			found = append(found, c)
			next = append(next, c.pid)
		}
	}
	return found
}
