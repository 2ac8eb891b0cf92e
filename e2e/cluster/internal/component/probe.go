package component

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"k8s.io/client-go/util/cert"
)

// Probe returns nil if a component works, and the problem otherwise.
type Probe func(ctx context.Context) error

// probeTimeout limits one probe: a component that takes longer to respond isn't healthy.
const probeTimeout = 5 * time.Second

// newHTTPProbe expects status 200 from url. caFile is read at each probe, since it may not exist yet; empty means that the
// server's certificate isn't checked, which is right only on loopback.
func newHTTPProbe(url, caFile, token string) Probe {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: caFile == ""}
		if caFile != "" {
			var err error
			if tlsConfig.RootCAs, err = cert.NewPool(caFile); err != nil {
				return err
			}
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		// A new connection each time: one from before a restart would fail once.
		transport := &http.Transport{TLSClientConfig: tlsConfig, DisableKeepAlives: true}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return err
		}
		defer func() { _ = resp.Body.Close() }()
		body, err := io.ReadAll(io.LimitReader(resp.Body, 4<<10))
		if err != nil {
			return err
		}
		if resp.StatusCode != http.StatusOK {
			return fmt.Errorf("%s says %s: %s", url, resp.Status, failedHealthChecks(string(body)))
		}
		return nil
	}
}

// failedHealthChecks returns the failed checks of a verbose health report.
func failedHealthChecks(report string) string {
	var failed []string
	for line := range strings.Lines(report) {
		if strings.HasPrefix(line, "[-]") {
			failed = append(failed, strings.TrimSpace(line[len("[-]"):]))
		}
	}
	if len(failed) == 0 {
		return strings.TrimSpace(report)
	}
	return strings.Join(failed, ", ")
}

// newSocketProbe expects a process to accept connections on a unix socket.
func newSocketProbe(path string) Probe {
	return func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
