//go:build unix

package runner

import (
	"time"

	"golang.org/x/sys/unix"
)

// monotonicTime is a time in nanoseconds on a clock that all processes of a machine share and that runs on while the
// machine sleeps.
type monotonicTime int64

func monotonicNow() monotonicTime { return readClock(suspendAwareClock) }

func readClock(clock int32) monotonicTime {
	var t unix.Timespec
	// The error is ignored: it fails for unknown clocks only.
	_ = unix.ClockGettime(clock, &t)
	return monotonicTime(t.Nano())
}

func (m monotonicTime) remaining() time.Duration { return time.Duration(m - monotonicNow()) }

func (m monotonicTime) add(d time.Duration) monotonicTime { return m + monotonicTime(d) }

// deadlineTracker converts deadlines on Go's clock, which may stand still while the machine sleeps, to monotonicTime.
type deadlineTracker struct {
	// suspended returns for how long the machine has slept so far.
	suspended        func() time.Duration
	entries          []trackedDeadline
	initialSuspended time.Duration // value of suspended when the first deadline could have been set, or earlier
}

type trackedDeadline struct {
	wallTime          time.Time
	dueAt             monotonicTime
	suspendedAtChange time.Duration // value of suspended when wallTime last changed
}

func newDeadlineTracker(slept func() time.Duration) *deadlineTracker {
	return &deadlineTracker{suspended: slept, initialSuspended: slept()}
}

// earliest returns the first of the deadlines. Each deadline keeps its position in the list. It changes when its hold was
// renewed, and the renewal began after the last change seen. If the machine has slept since then, nobody knows whether
// before or after the renewal began: so the time slept is subtracted. The result may be early, and is never late.
func (d *deadlineTracker) earliest(at []time.Time) monotonicTime {
	for len(d.entries) < len(at) {
		d.entries = append(d.entries, trackedDeadline{suspendedAtChange: d.initialSuspended})
	}
	var first monotonicTime
	for i, t := range at {
		k := &d.entries[i]
		if !k.wallTime.Equal(t) {
			base, slept := monotonicNow(), d.suspended()
			k.dueAt = base.add(time.Until(t) - (slept - k.suspendedAtChange))
			k.wallTime, k.suspendedAtChange = t, slept
		}
		if first == 0 || k.dueAt < first {
			first = k.dueAt
		}
	}
	return first
}
