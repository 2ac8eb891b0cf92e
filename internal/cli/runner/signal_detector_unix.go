//go:build unix

package runner

import (
	"encoding/binary"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A shell's job is a process group, and a terminal sends Ctrl-C to a process group. The command must be in its caller's
// group. Otherwise the terminal and the shell can't treat it as part of the job: let it read from the terminal, stop and
// continue it, run it in a pipeline with others that do the same, and end it when the terminal is closed.
//
// A signal to the group then reaches the command and its caller, but a signal to the caller alone has to be forwarded. A
// process can't tell which of the two it got. So a third process is in the group, the signal detector: a signal that it
// gets as well was sent to the whole group.

// signalPropagationTimeout is how long a signal that was sent to several processes may take to reach the last of them. A
// process that hasn't got it by then is regarded as not sent it, and the signal is forwarded. On a busy machine the kernel
// may interrupt a thread after it has taken a signal and before its handler runs; nothing shows the signal in between.
const signalPropagationTimeout = 200 * time.Millisecond

// signalPollInterval is the pause before each look for a signal within that time.
const signalPollInterval = 20 * time.Millisecond

// seenSignalTTL is how long a seen signal waits for the other process to get it too. The kernel may merge two signals of a
// kind for one process and not for the other. The one left over must not stand for a signal that is sent to this process
// alone later. On a busy machine one of the two processes may not run for seconds.
const seenSignalTTL = 5 * time.Second

// detectorTimeout is how long the caller waits for the signal detector, which doesn't answer while it is stopped.
const detectorTimeout = 5 * time.Second

// seenSignals are signals that another process has got and that may come to this one too, with the times when it got them.
type seenSignals map[syscall.Signal][]monotonicTime

func (s seenSignals) add(sig syscall.Signal, at monotonicTime) { s[sig] = append(s.unexpired(sig), at) }

// consume returns when the signal was seen, and removes that occurrence; zero: it was not seen.
func (s seenSignals) consume(sig syscall.Signal) monotonicTime {
	times := s.unexpired(sig)
	if len(times) == 0 {
		return 0
	}
	s[sig] = times[1:]
	return times[0]
}

func (s seenSignals) unexpired(sig syscall.Signal) []monotonicTime {
	return slices.DeleteFunc(s[sig], func(at monotonicTime) bool { return -at.remaining() > seenSignalTTL })
}

// waitForSignalDelivery waits until the signals sent to this process so far are in the channels that asked for them, for
// about a second at most.
func (got signalFlusher) waitForSignalDelivery() {
	<-time.After(signalPollInterval)
	for begun := time.Now(); hasPendingSignals() && time.Since(begun) < time.Second; {
		<-time.After(time.Millisecond)
	}
	got.flush()
}

// groupSignalDetector is the caller's side of the signal detector. It is safe for concurrent use.
type groupSignalDetector struct {
	*reexecProcess

	mu             sync.Mutex
	seen           seenSignals
	pendingReplies int // replies that have not been read yet
}

func startDetector(args []string) (*groupSignalDetector, error) {
	h, err := startReexecProcess(detectorProcessName, append(args, "detector"), false)
	if err != nil {
		return nil, err
	}
	return &groupSignalDetector{reexecProcess: h, seen: seenSignals{}}, nil
}

// consumeGroupSignal returns when a signal that has reached this process was sent to the whole group; zero: it was not.
func (w *groupSignalDetector) consumeGroupSignal(sig syscall.Signal) monotonicTime {
	w.mu.Lock()
	defer w.mu.Unlock()
	for begun := time.Now(); w.query(); {
		if at := w.seen.consume(sig); at != 0 || time.Since(begun) > signalPropagationTimeout {
			return at
		}
	}
	return 0
}

// signalReport is a report of the signal detector: a signal and when it was received. Signal zero ends a reply.
type signalReport struct {
	Signal     int64
	ReceivedAt monotonicTime
}

func newSignalReport(s os.Signal) signalReport {
	sig, _ := s.(syscall.Signal) // There is no other type.
	return signalReport{int64(sig), monotonicNow()}
}

// reset forgets the signals sent to the group so far: the command wasn't in it yet.
func (w *groupSignalDetector) reset() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.query()
	clear(w.seen)
}

// query records the signals that the detector has received, and reports whether it has answered.
func (w *groupSignalDetector) query() bool {
	if _, err := w.toProcess.Write([]byte{0}); err != nil {
		return false
	}
	_ = w.fromProcess.SetReadDeadline(time.Now().Add(detectorTimeout)) // a pipe has deadlines
	for w.pendingReplies++; w.pendingReplies > 0; {
		var reported signalReport
		if err := binary.Read(w.fromProcess, binary.NativeEndian, &reported); err != nil {
			return false
		}
		if reported.Signal == 0 {
			w.pendingReplies--
			continue
		}
		w.seen.add(syscall.Signal(reported.Signal), reported.ReceivedAt)
	}
	return true
}

func (w *groupSignalDetector) stop() {
	_ = unix.Kill(w.pid, unix.SIGKILL)
	_, _ = w.toProcess.Close(), w.fromProcess.Close()
	w.wait()
}

// runDetector is the signal detector's main function: it reports the signals that it gets until the caller closes the pipe.
func runDetector(requests, replies *os.File) error {
	received := make(chan os.Signal, 64)
	signal.Notify(received, append(ForwardedSignals(), jobControlSignals()...)...)
	flusher := newSignalFlusher()
	queried := make(chan struct{})
	go func() {
		defer close(queried)
		var request [1]byte
		for {
			if n, err := requests.Read(request[:]); n == 0 || err != nil {
				return
			}
			queried <- struct{}{}
		}
	}()
	for {
		var reports []signalReport
		select {
		case s := <-received:
			reports = append(reports, newSignalReport(s))
		case _, ok := <-queried:
			if !ok {
				return nil
			}
			flusher.waitForSignalDelivery()
			for range len(received) {
				reports = append(reports, newSignalReport(<-received))
			}
			reports = append(reports, signalReport{})
		}
		if err := binary.Write(replies, binary.NativeEndian, reports); err != nil {
			return nil //nolint:nilerr // Nobody wants to know any more.
		}
	}
}
