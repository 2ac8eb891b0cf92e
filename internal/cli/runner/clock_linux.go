package runner

import (
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// suspendAwareClock runs on while the machine is suspended. Go's own, CLOCK_MONOTONIC, stands still.
const suspendAwareClock = unix.CLOCK_BOOTTIME

// suspendedDuration returns for how long the machine has been suspended since it was started.
func suspendedDuration() time.Duration {
	return time.Duration(monotonicNow() - readClock(unix.CLOCK_MONOTONIC))
}

// deadlineTimer fires when a time has come, at once if the machine has slept through it.
type deadlineTimer struct {
	timer int
	file  *os.File
	fired chan struct{}
}

func newDeadlineTimer() (*deadlineTimer, error) {
	timer, err := unix.TimerfdCreate(suspendAwareClock, unix.TFD_CLOEXEC|unix.TFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("timerfd_create", err)
	}
	a := &deadlineTimer{timer: timer, file: os.NewFile(uintptr(timer), "timer"), fired: make(chan struct{}, 1)}
	go a.readExpirations()
	return a, nil
}

func (a *deadlineTimer) stop() { _ = a.file.Close() }

func (a *deadlineTimer) readExpirations() {
	var count [8]byte
	for {
		if _, err := a.file.Read(count[:]); err != nil {
			return
		}
		select {
		case a.fired <- struct{}{}:
		default: // It is known already.
		}
	}
}

// set sets the timer to a time; zero: never.
func (a *deadlineTimer) set(at monotonicTime) {
	spec := &unix.ItimerSpec{}
	if at != 0 {
		spec.Value = unix.NsecToTimespec(max(int64(at), 1))
	}
	// The error is ignored: it fails for invalid times only.
	_ = unix.TimerfdSettime(a.timer, unix.TFD_TIMER_ABSTIME, spec, nil)
}
