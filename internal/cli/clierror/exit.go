// Package clierror turns the error of a command into what users and scripts see: a sentence that says what to do, and an
// exit code.
package clierror

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Exit codes. They are part of the interface: scripts rely on them.
const (
	ExitOK        = 0
	ExitError     = 1 // any other error, usage included
	ExitNotFound  = 2 // not found, or deleted while waiting
	ExitTimeout   = 3 // timed out
	ExitForbidden = 4 // forbidden or unauthorized
	ExitBusy      = 5 // --timeout 0 and not available
	ExitFailed    = 6 // the barrier or gate failed or timed out
	ExitLost      = 7 // a hold was lost while held

	exitSignalOffset = 128 // plus the number of the signal that ended it
)

// IsBrokenPipe reports whether our output is closed, which is not reported as an error. Broken connections return the same
// error number, but only files return it with a path: of those we write only to the pipes behind stdout and stderr.
func IsBrokenPipe(err error) bool {
	var written *fs.PathError
	return errors.As(err, &written) && errors.Is(written.Err, syscall.EPIPE)
}

// InterruptedError is the cause of a context that was canceled by a termination signal.
type InterruptedError struct{ Signal os.Signal }

func (e *InterruptedError) Error() string { return "interrupted" }

// Is makes it equal to context.Canceled.
func (e *InterruptedError) Is(target error) bool { return target == context.Canceled }

// NewSignalExitError returns the error of a command that was ended by that signal.
func NewSignalExitError(s os.Signal) error {
	number, _ := s.(syscall.Signal)
	return &ExitCodeError{Code: exitSignalOffset + int(number), Err: &InterruptedError{s}, Signal: int(number)}
}

// AsSignalExitError returns the error of a command that failed with err because of a termination signal; nil if it failed
// for another reason.
func AsSignalExitError(ctx context.Context, err error) error {
	var interrupted *InterruptedError
	if !errors.Is(err, context.Canceled) || !errors.As(context.Cause(ctx), &interrupted) {
		return nil
	}
	return NewSignalExitError(interrupted.Signal)
}

// ExitCodeError is an error with its own exit code. If Err is nil nothing is printed.
type ExitCodeError struct {
	Code   int
	Err    error
	Signal int // the signal that ended the command whose code this is; zero: none
}

func (e *ExitCodeError) Error() string {
	if e.Err == nil {
		return ""
	}
	return e.Err.Error()
}

func (e *ExitCodeError) Unwrap() error { return e.Err }

// ExitCode returns the exit code for err.
func ExitCode(err error) int {
	var (
		notFound  *konductor.NotFoundError
		timeout   *konductor.TimeoutError
		forbidden *konductor.ForbiddenError
		busy      *konductor.BusyError
		failed    *konductor.FailedError
		lost      *konductor.LostError
		coded     *ExitCodeError
	)
	switch {
	case err == nil, IsBrokenPipe(err):
		return ExitOK
	case errors.As(err, &coded):
		return coded.Code
	case errors.As(err, &notFound):
		return ExitNotFound
	case errors.As(err, &timeout):
		return ExitTimeout
	case errors.As(err, &forbidden):
		return ExitForbidden
	case errors.As(err, &busy):
		return ExitBusy
	case errors.As(err, &failed):
		return ExitFailed
	case errors.As(err, &lost):
		return ExitLost
	default:
		return ExitError
	}
}
