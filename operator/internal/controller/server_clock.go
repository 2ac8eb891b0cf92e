package controller

import (
	"net/http"
	"sync/atomic"
	"time"

	"github.com/LogicIQ/konductor/internal/rules"
)

// Clock reads the two clocks of a rules.Instant.
type Clock interface {
	Now() rules.Instant
}

// ServerClock is the API server's time, estimated from its responses, beside the process's monotonic clock. An operator
// whose own wall clock is wrong therefore neither times a barrier out early nor keeps it waiting.
type ServerClock struct {
	start  time.Time
	offset atomic.Int64 // nanoseconds to add to the local wall clock
}

// NewServerClock returns a clock that shows the local time until it has seen a response.
func NewServerClock() *ServerClock {
	return &ServerClock{start: time.Now()}
}

// Now implements Clock.
func (c *ServerClock) Now() rules.Instant {
	now := time.Now()
	// Round(0) drops the monotonic reading: ServerTime is a wall clock and nothing else.
	return rules.Instant{ServerTime: now.Round(0).Add(time.Duration(c.offset.Load())), Monotonic: now.Sub(c.start)}
}

// WrapTransport returns a RoundTripper that updates the clock from the Date header of each response.
func (c *ServerClock) WrapTransport(next http.RoundTripper) http.RoundTripper {
	return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil {
			c.observeDateHeader(resp.Header.Get("Date"), time.Now())
		}
		return resp, err
	})
}

// observeDateHeader compares the local clock with the server's. The header has whole seconds, so a small difference means
// nothing and leaves the offset alone, which also keeps Now from jittering.
func (c *ServerClock) observeDateHeader(date string, local time.Time) {
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
