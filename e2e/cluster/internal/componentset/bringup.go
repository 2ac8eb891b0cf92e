package componentset

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/LogicIQ/konductor/e2e/cluster/internal/component"
)

// BringUp starts all components that were added and waits until they are healthy. Each is started as early as possible:
// kube-apiserver waits for etcd by itself, the others are clients of it and would only lose time retrying.
func (s *Set) BringUp(ctx context.Context) error {
	first := []string{component.Etcd, component.APIServer}
	for _, name := range first {
		if err := s.Launch(name); err != nil {
			return err
		}
	}
	for _, name := range first {
		if err := s.WaitHealthy(ctx, name); err != nil {
			return err
		}
	}
	rest, ctx := errgroup.WithContext(ctx)
	for _, name := range s.names() {
		if slices.Contains(first, name) {
			continue
		}
		rest.Go(func() error {
			// The kubelet exits if containerd isn't running yet.
			if name == component.Kubelet {
				if err := s.WaitHealthy(ctx, component.Containerd); err != nil {
					return err
				}
			}
			return s.Start(ctx, name)
		})
	}
	return rest.Wait()
}

func (s *Set) names() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	names := make([]string, len(s.members))
	for i, m := range s.members {
		names[i] = m.Name
	}
	return names
}
