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
)

// wire is the connection of one participant or operator with the API server, on which a test can listen, and which it
// can cut.
type wire struct {
	w *world

	mu      sync.Mutex
	changed chan struct{}
	answers []string // requests that were answered, as METHOD PATH
	cut     func(*http.Request) bool
	before  func(*http.Request) error
	after   func(*http.Request) error
}

// wired returns a configuration whose requests go over a wire.
func (w *world) wired(config *rest.Config) (*rest.Config, *wire) {
	line := &wire{w: w, changed: make(chan struct{})}
	config = rest.CopyConfig(config)
	config.Wrap(func(next http.RoundTripper) http.RoundTripper {
		return roundTripper(func(req *http.Request) (*http.Response, error) { return line.carry(req, next) })
	})
	return config, line
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

// errCut is what a request meets on a wire that was cut: client-go takes it for a server that is away.
var errCut = &cutError{}

type cutError struct{}

func (*cutError) Error() string { return "the wire was cut" }
func (*cutError) Unwrap() error { return syscall.ECONNREFUSED }

func (l *wire) carry(req *http.Request, next http.RoundTripper) (*http.Response, error) {
	l.mu.Lock()
	cut, before, after := l.cut != nil && l.cut(req), l.before, l.after
	l.mu.Unlock()
	if cut {
		return nil, errCut
	}
	if before != nil {
		if err := before(req); err != nil {
			return answerOf(req, err)
		}
	}
	resp, err := next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	if after != nil {
		if err := after(req); err != nil {
			_ = resp.Body.Close()
			return answerOf(req, err)
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	verb := req.Method
	if isWatch(req) {
		verb = "WATCH"
	}
	l.answers = append(l.answers, verb+" "+req.URL.Path)
	close(l.changed)
	l.changed = make(chan struct{})
	return resp, nil
}

// refusal is an error that reaches the caller as an answer of the API server's with that code.
type refusal int

func (r refusal) Error() string { return http.StatusText(int(r)) }

func answerOf(req *http.Request, err error) (*http.Response, error) {
	var code refusal
	if !errors.As(err, &code) {
		return nil, err
	}
	body := fmt.Sprintf(`{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"message":%q}`, int(code), code.Error())
	return &http.Response{
		Status: code.Error(), StatusCode: int(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
	}, nil
}

// bad makes the wire fail one request in so many, in one of several ways, before or after it has reached the API server.
func (l *wire) bad(oneIn int) {
	fail := func(*http.Request) error {
		if rand.IntN(oneIn) != 0 {
			return nil
		}
		ways := []error{errCut, io.ErrUnexpectedEOF, refusal(500), refusal(503), refusal(429)}
		return ways[rand.IntN(len(ways))]
	}
	l.onRequest(fail)
	l.onAnswer(fail)
}

func isWatch(req *http.Request) bool { return req.URL.Query().Get("watch") != "" }

func isWrite(req *http.Request) bool { return req.Method != http.MethodGet }

// cutFor makes requests fail for which which is true; nil mends the wire. Watches that are open go on.
func (l *wire) cutFor(which func(*http.Request) bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = which
}

// onRequest calls f before each request is sent; an error of f's is the request's.
func (l *wire) onRequest(f func(*http.Request) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.before = f
}

// onAnswer calls f when a request has been answered; an error of f's takes the place of the answer.
func (l *wire) onAnswer(f func(*http.Request) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.after = f
}

// awaitAnswer waits until a request whose METHOD PATH begins and ends like that has been answered. A watch counts as
// answered when it has begun.
func (l *wire) awaitAnswer(verb, suffix string) {
	l.w.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		l.mu.Lock()
		more := l.changed
		found := slices.ContainsFunc(l.answers, func(s string) bool {
			return strings.HasPrefix(s, verb+" ") && strings.HasSuffix(s, suffix)
		})
		l.mu.Unlock()
		if found {
			return
		}
		select {
		case <-more:
		case <-timer.C:
			l.w.Fatalf("no %s of %s came", verb, suffix)
		}
	}
}

// writes returns how many requests other than reads were answered.
func (l *wire) writes() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range l.answers {
		if !strings.HasPrefix(s, "GET ") && !strings.HasPrefix(s, "WATCH ") {
			n++
		}
	}
	return n
}

// someoneWired returns a participant outside of any Pod, and its wire.
func (w *world) someoneWired(name string) (*actor, *wire) {
	w.Helper()
	config, line := w.wired(w.config)
	return w.actorWith(config, name), line
}
