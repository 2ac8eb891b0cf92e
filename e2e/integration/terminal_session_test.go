package integration

import "syscall"

// ownSession makes a program the first of a session whose terminal is its standard input, as a shell does.
func ownSession() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true, Setctty: true} }
