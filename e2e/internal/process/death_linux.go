package process

import "syscall"

func dieWithParent(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	attr.Pdeathsig = syscall.SIGKILL
	return attr
}

// watchParent has nothing to do: the kernel does it.
func watchParent(int) (unwatch func(), err error) { return func() {}, nil }
