package floors

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	ctrlclient "sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/e2e/bench/scene"
	"github.com/LogicIQ/konductor/e2e/manifest"
)

// group is that of the floors' own resource type.
const group = "floor.konductor.io"

// Floors measures the API server alone.
type Floors struct {
	scene     *scene.Scene
	namespace string
	requester *client
	answerer  *client
	made      int

	mu      sync.Mutex
	granted map[string]chan struct{}
}

// New installs the resource type of the floors and opens the watches. They end with ctx.
func New(ctx context.Context, s *scene.Scene) (*Floors, error) {
	if err := install(ctx, s); err != nil {
		return nil, err
	}
	namespace, err := s.Namespace(ctx)
	if err != nil {
		return nil, err
	}
	f := &Floors{scene: s, namespace: namespace, granted: map[string]chan struct{}{}}
	if f.requester, err = newClient(scene.OwnConnection(s.Config()), namespace); err != nil {
		return nil, err
	}
	if f.answerer, err = newClient(scene.OwnConnection(s.Config()), namespace); err != nil {
		return nil, err
	}
	if err := f.requester.served(ctx); err != nil {
		return nil, err
	}
	return f, f.requester.watch(ctx, "", f.seen)
}

// install creates konductor's Claim under another group and waits until it is served.
func install(ctx context.Context, s *scene.Scene) error {
	root, err := manifest.Root()
	if err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(root, "charts/konductor/files/crds/konductor.io_claims.yaml"))
	if err != nil {
		return err
	}
	crd := &unstructured.Unstructured{}
	if err := yaml.Unmarshal(text, &crd.Object); err != nil {
		return err
	}
	crd.SetName("claims." + group)
	if err := unstructured.SetNestedField(crd.Object, group, "spec", "group"); err != nil {
		return err
	}
	if err := s.Objects.Create(ctx, crd); err != nil {
		return err
	}
	return established(ctx, s, crd.GetName())
}

func established(ctx context.Context, s *scene.Scene, name string) error {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinitionList"})
	w, err := s.Objects.Watch(ctx, list, ctrlclient.MatchingFields{"metadata.name": name})
	if err != nil {
		return err
	}
	defer w.Stop()
	for e := range w.ResultChan() {
		crd, ok := e.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		conditions, _, err := unstructured.NestedFieldNoCopy(crd.Object, "status", "conditions")
		if err != nil {
			return err
		}
		all, _ := conditions.([]any) // null while there are none
		for _, c := range all {
			if c, ok := c.(map[string]any); ok && c["type"] == "Established" && c["status"] == "True" {
				return nil
			}
		}
	}
	return fmt.Errorf("%s was not established: %w", name, context.Cause(ctx))
}

// seen takes note of a grant.
func (f *Floors) seen(e event) {
	if e.Object.Status.Phase != "Granted" {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if done, ok := f.granted[e.Object.Metadata.Name]; ok {
		close(done)
		delete(f.granted, e.Object.Metadata.Name)
	}
}

func (f *Floors) expect(name string) <-chan struct{} {
	f.mu.Lock()
	defer f.mu.Unlock()
	done := make(chan struct{})
	f.granted[name] = done
	return done
}

func (f *Floors) newName() string {
	f.made++
	return fmt.Sprintf("floor-%d", f.made)
}

// Create measures one create.
func (f *Floors) Create(ctx context.Context) (time.Duration, error) {
	name := f.newName()
	begin := time.Now()
	if err := f.requester.create(ctx, name); err != nil {
		return 0, err
	}
	took := time.Since(begin)
	return took, f.requester.delete(ctx, name)
}

// Answer answers requests until the returned function is called: it is what would be the operator in a RoundTrip.
func (f *Floors) Answer(ctx context.Context) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	return cancel, f.answerer.watch(ctx, "", func(e event) {
		if e.Type == "ADDED" && e.Object.Status.Phase != "Granted" {
			_ = f.answerer.grant(ctx, e.Object.Metadata.Name) // one that fails leaves the requester waiting, who tells
		}
	})
}

