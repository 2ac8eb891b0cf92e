package konductor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// compactedServer has a barrier that was last written at revision 5, which has been compacted: watches can start only at
// revision 90. Such a watch delivers that the barrier has opened.
type compactedServer struct {
	missing  bool     // the barrier doesn't exist until it is watched
	requests []string // requests so far, as get, list or watch from REVISION
}

// statusTypeMeta identifies a Status from the API server to a client.
var statusTypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}

func (s *compactedServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	query := req.URL.Query()
	w.Header().Set("Content-Type", "application/json")
	answer := func(code int, obj any) {
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(obj)
	}
	barrier := NewBarrier("stage", 1)
	barrier.ResourceVersion, barrier.UID = "5", "1"
	switch revision := query.Get("resourceVersion"); {
	case query.Get("watch") != "":
		s.requests = append(s.requests, "watch from "+revision)
		if revision != "90" {
			answer(http.StatusGone, metav1.Status{TypeMeta: statusTypeMeta, Status: metav1.StatusFailure, Code: http.StatusGone, Reason: metav1.StatusReasonExpired})
			return
		}
		barrier.ResourceVersion, barrier.Status.Phase, barrier.Status.ObservedGeneration = "91", konductorv1.BarrierOpen, 1
		raw, _ := json.Marshal(barrier)
		answer(http.StatusOK, metav1.WatchEvent{Type: string(watch.Modified), Object: runtime.RawExtension{Raw: raw}})
	case req.URL.Path == "/apis/konductor.io/v1/namespaces/etl/barriers":
		s.requests = append(s.requests, "list")
		list := konductorv1.BarrierList{TypeMeta: typeMeta("BarrierList"), ListMeta: metav1.ListMeta{ResourceVersion: "90"}}
		if !s.missing {
			list.Items = []konductorv1.Barrier{*barrier}
		}
		answer(http.StatusOK, list)
	default:
		s.requests = append(s.requests, "get")
		if s.missing {
			answer(http.StatusNotFound, metav1.Status{TypeMeta: statusTypeMeta, Status: metav1.StatusFailure, Code: http.StatusNotFound, Reason: metav1.StatusReasonNotFound})
			return
		}
		answer(http.StatusOK, barrier)
	}
}

func TestWatchListsForRevision(t *testing.T) {
	for name, tt := range map[string]struct {
		server compactedServer
		want   []string
	}{
		"when the object's own is too old": {compactedServer{}, []string{"get", "watch from 5", "list", "watch from 90"}},
		"when the object doesn't exist":    {compactedServer{missing: true}, []string{"get", "list", "watch from 90"}},
	} {
		t.Run(name, func(t *testing.T) {
			server := tt.server
			endpoint := httptest.NewServer(&server)
			defer endpoint.Close()
			c, err := New(&rest.Config{Host: endpoint.URL}, InNamespace("etl"))
			if err != nil {
				t.Fatal(err)
			}
			if err := c.WaitBarrier(t.Context(), "stage"); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, server.requests); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
		})
	}
}

// watchClosingServer closes every watch at once, and opens the barrier after opensAfter gets.
type watchClosingServer struct {
	opensAfter int
	gets       int
	watches    int
}

func (s *watchClosingServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	if req.URL.Query().Get("watch") != "" {
		s.watches++
		return
	}
	s.gets++
	barrier := NewBarrier("stage", 1)
	barrier.ResourceVersion, barrier.UID = "5", "1"
	if s.gets > s.opensAfter {
		barrier.Status.Phase, barrier.Status.ObservedGeneration = konductorv1.BarrierOpen, 1
	}
	_ = json.NewEncoder(w).Encode(barrier)
}

func TestRewatchBackoff(t *testing.T) {
	server := &watchClosingServer{opensAfter: 6}
	endpoint := httptest.NewServer(server)
	defer endpoint.Close()
	c, err := New(&rest.Config{Host: endpoint.URL}, InNamespace("etl"))
	if err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	if err := c.WaitBarrier(t.Context(), "stage"); err != nil {
		t.Fatal(err)
	}
	// There is no delay after the first watch. Each later delay is at least half its nominal length, which doubles each
	// time.
	const least = (1 + 2 + 4 + 8 + 16) * initialBackoff / 2
	if took := time.Since(began); took < least || server.watches != 6 {
		t.Errorf("%d watches in %s, and there should have been pauses of %s at least", server.watches, took, least)
	}
}

// idleWatchServer sends nothing over its first watch, although the barrier opens meanwhile. It was restored to an older
// state, with smaller revisions.
type idleWatchServer struct {
	mu         sync.Mutex
	requests   []string
	closeWatch chan struct{}
}

func (s *idleWatchServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	s.mu.Lock()
	first := len(s.requests) == 0
	if req.URL.Query().Get("watch") != "" {
		s.requests = append(s.requests, "watch from "+req.URL.Query().Get("resourceVersion"))
		s.mu.Unlock()
		w.(http.Flusher).Flush()
		<-s.closeWatch
		return
	}
	s.requests = append(s.requests, "get")
	s.mu.Unlock()
	barrier := NewBarrier("stage", 1)
	barrier.ResourceVersion, barrier.UID = "900", "1"
	if !first {
		barrier.ResourceVersion, barrier.Status.Phase, barrier.Status.ObservedGeneration = "20", konductorv1.BarrierOpen, 1
	}
	_ = json.NewEncoder(w).Encode(barrier)
}

func TestWatchIdleTimeout(t *testing.T) {
	server := &idleWatchServer{closeWatch: make(chan struct{})}
	endpoint := httptest.NewServer(server)
	defer endpoint.Close()
	defer close(server.closeWatch)
	c, err := New(&rest.Config{Host: endpoint.URL}, InNamespace("etl"))
	if err != nil {
		t.Fatal(err)
	}
	if c.watchIdleTimeout >= 2*time.Minute-defaultRequestTimeout {
		t.Errorf("a silent watch is believed for %s", c.watchIdleTimeout)
	}
	c.watchIdleTimeout = 50 * time.Millisecond
	if err := c.WaitBarrier(t.Context(), "stage"); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"get", "watch from 900", "get"}, server.requests); diff != "" {
		t.Errorf("asked (-want +got):\n%s", diff)
	}
}
