//go:build !linux

// Package isolate needs Linux: other systems have no namespaces.
package isolate

import (
	"errors"
	"syscall"
)

// SysProcAttr returns the attributes with which to start a process that outlives the terminal.
func SysProcAttr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// Enter returns an error.
func Enter(Options) error { return errors.New("namespaces need Linux") }
