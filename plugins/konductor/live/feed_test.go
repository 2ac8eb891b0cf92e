package live

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// refusing is an API server that refuses what says so.
func refusing(t *testing.T, refuses func(path string) bool) *rest.Config {
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

func TestWhatMayNotBeSeenIsToldAndTheRestIsShown(t *testing.T) {
	config := refusing(t, func(path string) bool {
		return strings.HasSuffix(path, "events") || strings.HasSuffix(path, "arrivals")
	})
	for how, look := range map[string]func() (view.News, error){
		"once": func() (view.News, error) { return Look(t.Context(), config, Options{Namespace: "etl"}) },
		"followed": func() (view.News, error) {
			feed, err := Start(config, Options{Namespace: "etl"})
			if err != nil {
				return view.News{}, err
			}
			defer feed.Close()
			return feed.Settled(t.Context())
		},
	} {
		news, err := look()
		if err != nil {
			t.Fatalf("%s: %v", how, err)
		}
		w := view.NewWorld()
		w.Apply(news)
		if !w.Complete(view.Followed()...) {
			t.Errorf("%s: not complete", how)
		}
		if got, want := w.Denied(view.KindEvent), "events can't be seen: you may not list and watch them in namespace etl"; got != want {
			t.Errorf("%s: events: %q, want %q", how, got, want)
		}
		if got := w.Denied(konductorv1.KindArrival); !strings.Contains(got, "arrivals.konductor.io") {
			t.Errorf("%s: arrivals: %q", how, got)
		}
		if got := w.Denied(konductorv1.KindBarrier); got != "" {
			t.Errorf("%s: barriers: %q", how, got)
		}
		if ahead := w.Skew(); (ahead - time.Hour).Abs() > 5*time.Second {
			t.Errorf("%s: the server's clock is %s ahead, want an hour", how, ahead)
		}
	}
}

func TestNothingThatMattersMayBeSeenIsAnError(t *testing.T) {
	for what, refuses := range map[string]func(string) bool{
		"nothing at all": func(string) bool { return true },
		"only events":    func(path string) bool { return !strings.HasSuffix(path, "events") },
		"events and claims": func(path string) bool {
			return !strings.HasSuffix(path, "events") && !strings.HasSuffix(path, "claims")
		},
	} {
		config := refusing(t, refuses)
		_, err := Look(t.Context(), config, Options{Namespace: "etl"})
		var forbidden *konductor.ForbiddenError
		if !errors.As(err, &forbidden) {
			t.Errorf("%s, looking once: %v", what, err)
		}
		feed, err := Start(config, Options{Namespace: "etl"})
		if err != nil {
			t.Fatal(err)
		}
		defer feed.Close()
		if _, err := feed.Settled(t.Context()); !errors.As(err, &forbidden) {
			t.Errorf("%s, following: %v", what, err)
		}
	}
}

func TestNobodyAnswersIsAnError(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	server.Close()
	feed, err := Start(&rest.Config{Host: server.URL}, Options{Namespace: "etl"})
	if err != nil {
		t.Fatal(err)
	}
	defer feed.Close()
	if _, err := feed.Settled(t.Context()); err == nil || !strings.Contains(err.Error(), "refused") {
		t.Errorf("following: %v", err)
	}
}

func TestNewsThatNobodyTakesIsKeptOncePerObject(t *testing.T) {
	box := &inbox{kind: konductorv1.KindLease, objects: map[view.Ref]metav1.Object{}}
	feed := &Feed{
		options: Options{Kinds: view.Followed()}, api: &api{skew: &skew{}}, changed: make(chan struct{}, 1),
		inboxes: map[string]*inbox{box.kind: box},
	}
	s := &store{feed, box}
	for _, name := range []string{"a", "b", "a", "a", "b"} {
		_ = s.Update(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "etl", Name: name}})
	}
	_ = s.Delete(&konductorv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: "etl", Name: "b"}})
	<-feed.Changed()
	news := feed.Take()
	for _, k := range news.Kinds {
		if k.Kind == konductorv1.KindLease && (len(k.Put) != 1 || len(k.Gone) != 1) {
			t.Errorf("%d put and %d gone, want one each", len(k.Put), len(k.Gone))
		}
	}
}
