package runner

import (
	"time"

	"golang.org/x/sys/unix"
)

// suspendAwareClock runs on while the machine sleeps. Go's own, CLOCK_UPTIME_RAW, stands still.
const suspendAwareClock = unix.CLOCK_MONOTONIC

// suspendedDuration returns for how long the machine has slept since it was started.
func suspendedDuration() time.Duration {
	return time.Duration(monotonicNow() - readClock(unix.CLOCK_UPTIME_RAW))
}

// clockPollInterval is how often the clock is checked: a Go timer doesn't count the time that the machine sleeps.
const clockPollInterval = time.Second

// deadlineTimer fires when a time may have come: at most a second late if the machine has slept through it.
type deadlineTimer struct {
	timer *time.Timer
	fired chan struct{}
}

func newDeadlineTimer() (*deadlineTimer, error) {
	return &deadlineTimer{fired: make(chan struct{}, 1)}, nil
}

// set sets the timer to a time; zero: never.
func (a *deadlineTimer) set(at monotonicTime) {
	if a.timer != nil {
		a.timer.Stop()
	}
	if at == 0 {
		return
	}
	a.timer = time.AfterFunc(min(at.remaining(), clockPollInterval), func() {
		select {
		case a.fired <- struct{}{}:
		default: // It is known already.
		}
	})
}

func (a *deadlineTimer) stop() { a.set(0) }
