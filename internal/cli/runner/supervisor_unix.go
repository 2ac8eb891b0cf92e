//go:build unix

package runner

import (
	"encoding/gob"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// minPollInterval is how often the supervisor checks for processes whose end is not reported to it, and kills those
	// that were started in the meantime. While it finds no new ones to kill, the interval grows up to maxPollInterval: the
	// remaining ones can't be killed, and may stay for long.
	minPollInterval, maxPollInterval = 20 * time.Millisecond, time.Second
	// maxDeniedReports is how many processes that can't be sent a signal are reported to the caller.
	maxDeniedReports = 5
	// reportBufferSize is how many reports can wait for the caller to read them. It exceeds what there can be: each kind is
	// bounded.
	reportBufferSize = 256
)

// Reasons for a termination that the caller has not asked for.
const (
	reasonDeadlinePassed = "its hold could not be renewed in time"
	reasonCallerGone     = "the koncli process that ran it has ended"
)

// RunInternalProcess is the main function of the internal processes: the supervisor and the signal detector. args are the
// arguments after those that Prepare was given. It must be called from the program's main goroutine.
func RunInternalProcess(args []string) error {
	from, to, err := pipesFromArgs(args)
	if err != nil {
		return err
	}
	if len(args) > len([]string{"from", "to"}) {
		setProcessName(detectorProcessName)
		return runDetector(from, to)
	}
	setProcessName(supervisorProcessName)
	return runSupervisor(from, to)
}

// runSupervisor is the supervisor's main function: it starts the requested command and returns when that has ended.
func runSupervisor(orders, reports *os.File) error {
	// When a thread ends, the kernel kills the children that asked for a parent death signal (PR_SET_PDEATHSIG).
	runtime.LockOSThread()
	// A signal for the command reaches it directly or through the caller. The supervisor ends when the command has ended.
	// Signals are caught and not ignored: the command would inherit an ignored one.
	got := make(chan os.Signal, 64)
	signal.Notify(got, withoutIgnored(append(ForwardedSignals(), jobControlSignals()...)...)...)
	CatchSIGPIPE()
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	if err := becomeSubreaper(); err != nil {
		return fmt.Errorf("becoming the parent of the command's descendants: %w", err)
	}
	timer, err := newDeadlineTimer()
	if err != nil {
		return fmt.Errorf("setting an alarm: %w", err)
	}

	k := &supervisor{childExited: ended, receivedSignals: got, flusher: newSignalFlusher(), seen: seenSignals{}, requests: make(chan request), reports: make(chan report, reportBufferSize), callerPID: os.Getppid(), now: monotonicNow, setTimer: timer.set, timerFired: timer.fired}
	k.tree.onDenied = k.reportDenied
	encoder := gob.NewEncoder(reports)
	go k.readRequests(gob.NewDecoder(orders))
	first, ok := <-k.requests
	if !ok || first.Start == nil {
		return nil // The caller has ended before it ran a command.
	}
	if k.deadline = first.Start.Deadline; k.isPastDeadline() {
		return encoder.Encode(report{DeadlinePassed: true})
	}
	if failed := k.startCommand(first.Start); failed != nil {
		return encoder.Encode(report{StartFailure: failed})
	}
	reportsSent := make(chan struct{})
	go func() {
		defer close(reportsSent)
		for r := range k.reports {
			_ = encoder.Encode(r) // If the caller is gone, readRequests notices.
		}
	}()
	k.sendReport(report{StartedPID: k.tree.commandPID, StartTime: k.startTime})
	k.sendReport(report{Result: k.superviseCommand()})
	close(k.reports)
	<-reportsSent
	return nil
}

// supervisor runs one command.
type supervisor struct {
	command         Command
	tree            processTree
	requests        chan request // closed when the caller is gone
	childExited     <-chan os.Signal
	flusher         signalFlusher
	receivedSignals <-chan os.Signal // sent to this process itself
	seen            seenSignals      // signals of receivedSignals
	reports         chan report
	callerPID       int
	// now returns the time. setTimer sets when timerFired fires.
	now        func() monotonicTime
	setTimer   func(monotonicTime)
	timerFired <-chan struct{}

	startTime         monotonicTime // when the command was about to be started
	deadline          monotonicTime // zero: none
	terminationReason string        // why the command is being terminated; empty: it is not
	leftProcesses     bool          // the command has ended and left processes behind
	killAt            monotonicTime // when the remaining processes are killed; zero: no termination has begun
	killed            bool
	commandStopped    bool // the command was stopped by a signal, and so its caller was stopped too
	deniedPIDs        map[unix.Signal]map[int]bool

	lastKilledPIDs map[int]bool  // processes that could be sent SIGKILL the last time
	nextKillAt     monotonicTime // when SIGKILL is sent the next time
	killBackoff    time.Duration
}

func (k *supervisor) readRequests(from *gob.Decoder) {
	defer close(k.requests)
	for {
		var o request
		if from.Decode(&o) != nil {
			return
		}
		k.requests <- o
	}
}

