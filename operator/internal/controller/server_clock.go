package controller

import (
	"net/http"
	"time"

	"github.com/LogicIQ/konductor/internal/apiclient"
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
	server apiclient.ServerClock
}

// NewServerClock returns a clock that shows the local time until it has seen a response.
func NewServerClock() *ServerClock { return &ServerClock{start: time.Now()} }

// Now implements Clock.
func (c *ServerClock) Now() rules.Instant {
	return rules.Instant{ServerTime: c.server.Now(), Monotonic: time.Since(c.start)}
}

// WrapTransport returns a RoundTripper that updates the clock from each response.
func (c *ServerClock) WrapTransport(next http.RoundTripper) http.RoundTripper {
	return c.server.WrapTransport(next)
}
