//go:build unix

package runner

import (
	"os"
	"os/signal"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// PreserveIgnoredSignals keeps signals ignored that this program was started to ignore: SIGINT and SIGQUIT in the
// background of a shell without job control, SIGHUP under nohup. Call it before anything else in this package.
//
// Go's runtime doesn't show whether SIGQUIT was ignored. But a shell that starts a background job with SIGINT ignored
// ignores SIGQUIT as well, and gives the job /dev/null as standard input.
func PreserveIgnoredSignals() {
	if signal.Ignored(unix.SIGINT) && stdinIsDevNull() {
		signal.Ignore(unix.SIGQUIT)
	}
}

// stdinIsDevNull reports whether standard input is /dev/null.
func stdinIsDevNull() bool {
	var in, null unix.Stat_t
	return unix.Fstat(0, &in) == nil && unix.Stat(os.DevNull, &null) == nil && in.Mode&unix.S_IFMT == unix.S_IFCHR && in.Rdev == null.Rdev
}

// withoutIgnored removes the signals that this program was started to ignore: signal.Notify would undo that.
func withoutIgnored(signals ...os.Signal) []os.Signal {
	return slices.DeleteFunc(signals, signal.Ignored)
}

// TerminationSignals returns the signals by which users and systems end a program, without those that this program ignores.
func TerminationSignals() []os.Signal {
	return withoutIgnored(unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
}

// ForwardedSignals returns the signals that are forwarded to a command, without those that this program ignores.
func ForwardedSignals() []os.Signal {
	return append(TerminationSignals(), withoutIgnored(unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH)...)
}

// jobControlSignals returns the signals by which a terminal and a shell stop a job and continue it.
func jobControlSignals() []os.Signal {
	return []os.Signal{unix.SIGTSTP, unix.SIGTTIN, unix.SIGTTOU, unix.SIGCONT}
}

// CatchSIGPIPE makes a write to a pipe without reader fail, instead of ending this program. The programs that it starts are
// not affected.
func CatchSIGPIPE() { signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE) }

// selfSignalTimeout is how long this program waits to be ended by the signal that it has sent to itself.
const selfSignalTimeout = time.Second

// ReraiseInterrupt ends this program by SIGINT where a shell checks for that: on Ctrl-C a shell ends its script or loop
// only if the command that it was waiting for was ended by SIGINT too. Otherwise it returns. It also returns where SIGINT
// has no effect: if this program was started to ignore it, and in the first process of a container.
func ReraiseInterrupt(number int) {
	session, err := unix.Getsid(0)
	if err != nil || number != int(unix.SIGINT) || session == os.Getpid() || !isInForeground() {
		return
	}
	if signal.Ignored(unix.SIGINT) || os.Getpid() == 1 {
		return
	}
	signal.Reset(unix.SIGINT)
	if unix.Kill(os.Getpid(), unix.SIGINT) == nil {
		// The signal may take a moment to arrive.
		<-time.After(selfSignalTimeout)
	}
}

// isInForeground reports whether the controlling terminal, if there is one, sends Ctrl-C to this process.
func isInForeground() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	defer func() { _ = tty.Close() }()
	group, err := unix.IoctlGetInt(int(tty.Fd()), unix.TIOCGPGRP)
	return err == nil && group == unix.Getpgrp()
}

// hasControllingTerminal reports whether this process has a controlling terminal, and so perhaps a shell that controls it
// as a job.
func hasControllingTerminal() bool {
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		return false
	}
	_ = tty.Close()
	return true
}
