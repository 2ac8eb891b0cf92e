//go:build unix

package child

import (
	"time"

	"golang.org/x/sys/unix"
)

// The keeper finds its ends of the two pipes to its caller here.
const (
	ordersFD  = 3
	reportsFD = 4
)

// order is what the caller tells the keeper, a line of JSON each. Exactly one field is set.
type order struct {
	Start *start `json:"start,omitempty"`
	// Until is the deadline at which the command must be told to end.
	Until moment `json:"until,omitempty"`
	// Signal is passed on to the command's process group.
	Signal int `json:"signal,omitempty"`
	// Stop ends the command, and says why.
	Stop string `json:"stop,omitempty"`
}

// start begins the command.
type start struct {
	Command
	// Foreground gives the terminal on stdin to the command's process group.
	Foreground bool `json:"foreground,omitempty"`
}

// report is what the keeper tells its caller.
type report struct {
	// Started is the command's process ID.
	Started int         `json:"started,omitempty"`
	Failed  *startError `json:"failed,omitempty"`
	// Stopping says, at the time, why the command is being stopped.
	Stopping string  `json:"stopping,omitempty"`
	Ended    *Result `json:"ended,omitempty"`
}

type startError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// moment is a time on the monotonic clock that all processes of a machine share, in nanoseconds.
type moment int64

func now() moment {
	var t unix.Timespec
	// It fails for clocks that don't exist. This one always does.
	_ = unix.ClockGettime(unix.CLOCK_MONOTONIC, &t)
	return moment(t.Nano())
}

// momentOf returns t, which has a monotonic reading, as a moment. Should the process be stopped in here, what it returns
// is early rather than late.
func momentOf(t time.Time) moment {
	base := now()
	return base + moment(time.Until(t))
}

func (m moment) left() time.Duration { return time.Duration(m - now()) }

func (m moment) add(d time.Duration) moment { return m + moment(d) }