// sendReport sends a report to the caller without waiting for it: the caller may be stopped, and the command must end all
// the same.
func (k *supervisor) sendReport(r report) {
	select {
	case k.reports <- r:
	default:
	}
}

func (k *supervisor) startCommand(s *startRequest) *startFailure {
	k.command = s.Command
	for _, n := range s.IgnoredSignals {
		signal.Ignore(unix.Signal(n))
	}
	attr := &syscall.SysProcAttr{Setpgid: true}
	// The supervisor joins the group first, so the command is in it from the beginning.
	joinedGroup := s.ProcessGroup != 0 && unix.Setpgid(0, s.ProcessGroup) == nil
	attr.Setpgid = !joinedGroup
	setParentDeathSignal(attr)
	k.startTime = k.now()
	pid, err := k.forkExec(attr)
	if err != nil {
		failed := newStartError(k.command.Path, err)
		return &startFailure{ExitCode: failed.ExitCode, Message: failed.Error()}
	}
	k.tree.commandPID, k.tree.pgid = pid, pid
	if joinedGroup {
		k.tree.pgid = s.ProcessGroup
		// A stop signal for the job must not stop the supervisor, and it has no use for a terminal. The kernel doesn't let
		// an orphaned process group be stopped: a group in which no process has a parent in the same session but in another
		// group. With a session of its own the supervisor is no such parent.
		if _, err := unix.Setsid(); err != nil {
			_ = unix.Setpgid(0, 0)
		}
	}
	return nil
}

// forkExec starts the command. A file that the kernel can't execute is run by the shell if it may be a script, as by
// execvp(3).
func (k *supervisor) forkExec(attr *syscall.SysProcAttr) (pid int, err error) {
	path, args := k.command.Path, k.command.Args
	proc := &syscall.ProcAttr{Env: k.command.Env, Files: []uintptr{0, 1, 2}, Sys: attr}
	pid, err = syscall.ForkExec(path, args, proc)
	if !errors.Is(err, unix.ENOEXEC) {
		return pid, err
	}
	if head, unreadable := readFileHead(path); unreadable != nil || !isScript(head) {
		return 0, err
	}
	return syscall.ForkExec(shellPath, append([]string{shellPath, path}, args[1:]...), proc)
}

// superviseCommand supervises the command until all its processes are gone.
func (k *supervisor) superviseCommand() *Result {
	pollTimer := time.NewTimer(0)
	defer pollTimer.Stop()
	orders := k.requests
	for k.reconcile() {
		var tick <-chan time.Time
		if k.killAt == 0 {
			k.setTimer(k.deadline)
		} else {
			pollTimer.Reset(k.nextPoll())
			tick = pollTimer.C
		}
		select {
		case <-k.childExited:
		case <-k.timerFired:
			// reconcile checks the deadline.
		case <-tick:
		case s := <-k.receivedSignals:
			k.recordSignal(s)
		case o, ok := <-orders:
			if !ok {
				orders = nil
				k.terminate(reasonCallerGone)
			}
			k.handleRequest(o)
		}
	}
	k.continueCaller()
	result := k.tree.result()
	result.TerminationReason, result.Killed, result.LeftProcesses = k.terminationReason, k.killed, k.leftProcesses
	return &result
}

// handleRequest executes one request of the caller.
func (k *supervisor) handleRequest(o request) {
	switch {
	case o.Deadline != 0:
		k.deadline = o.Deadline
	case o.Signal != nil:
		k.forwardSignal(o.Signal)
	case o.TerminationReason != "":
		k.terminate(o.TerminationReason)
	}
}

// forwardSignal forwards a signal that the caller has received.
func (k *supervisor) forwardSignal(p *forwardedSignal) {
	sig := unix.Signal(p.Number)
	if k.tree.hasOwnGroup() && k.alsoReceived(sig) {
		return
	}
	k.tree.forward(sig, p.SentToGroup)
}

// alsoReceived reports whether the supervisor got the signal too. It shares no process group with its caller. So the signal
// was then sent to every process, as systemd does to a service, and the command has it already.
func (k *supervisor) alsoReceived(sig unix.Signal) bool {
	for begun := time.Now(); time.Since(begun) < signalPropagationTimeout; {
		k.flusher.waitForSignalDelivery()
		for range len(k.receivedSignals) {
			k.recordSignal(<-k.receivedSignals)
		}
		if k.seen.consume(sig) != 0 {
			return true
		}
	}
	return false
}

func (k *supervisor) recordSignal(s os.Signal) {
	if sig, ok := s.(unix.Signal); ok {
		k.seen.add(sig, k.now())
	}
}

