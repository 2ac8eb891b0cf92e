//go:build unix

package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// lookAgain is how often the keeper looks whether everybody is gone, where it is not told, and kills those who were
// started meanwhile.
const lookAgain = 20 * time.Millisecond

// Why a command is stopped, when it is not its caller who says so.
const (
	whyDeadline = "its hold could not be renewed in time"
	whyCaller   = "the process that runs it has ended"
)

// Keep is the keeper's life: it starts the command that it is told to and ends with it. It must be called from the
// program's main goroutine.
func Keep() error {
	for _, fd := range []int{ordersFD, reportsFD} {
		var stat unix.Stat_t
		if err := unix.Fstat(fd, &stat); err != nil || stat.Mode&unix.S_IFMT != unix.S_IFIFO {
			return errors.New("this command is only for koncli itself: use 'koncli run'")
		}
	}
	orders, reports := os.NewFile(ordersFD, "orders"), os.NewFile(reportsFD, "reports")
	// The command must not have them: its caller's end could not be noticed any more.
	unix.CloseOnExec(ordersFD)
	unix.CloseOnExec(reportsFD)
	// A thread that ends takes with it those who have asked to die with their parent.
	runtime.LockOSThread()
	// What is meant for the command reaches it through the caller. The keeper ends when the command has ended. Its signals
	// are caught and not ignored, which the command would inherit.
	signal.Notify(make(chan os.Signal, 1), Forwarded()...)
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, unix.SIGCHLD)
	if err := adoptOrphans(); err != nil {
		return fmt.Errorf("becoming the parent of the command's descendants: %w", err)
	}

	k := &keeper{ended: ended, orders: make(chan order), reports: json.NewEncoder(reports)}
	go k.read(json.NewDecoder(orders))
	first, ok := <-k.orders
	if !ok || first.Start == nil {
		return errors.New("the process that wanted to run a command has ended")
	}
	if failed := k.start(first.Start); failed != nil {
		return k.reports.Encode(report{Failed: failed})
	}
	k.report(report{Started: k.family.leader})
	k.report(report{Ended: k.keep()})
	return nil
}

// keeper looks after one command.
type keeper struct {
	command Command
	family  family
	orders  chan order // closed when the caller is gone
	ended   <-chan os.Signal
	reports *json.Encoder

	foreground bool
	until      moment // the deadline; zero: none
	stopped    string // why the command is being stopped; empty: it is not
	left       bool   // the command has ended and left processes behind
	killAt     moment // when whoever is left is killed; zero: nobody is being ended
	killed     bool
}

func (k *keeper) read(from *json.Decoder) {
	defer close(k.orders)
	for {
		var o order
		if from.Decode(&o) != nil {
			return
		}
		k.orders <- o
	}
}

// report tells the caller. Should it be gone, that is noticed where its orders are read.
func (k *keeper) report(r report) { _ = k.reports.Encode(r) }

func (k *keeper) start(s *start) *startError {
	k.command, k.foreground = s.Command, s.Foreground
	attr := &syscall.SysProcAttr{Setpgid: true}
	if s.Foreground {
		attr.Foreground, attr.Ctty = true, 0
	}
	dieWithParent(attr)
	pid, err := syscall.ForkExec(k.command.Path, k.command.Args, &syscall.ProcAttr{Env: k.command.Env, Files: []uintptr{0, 1, 2}, Sys: attr})
	if err != nil {
		code := CodeNotExecutable
		if errors.Is(err, os.ErrNotExist) {
			code = CodeNotFound
		}
		return &startError{Code: code, Message: fmt.Sprintf("starting %s: %v", k.command.Path, err)}
	}
	k.family.leader = pid
	return nil
}

// keep looks after the command until it and everybody it has started are gone.
func (k *keeper) keep() *Result {
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	orders := k.orders
	for k.look() {
		var deadline, tick <-chan time.Time
		switch {
		case k.killAt != 0:
			tick = again.C
		case k.until != 0:
			deadline = time.After(k.until.left())
		}
		select {
		case <-k.ended:
		case <-deadline:
			// What keep does about it is in look.
		case <-tick:
		case o, ok := <-orders:
			if !ok {
				orders = nil
				k.stop(whyCaller)
			}
			k.follow(o)
		}
	}
	return &Result{Code: k.family.code(), Stopped: k.stopped, Killed: k.killed, Left: k.left}
}

// follow does what the caller says.
func (k *keeper) follow(o order) {
	switch {
	case o.Until != 0:
		k.until = o.Until
	case o.Signal != 0:
		k.family.pass(unix.Signal(o.Signal))
	case o.Stop != "":
		k.stop(o.Stop)
	}
}

// look does what is due, and reports whether anybody is left.
func (k *keeper) look() bool {
	left := k.family.reap(k.resume)
	if !left {
		return false
	}
	if k.until != 0 && k.until.left() <= 0 {
		k.stop(whyDeadline)
	}
	if k.family.ended && k.killAt == 0 {
		// A command's end is the end of its work. What it leaves running would go on when others hold.
		k.left = true
		k.end()
	}
	if k.killAt != 0 && k.killAt.left() <= 0 {
		k.killed = true
		k.family.signal(unix.SIGKILL, true)
	}
	return true
}

// stop ends the command because its hold is lost.
func (k *keeper) stop(why string) {
	if k.stopped != "" || k.family.ended {
		return
	}
	k.stopped = why
	k.report(report{Stopping: why})
	k.end()
	k.callForHelp()
}

// end tells everybody to end, and begins to count the time they have for it. That is over at the latest when the hold may
// be given to another, however late this process has noticed.
func (k *keeper) end() {
	if k.killAt == 0 {
		k.killAt = now().add(k.command.Grace)
	}
	if k.until != 0 {
		k.killAt = min(k.killAt, k.until.add(k.command.Grace))
	}
	k.family.signal(unix.SIGTERM, false)
	// Those who were stopped can end only when they run.
	k.family.signal(unix.SIGCONT, false)
}

// callForHelp runs the command line that is to be run when the hold is lost.
func (k *keeper) callForHelp() {
	if k.command.OnLost == "" {
		return
	}
	attr := &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(attr)
	env := append(slices.Clone(k.command.Env), "KONDUCTOR_LOST_REASON="+k.stopped)
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", k.command.OnLost}, &syscall.ProcAttr{Env: env, Files: []uintptr{0, 1, 2}, Sys: attr})
	if err != nil {
		fmt.Fprintf(os.Stderr, "can't run what --on-lost says: starting /bin/sh: %v\n", err)
		return
	}
	k.family.apart = pid
}

// resume lets a command go on that the terminal has stopped. It would hold on to what others wait for, and nobody could
// get at it: the terminal's shell waits for the caller, which goes on.
func (k *keeper) resume(sig unix.Signal) {
	if k.foreground && sig != unix.SIGSTOP {
		k.family.pass(unix.SIGCONT)
	}
}
