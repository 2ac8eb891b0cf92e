package controller

import (
	"context"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/LogicIQ/konductor/internal/apiclient"
)

// Traces makes an OpenTelemetry span of each reconciliation that sends a request to the API server, with a child for each
// request. Most reconciliations find in the caches that there is nothing to do, and make no span. A nil *Traces makes none
// at all. docs/observability.md lists the attributes.
type Traces struct {
	provider trace.TracerProvider
	tracer   trace.Tracer
}

// NewTraces returns Traces that creates its spans with provider.
func NewTraces(provider trace.TracerProvider) *Traces {
	return &Traces{provider: provider, tracer: provider.Tracer("github.com/LogicIQ/konductor/operator")}
}

// WrapTransport returns a RoundTripper that makes a span of each request of a reconciliation. Other requests (watches,
// leader election, Events) get none.
func (t *Traces) WrapTransport(next http.RoundTripper) http.RoundTripper {
	traced := otelhttp.NewTransport(next, otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(propagation.TraceContext{}))
	return apiclient.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		l := reconcileSpanFromContext(req.Context())
		if l == nil {
			return next.RoundTrip(req)
		}
		return traced.RoundTrip(req.WithContext(trace.ContextWithSpan(req.Context(), l.startedSpan())))
	})
}

// traceReconcile returns r with spans for its reconciliations.
func (t *Traces) traceReconcile(controller string, r reconcile.Reconciler) reconcile.Reconciler {
	if t == nil {
		return r
	}
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		l := &reconcileSpan{tracer: t.tracer, controller: controller, req: req, startedAt: time.Now()}
		result, err := r.Reconcile(context.WithValue(ctx, reconcileSpanKey{}, l), req)
		l.end(err)
		return result, err
	})
}

// reconcileSpan is the span of one reconciliation. A nil *reconcileSpan records nothing.
type reconcileSpan struct {
	tracer     trace.Tracer
	controller string
	req        reconcile.Request
	startedAt  time.Time // start of the reconciliation

	startOnce sync.Once
	span      trace.Span // nil until the first request

	// Recorded by writes. A reconciliation may write more than once.
	grantedHolders, endedHolders, endReasons []string
	fencingTokens                            []int64
}

type reconcileSpanKey struct{}

// reconcileSpanFromContext returns the span of the reconciliation that ctx belongs to, or nil.
func reconcileSpanFromContext(ctx context.Context) *reconcileSpan {
	l, _ := ctx.Value(reconcileSpanKey{}).(*reconcileSpan)
	return l
}

// startedSpan returns the reconciliation's span. It starts with the reconciliation, however late this is first called.
func (l *reconcileSpan) startedSpan() trace.Span {
	l.startOnce.Do(func() {
		attributes := []attribute.KeyValue{
			attribute.String("konductor.controller", l.controller), semconv.K8SNamespaceName(l.req.Namespace),
		}
		if l.req.Name != "" {
			attributes = append(attributes, attribute.String("konductor.name", l.req.Name))
		}
		// It has no parent: the cause, often several changes of several clients, is not known.
		_, l.span = l.tracer.Start(context.Background(), "reconcile "+l.controller, trace.WithTimestamp(l.startedAt), trace.WithAttributes(attributes...))
	})
	return l.span
}

// recordGrant records a grant to holder.
func (l *reconcileSpan) recordGrant(holder string, token int64) {
	if l != nil {
		l.grantedHolders, l.fencingTokens = append(l.grantedHolders, holder), append(l.fencingTokens, token)
	}
}

// recordHoldEnd records that the holder's hold has ended for that reason.
func (l *reconcileSpan) recordHoldEnd(holder, reason string) {
	if l != nil {
		l.endedHolders, l.endReasons = append(l.endedHolders, holder), append(l.endReasons, reason)
	}
}

// recordPhase records the phase of a barrier or gate, and its counts.
func (l *reconcileSpan) recordPhase(phase string, counts ...attribute.KeyValue) {
	if l != nil {
		l.startedSpan().SetAttributes(append(counts, attribute.String("konductor.phase", phase))...)
	}
}

// end ends the span, if there is one. An error starts one, even if it came before any request.
func (l *reconcileSpan) end(err error) {
	if err != nil {
		l.startedSpan().RecordError(err)
		l.startedSpan().SetStatus(codes.Error, err.Error())
	}
	if l.span == nil {
		return
	}
	if len(l.grantedHolders) > 0 {
		l.span.SetAttributes(attribute.StringSlice("konductor.granted", l.grantedHolders), attribute.Int64Slice("konductor.fencing_tokens", l.fencingTokens))
	}
	if len(l.endedHolders) > 0 {
		l.span.SetAttributes(attribute.StringSlice("konductor.ended", l.endedHolders), attribute.StringSlice("konductor.ended_reasons", l.endReasons))
	}
	l.span.End()
}
