package lowerbound

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
)

const mergePatch = "application/merge-patch+json"

// claim has the fields of a claim that are read.
type claim struct {
	Metadata struct {
		Name string `json:"name"`
	} `json:"metadata"`
	Status struct {
		Phase        string `json:"phase"`
		FencingToken int64  `json:"fencingToken"`
	} `json:"status"`
}

type watchEvent struct {
	Type   string `json:"type"`
	Object claim  `json:"object"`
}

// claimClient reads and writes the claims of one namespace.
type claimClient struct {
	http      *http.Client
	claimsURL string // of the namespace's claims
}

func newClaimClient(config *rest.Config, namespace string) (*claimClient, error) {
	h, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	return &claimClient{http: h, claimsURL: fmt.Sprintf("%s/apis/%s/v1/namespaces/%s/claims", config.Host, apiGroup, namespace)}, nil
}

// create creates a small claim.
func (c *claimClient) create(ctx context.Context, name string) error {
	body := fmt.Appendf(nil, `{"apiVersion":"%s/v1","kind":"Claim","metadata":{"name":%q},"spec":{"target":{"kind":"Lease","name":"db"},"holder":%q}}`, apiGroup, name, name)
	return c.send(ctx, http.MethodPost, c.claimsURL, "application/json", body)
}

// markGranted writes the claim's status.
func (c *claimClient) markGranted(ctx context.Context, name string) error {
	body := []byte(`{"status":{"phase":"Granted","fencingToken":1}}`)
	return c.send(ctx, http.MethodPatch, c.claimsURL+"/"+name+"/status", mergePatch, body)
}

// setLabel changes the claim's metadata.
func (c *claimClient) setLabel(ctx context.Context, name, value string) error {
	body := fmt.Appendf(nil, `{"metadata":{"labels":{"round":%q}}}`, value)
	return c.send(ctx, http.MethodPatch, c.claimsURL+"/"+name, mergePatch, body)
}

func (c *claimClient) delete(ctx context.Context, name string) error {
	return c.send(ctx, http.MethodDelete, c.claimsURL+"/"+name, "application/json", nil)
}

// deleteAll deletes all claims of the namespace.
func (c *claimClient) deleteAll(ctx context.Context) error {
	return c.send(ctx, http.MethodDelete, c.claimsURL, "application/json", nil)
}

func (c *claimClient) send(ctx context.Context, method, url, contentType string, body []byte) error {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := c.http.Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode >= http.StatusMultipleChoices {
		return fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, answer)
	}
	return nil
}

// awaitServed waits until the API server serves a watch of the claims. Requests for a resource that was just established may
// still fail, watches for longest (429 until the watch cache is filled), and this client doesn't repeat them.
func (c *claimClient) awaitServed(ctx context.Context) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, 50*time.Millisecond, time.Minute, true, func(ctx context.Context) (bool, error) {
		last = c.send(ctx, http.MethodGet, c.claimsURL+"?watch=1&timeoutSeconds=1", "application/json", nil)
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("%w: %w", err, last)
	}
	return nil
}

// watch calls onEvent with every change of the claim of that name, or of all if name is empty, until ctx ends. It returns when
// the API server has begun to serve the watch.
func (c *claimClient) watch(ctx context.Context, name string, onEvent func(watchEvent)) error {
	query := url.Values{"watch": {"1"}}
	if name != "" {
		query.Set("fieldSelector", "metadata.name="+name)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.claimsURL+"?"+query.Encode(), http.NoBody)
	if err != nil {
		return err
	}
	resp, err := c.http.Do(req) //nolint:bodyclose // it is, when the watch ends
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		_ = resp.Body.Close()
		return fmt.Errorf("watching %s: %s", c.claimsURL, resp.Status)
	}
	go func() {
		defer func() { _ = resp.Body.Close() }()
		decoder := json.NewDecoder(resp.Body)
		for {
			var e watchEvent
			if decoder.Decode(&e) != nil {
				return
			}
			onEvent(e)
		}
	}()
	return nil
}
