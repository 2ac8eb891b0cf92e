package integration

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/internal/apiclient"
)

// hookedTransport is the transport of one participant or operator, which a test can observe and disconnect.
type hookedTransport struct {
	env *testEnv

	mu           sync.Mutex
	changed      chan struct{}
	responses    []string // requests that got a response, as METHOD PATH
	failsRequest func(*http.Request) bool
	requestHook  func(*http.Request) error
	responseHook func(*http.Request) error
}

// hookTransport returns a copy of config whose requests go through the returned transport.
func (w *testEnv) hookTransport(config *rest.Config) (*rest.Config, *hookedTransport) {
	transport := &hookedTransport{env: w, changed: make(chan struct{})}
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return apiclient.RoundTripperFunc(func(req *http.Request) (*http.Response, error) { return transport.roundTrip(req, next) })
	})
	return config, transport
}

// errDisconnected is the error of a request while the transport is disconnected: to client-go the server is unreachable.
var errDisconnected = &disconnectedError{}

type disconnectedError struct{}

func (*disconnectedError) Error() string { return "the wire was cut" }
func (*disconnectedError) Unwrap() error { return syscall.ECONNREFUSED }

func (l *hookedTransport) roundTrip(req *http.Request, next http.RoundTripper) (*http.Response, error) {
	l.mu.Lock()
	cut, before, after := l.failsRequest != nil && l.failsRequest(req), l.requestHook, l.responseHook
	l.mu.Unlock()
	if cut {
		return nil, errDisconnected
	}
	if before != nil {
		if err := before(req); err != nil {
			return responseFor(req, err)
		}
	}
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if after != nil {
		if err := after(req); err != nil {
			_ = resp.Body.Close()
			return responseFor(req, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	verb := req.Method
	if isWatchRequest(req) {
		verb = "WATCH"
	}
	l.responses = append(l.responses, verb+" "+req.URL.Path)
	close(l.changed)
	l.changed = make(chan struct{})
	return resp, nil
}

// statusError is an error that the caller gets as a response of the API server with that code.
type statusError int

func (r statusError) Error() string { return http.StatusText(int(r)) }

func responseFor(req *http.Request, err error) (*http.Response, error) {
	var code statusError
	if !errors.As(err, &code) {
		return nil, err
	}
	body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"message":%q}`, int(code), code.Error())
	return &http.Response{
		Status: code.Error(), StatusCode: int(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

// failRandomly makes one in oneIn requests fail, in one of several ways, before or after it has reached the API server.
func (l *hookedTransport) failRandomly(oneIn int) {
	fail := func(ways ...error) func(*http.Request) error {
		return func(*http.Request) error {
			if rand.IntN(oneIn) != 0 {
				return nil
			}
			return ways[rand.IntN(len(ways))]
		}
	}
	l.setRequestHook(fail(errDisconnected, io.ErrUnexpectedEOF, statusError(500), statusError(503), statusError(429)))
	// A server that rejects a request because of overload does so before it does anything.
	l.setResponseHook(fail(errDisconnected, io.ErrUnexpectedEOF, statusError(500), statusError(503)))
}

func isWatchRequest(req *http.Request) bool { return req.URL.Query().Get("watch") != "" }

func isWriteRequest(req *http.Request) bool { return req.Method != http.MethodGet }

// failRequests makes the requests fail for which which is true; nil ends that. Open watches continue.
func (l *hookedTransport) failRequests(which func(*http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.failsRequest = which
}

// setRequestHook calls f before each request is sent; an error of f is the error of the request.
func (l *hookedTransport) setRequestHook(f func(*http.Request) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.requestHook = f
}

// setResponseHook calls f after each response; an error of f replaces the response.
func (l *hookedTransport) setResponseHook(f func(*http.Request) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.responseHook = f
}

// waitForResponse waits for the response to a request whose METHOD PATH begins with verb and ends with suffix. For a watch that
// is its beginning.
func (l *hookedTransport) waitForResponse(verb, suffix string) {
	l.env.Helper()
	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	for {
		l.mu.Lock()
		more := l.changed
		found := slices.ContainsFunc(l.responses, func(s string) bool {
			return strings.HasPrefix(s, verb+" ") && strings.HasSuffix(s, suffix)
		})
		l.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-timer.C:
			l.env.Fatalf("no %s of %s came", verb, suffix)
		}
	}
}

// writeCount returns how many requests other than reads got a response.
func (l *hookedTransport) writeCount() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.responses {
		if !strings.HasPrefix(s, "GET ") && !strings.HasPrefix(s, "WATCH ") {
			n++
		}
	}
	return n
}

// newHookedParticipant returns a participant outside of any Pod, and its transport.
func (w *testEnv) newHookedParticipant(name string) (*testParticipant, *hookedTransport) {
	w.Helper()
	config, line := w.hookTransport(w.adminConfig)
	return w.newParticipantWithConfig(config, name), line
}
