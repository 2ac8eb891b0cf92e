package clients

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"sync"
	"syscall"
	"time"
)

// faultyTransport is the transport of a client in this process. It can be disconnected, loses some responses, and knows when a
// claim was last renewed through it.
type faultyTransport struct {
	next http.RoundTripper

	mu               sync.Mutex
	rng              *rand.Rand
	responseLossRate float64 // share of writes whose response is lost
	disconnected     bool
	openBodies       map[*trackedBody]struct{}
	lastRenewedAt    time.Time // when the last renewal that succeeded was sent
}

// disconnectedError is the error of a request while the transport is disconnected. To client-go the server is unreachable.
type disconnectedError struct{}

func (disconnectedError) Error() string { return "the line is cut" }
func (disconnectedError) Unwrap() error { return syscall.ECONNREFUSED }

// RoundTrip implements http.RoundTripper.
func (l *faultyTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	l.mu.Lock()
	down, loss := l.disconnected, req.Method != http.MethodGet && l.rng.Float64() < l.responseLossRate
	l.mu.Unlock()
	if down {
		return nil, disconnectedError{}
	}
	sent := time.Now()
	resp, err := l.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.disconnected || loss {
		_ = resp.Body.Close()
		return nil, io.ErrUnexpectedEOF
	}
	if req.Method == http.MethodPatch && resp.StatusCode == http.StatusOK {
		l.lastRenewedAt = sent
	}
	s := &trackedBody{ReadCloser: resp.Body, transport: l}
	l.openBodies[s] = struct{}{}
	resp.Body = s
	return resp, nil
}

// disconnect closes all open bodies and fails every request until reconnect.
func (l *faultyTransport) disconnect() {
	l.mu.Lock()
	l.disconnected = true
	open := l.openBodies
	l.openBodies = map[*trackedBody]struct{}{}
	l.mu.Unlock()
	for s := range open {
		_ = s.ReadCloser.Close()
	}
}

// reconnect lets requests through again.
func (l *faultyTransport) reconnect() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.disconnected = false
}

// resetLastRenewal discards the time of the last renewal.
func (l *faultyTransport) resetLastRenewal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lastRenewedAt = time.Time{}
}

// lastRenewal returns when the last successful renewal was sent; the zero time: there was none.
func (l *faultyTransport) lastRenewal() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastRenewedAt
}

// trackedBody is the body of a response.
type trackedBody struct {
	io.ReadCloser
	transport *faultyTransport
}

func (s *trackedBody) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (s *trackedBody) Close() error {
	s.transport.mu.Lock()
	delete(s.transport.openBodies, s)
	s.transport.mu.Unlock()
	return s.ReadCloser.Close()
}
