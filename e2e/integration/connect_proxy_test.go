package integration

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
)

// connectProxy is an HTTP proxy through which clients reach the API server with CONNECT, as from a network without another route.
type connectProxy struct {
	server     *httptest.Server
	statusCode atomic.Int64 // the status code for CONNECT; zero: it connects

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// newConnectProxy starts a connectProxy on loopback.
func newConnectProxy() *connectProxy {
	t := &connectProxy{conns: map[net.Conn]struct{}{}}
	t.server = httptest.NewServer(t)
	return t
}

func (t *connectProxy) url() *url.URL {
	return &url.URL{Scheme: "http", Host: t.server.Listener.Addr().String()}
}

// respondWith makes the proxy answer CONNECT with that code, and closes all connections. With zero it connects again.
func (t *connectProxy) respondWith(code int) {
	t.statusCode.Store(int64(code))
	if code != 0 {
		t.closeConns()
	}
}

func (t *connectProxy) close() {
	_ = t.server.Config.Close()
	t.closeConns()
}

func (t *connectProxy) closeConns() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		_ = c.Close()
	}
}

// ServeHTTP implements http.Handler.
func (t *connectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if code := t.statusCode.Load(); code != 0 {
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
func (t *connectProxy) relay(a, b net.Conn) {
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
