package controller

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// newRecordedTraces returns Traces, and a recorder of their spans.
func newRecordedTraces(options ...sdktrace.TracerProviderOption) (*Traces, *tracetest.SpanRecorder) {
	spans := tracetest.NewSpanRecorder()
	return NewTraces(sdktrace.NewTracerProvider(append(options, sdktrace.WithSpanProcessor(spans))...)), spans
}

// sendRequest sends a request and discards the response.
func sendRequest(ctx context.Context, t *testing.T, by http.RoundTripper, to string) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := by.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
}

func TestTraceReconcileSpans(t *testing.T) {
	failure := errors.New("it is not to be")
	for name, c := range map[string]struct {
		asks    int
		outside bool // not part of a reconciliation
		fails   error
		sampler sdktrace.Sampler
		want    []string
	}{
		"nothing":                       {},
		"a request":                     {asks: 1, want: []string{"HTTP GET", "reconcile Lease"}},
		"two requests":                  {asks: 2, want: []string{"HTTP GET", "HTTP GET", "reconcile Lease"}},
		"a failure before any request":  {fails: failure, want: []string{"reconcile Lease: it is not to be"}},
		"a failure after a request":     {asks: 1, fails: failure, want: []string{"HTTP GET", "reconcile Lease: it is not to be"}},
		"requests of somebody else":     {asks: 2, outside: true},
		"a request that is not sampled": {asks: 1, sampler: sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0))},
	} {
		t.Run(name, func(t *testing.T) {
			var parents []string
			server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
				parents = append(parents, r.Header.Get("traceparent"))
			}))
			defer server.Close()
			var options []sdktrace.TracerProviderOption
			if c.sampler != nil {
				options = append(options, sdktrace.WithSampler(c.sampler))
			}
			traces, spans := newRecordedTraces(options...)
			wire := traces.WrapTransport(http.DefaultTransport)
			work := traces.traceReconcile("Lease", reconcile.Func(func(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
				if c.outside {
					ctx = t.Context()
				}
				for range c.asks {
					sendRequest(ctx, t, wire, server.URL)
				}
				return reconcile.Result{}, c.fails
			}))
			_, err := work.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "n", Name: "db"}})
			if !errors.Is(err, c.fails) {
				t.Errorf("the error became %v", err)
			}
			var got []string
			ended := spans.Ended()
			for _, s := range ended {
				told := s.Name()
				if s.Status().Code == codes.Error {
					told += ": " + s.Status().Description
				}
				got = append(got, told)
				root := ended[len(ended)-1]
				if s != root && (s.Parent().SpanID() != root.SpanContext().SpanID() || s.StartTime().Before(root.StartTime())) {
					t.Errorf("%s is not a part of %s", s.Name(), root.Name())
				}
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Errorf("spans (-want +got):\n%s", diff)
			}
			for _, p := range parents {
				if sampled := strings.HasSuffix(p, "-01"); (p == "") != c.outside || sampled != (len(c.want) > 0) {
					t.Errorf("the API server was told of the trace %q", p)
				}
			}
			if len(parents) != c.asks {
				t.Errorf("%d requests came, want %d", len(parents), c.asks)
			}
		})
	}
}

func TestReconcileSpanAttributes(t *testing.T) {
	traces, spans := newRecordedTraces()
	work := traces.traceReconcile("Lease", reconcile.Func(func(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
		l := reconcileSpanFromContext(ctx)
		l.startedSpan()
		for _, holder := range []string{"a", "b"} {
			// As when a grant has to be decided again within one reconciliation.
			l.recordHoldEnd(holder, "Expired")
			l.recordGrant(holder+"2", int64(len(l.grantedHolders)+7))
		}
		return reconcile.Result{}, nil
	}))
	if _, err := work.Reconcile(t.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "n", Name: "db"}}); err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, a := range spans.Ended()[0].Attributes() {
		got[string(a.Key)] = a.Value.String()
	}
	if diff := cmp.Diff(map[string]string{
		"konductor.controller": "Lease", "k8s.namespace.name": "n", "konductor.name": "db",
		"konductor.granted": `["a2","b2"]`, "konductor.fencing_tokens": "[7,8]", "konductor.ended": `["a","b"]`, "konductor.ended_reasons": `["Expired","Expired"]`,
	}, got); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
}

func TestNilTraces(t *testing.T) {
	var none *Traces
	work := reconcile.Func(func(ctx context.Context, _ reconcile.Request) (reconcile.Result, error) {
		l := reconcileSpanFromContext(ctx)
		l.recordGrant("a", 1)
		l.recordHoldEnd("a", "Expired")
		l.recordPhase("Open")
		if l != nil {
			t.Error("there is a trace")
		}
		return reconcile.Result{}, nil
	})
	if _, err := none.traceReconcile("Lease", work).Reconcile(t.Context(), reconcile.Request{}); err != nil {
		t.Fatal(err)
	}
}

func TestEverySpanAttributeIsDocumented(t *testing.T) {
	docs := readRepoFile(t, "docs/observability.md")
	seen := map[string]bool{}
	for _, file := range []string{"traces.go", "barrier.go", "gate.go"} {
		for _, name := range regexp.MustCompile(`"(konductor\.[a-z_]+)"`).FindAllStringSubmatch(readRepoFile(t, "operator/internal/controller/"+file), -1) {
			seen[name[1]] = true
			if !strings.Contains(docs, "`"+name[1]+"`") {
				t.Errorf("docs/observability.md doesn't say what %s is", name[1])
			}
		}
	}
	for _, name := range regexp.MustCompile("`(konductor\\.[a-z_]+)`").FindAllStringSubmatch(docs, -1) {
		if !seen[name[1]] {
			t.Errorf("docs/observability.md speaks of %s, which no span has", name[1])
		}
	}
}
