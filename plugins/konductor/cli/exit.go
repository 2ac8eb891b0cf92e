package cli

import (
	"errors"
	"syscall"

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
)

// errBrokenPipe says that nobody reads our output any more, which is no reason to complain.
var errBrokenPipe = syscall.EPIPE

// codedError is an error with an exit code of its own. Without an err there is nothing to say.
type codedError struct {
	code int
	err  error
}

func (e *codedError) Error() string {
	if e.err == nil {
		return ""
	}
	return e.err.Error()
}

func (e *codedError) Unwrap() error { return e.err }

// exitCode returns the exit code that tells of err.
func exitCode(err error) int {
	var (
		notFound  *konductor.NotFoundError
		timeout   *konductor.TimeoutError
		forbidden *konductor.ForbiddenError
		busy      *konductor.BusyError
		failed    *konductor.FailedError
		lost      *konductor.LostError
		coded     *codedError
	)
	switch {
	case err == nil, errors.Is(err, errBrokenPipe):
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
