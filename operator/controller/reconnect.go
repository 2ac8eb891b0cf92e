package controller

import (
	"net/http"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

// Reconnect makes watches wait for an API server that is away instead of failing. client-go pauses up to a minute
// between tries, and for as long as the operator has not noticed that the API server is back, nobody is served: after
// an outage of 20 s that was 40 s.
func Reconnect(next http.RoundTripper) http.RoundTripper {
	const firstPause, longestPause = 50 * time.Millisecond, time.Second
	return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		for pause := firstPause; ; pause = min(2*pause, longestPause) {
			resp, err := next.RoundTrip(req)
			// A watch has no body and nobody took it, so that it can be sent again as it is.
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
