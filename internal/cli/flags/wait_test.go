package flags

import (
	"testing"
	"time"
)

func TestRemainingTimeout(t *testing.T) {
	for what, c := range map[string]struct {
		timeout, taken, want time.Duration
	}{
		"part of it is spent":  {10 * time.Second, 4 * time.Second, 6 * time.Second},
		"all of it is spent":   {10 * time.Second, 11 * time.Second, time.Millisecond},
		"it was not to wait":   {0, time.Second, 0},
		"it may wait for ever": {-1, time.Second, -1},
	} {
		t.Run(what, func(t *testing.T) {
			w := Wait{Timeout: c.timeout}
			if got := w.remaining(c.taken); got != c.want {
				t.Errorf("left %s, want %s", got, c.want)
			}
		})
	}
}
