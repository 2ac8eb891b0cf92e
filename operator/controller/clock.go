package controller

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/LogicIQ/konductor/apis/rules"
)

// Clock reads the two clocks that rules.Now speaks of.
type Clock interface {
	Now() rules.Now
}

// ServerClock is the API server's time, as its responses tell it, beside the process's monotonic clock. So an operator
// whose own wall clock is wrong neither times a barrier out early nor keeps it waiting.
type ServerClock struct {
	start  time.Time
	offset atomic.Int64 // nanoseconds to add to the local wall clock
}

// NewServerClock returns a clock that believes the local one until it has seen a response.
func NewServerClock() *ServerClock {
	return &ServerClock{start: time.Now()}
}

// Now implements Clock.
func (c *ServerClock) Now() rules.Now {
	now := time.Now()
	// Round(0) drops the monotonic reading: Server is a wall clock and nothing else.
	return rules.Now{Server: now.Round(0).Add(time.Duration(c.offset.Load())), Elapsed: now.Sub(c.start)}
}

// Wrap returns a RoundTripper that learns the server's time from the Date header of each response that passes.
func (c *ServerClock) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil {
			c.learn(resp.Header.Get("Date"), time.Now())
		}
		return resp, err
	})
}

// learn compares the local clock with the server's. The header has whole seconds, so a small difference means nothing
// and leaves the offset alone, which also keeps Now from jittering.
func (c *ServerClock) learn(date string, local time.Time) {
	const noise = 2 * time.Second
	server, err := http.ParseTime(date)
	if err != nil {
		return
	}
	offset := server.Add(500 * time.Millisecond).Sub(local.Round(0))
	if (offset - time.Duration(c.offset.Load())).Abs() <= noise {
		return
	}
	if offset.Abs() <= noise {
		offset = 0
	}
	c.offset.Store(int64(offset))
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
