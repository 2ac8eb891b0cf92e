//go:build unix

package runner

import (
	"cmp"
	"encoding/gob"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Runner runs one command. It is safe for concurrent use.
type Runner struct {
	supervisor     *reexecProcess
	detector       *groupSignalDetector // nil: signals to the command's process group reach the command only
	callbacks      Callbacks
	result         chan Result
	reportDecoder  *gob.Decoder
	ignoredSignals []int
	started        bool
	startTime      monotonicTime // when the command was about to be started

	mu             sync.Mutex
	requestEncoder *gob.Encoder
	deadlines      *deadlineTracker
}

// Prepare makes everything ready to run a command, so that it can be run later even if this program's file is gone by then.
// internalCommand are the arguments with which this program calls RunInternalProcess, passing on the arguments that follow.
// A caller that doesn't call Start has to call Close.
func Prepare(internalCommand []string) (*Runner, error) {
	k := &Runner{result: make(chan Result, 1), ignoredSignals: listIgnoredSignals(), deadlines: newDeadlineTracker(suspendedDuration)}
	var err error
	// A signal to this process's group, from the terminal or a stop of the job, isn't for the supervisor.
	if k.supervisor, err = startReexecProcess(supervisorProcessName, internalCommand, true); err != nil {
		return nil, fmt.Errorf("starting the supervisor: %w", err)
	}
	k.requestEncoder, k.reportDecoder = gob.NewEncoder(k.supervisor.toProcess), gob.NewDecoder(k.supervisor.fromProcess)
	if hasControllingTerminal() {
		if k.detector, err = startDetector(internalCommand); err != nil {
			k.Close()
			return nil, fmt.Errorf("starting the supervisor: %w", err)
		}
		// Output of this process in the background must not stop the job, when the terminal has TOSTOP set.
		signal.Ignore(unix.SIGTTOU)
	}
	return k, nil
}

// Start starts the command, with the open files that this program was started with and the deadlines that SetDeadlines
// takes. It returns ErrDeadlinePassed if one of them has passed, and a *StartError if the command can't be started. After
// an error there is nothing left to close.
func (k *Runner) Start(c Command, deadlines []time.Time, listener Callbacks) error {
	if err := becomeSubreaper(); err != nil {
		k.Close()
		return fmt.Errorf("becoming the parent of the command's descendants: %w", err)
	}
	k.callbacks, k.started = listener, true
	s := &startRequest{Command: c, IgnoredSignals: k.ignoredSignals}
	if w := k.currentDetector(); w != nil {
		s.ProcessGroup = unix.Getpgrp()
		w.reset()
	}
	s.Deadline = k.earliestDeadline(deadlines)
	k.sendRequest(request{Start: s})
	var first report
	err := k.reportDecoder.Decode(&first)
	switch {
	case err == nil && first.StartedPID != 0:
		k.startTime = first.StartTime
		go k.readReports(first.StartedPID, cmp.Or(s.ProcessGroup, first.StartedPID))
		return nil
	case err == nil && first.DeadlinePassed:
		err = ErrDeadlinePassed
	case err == nil && first.StartFailure != nil:
		err = &StartError{ExitCode: first.StartFailure.ExitCode, err: errors.New(first.StartFailure.Message)}
	default:
		err = fmt.Errorf("the supervisor has ended: %w", err)
	}
	k.Close()
	return err
}

// readReports reads the supervisor's reports until the command has ended.
func (k *Runner) readReports(commandPID, pgid int) {
	var end *Result
	for end == nil {
		var r report
		if k.reportDecoder.Decode(&r) != nil {
			r.Result = k.killAfterSupervisorLoss(commandPID, pgid)
		}
		if r.TerminationReason != "" {
			k.callbacks.OnTermination(r.TerminationReason)
		}
		if d := r.SignalDenied; d != nil {
			k.callbacks.OnSignalDenied(*d)
		}
		end = r.Result
	}
	k.Close()
	k.result <- *end
}

// killAfterSupervisorLoss kills what is left of the command after the supervisor was killed.
func (k *Runner) killAfterSupervisorLoss(commandPID, pgid int) *Result {
	k.supervisor.wait()
	k.stopDetector()
	const reason = "its supervisor was killed"
	k.callbacks.OnTermination(reason)
	// Orphans have become children of this process, where that is possible; elsewhere only the command itself is known.
	tree := &processTree{commandPID: commandPID, pgid: pgid, commandExited: canAdoptOrphans}
	for pause := minPollInterval; tree.reap(func(bool) {}); pause = min(2*pause, maxPollInterval) {
		tree.signalAll(unix.SIGKILL, true)
		<-time.After(pause)
	}
	return &Result{ExitCode: 128 + int(unix.SIGKILL), TerminationReason: reason, Killed: true}
}

// Close ends what Prepare has started. The command must have ended, or never have run.
func (k *Runner) Close() {
	k.mu.Lock()
	k.requestEncoder = nil
	k.mu.Unlock()
	_ = k.supervisor.toProcess.Close()
	if !k.started {
		_ = unix.Kill(k.supervisor.pid, unix.SIGKILL) // It may not be reading from the pipe yet.
	}
	k.supervisor.wait()
	_ = k.supervisor.fromProcess.Close()
	k.stopDetector()
}

func (k *Runner) stopDetector() {
	k.mu.Lock()
	w := k.detector
	k.detector = nil
	k.mu.Unlock()
	if w != nil {
		w.stop()
	}
}

func (k *Runner) currentDetector() *groupSignalDetector {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.detector
}

// IsInternalProcess reports whether a process is the supervisor or the signal detector.
func (k *Runner) IsInternalProcess(pid int) bool {
	w := k.currentDetector()
	return pid == k.supervisor.pid || w != nil && pid == w.pid
}

// SignalsToForward returns the signals to give to ForwardSignal. With these, a stop or continue from the terminal reaches
// the command and this program alike.
func (k *Runner) SignalsToForward() []os.Signal {
	return append(ForwardedSignals(), withoutIgnored(unix.SIGTSTP, unix.SIGTTIN, unix.SIGCONT)...)
}

// sendRequest sends a request to the supervisor. If that is gone, readReports notices.
func (k *Runner) sendRequest(o request) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.requestEncoder != nil {
		_ = k.requestEncoder.Encode(o)
	}
}

