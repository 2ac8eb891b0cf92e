// Package readretry bounds the requests of commands that only read: they retry for a while until they reach the API server,
// and no request waits without limit. docs/outages.md describes it for users. Commands that write use the SDK's retry rule
// instead.
package readretry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

const (
	// defaultGiveUpAfter is how long an API server that doesn't answer is retried, over all requests of a command.
	defaultGiveUpAfter = 10 * time.Second
	// defaultAttemptTimeout limits the wait for a response's headers, and then for each part of its body.
	defaultAttemptTimeout = 30 * time.Second
	// attemptTimeoutAfterGivingUp is that limit after the API server was given up.
	attemptTimeoutAfterGivingUp = 5 * time.Second
	// minBackoff and maxBackoff bound the wait between attempts.
	minBackoff, maxBackoff = 50 * time.Millisecond, 2 * time.Second
	// notifyAfter is how long requests must have failed before the user is notified.
	notifyAfter = 2 * time.Second
)

// UnreachableError means that the API server didn't answer for as long as it was retried.
type UnreachableError struct {
	// TriedFor is for how long, in whole seconds.
	TriedFor time.Duration
	// Err is the error of the last attempt.
	Err error
}

func (e *UnreachableError) Error() string {
	return fmt.Sprintf("can't reach the API server, tried for %s: %v", e.TriedFor, e.Err)
}

// Unwrap returns the error of the last attempt.
func (e *UnreachableError) Unwrap() error { return e.Err }

// Timeout reports whether it was a timeout, as a net.Error does.
func (e *UnreachableError) Timeout() bool { return utilnet.IsTimeout(e.Err) }

// attemptTimeoutError is the error of a request that took too long.
type attemptTimeoutError struct{}

func (attemptTimeoutError) Error() string   { return "no answer in time" }
func (attemptTimeoutError) Timeout() bool   { return true }
func (attemptTimeoutError) Temporary() bool { return true }

// Wrap bounds the requests of a config. A read gets 30 s, or the config's timeout. Without an answer it is retried until
// the API server hasn't answered for 10 s. It also ends with ctx, since parts of client-go take no context. A write is sent
// once, and a watch has no limit. notify is called when a failure lasts.
func Wrap(ctx context.Context, config *rest.Config, notify func(string)) {
	b := &retryState{ctx: ctx, notify: notify, attemptTimeout: config.Timeout, giveUpAfter: defaultGiveUpAfter}
	b.timeoutConfigured = b.attemptTimeout > 0
	if !b.timeoutConfigured {
		b.attemptTimeout = defaultAttemptTimeout
	}
	// It would limit all attempts together.
	config.Timeout = 0
	config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &retryTransport{retryState: b, next: next} })
}

// retryState is shared by all requests of one config.
type retryState struct {
	ctx               context.Context
	notify            func(string)
	attemptTimeout    time.Duration
	timeoutConfigured bool // attemptTimeout was set by the user
	giveUpAfter       time.Duration

	mu               sync.Mutex
	unreachableSince time.Time // start of the first request without an answer since the last answer; zero: none
	notified         bool      // the user was notified
}

type retryTransport struct {
	*retryState
	next http.RoundTripper
}

// RoundTrip implements http.RoundTripper.
func (t *retryTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	switch {
	case isRead(req):
		return t.roundTripWithRetry(req)
	case t.timeoutConfigured && req.URL.Query().Get("watch") == "":
		return t.roundTripOnce(req)
	default:
		return t.next.RoundTrip(req)
	}
}

// isRead reports whether a request changes nothing and ends by itself: a read, an access review or a dry run.
func isRead(req *http.Request) bool {
	query := req.URL.Query()
	switch req.Method {
	case http.MethodGet, http.MethodHead:
		return query.Get("watch") == ""
	case http.MethodPost:
		return strings.HasSuffix(req.URL.Path, "reviews") || query.Get("dryRun") != ""
	default:
		return query.Get("dryRun") != ""
	}
}

// roundTripWithRetry sends a request until it is answered, or the API server hasn't answered for too long.
func (t *retryTransport) roundTripWithRetry(req *http.Request) (*http.Response, error) {
	// A slow answer is no failure yet, so this notice comes later than that of a failure.
	timer := time.AfterFunc(t.giveUpAfter, func() { t.notifyOnce("waiting for the API server…") })
	defer timer.Stop()
	for pause := minBackoff; ; pause = min(2*pause, maxBackoff) {
		begun := time.Now()
		resp, err := t.roundTripOnce(req)
		if err == nil {
			t.recordAnswer()
			return resp, nil
		}
		if req.Context().Err() != nil || t.ctx.Err() != nil || !isTransient(err) {
			return nil, err
		}
		lasted := t.recordNoAnswer(begun)
		if lasted >= t.giveUpAfter {
			return nil, &UnreachableError{TriedFor: lasted.Round(time.Second), Err: err}
		}
		if lasted >= notifyAfter {
			t.notifyOnce("the API server can't be reached, trying again: " + err.Error())
		}
		if !t.waitBackoff(req.Context(), max(min(pause, t.giveUpAfter-lasted), minBackoff)) {
			return nil, err
		}
		if req, err = cloneForRetry(req, err); err != nil {
			return nil, err
		}
	}
}

