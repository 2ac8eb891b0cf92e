// Package jobcontrol compares how programs that run another command (env, nohup, timeout, flock, koncli run) behave with a
// terminal and a shell: each scenario runs in an interactive bash on a terminal of its own, with the same input for all of them.
package jobcontrol

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/prometheus/procfs"

	"github.com/LogicIQ/konductor/e2e/screen"
)

// pollInterval is how often files and processes are polled.
const pollInterval = 5 * time.Millisecond

// session is a terminal with an interactive bash. Its working directory is dir, which is also in $DIR.
type session struct {
	ctx        context.Context
	screen     *screen.Screen
	dir        string
	readOffset int // in the output
	err        error
}

// newSession starts a shell in a directory. The caller calls close.
func newSession(ctx context.Context, dir string, environment []string) (*session, error) {
	if err := syscall.Mkfifo(filepath.Join(dir, "end"), 0o600); err != nil {
		return nil, err
	}
	bash := exec.Command("bash", "--noprofile", "--norc", "-i")
	bash.Dir = dir
	bash.Env = append(append(os.Environ(), "DIR="+dir, "TERM=dumb", "PS1=> ", "HISTFILE=", "INPUTRC=/dev/null", "LESS=", "LC_ALL=C"), environment...)
	s, err := screen.Start(bash, 200, 50)
	if err != nil {
		return nil, err
	}
	return &session{ctx: ctx, screen: s, dir: dir}, nil
}

// processes returns the PIDs of the processes started here, except the shell: those with the session's $DIR in their environment.
func (d *session) processes() ([]int, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return nil, err
	}
	var found []int
	for _, p := range all {
		if p.PID == d.screen.PID() || processState(p.PID) == "" {
			continue
		}
		if environ, err := p.Environ(); err == nil && slices.Contains(environ, "DIR="+d.dir) {
			found = append(found, p.PID)
		}
	}
	return found, nil
}

// close waits a while for the processes started here, kills those that are left, and closes the terminal.
func (d *session) close() error {
	d.eventually(func() bool { left, err := d.processes(); return err != nil || len(left) == 0 })
	left, err := d.processes()
	for ; err == nil && len(left) > 0; left, err = d.processes() {
		for _, pid := range left {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
	return errors.Join(err, d.screen.Close())
}

// fail aborts the running scenario.
func (d *session) fail(format string, args ...any) {
	d.err = fmt.Errorf(format+"\n%s", append(args, d.screen.Output())...)
	runtime.Goexit()
}

func (d *session) typeKeys(keys string) {
	if err := d.screen.Type(keys); err != nil {
		d.fail("typing %q: %v", keys, err)
	}
}

// typeLine sends a line.
func (d *session) typeLine(format string, args ...any) {
	d.typeKeys(fmt.Sprintf(format, args...) + "\n")
}

// waitUntil waits until condition is true.
func (d *session) waitUntil(what string, condition func() bool) {
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for !condition() {
		select {
		case <-tick.C:
		case <-d.ctx.Done():
			d.fail("waited in vain for %s: %v", what, context.Cause(d.ctx))
		}
	}
}

// waitForOutput waits until new output matches the pattern, and returns what its first group matched.
func (d *session) waitForOutput(pattern string) string {
	expression := regexp.MustCompile(pattern)
	var match []int
	var written string
	d.waitUntil(pattern, func() bool {
		written = d.screen.Output()
		match = expression.FindStringSubmatchIndex(written[d.readOffset:])
		return match != nil
	})
	group := ""
	if len(match) > 2 {
		group = written[d.readOffset+match[2] : d.readOffset+match[3]]
	}
	d.readOffset += match[1]
	return group
}

// exitCode returns the exit code of the last command, once the shell reads input again.
func (d *session) exitCode() string {
	d.typeLine(`echo "code[$?]"`)
	return d.waitForOutput(`code\[(\d+)\]`)
}

// waitForFile waits until a file has a whole line, and returns its content.
func (d *session) waitForFile(name string) string {
	var text string
	d.waitUntil("a line in "+name, func() bool {
		b, err := os.ReadFile(filepath.Join(d.dir, name))
		text = strings.TrimSuffix(string(b), "\n")
		return err == nil && text != string(b)
	})
	return text
}

func (d *session) hasFile(name string) bool {
	_, err := os.Stat(filepath.Join(d.dir, name))
	return err == nil
}

func (d *session) writeFile(name, text string, mode os.FileMode) {
	if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), mode); err != nil {
		d.fail("writing %s: %v", name, err)
	}
}

// waitForPID is waitForFile for a process id.
func (d *session) waitForPID(name string) int {
	pid, err := strconv.Atoi(d.waitForFile(name))
	if err != nil {
		d.fail("%s has no process: %v", name, err)
	}
	return pid
}

// processState returns the state letter in /proc: T when the process is stopped; "" when it has ended.
func processState(pid int) string {
	p, err := procfs.NewProc(pid)
	if err != nil {
		return ""
	}
	stat, err := p.Stat()
	if err != nil || stat.State == "Z" || stat.State == "X" {
		return ""
	}
	return stat.State
}

// waitForExit waits until a process has ended.
func (d *session) waitForExit(pid int) {
	d.waitUntil(fmt.Sprintf("the end of process %d", pid), func() bool { return processState(pid) == "" })
}

// eventually reports whether condition becomes true within a time limit.
func (d *session) eventually(condition func() bool) bool {
	const long = 10 * time.Second
	end := time.Now().Add(long)
	d.waitUntil("something, or nothing", func() bool { return condition() || time.Now().After(end) || d.ctx.Err() != nil })
	return condition()
}

// eventuallyExits reports whether a process ends within the time limit.
func (d *session) eventuallyExits(pid int) bool {
	return d.eventually(func() bool { return processState(pid) == "" })
}

// eventuallyPrints reports whether text appears in new output within the time limit.
func (d *session) eventuallyPrints(text string) bool {
	return d.eventually(func() bool { return strings.Contains(d.screen.Output()[d.readOffset:], text) })
}

// resumeJob resumes the job in the foreground, after the shell has noticed that it is stopped: before that it wouldn't continue
// it.
func (d *session) resumeJob() {
	d.typeLine("for i in {1..100}; do jobs | grep -q Stopped && break; sleep 0.02; done; fg")
}

// letCommandExit lets a running command end, and waits until it has.
func (d *session) letCommandExit(pid int) {
	d.waitUntil("the end of the command", func() bool {
		// The pipe can be opened only while the command reads. Data that arrives while the command handles a signal is lost, so repeat
		// it.
		if pipe, err := os.OpenFile(filepath.Join(d.dir, "end"), os.O_WRONLY|syscall.O_NONBLOCK, 0); err == nil {
			_, _ = pipe.WriteString("now\n")
			_ = pipe.Close()
		}
		return processState(pid) == ""
	})
}

// closeTerminal closes the terminal, as a user closes a window, and waits until the shell has ended.
func (d *session) closeTerminal() {
	if err := d.screen.HangUp(); err != nil {
		d.fail("closing the terminal: %v", err)
	}
	d.waitForExit(d.screen.PID())
}

// play runs a scenario, in a goroutine that fail can end, and returns its outcome.
func (d *session) play(scene func() string) (outcome string, err error) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		outcome = scene()
	}()
	<-done
	return outcome, d.err
}
