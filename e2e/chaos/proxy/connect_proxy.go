package proxy

import (
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"
)

// ConnectProxy is an HTTP proxy through which clients reach the API server with CONNECT, as from a network without another route.
type ConnectProxy struct {
	listener      net.Listener
	server        *http.Server
	rejectedCount atomic.Int64
	statusCode    atomic.Int64 // the status code for CONNECT; zero: it connects

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// NewConnectProxy starts a ConnectProxy on loopback.
func NewConnectProxy() (*ConnectProxy, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	t := &ConnectProxy{listener: listener, conns: map[net.Conn]struct{}{}}
	t.server = &http.Server{Handler: t, ReadHeaderTimeout: time.Minute}
	go func() { _ = t.server.Serve(listener) }() // ends with Close
	return t, nil
}

// URL returns the URL of the proxy.
func (t *ConnectProxy) URL() *url.URL {
	return &url.URL{Scheme: "http", Host: t.listener.Addr().String()}
}

// RespondWith makes the proxy answer CONNECT with that code, and closes all connections. With zero it connects again.
func (t *ConnectProxy) RespondWith(code int) {
	t.statusCode.Store(int64(code))
	if code != 0 {
		t.closeConns()
	}
}

// RejectedCount returns how many CONNECTs it has rejected.
func (t *ConnectProxy) RejectedCount() int { return int(t.rejectedCount.Load()) }

// Close stops the proxy.
func (t *ConnectProxy) Close() error {
	err := t.server.Close()
	t.closeConns()
	return err
}

func (t *ConnectProxy) closeConns() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		_ = c.Close()
	}
}

// ServeHTTP implements http.Handler.
func (t *ConnectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if code := t.statusCode.Load(); code != 0 {
		t.rejectedCount.Add(1)
		w.WriteHeader(int(code))
		return
	}
	to, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", r.Host)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	from, _, err := http.NewResponseController(w).Hijack()
	if err == nil {
		_, err = io.WriteString(from, "HTTP/1.1 200 Connection established\r\n\r\n")
	}
	if err != nil {
		_ = to.Close()
		return
	}
	t.relay(from, to)
}

// relay copies data in both directions until one side closes.
func (t *ConnectProxy) relay(a, b net.Conn) {
	t.mu.Lock()
	t.conns[a], t.conns[b] = struct{}{}, struct{}{}
	t.mu.Unlock()
	ended := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{a, b}, {b, a}} {
		go func() {
			_, _ = io.Copy(way[0], way[1]) // any error ends the connection, too
			ended <- struct{}{}
		}()
	}
	<-ended
	_, _ = a.Close(), b.Close()
	<-ended
	t.mu.Lock()
	delete(t.conns, a)
	delete(t.conns, b)
	t.mu.Unlock()
}
