package live

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/view"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// newForbiddingServer starts an API server that forbids the paths for which refuses returns true. Its clock is an hour
// ahead.
func newForbiddingServer(t *testing.T, refuses func(path string) bool) *rest.Config {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Date", time.Now().Add(time.Hour).UTC().Format(http.TimeFormat))
		if refuses(r.URL.Path) {
			w.WriteHeader(http.StatusForbidden)
			_ = json.NewEncoder(w).Encode(metav1.Status{
				TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: metav1.StatusFailure, Reason: metav1.StatusReasonForbidden,
				Code: http.StatusForbidden, Message: `User "me" cannot list`,
			})
			return
		}
		if r.URL.Query().Get("watch") != "" {
			w.WriteHeader(http.StatusBadRequest) // no streaming lists here
			return
		}
		resource := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		kind := map[string]string{"barriers": "Barrier", "gates": "Gate", "leases": "Lease", "semaphores": "Semaphore", "claims": "Claim", "arrivals": "Arrival", "events": "Event"}[resource]
		version := konductorv1.GroupVersion().String()
		if resource == "events" {
			version = "v1"
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"apiVersion": version, "kind": kind + "List", "metadata": map[string]any{"resourceVersion": "1"}, "items": []any{}})
	}))
	t.Cleanup(server.Close)
	return &rest.Config{Host: server.URL}
}

func TestDeniedKinds(t *testing.T) {
	config := newForbiddingServer(t, func(path string) bool {
		return strings.HasSuffix(path, "events") || strings.HasSuffix(path, "arrivals")
	})
	for how, look := range map[string]func() (view.Delta, error){
		"once": func() (view.Delta, error) { return List(t.Context(), config, Options{Namespace: "etl"}) },
		"followed": func() (view.Delta, error) {
			feed, err := Start(config, Options{Namespace: "etl"})
			if err != nil {
				return view.Delta{}, err
			}
			defer feed.Close()
			return feed.WaitForSync(t.Context())
		},
	} {
		news, err := look()
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		w := view.NewStore()
		w.Apply(news)
		if !w.HasSynced(view.WatchedKinds()...) {
			t.Errorf("%s: not complete", how)
		}
		if got, want := w.DeniedMessage(view.KindEvent), "can't list and watch events in namespace etl"; got != want {
			t.Errorf("%s: events: %q, want %q", how, got, want)
		}
		if got := w.DeniedMessage(konductorv1.KindArrival); !strings.Contains(got, "arrivals.konductor.io") {
			t.Errorf("%s: arrivals: %q", how, got)
		}
		if got := w.DeniedMessage(konductorv1.KindBarrier); got != "" {
			t.Errorf("%s: barriers: %q", how, got)
		}
		if ahead := w.ClockSkew(); (ahead - time.Hour).Abs() > 5*time.Second {
			t.Errorf("%s: the server's clock is %s ahead, want an hour", how, ahead)
		}
	}
}

func TestAllKindsDenied(t *testing.T) {
	for what, refuses := range map[string]func(string) bool{
		"nothing at all": func(string) bool { return true },
		"only events":    func(path string) bool { return !strings.HasSuffix(path, "events") },
		"events and claims": func(path string) bool {
			return !strings.HasSuffix(path, "events") && !strings.HasSuffix(path, "claims")
		},
	} {
		config := newForbiddingServer(t, refuses)
		_, err := List(t.Context(), config, Options{Namespace: "etl"})
		var forbidden *konductor.ForbiddenError
		if !errors.As(err, &forbidden) {
			t.Errorf("%s, looking once: %v", what, err)
		}
		feed, err := Start(config, Options{Namespace: "etl"})
		if err != nil {
			t.Fatal(err)
		}
		defer feed.Close()
		if _, err := feed.WaitForSync(t.Context()); !errors.As(err, &forbidden) {
			t.Errorf("%s, following: %v", what, err)
		}
	}
}

func TestWaitForSyncServerUnreachable(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	feed, err := Start(&rest.Config{Host: server.URL}, Options{Namespace: "etl"})
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	if _, err := feed.WaitForSync(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("following: %v", err)
	}
}

// restoredServer is an API server that goes down and comes back with an older state.
type restoredServer struct {
	mu           sync.Mutex
	down         bool
	lease        string
	revision     string
	watchCancels map[*http.Request]context.CancelFunc
}

func (s *restoredServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	s.mu.Lock()
	away, lease, revision := s.down, s.lease, s.revision
	s.watchCancels[r] = cancel
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.watchCancels, r)
		s.mu.Unlock()
	}()
	switch query := r.URL.Query(); {
	case away:
		if c, _, err := http.NewResponseController(w).Hijack(); err == nil {
			_ = c.Close()
		}
	case query.Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusBadRequest)
	case query.Get("watch") != "":
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-ctx.Done()
	default:
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{
			"apiVersion": konductorv1.GroupVersion().String(), "kind": "LeaseList", "metadata": map[string]any{"resourceVersion": revision},
			"items": []any{map[string]any{"metadata": map[string]any{"name": lease, "namespace": "etl"}}},
		})
	}
}

// setState takes the API server down, or brings it back with that state.
func (s *restoredServer) setState(away bool, lease, revision string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down, s.lease, s.revision = away, lease, revision
	for _, end := range s.watchCancels {
		end()
	}
}

func TestOutageAndEtcdRestore(t *testing.T) {
	s := &restoredServer{lease: "new", revision: "900", watchCancels: map[*http.Request]context.CancelFunc{}}
	server := httptest.NewServer(s)
	defer server.Close()
	feed, err := Start(&rest.Config{Host: server.URL}, Options{Namespace: "etl", Kinds: []string{konductorv1.KindLease}})
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	world := view.NewStore()
	until := func(what string, is func() bool) {
		t.Helper()
		for !is() {
			select {
			case <-feed.Changed():
				world.Apply(feed.Drain())
			case <-time.After(20 * time.Second):
				t.Fatalf("%s is not shown", what)
			}
		}
	}
	shows := func(lease string) bool {
		return len(world.Rows()) == 1 && world.Row(view.Ref{Kind: konductorv1.KindLease, Namespace: "etl", Name: lease}) != nil
	}
	until("the lease", func() bool { return shows("new") })
	s.setState(true, "", "")
	until("the outage", func() bool { return world.Connection().Down })
	s.setState(false, "old", "20")
	until("the older state", func() bool { return shows("old") && !world.Connection().Down })
}

func TestPendingDeltaHasOneEntryPerObject(t *testing.T) {
	box := &pendingDelta{kind: konductorv1.KindLease, objects: map[view.Ref]metav1.Object{}}
	feed := &Feed{
		options: Options{Kinds: view.WatchedKinds()}, api: &apiClient{clock: &apiclient.ServerClock{}}, changed: make(chan struct{}, 1),
		pending: map[string]*pendingDelta{box.kind: box},
	}
	s := &pendingStore{feed, box}
	for _, name := range []string{"a", "b", "a", "a", "b"} {
		_ = s.Update(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "etl", Name: name}})
	}
	_ = s.Delete(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "etl", Name: "b"}})
	<-feed.Changed()
	news := feed.Drain()
	for _, k := range news.Kinds {
		if k.Kind == konductorv1.KindLease && (len(k.Upserted) != 1 || len(k.Deleted) != 1) {
			t.Errorf("%d put and %d gone, want one each", len(k.Upserted), len(k.Deleted))
		}
	}
}
