// Package process runs child processes that do not outlive their parent.
package process

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// Spec describes how to run a program.
type Spec struct {
	Name string   `json:"name"`
	Path string   `json:"path"`
	Args []string `json:"args"`
	Env  []string `json:"env,omitempty"` // nothing is inherited
	Log  string   `json:"log"`           // stdout and stderr are appended to this file
}

// Group starts processes whose life ends with the group: if the calling process dies, by SIGKILL too, the kernel or a watchdog
// kills every member.
type Group struct {
	startRequests chan startRequest

	mu      sync.Mutex
	members map[int]*Process
}

type startRequest struct {
	cmd   *exec.Cmd
	reply chan error
}

// NewGroup returns an empty group.
func NewGroup() *Group {
	g := &Group{startRequests: make(chan startRequest), members: map[int]*Process{}}
	go g.serveStarts()
	return g
}

// serveStarts starts every member from one thread. On Linux a child's parent
// death signal is sent when the *thread* that forked it ends, not the process,
// so that thread must live as long as the group.
func (g *Group) serveStarts() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for req := range g.startRequests {
		req.reply <- req.cmd.Start()
	}
}

// Start runs spec.
func (g *Group) Start(spec Spec) (*Process, error) {
	logFile, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Name, err)
	}
	defer func() { _ = logFile.Close() }() // the child has its own copy

	cmd := exec.Command(spec.Path, spec.Args...)
	cmd.Env = append([]string{}, spec.Env...)
	cmd.Stdout, cmd.Stderr = logFile, logFile
	return g.StartCommand(spec.Name, cmd)
}

// StartCommand starts cmd as a member of the group. The caller must not call cmd.Wait.
func (g *Group) StartCommand(name string, cmd *exec.Cmd) (*Process, error) {
	// The child gets a process group of its own: Ctrl-C at a terminal is for the parent, which then ends its children in order.
	cmd.SysProcAttr = dieWithParent(&syscall.SysProcAttr{Setpgid: true})
	return g.start(name, cmd)
}

// Run runs cmd to its end as a member of the group. Where the group reaps orphans
// this must be used in place of cmd.Run, which would find its child reaped.
func (g *Group) Run(ctx context.Context, cmd *exec.Cmd) error {
	p, err := g.StartCommand(filepath.Base(cmd.Path), cmd)
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = p.process.Kill() })
	defer stop()
	<-p.done
	return errors.Join(p.err, ctx.Err())
}

func (g *Group) start(name string, cmd *exec.Cmd) (*Process, error) {
	// The lock is held until the child is a member, so that the reaper can't take it for an orphan.
	g.mu.Lock()
	defer g.mu.Unlock()
	req := startRequest{cmd: cmd, reply: make(chan error)}
	g.startRequests <- req
	if err := <-req.reply; err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	p := &Process{name: name, pid: cmd.Process.Pid, started: time.Now(), process: cmd.Process, done: make(chan struct{})}
	unwatch, err := killOnParentDeath(p.pid)
	if err != nil {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	g.members[p.pid] = p
	go func() {
		err := cmd.Wait()
		unwatch()
		g.mu.Lock()
		delete(g.members, p.pid)
		g.mu.Unlock()
		p.err = err
		close(p.done)
	}()
	return p, nil
}

// Close kills every member and returns when the last one has ended.
func (g *Group) Close() {
	g.mu.Lock()
	members := make([]*Process, 0, len(g.members))
	for _, p := range g.members {
		members = append(members, p)
	}
	g.mu.Unlock()
	for _, p := range members {
		_ = p.process.Kill()
	}
	for _, p := range members {
		<-p.done
	}
	close(g.startRequests)
}

// Process is a running or ended child.
type Process struct {
	name    string
	pid     int
	started time.Time
	process *os.Process
	done    chan struct{}
	err     error
}

// PID returns the process id as the starting process sees it.
func (p *Process) PID() int { return p.pid }

// Started returns when the process was started.
func (p *Process) Started() time.Time { return p.started }

// Done is closed once the process has ended and was reaped.
func (p *Process) Done() <-chan struct{} { return p.done }

// Err returns how the process ended; nil before that and after exit 0.
func (p *Process) Err() error {
	select {
	case <-p.done:
		return p.err
	default:
		return nil
	}
}

// Signal sends sig. To a process that has ended it does nothing.
func (p *Process) Signal(sig os.Signal) error {
	if err := p.process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal %s: %w", p.name, err)
	}
	return nil
}

// Stop sends sig and waits until the process has ended. After grace, or when ctx is done, it is killed.
func (p *Process) Stop(ctx context.Context, sig os.Signal, grace time.Duration) error {
	if err := p.Signal(sig); err != nil {
		return err
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	if err := p.process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop %s: %w", p.name, err)
	}
	<-p.done
	return nil
}
