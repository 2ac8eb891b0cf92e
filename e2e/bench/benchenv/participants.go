package benchenv

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/e2e/internal/credentials"
	"github.com/LogicIQ/konductor/internal/apiclient"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// maxParallel is the maximum number of parallel requests during setup.
const maxParallel = 64

// Participant is an SDK client in a Pod of its own, with a counter of its open watches.
type Participant struct {
	*konductor.Client
	Name    string
	Watches *WatchCounter
}

// CreateParticipants returns n participants, each in a Pod with the token that the kubelet would have put there. No node runs the
// Pods. They share connections as the clients of one process do, unless ownConnections is set.
func (s *Env) CreateParticipants(ctx context.Context, namespace, prefix string, n int, ownConnections bool) ([]*Participant, error) {
	all := make([]*Participant, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallel)
	for i := range all {
		group.Go(func() (err error) {
			name := fmt.Sprintf("%s-%d", prefix, i)
			config, err := credentials.ForNewPod(ctx, s.Kube, s.Config(), namespace, name)
			if err != nil {
				return err
			}
			if ownConnections {
				config = WithOwnConnection(config)
			}
			all[i], err = newParticipant(config, namespace, name)
			return err
		})
	}
	return all, group.Wait()
}

// NewOutsideParticipant returns a participant outside of any Pod, with all rights.
func (s *Env) NewOutsideParticipant(namespace, name string) (*Participant, error) {
	return newParticipant(s.Config(), namespace, name)
}

func newParticipant(config *rest.Config, namespace, name string) (*Participant, error) {
	p := &Participant{Name: name, Watches: NewWatchCounter()}
	config.Wrap(p.Watches.wrapTransport)
	var err error
	p.Client, err = konductor.New(config, konductor.InNamespace(namespace))
	return p, err
}

// WatchCounter counts the watches that the API server has begun to serve, for measurements that begin when all participants
// watch.
type WatchCounter struct {
	mu      sync.Mutex
	started int
	changed chan struct{}
}

// NewWatchCounter returns a count of zero.
func NewWatchCounter() *WatchCounter { return &WatchCounter{changed: make(chan struct{})} }

// Started returns how many watches have begun.
func (w *WatchCounter) Started() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.started
}

// AwaitStarted waits until at least n watches have begun.
func (w *WatchCounter) AwaitStarted(ctx context.Context, n int) error {
	for {
		w.mu.Lock()
		begun, change := w.started, w.changed
		w.mu.Unlock()
		if begun >= n {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return fmt.Errorf("waiting for watch %d: %w", n, context.Cause(ctx))
		}
	}
}

func (w *WatchCounter) wrapTransport(next http.RoundTripper) http.RoundTripper {
	return apiclient.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusOK && req.URL.Query().Get("watch") != "" {
			w.mu.Lock()
			w.started++
			close(w.changed)
			w.changed = make(chan struct{})
			w.mu.Unlock()
		}
		return resp, err
	})
}
