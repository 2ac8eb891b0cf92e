package integration

import (
	"context"
	"encoding/pem"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	tracev1 "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// traceCollector receives traces by OTLP over gRPC, as an OpenTelemetry collector does.
type traceCollector struct {
	collectorv1.UnimplementedTraceServiceServer
	address         string
	connectionCount atomic.Int64 // connections so far

	mu                 sync.Mutex
	resourceAttributes map[string]string // of the resource of the spans
	spans              []recordedSpan
}

// recordedSpan is a span with its attributes as text.
type recordedSpan struct {
	*tracev1.Span
	attributes map[string]string
}

// startTraceCollector starts a collector, over TLS if it gets credentials. It is stopped when the test ends.
func (w *testEnv) startTraceCollector(options ...grpc.ServerOption) *traceCollector {
	w.Helper()
	c := &traceCollector{resourceAttributes: map[string]string{}}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	w.must(err)
	c.address = l.Addr().String()
	server := grpc.NewServer(options...)
	collectorv1.RegisterTraceServiceServer(server, c)
	served := runAsyncErr(w, func() error { return server.Serve(&countingListener{l, &c.connectionCount}) })
	w.Cleanup(func() {
		server.Stop()
		served.waitUpTo(waitTimeout)
	})
	return c
}

// countingListener is a listener that counts connections.
type countingListener struct {
	net.Listener
	connectionCount *atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.connectionCount.Add(1)
	}
	return c, err
}

// Export implements the service.
func (c *traceCollector) Export(_ context.Context, req *collectorv1.ExportTraceServiceRequest) (*collectorv1.ExportTraceServiceResponse, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range req.ResourceSpans {
		c.resourceAttributes = attributeTexts(of.Resource.Attributes)
		for _, scope := range of.ScopeSpans {
			for _, s := range scope.Spans {
				c.spans = append(c.spans, recordedSpan{s, attributeTexts(s.Attributes)})
			}
		}
	}
	return &collectorv1.ExportTraceServiceResponse{}, nil
}

func attributeTexts(attributes []*commonv1.KeyValue) map[string]string {
	all := map[string]string{}
	for _, a := range attributes {
		all[a.Key] = attributeText(a.Value)
	}
	return all
}

func attributeText(v *commonv1.AnyValue) string {
	switch v := v.Value.(type) {
	case *commonv1.AnyValue_StringValue:
		return v.StringValue
	case *commonv1.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *commonv1.AnyValue_ArrayValue:
		var items []string
		for _, item := range v.ArrayValue.Values {
			items = append(items, attributeText(item))
		}
		return strings.Join(items, ",")
	default:
		return "?"
	}
}

// recorded returns the spans so far, and their resource's attributes.
func (c *traceCollector) recorded() (spans []recordedSpan, about map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.spans), c.resourceAttributes
}

// findSpan returns the only span for which fits is true.
func findSpan(w *testEnv, spans []recordedSpan, what string, fits func(recordedSpan) bool) recordedSpan {
	w.Helper()
	var some []recordedSpan
	for _, s := range spans {
		if fits(s) {
			some = append(some, s)
		}
	}
	if len(some) != 1 {
		w.Fatalf("%d spans are of %s, want 1; there are\n%v", len(some), what, spans)
	}
	return some[0]
}

// childRequests returns the requests of a reconciliation's span, as METHOD PATH without the common prefix, in order.
func (s recordedSpan) childRequests(w *testEnv, spans []recordedSpan) (all []string) {
	w.Helper()
	for _, r := range spans {
		if string(r.ParentSpanId) != string(s.SpanId) {
			continue
		}
		if string(r.TraceId) != string(s.TraceId) || r.Kind != tracev1.Span_SPAN_KIND_CLIENT ||
			r.StartTimeUnixNano < s.StartTimeUnixNano || r.EndTimeUnixNano > s.EndTimeUnixNano {
			w.Errorf("%v is not within its parent %v", r, s)
		}
		_, path, _ := strings.Cut(r.attributes["url.full"], "/namespaces/"+w.namespace+"/")
		all = append(all, r.attributes["http.request.method"]+" "+path)
	}
	return all
}

// startTracingOperator starts an operator process that sends its traces only at its end, or when it has very many.
func (w *testEnv) startTracingOperator(environment []string, args ...string) *koncliProcess {
	w.Helper()
	args = append([]string{"operator", "--leader-elect=false", "--watch-namespaces=" + w.namespace,
		"--metrics-bind-address=0", "--health-probe-bind-address=0"}, args...)
	return w.startKoncliWithEnv(append(environment, "OTEL_BSP_SCHEDULE_DELAY=3600000"), w.adminKubeconfig, args...)
}

