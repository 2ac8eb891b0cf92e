// Package runner runs a command under a deadline that its caller keeps extending. The command must not outlive the
// deadline.
//
// The caller of Start may be stopped or killed, and the command must not go on without it. So on Unix a second process, the
// supervisor, runs between the two. It is the command's parent and knows the deadline. When the deadline passes or the
// caller is gone, it ends the command with everything that the command has started. The supervisor is in
// supervisor_unix.go; process_tree_unix.go finds the processes that belong to the command. On Windows a job object ties the
// command to its caller instead, and the caller enforces the deadline itself.
//
// The terminal and the shell see the command as if it had no caller: signal_detector_unix.go says how.
package runner

import (
	"errors"
	"fmt"
	"time"
)

// Command is what to run. Its strings are bytes, as the system's: they need not be UTF-8.
type Command struct {
	// Path is the program, as returned by LookPath. Args are its arguments; the first one is its name.
	Path string
	Args []string
	// Env is its environment, as NAME=VALUE.
	Env []string
	// Grace is how long it may take to end after it was asked to. It is killed after that.
	Grace time.Duration
	// OnLost is a shell command line that is run when the command is terminated by Terminate or by its deadline. It gets
	// the same Grace. Empty: none.
	OnLost string
}

// Callbacks report what happens to a command as it happens. They are called one after the other, and should not block.
type Callbacks struct {
	// OnTermination gets the reason why the command is being terminated.
	OnTermination func(why string)
	// OnSignalDenied gets the first few processes of the command that have become another user and so can't be sent a
	// signal. The command's end waits for them all the same.
	OnSignalDenied func(d SignalDenial)
}

// SignalDenial is a process that can't be sent a signal.
type SignalDenial struct {
	PID             int
	Program, Signal string
	// MoreOmitted says that there are more such processes, and that they won't be reported.
	MoreOmitted bool
}

// Result says how the command has ended.
type Result struct {
	// ExitCode is its exit code; 128 and the signal's number when a signal has ended it, as in a shell.
	ExitCode int
	// Signal is the number of the signal that has ended it; zero: none has.
	Signal int
	// TerminationReason says why it was terminated before it ended by itself; empty: it was not.
	TerminationReason string
	// Killed says that it, or a process that it had started, didn't end within Grace.
	Killed bool
	// LeftProcesses says that it ended and left processes behind, which were then ended too.
	LeftProcesses bool
}

// Exit codes for a command that can't be run, as those of env(1) and the shells.
const (
	ExitCodeNotExecutable = 126
	ExitCodeNotFound      = 127
)

// ErrDeadlinePassed means that a command was not started because its deadline had passed.
var ErrDeadlinePassed = errors.New("the deadline had passed before the command was started")

// StartError means that a command could not be started.
type StartError struct {
	// ExitCode is ExitCodeNotFound or ExitCodeNotExecutable.
	ExitCode int
	err      error
}

func (e *StartError) Error() string { return e.err.Error() }
func (e *StartError) Unwrap() error { return e.err }

func newNotExecutableError(format string, args ...any) *StartError {
	return &StartError{ExitCodeNotExecutable, fmt.Errorf(format, args...)}
}

func newNotFoundError(format string, args ...any) *StartError {
	return &StartError{ExitCodeNotFound, fmt.Errorf(format, args...)}
}
