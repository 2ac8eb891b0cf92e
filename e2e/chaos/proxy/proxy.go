// Package proxy stands between an operator and the API server and makes trouble:
// it delays, drops watches, answers errors of its own, cuts connections before a
// request gets through or after it was carried out, and hides the API server.
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
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"

	"k8s.io/client-go/rest"
)

// Weather is how bad the connection is. The zero Weather is fine weather.
type Weather struct {
	// Delay is the most by which a request is delayed.
	Delay time.Duration
	// Errors, CutBefore and CutAfter are the shares of requests, from 0 to 1, that are answered with an error without
	// having been passed on, whose connection is cut before they are, and whose connection is cut when they have been
	// carried out.
	Errors, CutBefore, CutAfter float64
	// Away hides the API server: connections are cut and new requests too.
	Away bool
}

// Proxy is a server on loopback that passes requests on to the API server.
type Proxy struct {
	listener net.Listener
	server   *http.Server
	pass     *httputil.ReverseProxy
	ca       []byte

	mu      sync.Mutex
	rng     *rand.Rand
	weather Weather
	conns   map[net.Conn]struct{}
	watches map[int]context.CancelFunc
	nextID  int
	done    map[string]int
	refused []string
}

// connKey finds the connection in a request's context.
type connKey struct{}

// New starts a proxy in front of the API server of config. Its faults follow rng.
func New(config *rest.Config, rng *rand.Rand) (*Proxy, error) {
	target, err := url.Parse(config.Host)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(config.CAData) {
		return nil, errors.New("the API server's certificate authority is missing")
	}
	certificate, ca, err := selfSigned()
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{listener: listener, ca: ca, rng: rng, conns: map[net.Conn]struct{}{}, watches: map[int]context.CancelFunc{}, done: map[string]int{}}
	quiet := log.New(io.Discard, "", 0)
	p.pass = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: &http.Transport{
			TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}, ForceAttemptHTTP2: true,
		},
		FlushInterval:  -1, // a watch must not wait for more to come
		ModifyResponse: p.answered,
		ErrorHandler:   func(w http.ResponseWriter, r *http.Request, _ error) { p.cut(w, r) },
		ErrorLog:       quiet,
	}
	p.server = &http.Server{
		Handler: p, ErrorLog: quiet, ReadHeaderTimeout: time.Minute,
		TLSConfig:   &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}},
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) },
		ConnState:   p.track,
	}
	go func() { _ = p.server.ServeTLS(listener, "", "") }() // ends with Close
	return p, nil
}

// Config returns config, changed to go through the proxy.
func (p *Proxy) Config(config *rest.Config) *rest.Config {
	c := rest.CopyConfig(config)
	c.Host = "https://" + p.listener.Addr().String()
	c.TLSClientConfig = rest.TLSClientConfig{CAData: p.ca}
	return c
}

// Close ends the proxy.
func (p *Proxy) Close() error {
	err := p.server.Close()
	if t, ok := p.pass.Transport.(*http.Transport); ok {
		t.CloseIdleConnections()
	}
	return err
}

// Set changes the weather.
func (p *Proxy) Set(w Weather) {
	p.mu.Lock()
	p.weather = w
	p.mu.Unlock()
	if w.Away {
		p.cutAll()
	}
}

// DropWatches ends all open watches.
func (p *Proxy) DropWatches() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, cancel := range p.watches {
		cancel()
	}
	p.done["watches dropped"] += len(p.watches)
}

// Done returns how many requests were passed on, and what was done to them, by name.
func (p *Proxy) Done() map[string]int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.done)
}

// Refused returns what the API server found invalid of what the operator wrote to the status of a primitive. The
// operator means to write nothing of that sort.
func (p *Proxy) Refused() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.refused...)
}

func (p *Proxy) track(c net.Conn, state http.ConnState) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch state {
	case http.StateNew:
		p.conns[c] = struct{}{}
	case http.StateClosed, http.StateHijacked:
		delete(p.conns, c)
	default:
	}
}

