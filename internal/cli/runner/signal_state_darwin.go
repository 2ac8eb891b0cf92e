package runner

import (
	"os/signal"
	"syscall"
)

// listIgnoredSignals returns the signals that this program ignores, as far as Go's runtime shows.
func listIgnoredSignals() []int {
	var found []int
	for n := 1; n < 32; n++ {
		if signal.Ignored(syscall.Signal(n)) {
			found = append(found, n)
		}
	}
	return found
}

// hasPendingSignals always returns false: macOS doesn't show which signals have been sent but not been taken by a thread.
func hasPendingSignals() bool { return false }

// signalFlusher does nothing: every signal number has another use here.
type signalFlusher struct{}

func newSignalFlusher() (f signalFlusher) { return f }

func (signalFlusher) flush() {}
