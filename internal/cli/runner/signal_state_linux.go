package runner

import (
	"bytes"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"
)

// signalMask returns a signal set from /proc/self/status; zero if it can't be read.
func signalMask(name string) (mask uint64) {
	if status, err := os.ReadFile("/proc/self/status"); err == nil {
		_, line, _ := bytes.Cut(status, []byte("\n"+name+":"))
		line, _, _ = bytes.Cut(line, []byte("\n"))
		mask, _ = strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64) // zero if the format should differ
	}
	return mask
}

// hasPendingSignals reports whether a signal has been sent to this process that no thread of it has taken yet.
func hasPendingSignals() bool { return signalMask("ShdPnd") != 0 }

// flushSignal is the signal with the greatest number. Nobody else sends it.
const flushSignal = syscall.Signal(64)

// signalFlusher waits for Go's runtime to deliver the signals that it has received. It is used for as long as the process lives.
type signalFlusher chan os.Signal

func newSignalFlusher() signalFlusher {
	got := make(signalFlusher, 1)
	signal.Notify(got, flushSignal)
	return got
}

// flush waits until the signals that threads of this process have taken are in the channels that asked for them. Go's
// runtime delivers signals in the order of their numbers, so the greatest comes after all that were there.
func (got signalFlusher) flush() {
	if syscall.Kill(os.Getpid(), flushSignal) != nil {
		return
	}
	select {
	case <-got:
	case <-time.After(time.Second):
	}
}

// listIgnoredSignals returns the signals that this program ignores: of those ignored from the start, the ones that Go's
// runtime has left ignored. The runtime takes over most others, and doesn't show how they were.
func listIgnoredSignals() []int {
	mask := signalMask("SigIgn")
	var found []int
	for n := 1; n <= 64; n++ {
		if mask&(1<<(n-1)) != 0 || signal.Ignored(syscall.Signal(n)) {
			found = append(found, n)
		}
	}
	return found
}
