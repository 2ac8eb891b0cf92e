//go:build unix && !linux

package child

import "golang.org/x/sys/unix"

// adoptOrphans does nothing: only Linux lets a process adopt its descendants. What leaves the command's process group
// gets away.
func adoptOrphans() error { return nil }

// dieWithParent does nothing: only Linux has that.
func dieWithParent(*unix.SysProcAttr) {}

// groupAlive reports whether somebody of the command's process group is left.
func (f *family) groupAlive() bool { return unix.Kill(-f.leader, 0) == nil }

// members returns a stand-in for those of the command's process group, if there are any.
func (f *family) members() []member {
	if f.groupAlive() {
		return []member{{group: f.leader}}
	}
	return nil
}
