package watchretry

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"syscall"
	"testing"
	"time"

	"github.com/LogicIQ/konductor/internal/apiclient"
)

// newUnreachableServer returns an API server that refuses that many connections, and the counter of attempts.
func newUnreachableServer(tries int) (http.RoundTripper, *int) {
	made := 0
	return apiclient.RoundTripperFunc(func(*http.Request) (*http.Response, error) {
		if made++; made <= tries {
			return nil, &url.Error{Op: "Get", Err: syscall.ECONNREFUSED}
		}
		return httptest.NewRecorder().Result(), nil
	}), &made
}

func newRequest(ctx context.Context, t *testing.T, query string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://server/apis/konductor.io/v1/claims?"+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func TestWatchIsRetriedUntilServerIsReachable(t *testing.T) {
	server, made := newUnreachableServer(3)
	resp, err := NewTransport(server).RoundTrip(newRequest(t.Context(), t, "watch=true"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if *made != 4 {
		t.Errorf("it was sent %d times", *made)
	}
}

func TestNonWatchRequestIsNotRetried(t *testing.T) {
	server, made := newUnreachableServer(3)
	resp, err := NewTransport(server).RoundTrip(newRequest(t.Context(), t, "limit=1"))
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("it did not fail")
	}
	if *made != 1 {
		t.Errorf("it was sent %d times", *made)
	}
}

func TestCanceledWatchIsNotRetried(t *testing.T) {
	server, _ := newUnreachableServer(1 << 30)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	resp, err := NewTransport(server).RoundTrip(newRequest(ctx, t, "watch=true"))
	if err == nil {
		_ = resp.Body.Close()
		t.Fatal("it did not end")
	}
}

func TestWatchAfterOutageReturnsGone(t *testing.T) {
	server, _ := newUnreachableServer(1)
	resp, err := NewTransport(server).RoundTrip(newRequest(t.Context(), t, "watch=true&resourceVersion=5"))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusGone {
		t.Errorf("it was answered %d", resp.StatusCode)
	}
}

// newIdleServer returns an API server at that revision whose watches deliver nothing.
func newIdleServer(revision string) http.RoundTripper {
	return apiclient.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		if req.URL.Query().Get("watch") != "" {
			reader, writer := io.Pipe()
			context.AfterFunc(req.Context(), func() { _ = writer.CloseWithError(context.Canceled) })
			return &http.Response{StatusCode: http.StatusOK, Body: reader, Request: req}, nil
		}
		answer := httptest.NewRecorder()
		_, _ = answer.WriteString(`{"metadata":{"resourceVersion":"` + revision + `"}}`)
		return answer.Result(), nil
	})
}

func TestIdleWatchIsResumedUnlessRevisionsWentBack(t *testing.T) {
	for revision, want := range map[string]int{"900": http.StatusOK, "901": http.StatusOK, "20": http.StatusGone} {
		t.Run("the API server is at "+revision, func(t *testing.T) {
			server := &transport{next: newIdleServer(revision), idleTimeout: 20 * time.Millisecond, idlePaths: map[string]bool{}}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			first, err := server.RoundTrip(newRequest(ctx, t, "watch=true&resourceVersion=800"))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.ReadAll(first.Body); err == nil {
				t.Error("the silent watch has ended well")
			}
			_ = first.Body.Close()
			second, err := server.RoundTrip(newRequest(ctx, t, "watch=true&resourceVersion=900"))
			if err != nil {
				t.Fatal(err)
			}
			_ = second.Body.Close()
			if second.StatusCode != want {
				t.Errorf("the next was answered %d, want %d", second.StatusCode, want)
			}
		})
	}
}
