//go:build unix

package child

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"golang.org/x/term"
)

// Child is a command that runs. It is safe for concurrent use.
type Child struct {
	keeper   *exec.Cmd
	stopping func(why string)
	result   chan Result
	reports  *json.Decoder
	terminal bool

	mu     sync.Mutex
	orders *json.Encoder
	pipe   *os.File
}

// Start starts the command. Its standard streams are those of this process. stopping is told, at the time, why the
// command is being stopped. It returns a *StartError when the command can't be started.
func Start(c Command, stopping func(why string)) (*Child, error) {
	if err := adoptOrphans(); err != nil {
		return nil, fmt.Errorf("becoming the parent of the command's descendants: %w", err)
	}
	k := &Child{stopping: stopping, result: make(chan Result, 1), terminal: hasTerminal()}
	if err := k.startKeeper(c.Keeper); err != nil {
		return nil, fmt.Errorf("starting the process that keeps the command: %w", err)
	}
	k.tell(order{Start: &start{Command: c, Foreground: k.terminal}})
	var first report
	err := k.reports.Decode(&first)
	switch {
	case err == nil && first.Started != 0:
		go k.follow(first.Started)
		return k, nil
	case err == nil && first.Failed != nil:
		err = &StartError{Code: first.Failed.Code, err: errors.New(first.Failed.Message)}
	default:
		err = fmt.Errorf("the process that keeps the command has ended: %w", err)
	}
	k.close()
	return nil, err
}

func (k *Child) startKeeper(args []string) error {
	ordersFrom, ordersTo, err := os.Pipe()
	if err != nil {
		return err
	}
	defer func() { _ = ordersFrom.Close() }()
	reportsFrom, reportsTo, err := os.Pipe()
	if err != nil {
		return errors.Join(err, ordersTo.Close())
	}
	defer func() { _ = reportsTo.Close() }()
	self, err := os.Executable()
	if err != nil {
		return errors.Join(err, ordersTo.Close(), reportsFrom.Close())
	}
	k.keeper = exec.Command(self, args...)
	k.keeper.Stdin, k.keeper.Stdout, k.keeper.Stderr = os.Stdin, os.Stdout, os.Stderr
	k.keeper.ExtraFiles = []*os.File{ordersFrom, reportsTo} // from file descriptor 3 on
	// A signal to this process's group, from the terminal or who stops it, isn't for the keeper.
	k.keeper.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	k.pipe, k.orders, k.reports = ordersTo, json.NewEncoder(ordersTo), json.NewDecoder(reportsFrom)
	if err := k.keeper.Start(); err != nil {
		return errors.Join(err, ordersTo.Close(), reportsFrom.Close())
	}
	return nil
}

// follow reads what the keeper reports until the command has ended.
func (k *Child) follow(leader int) {
	var end *Result
	for end == nil {
		var r report
		if k.reports.Decode(&r) != nil {
			r.Ended = k.withoutKeeper(leader)
		}
		if r.Stopping != "" {
			k.stopping(r.Stopping)
		}
		end = r.Ended
	}
	k.close()
	k.result <- *end
}

// withoutKeeper ends what is left of the command after somebody has killed its keeper.
func (k *Child) withoutKeeper(leader int) *Result {
	_ = k.keeper.Wait()
	const why = "the process that keeps it was killed"
	k.stopping(why)
	// Whoever is left has become a child of this process.
	orphans := &family{leader: leader, ended: true}
	again := time.NewTicker(lookAgain)
	defer again.Stop()
	for orphans.reap(func(unix.Signal) {}) {
		orphans.signal(unix.SIGKILL, true)
		<-again.C
	}
	return &Result{Code: 128 + int(unix.SIGKILL), Stopped: why, Killed: true}
}

// close reaps the keeper, and takes the terminal back.
func (k *Child) close() {
	k.mu.Lock()
	_ = k.pipe.Close()
	k.orders = nil
	k.mu.Unlock()
	_ = k.keeper.Wait()
	if k.terminal {
		signal.Ignore(unix.SIGTTOU)
		_ = unix.IoctlSetPointerInt(0, unix.TIOCSPGRP, unix.Getpgrp())
		signal.Reset(unix.SIGTTOU)
	}
}

// tell tells the keeper. Should that be gone, follow notices.
func (k *Child) tell(o order) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.orders != nil {
		_ = k.orders.Encode(o)
	}
}

// Signal passes a signal on to the command's process group.
func (k *Child) Signal(sig os.Signal) {
	if s, ok := sig.(unix.Signal); ok {
		k.tell(order{Signal: int(s)})
	}
}

// Until moves the deadline. When it passes, the command and all it has started are told to end, and killed after the
// grace period, whatever becomes of this process.
func (k *Child) Until(deadline time.Time) { k.tell(order{Until: momentOf(deadline)}) }

// Stop tells the command and all it has started to end, and kills them after the grace period.
func (k *Child) Stop(why string) { k.tell(order{Stop: why}) }

// Result receives how the command has ended, once it and all it has started have.
func (k *Child) Result() <-chan Result { return k.result }

// hasTerminal reports whether stdin is a terminal and this process is in its foreground.
func hasTerminal() bool {
	if !term.IsTerminal(0) {
		return false
	}
	group, err := unix.IoctlGetInt(0, unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// Ending are the signals by which people and systems end a program.
func Ending() []os.Signal {
	return []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT}
}

// Forwarded are the signals that are passed on to a command.
func Forwarded() []os.Signal { return append(Ending(), unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH) }
