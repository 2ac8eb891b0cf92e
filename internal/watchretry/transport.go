// Package watchretry keeps clients that list and watch up to date through outages, silent watches and restores of etcd: the
// operator's informers and the live views of the command line.
package watchretry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const (
	// initialBackoff and maxBackoff bound the pauses between attempts to reach an unreachable API server.
	initialBackoff, maxBackoff = 50 * time.Millisecond, time.Second
	// watchIdleTimeout is after how long a watch that delivered nothing, not even a bookmark, is taken for dead. The API server
	// sends a bookmark each minute.
	watchIdleTimeout = 75 * time.Second
)

// errWatchIdle is the cause with which an idle watch is canceled.
var errWatchIdle = errors.New("watch is idle: the API server sent nothing for too long")

// NewTransport returns a RoundTripper that keeps informers and reflectors up to date where client-go would not.
//
// A watch request waits for an unreachable API server instead of failing: client-go pauses up to a minute between attempts,
// and until the operator notices that the API server is back, nobody is served. After an outage of 20 s that took 40 s. The
// watch then fails with 410 Gone, so that client-go lists instead of resuming: etcd may have been restored from a backup,
// whose revisions are smaller, so that the same revision means another state.
//
// An idle watch is canceled, since client-go would wait for its end without limit. If the next watch would start at a
// revision that the API server has not reached, there was such a restore, and it fails with 410 Gone as well.
func NewTransport(next http.RoundTripper) http.RoundTripper {
	return &transport{next: next, idleTimeout: watchIdleTimeout, idlePaths: map[string]bool{}}
}

type transport struct {
	next        http.RoundTripper
	idleTimeout time.Duration

	mu        sync.Mutex
	idlePaths map[string]bool // paths whose last watch was idle
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Query().Get("watch") == "" {
		return t.next.RoundTrip(req)
	}
	if t.clearIdlePath(req.URL.Path) && t.startsAtFutureRevision(req) {
		return newExpiredResponse(req)
	}
	ctx, cancel := context.WithCancelCause(req.Context())
	w := &watchBody{transport: t, req: req, cancel: cancel}
	w.timer = time.AfterFunc(t.jitteredIdleTimeout(), w.onIdle)
	resp, err := t.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		w.cancelWatch()
		if req.Context().Err() != nil {
			return nil, err
		}
		return t.expireOnceReachable(req, err)
	}
	w.ReadCloser = resp.Body
	resp.Body = w
	return resp, nil
}

// expireOnceReachable waits until the API server can be reached again, and returns 410 Gone, so that the informer lists.
func (t *transport) expireOnceReachable(req *http.Request, err error) (*http.Response, error) {
	for backoff := initialBackoff; ; backoff = min(2*backoff, maxBackoff) {
		timer := time.NewTimer(backoff)
		select {
		case <-timer.C:
		case <-req.Context().Done():
			timer.Stop()
			return nil, err
		}
		if _, err = t.serverRevision(req); err == nil {
			return newExpiredResponse(req)
		}
		if req.Context().Err() != nil {
			return nil, err
		}
	}
}

// serverRevision returns the API server's current revision, 0 if its response doesn't say, and an error if there was no
// response.
func (t *transport) serverRevision(watch *http.Request) (uint64, error) {
	ctx, cancel := context.WithTimeout(watch.Context(), t.idleTimeout)
	defer cancel()
	probe := watch.Clone(ctx)
	probe.URL.RawQuery = "limit=1"
	probe.Header.Set("Accept", "application/json")
	resp, err := t.next.RoundTrip(probe)
	if err != nil {
		return 0, err
	}
	defer func() { _ = resp.Body.Close() }()
	var list metav1.PartialObjectMetadataList
	// Any response will do: the API server can be reached.
	_ = json.NewDecoder(resp.Body).Decode(&list)
	revision, _ := strconv.ParseUint(list.ResourceVersion, 10, 64)
	return revision, nil
}

// startsAtFutureRevision reports whether a watch would start at a revision that the API server has not reached.
func (t *transport) startsAtFutureRevision(watch *http.Request) bool {
	from, err := strconv.ParseUint(watch.URL.Query().Get("resourceVersion"), 10, 64)
	if err != nil {
		return false
	}
	now, err := t.serverRevision(watch)
	return err == nil && now > 0 && now < from
}

func (t *transport) clearIdlePath(path string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	wasIdle := t.idlePaths[path]
	delete(t.idlePaths, path)
	return wasIdle
}

func (t *transport) jitteredIdleTimeout() time.Duration {
	return t.idleTimeout + rand.N(t.idleTimeout/5)
}

// newExpiredResponse returns the API server's response to a watch whose revision is too old. client-go lists upon it.
func newExpiredResponse(req *http.Request) (*http.Response, error) {
	body, err := json.Marshal(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure,
		Code: http.StatusGone, Reason: metav1.StatusReasonExpired, Message: "the API server was unreachable, or was restored to an older state",
	})
	if err != nil {
		return nil, err
	}
	return &http.Response{
		Status: http.StatusText(http.StatusGone), StatusCode: http.StatusGone, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Request: req,
		Header: http.Header{"Content-Type": {"application/json"}}, ContentLength: int64(len(body)), Body: io.NopCloser(bytes.NewReader(body)),
	}, nil
}

// watchBody is the body of a watch response. It ends if nothing arrives for too long.
type watchBody struct {
	io.ReadCloser
	transport *transport
	req       *http.Request
	cancel    context.CancelCauseFunc
	timer     *time.Timer
}

// Read implements io.Reader.
func (w *watchBody) Read(b []byte) (int, error) {
	n, err := w.ReadCloser.Read(b)
	if n > 0 {
		w.timer.Reset(w.transport.jitteredIdleTimeout())
	}
	return n, err
}

// Close implements io.Closer.
func (w *watchBody) Close() error {
	w.cancelWatch()
	return w.ReadCloser.Close()
}

func (w *watchBody) cancelWatch() {
	w.timer.Stop()
	w.cancel(nil)
}

// onIdle cancels the watch and marks its path.
func (w *watchBody) onIdle() {
	w.transport.mu.Lock()
	w.transport.idlePaths[w.req.URL.Path] = true
	w.transport.mu.Unlock()
	w.cancel(errWatchIdle)
}
