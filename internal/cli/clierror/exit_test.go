package clierror

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"syscall"
	"testing"

	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// brokenPipeError returns the error of a write to a pipe without reader.
func brokenPipeError(t *testing.T) error {
	t.Helper()
	readEnd, writeEnd, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := readEnd.Close(); err != nil {
		t.Fatal(err)
	}
	_, unread := writeEnd.Write([]byte("x"))
	if err := writeEnd.Close(); err != nil {
		t.Fatal(err)
	}
	return unread
}

func TestExitCode(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("doing it: %w", err) }
	for what, c := range map[string]struct {
		err  error
		want int
	}{
		"done":                    {nil, 0},
		"nobody reads":            {wrap(brokenPipeError(t)), 0},
		"a broken connection":     {wrap(&net.OpError{Op: "write", Net: "tcp", Err: os.NewSyscallError("write", syscall.EPIPE)}), 1},
		"anything else":           {errors.New("bad luck"), 1},
		"a claim that is refused": {wrap(&konductor.RefusedError{}), 1},
		"other terms":             {wrap(&konductor.TermsError{}), 1},
		"another number":          {wrap(&konductor.ConflictError{}), 1},
		"no answer":               {wrap(&konductor.UnansweredError{}), 1},
		"not installed":           {wrap(&konductor.UninstalledError{}), 1},
		"not found":               {wrap(&konductor.NotFoundError{}), 2},
		"timed out":               {wrap(&konductor.TimeoutError{}), 3},
		"forbidden":               {wrap(&konductor.ForbiddenError{}), 4},
		"busy":                    {wrap(&konductor.BusyError{}), 5},
		"failed":                  {wrap(&konductor.FailedError{}), 6},
		"lost":                    {wrap(&konductor.LostError{}), 7},
	} {
		t.Run(what, func(t *testing.T) {
			if got := ExitCode(c.err); got != c.want {
				t.Errorf("exit code %d, want %d", got, c.want)
			}
		})
	}
}

func TestInterruptedExitCode(t *testing.T) {
	told, cancel := context.WithCancelCause(t.Context())
	cancel(&InterruptedError{Signal: syscall.SIGTERM})
	for what, c := range map[string]struct {
		ctx  context.Context
		err  error
		want int
	}{
		"a wait":                    {told, fmt.Errorf("waiting: %w", told.Err()), 143},
		"a request":                 {told, fmt.Errorf("asking: %w", context.Cause(told)), 143},
		"a wait of run":             {told, &ExitCodeError{Code: 65, Err: told.Err()}, 143},
		"a command that was run":    {told, &ExitCodeError{Code: 3}, 3},
		"something else":            {told, &konductor.LostError{}, ExitLost},
		"nothing":                   {told, nil, ExitOK},
		"a wait that wasn't told":   {t.Context(), context.Canceled, ExitError},
		"run, just before it began": {t.Context(), NewSignalExitError(syscall.SIGINT), 130},
	} {
		t.Run(what, func(t *testing.T) {
			err := c.err
			if interrupted := AsSignalExitError(c.ctx, err); interrupted != nil {
				err = interrupted
			}
			if got := ExitCode(err); got != c.want {
				t.Errorf("exit code %d, want %d", got, c.want)
			}
		})
	}
}
