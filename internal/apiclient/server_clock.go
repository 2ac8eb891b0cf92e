package apiclient

import (
	"net/http"
	"sync/atomic"
	"time"
)

// ServerClock is the API server's time, estimated from its responses, because the clock of this machine may be wrong. Its
// zero value shows the local time until there was a response. It is safe for concurrent use.
type ServerClock struct {
	skew atomic.Int64
}

// clockNoise is the largest difference between the clocks that means nothing: the Date header has whole seconds.
const clockNoise = 2 * time.Second

// Now returns the server's time, without a monotonic reading.
func (c *ServerClock) Now() time.Time { return time.Now().Round(0).Add(c.Skew()) }

// Skew returns how far the server's clock is ahead of the local one; zero if the difference is at most 2 s.
func (c *ServerClock) Skew() time.Duration { return time.Duration(c.skew.Load()) }

// WrapTransport returns a RoundTripper that compares the clocks at each response.
func (c *ServerClock) WrapTransport(next http.RoundTripper) http.RoundTripper {
	return RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		sent := time.Now()
		resp, err := next.RoundTrip(req)
		if err == nil {
			c.observe(resp.Header.Get("Date"), sent.Add(time.Since(sent)/2))
		}
		return resp, err
	})
}

// observe compares a Date header with the local time at which the response was about to be written. Small changes leave the
// skew alone, so that Now doesn't jitter.
func (c *ServerClock) observe(date string, local time.Time) {
	server, err := http.ParseTime(date)
	if err != nil {
		return
	}
	skew := server.Add(time.Second / 2).Sub(local.Round(0))
	if (skew - c.Skew()).Abs() <= clockNoise {
		return
	}
	if skew.Abs() <= clockNoise {
		skew = 0
	}
	c.skew.Store(int64(skew))
}
