// Package proxy is a proxy between a client, an operator or a participant, and the API server that injects faults: it delays,
// drops watches, responds with errors of its own, closes connections before a request is passed on or after it was carried out,
// hides the API server, stops responding, and shows an untrusted certificate.
package proxy

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
)

// FaultProfile describes the faults of the connection. The zero FaultProfile has none.
type FaultProfile struct {
	// MaxDelay is the maximum delay of a request.
	MaxDelay time.Duration
	// ErrorRate, DropRequestRate and DropResponseRate are the shares of requests, from 0 to 1, that get an error without having been
	// passed on, whose connection is closed before they are passed on, and whose connection is closed after they were carried out.
	ErrorRate, DropRequestRate, DropResponseRate float64
	// Unreachable hides the API server: open connections and new requests are closed.
	Unreachable bool
	// Unresponsive answers nothing: requests wait until the profile changes and are then closed, and open watches deliver nothing
	// any more, although their connections stay open.
	Unresponsive bool
	// EmptyWatches ends each watch as soon as it has begun.
	EmptyWatches bool
	// UntrustedCertificate closes all connections, and shows new ones a certificate of an unknown authority.
	UntrustedCertificate bool
	// Rejection answers requests for objects in place of the API server.
	Rejection Rejection
}

// Rejection is a response in place of the API server's.
type Rejection string

const (
	// Forbidden is the response when the caller lacks the right, as while roles are replaced.
	Forbidden Rejection = "403"
	// Unauthorized is the response to unknown credentials, as while tokens are rotated.
	Unauthorized Rejection = "401"
	// QuotaConflict is the response to a create that conflicts with another write to its quota.
	QuotaConflict Rejection = "409"
	// QuotaFull is the response to a create that exceeds its quota.
	QuotaFull Rejection = "quota"
	// LoginPage is an HTML page.
	LoginPage Rejection = "page"
)

// Proxy is a server on loopback that passes requests on to the API server, or to a random one of several.
type Proxy struct {
	server       *httptest.Server
	reverseProxy *httputil.ReverseProxy
	ca           []byte

	mu                   sync.Mutex
	rng                  *rand.Rand
	profile              FaultProfile
	profileChanged       chan struct{} // closed when the profile changes
	watchCancels         map[int]context.CancelFunc
	nextID               int
	counts               map[string]int
	rejectedStatusWrites []string
}

// connContextKey is the key of the connection in a request's context.
type connContextKey struct{}

// New starts a proxy in front of the API server of config, and of others by their URLs, which take the same credentials. Its
// faults follow rng.
func New(config *rest.Config, rng *rand.Rand, others ...string) (*Proxy, error) {
	var targets []*url.URL
	for _, host := range append([]string{config.Host}, others...) {
		target, err := url.Parse(host)
		if err != nil {
			return nil, err
		}
		targets = append(targets, target)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(config.CAData) {
		return nil, errors.New("the API server's certificate authority is missing")
	}
	certPEM, keyPEM, err := cert.GenerateSelfSignedCertKey("127.0.0.1", nil, nil)
	if err != nil {
		return nil, err
	}
	untrusted, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		return nil, err
	}
	p := &Proxy{rng: rng, profileChanged: make(chan struct{}), watchCancels: map[int]context.CancelFunc{}, counts: map[string]int{}}
	quiet := log.New(io.Discard, "", 0)
	p.reverseProxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(targets[p.randomInt(len(targets))]) },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		},
		FlushInterval:  -1, // a watch event must be sent at once
		ModifyResponse: p.recordRejectedStatusWrite,
		ErrorHandler:   func(w http.ResponseWriter, r *http.Request, _ error) { p.closeConn(w, r) },
		ErrorLog:       quiet,
	}
	// Its certificate was valid before any skewed clock, and will be after.
	p.server = httptest.NewUnstartedServer(p)
	p.server.Config.ErrorLog = quiet
	p.server.Config.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connContextKey{}, c)
	}
	protocols := []string{"h2", "http/1.1"}
	p.server.TLS = &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: protocols, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		if p.currentProfile().UntrustedCertificate {
			return &tls.Config{Certificates: []tls.Certificate{untrusted}, MinVersion: tls.VersionTLS12, NextProtos: protocols}, nil
		}
		return nil, nil // the server's own
	}}
	p.server.StartTLS()
	p.ca, err = cert.EncodeCertificates(p.server.Certificate())
	return p, err
}

// randomInt returns a number below n.
func (p *Proxy) randomInt(n int) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rng.IntN(n)
}

// Config returns a copy of config that uses the proxy.
func (p *Proxy) Config(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.Host = p.server.URL
	c.TLSClientConfig = rest.TLSClientConfig{CAData: p.ca}
	return c
}

// Close stops the proxy.
func (p *Proxy) Close() error {
	err := p.server.Config.Close() // and not the requests' end
	if t, ok := p.reverseProxy.Transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	return err
}

// SetProfile changes the fault profile.
func (p *Proxy) SetProfile(w FaultProfile) {
	p.mu.Lock()
	before := p.profile
	p.profile = w
	close(p.profileChanged)
	p.profileChanged = make(chan struct{})
	p.mu.Unlock()
	if w.Unreachable || w.UntrustedCertificate != before.UntrustedCertificate {
		p.server.CloseClientConnections()
	}
}

// currentProfile returns the fault profile.
func (p *Proxy) currentProfile() FaultProfile {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.profile
}

