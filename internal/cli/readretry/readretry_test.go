package readretry

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/internal/apiclient"
)

func connectionRefused() error {
	return &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// newFailingTransport returns an API server that fails the first requests, and the bodies sent to it.
func newFailingTransport(tries int, err error) (http.RoundTripper, *[]string) {
	var bodies []string
	return apiclient.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		body := ""
		if req.Body != nil {
			b, _ := io.ReadAll(req.Body)
			body = string(b)
		}
		if bodies = append(bodies, body); len(bodies) <= tries {
			return nil, err
		}
		return httptest.NewRecorder().Result(), nil
	}), &bodies
}

func newRequest(t *testing.T, method, path, body string) *http.Request {
	t.Helper()
	var text io.Reader = http.NoBody
	if body != "" {
		text = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, "https://server"+path, text)
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func newTestTransport(next http.RoundTripper, attempt, contact time.Duration) *retryTransport {
	return &retryTransport{retryState: &retryState{ctx: context.Background(), notify: func(string) {}, attemptTimeout: attempt, giveUpAfter: contact}, next: next}
}

func TestRetriedRequests(t *testing.T) {
	for name, c := range map[string]struct {
		method, path, body string
		err                error
		again              bool
	}{
		"a list where nobody listens":    {http.MethodGet, "/apis/konductor.io/v1/leases", "", connectionRefused(), true},
		"a list that is cut":             {http.MethodGet, "/apis/konductor.io/v1/leases", "", syscall.ECONNRESET, true},
		"a list that ends at once":       {http.MethodGet, "/apis/konductor.io/v1/leases", "", io.EOF, true},
		"a connection closed while idle": {http.MethodGet, "/version", "", errors.New("http: server closed idle connection"), true},
		"a name that doesn't resolve":    {http.MethodGet, "/version", "", &net.DNSError{Name: "server", IsNotFound: true}, true},
		"a question for a right":         {http.MethodPost, "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", "may I", connectionRefused(), true},
		"a claim that is only tried":     {http.MethodPost, "/apis/konductor.io/v1/namespaces/etl/claims?dryRun=All", "claim", connectionRefused(), true},
		"a watch":                        {http.MethodGet, "/apis/konductor.io/v1/leases?watch=true", "", connectionRefused(), false},
		"a claim":                        {http.MethodPost, "/apis/konductor.io/v1/namespaces/etl/claims", "claim", connectionRefused(), false},
		"a deletion":                     {http.MethodDelete, "/apis/konductor.io/v1/namespaces/etl/leases/db", "", connectionRefused(), false},
		"a certificate that isn't right": {http.MethodGet, "/version", "", errors.New("x509: certificate signed by unknown authority"), false},
	} {
		t.Run(name, func(t *testing.T) {
			server, bodies := newFailingTransport(2, c.err)
			resp, err := newTestTransport(server, time.Minute, time.Minute).RoundTrip(newRequest(t, c.method, c.path, c.body))
			want := 1
			if c.again {
				want = 3
			}
			if len(*bodies) != want || (err == nil) != c.again {
				t.Errorf("it was made %d times, want %d: %v", len(*bodies), want, err)
			}
			for _, body := range *bodies {
				if body != c.body {
					t.Errorf("it had the body %q, want %q", body, c.body)
				}
			}
			if err == nil {
				_ = resp.Body.Close()
			}
		})
	}
}

func TestGiveUp(t *testing.T) {
	server, bodies := newFailingTransport(1<<30, connectionRefused())
	looking := newTestTransport(server, time.Minute, 200*time.Millisecond)
	begun := time.Now()
	_, err := looking.RoundTrip(newRequest(t, http.MethodGet, "/version", ""))
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || !errors.Is(err, syscall.ECONNREFUSED) || !strings.Contains(err.Error(), "tried for") {
		t.Errorf("it has failed with %v", err)
	}
	if time.Since(begun) < 200*time.Millisecond || len(*bodies) < 2 {
		t.Errorf("it has tried %d times within %s", len(*bodies), time.Since(begun))
	}
	// The next request gets no retry time of its own.
	tries := len(*bodies)
	if _, err := looking.RoundTrip(newRequest(t, http.MethodGet, "/api", "")); !errors.As(err, &unreachable) || len(*bodies) != tries+1 {
		t.Errorf("the next was made %d times: %v", len(*bodies)-tries, err)
	}
}

func TestAttemptTimeout(t *testing.T) {
	never := apiclient.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	})
	_, err := newTestTransport(never, 20*time.Millisecond, 100*time.Millisecond).RoundTrip(newRequest(t, http.MethodGet, "/version", ""))
	var unreachable *UnreachableError
	if !errors.As(err, &unreachable) || !unreachable.Timeout() {
		t.Errorf("it has failed with %v", err)
	}
	half := apiclient.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		reader, writer := io.Pipe()
		context.AfterFunc(req.Context(), func() { _ = writer.CloseWithError(context.Cause(req.Context())) })
		return &http.Response{StatusCode: http.StatusOK, Body: reader, Request: req}, nil
	})
	resp, err := newTestTransport(half, 20*time.Millisecond, time.Minute).RoundTrip(newRequest(t, http.MethodGet, "/version", ""))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if _, err := io.ReadAll(resp.Body); !errors.Is(err, attemptTimeoutError{}) {
		t.Errorf("half an answer has ended with %v", err)
	}
}

func TestContextCanceled(t *testing.T) {
	server, _ := newFailingTransport(1<<30, connectionRefused())
	never := apiclient.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	})
	for name, server := range map[string]http.RoundTripper{"nobody listens": server, "no answer comes": never} {
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(20*time.Millisecond, cancel)
		req := newRequest(t, http.MethodGet, "/version", "")
		begun := time.Now()
		if _, err := newTestTransport(server, time.Minute, time.Minute).RoundTrip(req.WithContext(ctx)); err == nil || time.Since(begun) > 10*time.Second {
			t.Errorf("%s: it has ended after %s with %v", name, time.Since(begun), err)
		}
		// Much of client-go sends requests without a context.
		looking := newTestTransport(server, time.Minute, time.Minute)
		looking.ctx = ctx
		if _, err := looking.RoundTrip(req); err == nil || time.Since(begun) > 10*time.Second {
			t.Errorf("%s: without a context, it has ended after %s with %v", name, time.Since(begun), err)
		}
	}
}

func TestWrapUsesConfigTimeout(t *testing.T) {
	config := &rest.Config{Host: "https://server", Timeout: 20 * time.Millisecond}
	Wrap(t.Context(), config, func(string) {})
	if config.Timeout != 0 {
		t.Errorf("all tries together are ended after %s", config.Timeout)
	}
	var limit time.Duration
	looking := config.WrapTransport(apiclient.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		begun := time.Now()
		<-req.Context().Done()
		limit = time.Since(begun)
		return nil, errors.New("broken")
	}))
	if _, err := looking.RoundTrip(newRequest(t, http.MethodPut, "/apis/konductor.io/v1/namespaces/etl/leases/db", "")); !errors.Is(err, attemptTimeoutError{}) || limit > 10*time.Second {
		t.Errorf("a write has ended after %s with %v", limit, err)
	}
}