// ForwardSignal forwards a signal that this process has got to the command, and to what it has started in its process
// group.
func (k *Runner) ForwardSignal(sig os.Signal) {
	s, ok := sig.(syscall.Signal)
	if !ok {
		return
	}
	w := k.currentDetector()
	k.sendRequest(request{Signal: &forwardedSignal{Number: int(s), SentToGroup: w != nil && w.consumeGroupSignal(s) != 0}})
}

// maxForkDuration is how long a fork takes at most, very likely: the command runs by then.
const maxForkDuration = 2 * time.Millisecond

// ForwardEarlySignal is ForwardSignal for signals that this process had got before Start returned. A signal to the group
// may have been sent before the command was in it, and has then not reached it. A termination signal is forwarded unless it
// was certainly sent later: rather twice than never. A stop signal is not, since most of those are caused by the command
// itself.
func (k *Runner) ForwardEarlySignal(sig os.Signal) {
	s, ok := sig.(syscall.Signal)
	if !ok || !slices.Contains(TerminationSignals(), sig) {
		k.ForwardSignal(sig)
		return
	}
	w := k.currentDetector()
	k.sendRequest(request{Signal: &forwardedSignal{Number: int(s), SentToGroup: w != nil && w.consumeGroupSignal(s) > k.startTime.add(maxForkDuration)}})
}

// SetDeadlines moves the deadline to the earliest of those given; each keeps its position in the list. When it passes, the
// command and all it has started are asked to end, and killed after the grace period, whatever becomes of this process.
func (k *Runner) SetDeadlines(deadlines []time.Time) {
	if until := k.earliestDeadline(deadlines); until != 0 {
		k.sendRequest(request{Deadline: until})
	}
}

// earliestDeadline returns the earliest of deadlines; zero: there are none.
func (k *Runner) earliestDeadline(deadlines []time.Time) monotonicTime {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.deadlines.earliest(deadlines)
}

// Terminate asks the command and all it has started to end, and kills them after the grace period.
func (k *Runner) Terminate(reason string) { k.sendRequest(request{TerminationReason: reason}) }

// Result receives how the command has ended, after all its processes have ended.
func (k *Runner) Result() <-chan Result { return k.result }
