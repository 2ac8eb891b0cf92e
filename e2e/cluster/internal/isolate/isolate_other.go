//go:build !linux

// Package isolate needs Linux: other systems have no namespaces.
package isolate

import (
	"errors"
	"syscall"
)

// Attr is how to start a process that outlives the terminal.
func Attr() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// Options of Enter.
type Options struct {
	Hostname              string
	Binds                 map[string]string
	Keep                  []string
	Addresses             []string
	Bridge, BridgeAddress string
}

// Enter fails.
func Enter(Options) error { return errors.New("namespaces need Linux") }
