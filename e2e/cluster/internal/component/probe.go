package component

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// Probe tells whether a component works: nil if it does, else why not.
type Probe func(ctx context.Context) error

// probeTimeout bounds one probe: a component that takes this long to say that it
// is well isn't.
const probeTimeout = 5 * time.Second

// httpProbe wants status 200 from url. caFile is read at each probe, since it may not
// exist yet; empty means that the server's certificate isn't checked, which is
// right only on loopback.
func httpProbe(url, caFile, token string) Probe {
	return func(ctx context.Context) error {
		ctx, cancel := context.WithTimeout(ctx, probeTimeout)
		defer cancel()
		tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12, InsecureSkipVerify: caFile == ""}
		if caFile != "" {
			ca, err := os.ReadFile(caFile)
			if err != nil {
				return err
			}
			tlsConfig.RootCAs = x509.NewCertPool()
			tlsConfig.RootCAs.AppendCertsFromPEM(ca)
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return err
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		// A connection of its own each time: one kept from before a restart would fail once.
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
			return fmt.Errorf("%s says %s: %s", url, resp.Status, unwell(string(body)))
		}
		return nil
	}
}

// unwell picks the failed checks out of a verbose health report.
func unwell(report string) string {
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

// socketProbe wants somebody to accept connections on a unix socket.
func socketProbe(path string) Probe {
	return func(ctx context.Context) error {
		var d net.Dialer
		conn, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return err
		}
		return conn.Close()
	}
}
