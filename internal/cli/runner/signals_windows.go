package runner

import (
	"os"
	"syscall"
)

// PreserveIgnoredSignals does nothing: on Windows no signal is ignored from the start.
func PreserveIgnoredSignals() {}

// TerminationSignals returns the signals by which users and systems end a program.
func TerminationSignals() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// ForwardedSignals returns the signals that are forwarded to a command.
func ForwardedSignals() []os.Signal { return TerminationSignals() }

// CatchSIGPIPE does nothing: on Windows a write to a pipe without reader doesn't end a program.
func CatchSIGPIPE() {}

// ReraiseInterrupt does nothing: shells on Windows don't check for it.
func ReraiseInterrupt(int) {}