// currentAttemptTimeout returns the limit of an attempt. It is shorter after the API server was given up, so that a command
// which sends further requests fails soon.
func (t *retryTransport) currentAttemptTimeout() time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.unreachableSince.IsZero() && time.Since(t.unreachableSince) >= t.giveUpAfter {
		return min(t.attemptTimeout, attemptTimeoutAfterGivingUp)
	}
	return t.attemptTimeout
}

func (t *retryTransport) recordAnswer() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.unreachableSince, t.notified = time.Time{}, false
}

// notifyOnce notifies the user once that the API server doesn't answer.
func (t *retryTransport) notifyOnce(sentence string) {
	t.mu.Lock()
	told := t.notified
	t.notified = true
	t.mu.Unlock()
	if !told {
		t.notify(sentence)
	}
}

// recordNoAnswer records a request without an answer, and returns for how long there has been none.
func (t *retryTransport) recordNoAnswer(begun time.Time) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.unreachableSince.IsZero() {
		t.unreachableSince = begun
	}
	return time.Since(t.unreachableSince)
}

// cloneForRetry returns a copy of the request, or an error that wraps why if its body can't be read again.
func cloneForRetry(req *http.Request, why error) (*http.Request, error) {
	if req.Body == nil || req.Body == http.NoBody {
		return req, nil
	}
	if req.GetBody == nil {
		return nil, why
	}
	body, err := req.GetBody()
	if err != nil {
		return nil, err
	}
	anew := req.Clone(req.Context())
	anew.Body = body
	return anew, nil
}

// waitBackoff waits for about that time, and reports whether the request is still wanted.
func (t *retryTransport) waitBackoff(ctx context.Context, about time.Duration) bool {
	timer := time.NewTimer(about/2 + rand.N(about/2+1))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	case <-t.ctx.Done():
		return false
	}
}

// isTransient reports whether an error means that no answer came. An invalid certificate, for example, is permanent.
func isTransient(err error) bool {
	var resolving *net.DNSError
	var op *net.OpError
	if errors.As(err, &resolving) || errors.As(err, &op) && op.Op == "dial" {
		return true
	}
	// net/http has no error value for a server that closes the connection just before the request is written.
	if strings.Contains(err.Error(), "server closed idle connection") {
		return true
	}
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || utilnet.IsConnectionRefused(err) ||
		utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) || utilnet.IsHTTP2ConnectionLost(err) || utilnet.IsTimeout(err)
}

// roundTripOnce sends a request that fails if nothing is received for too long.
func (t *retryTransport) roundTripOnce(req *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(req.Context())
	limit := t.currentAttemptTimeout()
	timer := time.AfterFunc(limit, func() { cancel(attemptTimeoutError{}) })
	kept := context.AfterFunc(t.ctx, func() { cancel(context.Cause(t.ctx)) })
	a := &timedBody{ctx: ctx, resetTimer: func() { timer.Reset(limit) }, stop: func() {
		timer.Stop()
		kept()
		cancel(nil)
	}}
	resp, err := t.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		err = a.causeOf(err)
		a.stop()
		return nil, err
	}
	a.resetTimer()
	a.ReadCloser = resp.Body
	resp.Body = a
	return resp, nil
}

// timedBody is the body of a response, with the timeout for each read.
type timedBody struct {
	io.ReadCloser
	ctx        context.Context
	resetTimer func()
	stop       func()
}

// Read implements io.Reader.
func (a *timedBody) Read(p []byte) (int, error) {
	n, err := a.ReadCloser.Read(p)
	if err != nil {
		return n, a.causeOf(err)
	}
	a.resetTimer()
	return n, nil
}

// Close implements io.Closer.
func (a *timedBody) Close() error {
	a.stop()
	return a.ReadCloser.Close()
}

// causeOf returns the cause of a failed request: a request canceled by the timeout looks as if the caller had canceled it.
func (a *timedBody) causeOf(err error) error {
	if cause := context.Cause(a.ctx); cause != nil && !errors.Is(err, io.EOF) {
		return cause
	}
	return err
}
