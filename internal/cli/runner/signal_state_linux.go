package runner

import (
	"bytes"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"
)

// signalMask returns a signal set of this process; zero if it can't be read.
func signalMask(name string) (mask uint64) { return signalMaskFrom("/proc/self/status", name) }

func signalMaskFrom(file, name string) (mask uint64) {
	if status, err := os.ReadFile(file); err == nil {
		_, line, _ := bytes.Cut(status, []byte("\n"+name+":"))
		line, _, _ = bytes.Cut(line, []byte("\n"))
		mask, _ = strconv.ParseUint(string(bytes.TrimSpace(line)), 16, 64) // zero if the format should differ
	}
	return mask
}

// hasPendingSignals reports whether a signal has been sent to this process that no thread of it has taken yet, or that a
// thread has taken whose signal handler has not finished.
//
// On a busy machine a thread may lose the processor in its handler, before it has told Go's runtime of the signal, while
// another thread handles a later one. Meanwhile all signals are blocked in it, and SIGINT is otherwise blocked in no thread.
func hasPendingSignals() bool {
	if signalMask("ShdPnd") != 0 {
		return true
	}
	threads, err := filepath.Glob("/proc/self/task/*/status")
	if err != nil {
		return false
	}
	const blocksSIGINT = 1 << (syscall.SIGINT - 1)
	return slices.ContainsFunc(threads, func(file string) bool { return signalMaskFrom(file, "SigBlk")&blocksSIGINT != 0 })
}

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