// waitWhileUnresponsive waits while the profile is unresponsive, or until r ends, and reports whether it has waited.
func (p *Proxy) waitWhileUnresponsive(r *http.Request) (was bool) {
	for {
		p.mu.Lock()
		silent, changed := p.profile.Unresponsive, p.profileChanged
		p.mu.Unlock()
		if !silent {
			return was
		}
		was = true
		select {
		case <-changed:
		case <-r.Context().Done():
			return true
		}
	}
}

// DropWatches ends all open watches.
func (p *Proxy) DropWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cancel := range p.watchCancels {
		cancel()
	}
	p.counts["watches dropped"] += len(p.watchCancels)
}

// Counts returns how many requests were passed on, and the number of faults by name.
func (p *Proxy) Counts() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.counts)
}

// RejectedStatusWrites returns the status writes of the operator that the API server rejected as invalid. The operator should
// never write an invalid status.
func (p *Proxy) RejectedStatusWrites() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.rejectedStatusWrites...)
}

// requestFault is the fault that is injected into one request.
type requestFault struct {
	delay                     time.Duration
	dropRequest, dropResponse bool
	statusCode                int
}

func (p *Proxy) chooseFault(r *http.Request) requestFault {
	p.mu.Lock()
	defer p.mu.Unlock()
	var f requestFault
	w := p.profile
	if w.MaxDelay > 0 {
		f.delay = time.Duration(p.rng.Int64N(int64(w.MaxDelay)))
	}
	chance := p.rng.Float64()
	codes := []int{http.StatusTooManyRequests, http.StatusInternalServerError}
	if r.Method != http.MethodGet {
		codes = append(codes, http.StatusConflict)
	}
	switch {
	case w.Unreachable, chance < w.DropRequestRate:
		f.dropRequest = true
		p.counts["cut before"]++
	case chance < w.DropRequestRate+w.DropResponseRate:
		f.dropResponse = true
	case chance < w.DropRequestRate+w.DropResponseRate+w.ErrorRate:
		f.statusCode = codes[p.rng.IntN(len(codes))]
		p.counts[fmt.Sprintf("answered %d", f.statusCode)]++
	}
	if f.delay > 0 {
		p.counts["delayed"]++
	}
	p.counts["requests"]++
	return f
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if p.waitWhileUnresponsive(r) {
		p.count("not answered")
		p.closeConn(w, r)
		return
	}
	f := p.chooseFault(r)
	if f.delay > 0 {
		timer := time.NewTimer(f.delay)
		select {
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
		}
	}
	watch := r.URL.Query().Get("watch") != ""
	profile := p.currentProfile()
	switch {
	case profile.Rejection.appliesTo(r):
		p.count("refused: " + string(profile.Rejection))
		profile.Rejection.writeResponse(w)
	case watch && profile.EmptyWatches:
		p.count("empty watches")
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusOK)
	case f.dropRequest:
		p.closeConn(w, r)
	case f.statusCode != 0:
		writeStatusError(w, f.statusCode)
	case f.dropResponse && !watch:
		p.reverseProxy.ServeHTTP(&discardResponseWriter{header: http.Header{}}, r)
		p.count("cut after")
		p.closeConn(w, r)
	case watch:
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer p.registerWatch(cancel)()
		p.reverseProxy.ServeHTTP(&watchWriter{ResponseWriter: w, proxy: p, request: r}, r.WithContext(ctx))
	default:
		p.reverseProxy.ServeHTTP(w, r)
	}
}

func (p *Proxy) count(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.counts[what]++
}

func (p *Proxy) registerWatch(cancel context.CancelFunc) (forget func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := p.nextID
	p.nextID++
	p.watchCancels[id] = cancel
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watchCancels, id)
	}
}

// closeConn closes the connection that the request came over, with all other requests on it.
func (p *Proxy) closeConn(w http.ResponseWriter, r *http.Request) {
	if c, ok := r.Context().Value(connContextKey{}).(net.Conn); ok {
		_ = c.Close()
	}
	// Nothing that is written now reaches the client.
	w.WriteHeader(http.StatusBadGateway)
}

// recordRejectedStatusWrite records the API server's rejections of writes of the status of primitives.
func (p *Proxy) recordRejectedStatusWrite(resp *http.Response) error {
	r := resp.Request
	if resp.StatusCode != http.StatusUnprocessableEntity || !strings.HasSuffix(r.URL.Path, "/status") || strings.Contains(r.URL.Path, "/claims/") {
		return nil
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	_ = resp.Body.Close()
	resp.Body = io.NopCloser(bytes.NewReader(body))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.rejectedStatusWrites = append(p.rejectedStatusWrites, fmt.Sprintf("%s %s: %s", r.Method, r.URL.Path, body))
	return nil
}

// writeStatusError writes an error in place of the API server.
func writeStatusError(w http.ResponseWriter, code int) {
	reason := map[int]string{http.StatusTooManyRequests: "TooManyRequests", http.StatusInternalServerError: "InternalError", http.StatusConflict: "Conflict"}[code]
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	writeStatus(w, code, reason, "the proxy says so")
}

func writeStatus(w http.ResponseWriter, code int, reason, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","code":%d,"reason":%q,"message":%q}`, code, reason, message)
}

// discardResponseWriter discards the response.
type discardResponseWriter struct{ header http.Header }

func (d *discardResponseWriter) Header() http.Header         { return d.header }
func (d *discardResponseWriter) Write(b []byte) (int, error) { return len(b), nil }
func (d *discardResponseWriter) WriteHeader(int)             {}
