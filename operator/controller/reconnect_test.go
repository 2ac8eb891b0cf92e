package controller

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"syscall"
	"testing"
)

// away is an API server at which nobody listens for a while.
func away(tries int) (http.RoundTripper, *int) {
	made := 0
	return roundTripperFunc(func(*http.Request) (*http.Response, error) {
		if made++; made <= tries {
			return nil, &url.Error{Op: "Get", Err: syscall.ECONNREFUSED}
		}
		return httptest.NewRecorder().Result(), nil
	}), &made
}

func request(ctx context.Context, t *testing.T, query string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://server/apis/konductor.io/v1/claims?"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestAWatchIsSentAgainUntilTheAPIServerIsBack(t *testing.T) {
	server, made := away(3)
	resp, err := Reconnect(server).RoundTrip(request(t.Context(), t, "watch=true"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if *made != 4 {
		t.Errorf("it was sent %d times", *made)
	}
}

func TestWhatIsNoWatchFailsAtOnce(t *testing.T) {
	server, made := away(3)
	resp, err := Reconnect(server).RoundTrip(request(t.Context(), t, "limit=1"))
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("it did not fail")
	}
	if *made != 1 {
		t.Errorf("it was sent %d times", *made)
	}
}

func TestAWatchThatIsNotWantedAnyMoreEnds(t *testing.T) {
	server, _ := away(1 << 30)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	resp, err := Reconnect(server).RoundTrip(request(ctx, t, "watch=true"))
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("it did not end")
	}
}