// RoundTrip measures one request→grant→seen. Answer must have been called.
func (f *Floors) RoundTrip(ctx context.Context) (time.Duration, error) {
	name := f.newName()
	done := f.expect(name)
	begin := time.Now()
	if err := f.requester.create(ctx, name); err != nil {
		return 0, err
	}
	select {
	case <-done:
	case <-ctx.Done():
		return 0, fmt.Errorf("nobody answered %s: %w", name, context.Cause(ctx))
	}
	took := time.Since(begin)
	return took, f.requester.delete(ctx, name)
}

// Connections is over how many connections CreateRate creates.
const Connections = 64

// CreateRate measures how many creates per second the API server takes for that long.
func (f *Floors) CreateRate(ctx context.Context, long time.Duration) (perSecond float64, err error) {
	clients := make([]*client, Connections)
	for i := range clients {
		if clients[i], err = newClient(scene.OwnConnection(f.scene.Config()), f.namespace); err != nil {
			return 0, err
		}
		defer clients[i].http.CloseIdleConnections()
		if err := clients[i].create(ctx, f.newName()); err != nil { // connects
			return 0, err
		}
	}
	first := f.made
	f.made += 1 << 20 // names enough for all
	var made atomic.Int64
	group, groupCtx := errgroup.WithContext(ctx)
	begin := time.Now()
	for _, c := range clients {
		group.Go(func() error {
			for time.Since(begin) < long {
				if err := c.create(groupCtx, fmt.Sprintf("rate-%d-%d", first, made.Add(1))); err != nil {
					return err
				}
			}
			return nil
		})
	}
	err = group.Wait()
	took := time.Since(begin)
	if err != nil {
		return 0, err
	}
	return float64(made.Load()) / took.Seconds(), f.requester.deleteAll(ctx)
}

// Audience is a number of watchers of one object.
type Audience struct {
	floors *Floors
	name   string
	n      int
	cancel context.CancelFunc
	seen   chan struct{}
	rounds int
}

// NewAudience opens n watches on one object. Close ends them.
func (f *Floors) NewAudience(ctx context.Context, n int) (*Audience, error) {
	ctx, cancel := context.WithCancel(ctx)
	a := &Audience{floors: f, name: f.newName(), n: n, cancel: cancel, seen: make(chan struct{}, 2*n)}
	if err := f.requester.create(ctx, a.name); err != nil {
		return nil, err
	}
	// Connections of its own, shared as the clients of one process share theirs.
	watcher, err := newClient(scene.OwnConnection(f.scene.Config()), f.namespace)
	if err != nil {
		return nil, err
	}
	err = scene.Each(ctx, n, func(context.Context, int) error {
		return watcher.watch(ctx, a.name, func(event) { a.seen <- struct{}{} })
	})
	if err != nil {
		return nil, err
	}
	return a, a.await(ctx) // each is shown the object as it is
}

// FanOut measures one change of the object until the last of the audience has seen it.
func (a *Audience) FanOut(ctx context.Context) (time.Duration, error) {
	a.rounds++
	begin := time.Now()
	if err := a.floors.requester.label(ctx, a.name, fmt.Sprint(a.rounds)); err != nil {
		return 0, err
	}
	err := a.await(ctx)
	return time.Since(begin), err
}

// await waits until every watcher has seen one more state.
func (a *Audience) await(ctx context.Context) error {
	for range a.n {
		select {
		case <-a.seen:
		case <-ctx.Done():
			return fmt.Errorf("not all of %d watchers saw a change: %w", a.n, context.Cause(ctx))
		}
	}
	return nil
}

// Close ends the watches.
func (a *Audience) Close(ctx context.Context) error {
	a.cancel()
	return a.floors.requester.delete(ctx, a.name)
}
