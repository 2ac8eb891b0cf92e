package runner

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Runner runs one command. It is safe for concurrent use.
type Runner struct {
	command   *exec.Cmd
	grace     time.Duration
	onLost    string
	callbacks Callbacks
	job       windows.Handle
	result    chan Result

	mu                sync.Mutex
	deadlineTimer     *time.Timer
	terminationReason string
	killTimer         *time.Timer
	killed            bool
}

// RunInternalProcess fails: on Windows there are no internal processes.
func RunInternalProcess([]string) error {
	return errors.New("this command is only for koncli itself: use 'koncli run'")
}

// Prepare makes everything ready to run a command. A caller that doesn't call Start has to call Close.
func Prepare([]string) (*Runner, error) {
	job, err := newJobObject()
	if err != nil {
		return nil, fmt.Errorf("creating a job object: %w", err)
	}
	return &Runner{job: job, result: make(chan Result, 1)}, nil
}

// Close ends what Prepare has started.
func (k *Runner) Close() { _ = windows.CloseHandle(k.job) }

// Start starts the command in a job object, which ends it with this process. Its standard streams are those of this
// process. It returns ErrDeadlinePassed if one of the deadlines has passed, and a *StartError if the command can't be
// started. After an error there is nothing left to close.
func (k *Runner) Start(c Command, deadlines []time.Time, listener Callbacks) error {
	if slices.ContainsFunc(deadlines, time.Now().After) {
		k.Close()
		return ErrDeadlinePassed
	}
	k.command, k.grace, k.onLost, k.callbacks = exec.Command(c.Path), c.Grace, c.OnLost, listener
	k.command.Args, k.command.Env = c.Args, c.Env
	k.command.Stdin, k.command.Stdout, k.command.Stderr = os.Stdin, os.Stdout, os.Stderr
	k.command.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
	if err := k.command.Start(); err != nil {
		k.Close()
		return newNotExecutableError("starting %s: %w", c.Path, err)
	}
	if err := k.assignToJobObject(); err != nil {
		err = errors.Join(fmt.Errorf("assigning %s to a job object: %w", c.Path, err), k.command.Process.Kill())
		k.Close()
		return err
	}
	go k.waitForCommand()
	k.SetDeadlines(deadlines)
	return nil
}

// newJobObject returns a job object whose processes are killed when its last handle is closed.
func newJobObject() (windows.Handle, error) {
	job, err := windows.CreateJobObject(nil, nil)
	if err != nil {
		return 0, err
	}
	limits := windows.JOBOBJECT_EXTENDED_LIMIT_INFORMATION{
		BasicLimitInformation: windows.JOBOBJECT_BASIC_LIMIT_INFORMATION{LimitFlags: windows.JOB_OBJECT_LIMIT_KILL_ON_JOB_CLOSE},
	}
	_, err = windows.SetInformationJobObject(job, windows.JobObjectExtendedLimitInformation,
		uintptr(unsafe.Pointer(&limits)), uint32(unsafe.Sizeof(limits)))
	if err != nil {
		return 0, errors.Join(err, windows.CloseHandle(job))
	}
	return job, nil
}

// assignToJobObject puts the command into the job object.
func (k *Runner) assignToJobObject() error {
	const rights = windows.PROCESS_SET_QUOTA | windows.PROCESS_TERMINATE
	process, err := windows.OpenProcess(rights, false, uint32(k.command.Process.Pid))
	if err != nil {
		return err
	}
	return errors.Join(windows.AssignProcessToJobObject(k.job, process), windows.CloseHandle(process))
}

// waitForCommand waits for the command, and kills what it has left running.
func (k *Runner) waitForCommand() {
	_ = k.command.Wait()
	k.mu.Lock()
	for _, t := range []*time.Timer{k.deadlineTimer, k.killTimer} {
		if t != nil {
			t.Stop()
		}
	}
	result := Result{ExitCode: k.command.ProcessState.ExitCode(), TerminationReason: k.terminationReason, Killed: k.killed}
	k.mu.Unlock()
	_ = windows.TerminateJobObject(k.job, 1)
	_ = windows.CloseHandle(k.job)
	k.result <- result
}

// ForwardSignal asks the command to end: Windows knows no other signals.
func (k *Runner) ForwardSignal(os.Signal) {
	_ = windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(k.command.Process.Pid))
}

// ForwardEarlySignal is ForwardSignal for signals that this process had got before Start returned.
func (k *Runner) ForwardEarlySignal(sig os.Signal) { k.ForwardSignal(sig) }

// SignalsToForward returns the signals to give to ForwardSignal.
func (k *Runner) SignalsToForward() []os.Signal { return ForwardedSignals() }

// IsInternalProcess returns false: on Windows there are no internal processes.
func (k *Runner) IsInternalProcess(int) bool { return false }

// SetDeadlines moves the deadline to the earliest of those given. When it passes, the command and all it has started are
// asked to end, and killed after the grace period.
func (k *Runner) SetDeadlines(deadlines []time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if len(deadlines) == 0 {
		return
	}
	if k.deadlineTimer != nil {
		k.deadlineTimer.Stop()
	}
	earliest := slices.MinFunc(deadlines, time.Time.Compare)
	k.deadlineTimer = time.AfterFunc(time.Until(earliest), func() { k.Terminate("its hold could not be renewed in time") })
}

// Terminate asks the command and all it has started to end, and kills them after the grace period.
func (k *Runner) Terminate(reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.terminationReason != "" {
		return
	}
	k.terminationReason = reason
	k.callbacks.OnTermination(reason)
	k.ForwardSignal(os.Interrupt)
	k.killTimer = time.AfterFunc(k.grace, func() {
		k.mu.Lock()
		k.killed = true
		k.mu.Unlock()
		_ = windows.TerminateJobObject(k.job, 1)
	})
	if k.onLost == "" {
		return
	}
	help := exec.Command("cmd", "/C", k.onLost)
	help.Env = append(k.command.Env, "KONDUCTOR_LOST_REASON="+reason)
	help.Stdout, help.Stderr = os.Stdout, os.Stderr
	if err := help.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "can't run the --on-lost command: starting cmd: %v\n", err)
		return
	}
	go func() { _ = help.Wait() }()
}

// Result receives how the command has ended.
func (k *Runner) Result() <-chan Result { return k.result }

// StartZombieReaper does nothing: Windows has no zombies.
func StartZombieReaper(func(pid int) bool) (stop func()) { return func() {} }
