package child

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/windows"
)

// Child is a command that runs. It is safe for concurrent use.
type Child struct {
	command  *exec.Cmd
	grace    time.Duration
	onLost   string
	stopping func(why string)
	job      windows.Handle
	result   chan Result

	mu       sync.Mutex
	deadline *time.Timer
	stopped  string
	kill     *time.Timer
	killed   bool
}

// Keep is for systems that have a keeper.
func Keep() error { return errors.New("this command is only for koncli itself: use 'koncli run'") }

// Start starts the command in a job object, which ends it with this process. Its standard streams are those of this
// process. stopping is told, at the time, why the command is being stopped. It returns a *StartError when the command
// can't be started.
func Start(c Command, stopping func(why string)) (*Child, error) {
	job, err := newJob()
	if err != nil {
		return nil, fmt.Errorf("making a job object: %w", err)
	}
	k := &Child{command: exec.Command(c.Path), grace: c.Grace, onLost: c.OnLost, stopping: stopping, job: job, result: make(chan Result, 1)}
	k.command.Args, k.command.Env = c.Args, c.Env
	k.command.Stdin, k.command.Stdout, k.command.Stderr = os.Stdin, os.Stdout, os.Stderr
	k.command.SysProcAttr = &syscall.SysProcAttr{CreationFlags: windows.CREATE_NEW_PROCESS_GROUP}
	if err := k.command.Start(); err != nil {
		return nil, errors.Join(&StartError{Code: CodeNotExecutable, err: fmt.Errorf("starting %s: %w", c.Path, err)}, windows.CloseHandle(job))
	}
	if err := k.join(); err != nil {
		return nil, errors.Join(fmt.Errorf("putting %s into a job object: %w", c.Path, err), k.command.Process.Kill(), windows.CloseHandle(job))
	}
	go k.wait()
	return k, nil
}

// newJob returns a job object whose processes end with its last handle.
func newJob() (windows.Handle, error) {
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

// join puts the command into the job object.
func (k *Child) join() error {
	const rights = windows.PROCESS_SET_QUOTA | windows.PROCESS_TERMINATE
	process, err := windows.OpenProcess(rights, false, uint32(k.command.Process.Pid))
	if err != nil {
		return err
	}
	return errors.Join(windows.AssignProcessToJobObject(k.job, process), windows.CloseHandle(process))
}

// wait waits for the command, and ends what it has left running.
func (k *Child) wait() {
	_ = k.command.Wait()
	k.mu.Lock()
	for _, t := range []*time.Timer{k.deadline, k.kill} {
		if t != nil {
			t.Stop()
		}
	}
	result := Result{Code: k.command.ProcessState.ExitCode(), Stopped: k.stopped, Killed: k.killed}
	k.mu.Unlock()
	_ = windows.TerminateJobObject(k.job, 1)
	_ = windows.CloseHandle(k.job)
	k.result <- result
}

// Signal asks the command to end: Windows knows no other signals.
func (k *Child) Signal(os.Signal) {
	_ = windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(k.command.Process.Pid))
}

// Until moves the deadline. When it passes, the command and all it has started are told to end, and killed after the
// grace period.
func (k *Child) Until(deadline time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.deadline != nil {
		k.deadline.Stop()
	}
	k.deadline = time.AfterFunc(time.Until(deadline), func() { k.Stop("its hold could not be renewed in time") })
}

// Stop tells the command and all it has started to end, and kills them after the grace period.
func (k *Child) Stop(why string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.stopped != "" {
		return
	}
	k.stopped = why
	k.stopping(why)
	k.Signal(os.Interrupt)
	k.kill = time.AfterFunc(k.grace, func() {
		k.mu.Lock()
		k.killed = true
		k.mu.Unlock()
		_ = windows.TerminateJobObject(k.job, 1)
	})
	if k.onLost == "" {
		return
	}
	help := exec.Command("cmd", "/C", k.onLost)
	help.Env = append(k.command.Env, "KONDUCTOR_LOST_REASON="+why)
	help.Stdout, help.Stderr = os.Stdout, os.Stderr
	if err := help.Start(); err != nil {
		fmt.Fprintf(os.Stderr, "can't run what --on-lost says: starting cmd: %v\n", err)
		return
	}
	go func() { _ = help.Wait() }()
}

// Result receives how the command has ended.
func (k *Child) Result() <-chan Result { return k.result }

// Ending are the signals by which people and systems end a program.
func Ending() []os.Signal { return []os.Signal{os.Interrupt, syscall.SIGTERM} }

// Forwarded are the signals that are passed on to a command.
func Forwarded() []os.Signal { return Ending() }

// ReapOrphans is for systems where processes have to be reaped.
func ReapOrphans() (stop func()) { return func() {} }
