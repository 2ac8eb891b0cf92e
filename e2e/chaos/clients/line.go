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

// line is what a client in this process reaches the API server over. It can be cut, it loses answers now and then, and
// it knows when a claim was last renewed over it.
type line struct {
	next http.RoundTripper

	mu      sync.Mutex
	rng     *rand.Rand
	loss    float64 // share of writes whose answer is lost
	down    bool
	open    map[*stream]struct{}
	renewed time.Time // when the last renewal that succeeded was sent
}

// downError is what a request meets on a line that is cut: client-go takes it for a server that is away.
type downError struct{}

func (downError) Error() string { return "the line is cut" }
func (downError) Unwrap() error { return syscall.ECONNREFUSED }

// RoundTrip implements http.RoundTripper.
func (l *line) RoundTrip(req *http.Request) (*http.Response, error) {
	l.mu.Lock()
	down, loss := l.down, req.Method != http.MethodGet && l.rng.Float64() < l.loss
	l.mu.Unlock()
	if down {
		return nil, downError{}
	}
	sent := time.Now()
	resp, err := l.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down || loss {
		_ = resp.Body.Close()
		return nil, io.ErrUnexpectedEOF
	}
	if req.Method == http.MethodPatch && resp.StatusCode == http.StatusOK {
		l.renewed = sent
	}
	s := &stream{ReadCloser: resp.Body, line: l}
	l.open[s] = struct{}{}
	resp.Body = s
	return resp, nil
}

// cut ends what is open, and lets nothing through any more.
func (l *line) cut() {
	l.mu.Lock()
	l.down = true
	open := l.open
	l.open = map[*stream]struct{}{}
	l.mu.Unlock()
	for s := range open {
		_ = s.ReadCloser.Close()
	}
}

// mend lets everything through again.
func (l *line) mend() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = false
}

// forget makes the line forget renewals so far.
func (l *line) forget() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.renewed = time.Time{}
}

// lastRenewal returns when the last renewal that succeeded was sent; the zero time: there was none.
func (l *line) lastRenewal() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.renewed
}

// stream is the body of an answer.
type stream struct {
	io.ReadCloser
	line *line
}

func (s *stream) Read(b []byte) (int, error) {
	n, err := s.ReadCloser.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		err = io.ErrUnexpectedEOF
	}
	return n, err
}

func (s *stream) Close() error {
	s.line.mu.Lock()
	delete(s.line.open, s)
	s.line.mu.Unlock()
	return s.ReadCloser.Close()
}