func (p *Proxy) cutAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

// fate is what befalls one request.
type fate struct {
	delay               time.Duration
	cutBefore, cutAfter bool
	code                int
}

func (p *Proxy) fateOf(r *http.Request) fate {
	p.mu.Lock()
	defer p.mu.Unlock()
	var f fate
	w := p.weather
	if w.Delay > 0 {
		f.delay = time.Duration(p.rng.Int64N(int64(w.Delay)))
	}
	chance := p.rng.Float64()
	codes := []int{http.StatusTooManyRequests, http.StatusInternalServerError}
	if r.Method != http.MethodGet {
		codes = append(codes, http.StatusConflict)
	}
	switch {
	case w.Away, chance < w.CutBefore:
		f.cutBefore = true
		p.done["cut before"]++
	case chance < w.CutBefore+w.CutAfter:
		f.cutAfter = true
	case chance < w.CutBefore+w.CutAfter+w.Errors:
		f.code = codes[p.rng.IntN(len(codes))]
		p.done[fmt.Sprintf("answered %d", f.code)]++
	}
	if f.delay > 0 {
		p.done["delayed"]++
	}
	p.done["requests"]++
	return f
}

// ServeHTTP implements http.Handler.
func (p *Proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f := p.fateOf(r)
	if f.delay > 0 {
		timer := time.NewTimer(f.delay)
		select {
		case <-timer.C:
		case <-r.Context().Done():
			timer.Stop()
		}
	}
	watch := r.URL.Query().Get("watch") != ""
	switch {
	case f.cutBefore:
		p.cut(w, r)
	case f.code != 0:
		answer(w, f.code)
	case f.cutAfter && !watch:
		p.pass.ServeHTTP(&deaf{header: http.Header{}}, r)
		p.count("cut after")
		p.cut(w, r)
	case watch:
		ctx, cancel := context.WithCancel(r.Context())
		defer cancel()
		defer p.remember(cancel)()
		p.pass.ServeHTTP(w, r.WithContext(ctx))
	default:
		p.pass.ServeHTTP(w, r)
	}
}

func (p *Proxy) count(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done[what]++
}

func (p *Proxy) remember(cancel context.CancelFunc) (forget func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	id := p.nextID
	p.nextID++
	p.watches[id] = cancel
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.watches, id)
	}
}

// cut ends the connection that the request came over, and with it all else that goes over it.
func (p *Proxy) cut(w http.ResponseWriter, r *http.Request) {
	if c, ok := r.Context().Value(connKey{}).(net.Conn); ok {
		_ = c.Close()
	}
	// Whatever is written now reaches nobody.
	w.WriteHeader(http.StatusBadGateway)
}

// answered looks at what the API server says to writes of the status of primitives.
func (p *Proxy) answered(resp *http.Response) error {
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
	p.refused = append(p.refused, fmt.Sprintf("%s %s: %s", r.Method, r.URL.Path, body))
	return nil
}

// answer says no in the API server's place.
func answer(w http.ResponseWriter, code int) {
	reason := map[int]string{http.StatusTooManyRequests: "TooManyRequests", http.StatusInternalServerError: "InternalError", http.StatusConflict: "Conflict"}[code]
	w.Header().Set("Content-Type", "application/json")
	if code == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "1")
	}
	w.WriteHeader(code)
	_, _ = fmt.Fprintf(w, `{"kind":"Status","apiVersion":"v1","status":"Failure","code":%d,"reason":%q,"message":"the proxy says so"}`, code, reason)
}

// deaf takes an answer that nobody is to hear.
type deaf struct{ header http.Header }

func (d *deaf) Header() http.Header         { return d.header }
func (d *deaf) Write(b []byte) (int, error) { return len(b), nil }
func (d *deaf) WriteHeader(int)             {}
