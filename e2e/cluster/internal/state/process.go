// Package state records what a cluster consists of, so that another process can find it, use it and remove it.
package state

import (
	"fmt"
	"os"
)

// ProcessID identifies a process for good: a bare pid is reused some time after the process ended.
type ProcessID struct {
	PID       int    `json:"pid"`
	StartTime string `json:"start"` // when it started, as the operating system reports it
}

// Identify returns the identity of a running process.
func Identify(pid int) (ProcessID, error) {
	start, err := startTime(pid)
	if err != nil {
		return ProcessID{}, fmt.Errorf("process %d: %w", pid, err)
	}
	return ProcessID{PID: pid, StartTime: start}, nil
}

// Self returns the identity of the calling process.
func Self() (ProcessID, error) { return Identify(os.Getpid()) }

// IsAlive reports whether that very process still runs.
func (p ProcessID) IsAlive() bool {
	if p.PID <= 0 {
		return false
	}
	start, err := startTime(p.PID)
	return err == nil && start == p.StartTime
}