func TestTraces(t *testing.T) {
	// A server of httptest has a self-signed certificate for 127.0.0.1.
	secure := httptest.NewTLSServer(nil)
	t.Cleanup(secure.Close)
	authority := filepath.Join(t.TempDir(), "ca.crt")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw})
	if err := os.WriteFile(authority, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		scheme      string
		server      []grpc.ServerOption
		environment string
	}{
		"in plain text": {"", nil, "OTEL_RESOURCE_ATTRIBUTES=deployment.environment.name=test"},
		"over TLS": {
			"https://", []grpc.ServerOption{grpc.Creds(credentials.NewServerTLSFromCert(&secure.TLS.Certificates[0]))},
			"OTEL_EXPORTER_OTLP_CERTIFICATE=" + authority,
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			to := w.startTraceCollector(c.server...)
			lease := w.createLease("db")
			createBarrier(w, "stage", 2)
			p := w.startTracingOperator([]string{c.environment}, "--tracing-endpoint="+c.scheme+to.address)
			ann, bob := w.newParticipant("ann"), w.newParticipant("bob")
			first := ann.mustAcquire(konductorv1.KindLease, "db")
			queued := bob.enqueue(konductorv1.KindLease, lease)
			w.mustRelease(first)
			second := queued.mustSucceed()
			arriveInOrder(w, "stage", "x", "y")
			// A waiter observes the write before the operator knows that it has succeeded, and an operator that is stopped in between
			// doesn't learn it. Events come after that.
			w.awaitEvent(konductorv1.KindLease, "db", konductorv1.EventGranted, "bob")
			w.awaitEvent(konductorv1.KindBarrier, "stage", konductorv1.EventOpened, "")
			if spans, _ := to.recorded(); len(spans) > 0 {
				t.Errorf("%d spans came before the end", len(spans))
			}
			p.signal(syscall.SIGTERM)
			p.expectExit(0)

			spans, about := to.recorded()
			if about["service.name"] != "konductor-operator" || about["service.version"] == "" || about["host.name"] == "" {
				t.Errorf("the traces are of %v", about)
			}
			if name == "in plain text" && about["deployment.environment.name"] != "test" {
				t.Errorf("OTEL_RESOURCE_ATTRIBUTES is not heard: %v", about)
			}
			handover := findSpan(w, spans, "the handover", func(s recordedSpan) bool {
				return s.attributes["konductor.granted"] == "bob"
			})
			if diff := cmp.Diff(map[string]string{
				"konductor.controller": "Lease", "k8s.namespace.name": w.namespace, "konductor.name": "db",
				"konductor.granted": "bob", "konductor.fencing_tokens": strconv.FormatInt(second.Token(), 10),
				"konductor.ended": "ann", "konductor.ended_reasons": konductorv1.EventReleased,
			}, handover.attributes); diff != "" || handover.Name != "reconcile Lease" || len(handover.ParentSpanId) > 0 {
				t.Errorf("the handover's span (-want +got):\n%s\n%v", diff, handover)
			}
			if diff := cmp.Diff([]string{"PUT leases/db/status", "PUT claims/" + bob.claimName(konductorv1.KindLease, lease) + "/status"},
				handover.childRequests(w, spans)); diff != "" {
				t.Errorf("the handover's requests (-want +got):\n%s", diff)
			}
			opening := findSpan(w, spans, "the opening", func(s recordedSpan) bool { return s.attributes["konductor.phase"] == "Open" })
			if diff := cmp.Diff(map[string]string{
				"konductor.controller": "Barrier", "k8s.namespace.name": w.namespace, "konductor.name": "stage", "konductor.phase": "Open",
				"konductor.arrived": "2", "konductor.expected": "2", "konductor.failed": "0",
			}, opening.attributes); diff != "" {
				t.Errorf("the opening's span (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff([]string{"PUT barriers/stage/status"}, opening.childRequests(w, spans)); diff != "" {
				t.Errorf("the opening's requests (-want +got):\n%s", diff)
			}
			roots := map[string]bool{}
			for _, s := range spans {
				if len(s.ParentSpanId) == 0 {
					roots[string(s.SpanId)] = true
					if len(s.childRequests(w, spans)) == 0 {
						t.Errorf("a reconciliation without requests has left a span: %v", s)
					}
				}
			}
			for _, s := range spans {
				if len(s.ParentSpanId) > 0 && !roots[string(s.ParentSpanId)] {
					t.Errorf("a request belongs to no reconciliation: %v", s)
				}
			}
		})
	}
}

func TestTracingDisabled(t *testing.T) {
	for name, args := range map[string][]string{
		"none asked for":    nil,
		"none of a million": {"--tracing-sampling-rate=0", "--tracing-endpoint="},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTestEnv(t)
			to := w.startTraceCollector()
			if args != nil {
				args[1] += to.address
			}
			w.createLease("db")
			p := w.startTracingOperator([]string{"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + to.address, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=http://" + to.address}, args...)
			w.newParticipant("ann").mustAcquire(konductorv1.KindLease, "db")
			p.signal(syscall.SIGTERM)
			p.expectExit(0)
			if n := to.connectionCount.Load(); n != 0 {
				t.Errorf("the operator has connected to the collector %d times", n)
			}
		})
	}
}

func TestUnreachableTraceCollector(t *testing.T) {
	w := newTestEnv(t)
	w.createLease("db")
	p := w.startTracingOperator(nil, "--tracing-endpoint="+w.freeAddress())
	w.newParticipant("ann").mustAcquire(konductorv1.KindLease, "db")
	p.signal(syscall.SIGTERM)
	p.expectExit(0)
	if !strings.Contains(p.output.String(), "failed to send the last traces") {
		t.Errorf("nothing is said of traces that were lost:\n%s", p.output)
	}
}