// reconcile does what is due, and reports whether any process is left.
func (k *supervisor) reconcile() bool {
	left := k.tree.reap(k.handleCommandStop)
	if !left {
		return false
	}
	if k.isPastDeadline() {
		k.terminate(reasonDeadlinePassed)
	}
	if k.tree.commandExited && k.killAt == 0 {
		// The work ends with the command. A process that it leaves running would go on when others hold.
		k.leftProcesses = true
		k.beginTermination()
	}
	if k.killAt != 0 && max(k.killAt, k.nextKillAt) <= k.now() {
		k.killAll()
	}
	return true
}

// killAll kills all processes, and sets when to do so again.
func (k *supervisor) killAll() {
	k.killed = true
	reached := k.tree.signalAll(unix.SIGKILL, true)
	isNew := func(pid int) bool { return !k.lastKilledPIDs[pid] }
	if slices.ContainsFunc(slices.Collect(maps.Keys(reached)), isNew) {
		k.killBackoff = 0
	}
	k.killBackoff = min(max(2*k.killBackoff, minPollInterval), maxPollInterval)
	k.lastKilledPIDs, k.nextKillAt = reached, k.now().add(k.killBackoff)
}

// nextPoll returns how long to wait before the next check during a termination. SIGCHLD reports the end of children only;
// other processes have to be polled.
func (k *supervisor) nextPoll() time.Duration {
	if k.killed && canAdoptOrphans {
		return max(k.nextKillAt.remaining(), 0)
	}
	return minPollInterval
}

// isPastDeadline reports whether the deadline has passed.
func (k *supervisor) isPastDeadline() bool { return k.deadline != 0 && k.deadline <= k.now() }

// terminate ends the command before it has ended by itself.
func (k *supervisor) terminate(reason string) {
	if k.terminationReason != "" || k.tree.commandExited {
		return
	}
	k.terminationReason = reason
	k.sendReport(report{TerminationReason: reason})
	k.beginTermination()
	k.continueCaller()
	k.runOnLost()
}

// beginTermination asks all processes to end and starts their grace period. The period ends at the deadline plus Grace at
// the latest, when the hold may be granted to another, however late this process has noticed.
func (k *supervisor) beginTermination() {
	if k.killAt == 0 {
		k.killAt = k.now().add(k.command.Grace)
	}
	if k.deadline != 0 {
		k.killAt = min(k.killAt, k.deadline.add(k.command.Grace))
	}
	k.tree.signalAll(unix.SIGTERM, false)
	// A stopped process must run to end.
	k.tree.signalAll(unix.SIGCONT, false)
}

// runOnLost runs the OnLost command line.
func (k *supervisor) runOnLost() {
	if k.command.OnLost == "" {
		return
	}
	attr := &syscall.SysProcAttr{Setpgid: true}
	setParentDeathSignal(attr)
	env := append(slices.Clone(k.command.Env), "KONDUCTOR_LOST_REASON="+k.terminationReason)
	pid, err := syscall.ForkExec(shellPath, []string{"sh", "-c", k.command.OnLost}, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}, Sys: attr})
	if err != nil {
		// The supervisor must not block: a terminal or a pipe may accept no more output.
		go fmt.Fprintf(os.Stderr, "can't run the --on-lost command: starting %s: %v\n", shellPath, err)
		return
	}
	k.tree.onLostPGID = pid
}

// handleCommandStop stops the caller as long as the command is stopped, and with it the renewals: a stopped command must
// not hold forever. Also, the shell that waits for the caller has to see the stop.
func (k *supervisor) handleCommandStop(halted bool) {
	switch {
	case halted && k.killAt != 0:
		// It must run to end.
		k.tree.signalAll(unix.SIGCONT, false)
	case halted:
		k.commandStopped = true
		k.signalCaller(unix.SIGSTOP)
	default:
		k.continueCaller()
	}
}

// continueCaller resumes the caller if it was stopped because of the command.
func (k *supervisor) continueCaller() {
	if k.commandStopped {
		k.commandStopped = false
		k.signalCaller(unix.SIGCONT)
	}
}

func (k *supervisor) signalCaller(sig unix.Signal) {
	if os.Getppid() == k.callerPID {
		_ = unix.Kill(k.callerPID, sig) // The caller has this process's user.
	}
}

// reportDenied reports a process that can't be sent a signal to the caller: once each, and only the first few.
func (k *supervisor) reportDenied(p process, sig unix.Signal) {
	if k.deniedPIDs == nil {
		k.deniedPIDs = map[unix.Signal]map[int]bool{}
	}
	reportedPIDs := k.deniedPIDs[sig]
	if reportedPIDs == nil {
		reportedPIDs = map[int]bool{}
		k.deniedPIDs[sig] = reportedPIDs
	}
	if reportedPIDs[p.pid] || len(reportedPIDs) > maxDeniedReports || sig == unix.SIGCONT {
		return
	}
	reportedPIDs[p.pid] = true
	k.sendReport(report{SignalDenied: &SignalDenial{PID: p.pid, Program: p.name, Signal: unix.SignalName(sig), MoreOmitted: len(reportedPIDs) > maxDeniedReports}})
}
