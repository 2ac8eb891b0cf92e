package componentset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
)

// Client is a client of a Server.
type Client struct{ http *http.Client }

// NewClient returns a client for the server that listens on socket.
func NewClient(socket string) *Client {
	return &Client{http: &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}}}
}

// Status returns the state of every component.
func (c *Client) Status(ctx context.Context) (Status, error) { return c.get(ctx, "/status") }

// WaitStarted returns when the start of the cluster has succeeded or failed.
func (c *Client) WaitStarted(ctx context.Context) (Status, error) {
	return c.get(ctx, "/status?wait=started")
}

// Stop stops a component with sig and waits until it has ended.
func (c *Client) Stop(ctx context.Context, name string, sig os.Signal) error {
	number, ok := sig.(syscall.Signal)
	if !ok {
		return fmt.Errorf("stop %s: signal %v has no number", name, sig)
	}
	return c.post(ctx, fmt.Sprintf("/components/%s/stop?signal=%d", url.PathEscape(name), int(number)), nil)
}

// Start starts a component and waits until it is healthy.
func (c *Client) Start(ctx context.Context, name string) error {
	return c.post(ctx, fmt.Sprintf("/components/%s/start", url.PathEscape(name)), nil)
}

// ImportImage loads the images of an archive onto the node.
func (c *Client) ImportImage(ctx context.Context, tar io.Reader) error {
	return c.post(ctx, "/images", tar)
}

func (c *Client) get(ctx context.Context, path string) (Status, error) {
	var status Status
	body, err := c.do(ctx, http.MethodGet, path, nil)
	if err != nil {
		return status, err
	}
	return status, json.Unmarshal(body, &status)
}

func (c *Client) post(ctx context.Context, path string, body io.Reader) error {
	_, err := c.do(ctx, http.MethodPost, path, body)
	return err
}

func (c *Client) do(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://supervisor"+path, body)
	if err != nil {
		return nil, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("ask the supervisor: %w", err)
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("ask the supervisor: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, errors.New(strings.TrimSpace(string(answer)))
	}
	return answer, nil
}
