package process

import "syscall"

func dieWithParent(attr *syscall.SysProcAttr) *syscall.SysProcAttr {
	attr.Pdeathsig = syscall.SIGKILL
	return attr
}

// killOnParentDeath does nothing: the kernel does it.
func killOnParentDeath(int) (unwatch func(), err error) { return func() {}, nil }
