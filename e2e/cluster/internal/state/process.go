// Package state remembers what a cluster consists of, so that another process
// can find it, use it and remove it.
package state

import (
	"fmt"
	"os"
)

// ProcessID names a process for good: a bare pid is given to another process
// some time after the first one ended.
type ProcessID struct {
	PID   int    `json:"pid"`
	Start string `json:"start"` // when it started, in the words of the operating system
}

// Identify gives the identity of a running process.
func Identify(pid int) (ProcessID, error) {
	start, err := startTime(pid)
	if err != nil {
		return ProcessID{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return ProcessID{PID: pid, Start: start}, nil
}

// Self is the identity of the calling process.
func Self() (ProcessID, error) { return Identify(os.Getpid()) }

// Alive tells whether that very process still runs.
func (p ProcessID) Alive() bool {
	if p.PID <= 0 {
		return false
	}
	start, err := startTime(p.PID)
	return err == nil && start == p.Start
}
