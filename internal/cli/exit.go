package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"os/signal"
	"syscall"

	"github.com/LogicIQ/konductor/internal/cli/runner"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Exit codes. They are part of the interface: scripts rely on them.
const (
	exitOK        = 0
	exitError     = 1 // any other error, usage included
	exitNotFound  = 2 // not found, or deleted while waiting
	exitTimeout   = 3 // timed out
	exitForbidden = 4 // forbidden or unauthorized
	exitBusy      = 5 // --timeout 0 and not available
	exitFailed    = 6 // the barrier or gate failed or timed out
	exitLost      = 7 // a hold was lost while held

	exitSignalOffset = 128 // plus the number of the signal that ended it
)

// isBrokenPipe reports whether our output is closed, which is not reported as an error. Broken connections return the same
// error number, but only files return it with a path: of those we write only to the pipes behind stdout and stderr.
func isBrokenPipe(err error) bool {
	var written *fs.PathError
	return errors.As(err, &written) && errors.Is(written.Err, syscall.EPIPE)
}

// SignalContext returns a context that is canceled by a termination signal, unless the program was started to ignore that.
func SignalContext(parent context.Context) (ctx context.Context, stop func()) {
	runner.PreserveIgnoredSignals()
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, runner.TerminationSignals()...)
	go func() {
		select {
		case s := <-signals:
			cancel(&interruptedError{s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}

// interruptedError is the cause of a context that was canceled by a termination signal.
type interruptedError struct{ signal os.Signal }

func (e *interruptedError) Error() string { return "interrupted" }

// Is makes it equal to context.Canceled.
func (e *interruptedError) Is(target error) bool { return target == context.Canceled }

// newSignalExitError returns the error of a command that was ended by that signal.
func newSignalExitError(s os.Signal) error {
	number, _ := s.(syscall.Signal)
	return &exitCodeError{code: exitSignalOffset + int(number), err: &interruptedError{s}, signal: int(number)}
}

// interruptedExitError returns the error of a command that failed with err because of a termination signal; nil if it
// failed for another reason.
func interruptedExitError(ctx context.Context, err error) error {
	var interrupted *interruptedError
	if !errors.Is(err, context.Canceled) || !errors.As(context.Cause(ctx), &interrupted) {
		return nil
	}
	return newSignalExitError(interrupted.signal)
}

// exitCodeError is an error with its own exit code. If err is nil nothing is printed.
type exitCodeError struct {
	code   int
	err    error
	signal int // the signal that ended the command whose code this is; zero: none
}

func (e *exitCodeError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *exitCodeError) Unwrap() error { return e.err }

// exitCode returns the exit code for err.
func exitCode(err error) int {
	var (
		notFound  *konductor.NotFoundError
		timeout   *konductor.TimeoutError
		forbidden *konductor.ForbiddenError
		busy      *konductor.BusyError
		failed    *konductor.FailedError
		lost      *konductor.LostError
		coded     *exitCodeError
	)
	switch {
	case err == nil, isBrokenPipe(err):
		return exitOK
	case errors.As(err, &coded):
		return coded.code
	case errors.As(err, &notFound):
		return exitNotFound
	case errors.As(err, &timeout):
		return exitTimeout
	case errors.As(err, &forbidden):
		return exitForbidden
	case errors.As(err, &busy):
		return exitBusy
	case errors.As(err, &failed):
		return exitFailed
	case errors.As(err, &lost):
		return exitLost
	default:
		return exitError
	}
}
