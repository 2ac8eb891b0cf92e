package scene

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"golang.org/x/sync/errgroup"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// atOnce is how many requests set the scene at the same time.
const atOnce = 64

// Participant is an SDK client in a Pod of its own, and the watches that it has open.
type Participant struct {
	*konductor.Client
	Name    string
	Watches *Watches
}

// Participants returns n participants, each in a Pod with the token that the kubelet would have put there. No node runs
// the Pods. They share connections as the clients of one process do, unless each is to have its own.
func (s *Scene) Participants(ctx context.Context, namespace, prefix string, n int, ownConnections bool) ([]*Participant, error) {
	all := make([]*Participant, n)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	for i := range all {
		group.Go(func() (err error) {
			name := fmt.Sprintf("%s-%d", prefix, i)
			config, err := s.inPod(ctx, namespace, name)
			if err != nil {
				return err
			}
			if ownConnections {
				config = OwnConnection(config)
			}
			all[i], err = newParticipant(config, namespace, name)
			return err
		})
	}
	return all, group.Wait()
}

// Outsider returns a participant outside of any Pod, with all rights.
func (s *Scene) Outsider(namespace, name string) (*Participant, error) {
	return newParticipant(s.Config(), namespace, name)
}

func newParticipant(config *rest.Config, namespace, name string) (*Participant, error) {
	p := &Participant{Name: name, Watches: NewWatches()}
	config.Wrap(p.Watches.wrap)
	var err error
	p.Client, err = konductor.New(config, konductor.InNamespace(namespace))
	return p, err
}

// inPod creates a Pod and returns how a process in it reaches the API server.
func (s *Scene) inPod(ctx context.Context, namespace, name string) (*rest.Config, error) {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "main", Image: "none"}}},
	}
	pod, err := s.Kube.CoreV1().Pods(namespace).Create(ctx, pod, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	}}
	token, err := s.Kube.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, "default", request, metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(s.Config())
	config.BearerToken, config.QPS = token.Status.Token, -1
	return config, nil
}

// Watches counts the watches that the API server has begun to serve, for measurements that begin when everybody watches.
type Watches struct {
	mu     sync.Mutex
	begun  int
	change chan struct{}
}

// NewWatches returns a count of zero.
func NewWatches() *Watches { return &Watches{change: make(chan struct{})} }

// Begun returns how many watches have begun.
func (w *Watches) Begun() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.begun
}

// Await waits until so many watches have begun.
func (w *Watches) Await(ctx context.Context, n int) error {
	for {
		w.mu.Lock()
		begun, change := w.begun, w.change
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

func (w *Watches) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil && resp.StatusCode == http.StatusOK && req.URL.Query().Get("watch") != "" {
			w.mu.Lock()
			w.begun++
			close(w.change)
			w.change = make(chan struct{})
			w.mu.Unlock()
		}
		return resp, err
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
