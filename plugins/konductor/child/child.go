// Package child runs a command that must have ended by a deadline which moves on
// as long as all is well.
//
// Who calls Start may be stopped, or killed, and the command must not go on
// without it. So on Unix a second process stands between the two, the keeper: it
// is the command's parent, knows the deadline, and ends the command with
// everything that the command has started when the deadline passes or its caller
// is gone. keeper_unix.go is that process; family_*.go knows who belongs to the
// command. On Windows a job object ties the command to its caller instead, and
// the caller keeps the deadline itself.
package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"time"
)

// Command is what to run.
type Command struct {
	// Path is the program, as found by Find, and Args its arguments, the first of which is its name.
	Path string   `json:"path"`
	Args []string `json:"args"`
	// Env is its environment, as NAME=VALUE.
	Env []string `json:"env"`
	// Grace is how long it may take to end once it has been told to, before it is killed.
	Grace time.Duration `json:"grace"`
	// OnLost is a command line for the shell that is run when the command is stopped by Stop or by its deadline; it gets
	// the same Grace. Empty: none.
	OnLost string `json:"onLost,omitempty"`
	// Keeper is how this program is told to be the keeper: arguments with which it calls Keep.
	Keeper []string `json:"-"`
}

// Result says how the command has ended.
type Result struct {
	// Code is its exit code; 128 and the signal's number when a signal has ended it, as in a shell.
	Code int `json:"code"`
	// Stopped says why it was stopped before it ended by itself; empty when it was not.
	Stopped string `json:"stopped,omitempty"`
	// Killed says that it, or something that it had started, didn't end within Grace.
	Killed bool `json:"killed,omitempty"`
	// Left says that it ended and left processes behind, which were ended too.
	Left bool `json:"left,omitempty"`
}

// Exit codes for a command that can't be run, as those of env(1) and the shells.
const (
	CodeNotExecutable = 126
	CodeNotFound      = 127
)

// StartError says that a command could not be started.
type StartError struct {
	// Code is CodeNotFound or CodeNotExecutable.
	Code int
	err  error
}

func (e *StartError) Error() string { return e.err.Error() }
func (e *StartError) Unwrap() error { return e.err }

// Find returns the path of the program that name stands for, by PATH. It returns a *StartError when there is none.
func Find(name string) (string, error) {
	path, err := exec.LookPath(name)
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, os.ErrPermission):
		return "", &StartError{CodeNotExecutable, fmt.Errorf("%s can't be executed: check its permissions", name)}
	case errors.Is(err, exec.ErrDot):
		return "", &StartError{CodeNotFound, fmt.Errorf("%s is in the current directory only: write ./%s", name, name)}
	default:
		return "", &StartError{CodeNotFound, fmt.Errorf("command %s not found: check its name and PATH", name)}
	}
}
