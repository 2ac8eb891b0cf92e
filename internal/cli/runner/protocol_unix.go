//go:build unix

package runner

// request is a message from the caller to the supervisor. It is encoded by encoding/gob, which preserves all bytes. Exactly
// one field is set.
type request struct {
	Start *startRequest
	// Deadline is when the command must be asked to end.
	Deadline monotonicTime
	// Signal is forwarded to the command.
	Signal *forwardedSignal
	// TerminationReason terminates the command, and says why.
	TerminationReason string
}

// startRequest starts the command.
type startRequest struct {
	Command
	// ProcessGroup is the process group that the command joins; zero: one of its own.
	ProcessGroup int
	// IgnoredSignals are the signals that the command is to ignore, as this program was started to.
	IgnoredSignals []int
	// Deadline is the first deadline; zero: none. It is here so that the command never runs without: it may stop its caller
	// as soon as it runs.
	Deadline monotonicTime
}

// forwardedSignal is a signal that the caller has received.
type forwardedSignal struct {
	Number int
	// SentToGroup says that it was sent to the caller's whole process group.
	SentToGroup bool
}

// report is a message from the supervisor to the caller.
type report struct {
	// StartedPID is the command's process ID.
	StartedPID int
	// StartTime is when the command was about to be started. It may have run for a while when this is reported.
	StartTime    monotonicTime
	StartFailure *startFailure
	// DeadlinePassed says that the command was not started because its deadline had passed.
	DeadlinePassed bool
	// TerminationReason says why the command is being terminated, when that begins.
	TerminationReason string
	SignalDenied      *SignalDenial
	Result            *Result
}

type startFailure struct {
	ExitCode int
	Message  string
}
