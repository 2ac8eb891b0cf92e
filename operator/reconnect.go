package operator

import (
	"net/http"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// reconnect makes watches wait for an API server that is away instead of failing. client-go's own pauses between tries
// grow to a minute, and for as long as the operator has not noticed that the API server is back, nobody is served.
func reconnect(next http.RoundTripper) http.RoundTripper {
	const firstPause, longestPause = 50 * time.Millisecond, time.Second
	return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		for pause := firstPause; ; pause = min(2*pause, longestPause) {
			resp, err := next.RoundTrip(req)
			// Nobody took the request, so that it can be made again as it is.
			if err == nil || !utilnet.IsConnectionRefused(err) || req.URL.Query().Get("watch") == "" {
				return resp, err
			}
			timer := time.NewTimer(pause)
			select {
			case <-timer.C:
			case <-req.Context().Done():
				timer.Stop()
				return nil, err
			}
		}
	})
}

type roundTripperFunc func(*http.Request) (*http.Response, error)

func (f roundTripperFunc) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
