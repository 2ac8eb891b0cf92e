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
)

// Traces makes an OpenTelemetry span of each reconciliation that asks something of the API server, or tells it something,
// and of each of these requests a child. Most reconciliations find in the caches that there is nothing to do, and leave no
// span. A nil *Traces makes none at all. docs/observability.md says what the spans have.
type Traces struct {
	provider trace.TracerProvider
	tracer   trace.Tracer
}

// NewTraces returns Traces whose spans are the provider's.
func NewTraces(provider trace.TracerProvider) *Traces {
	return &Traces{provider: provider, tracer: provider.Tracer("github.com/LogicIQ/konductor/operator")}
}

// Wrap returns a RoundTripper that makes a span of each request of a reconciliation. The others (watches, the leader
// election, Events) belong to none.
func (t *Traces) Wrap(next http.RoundTripper) http.RoundTripper {
	traced := otelhttp.NewTransport(next, otelhttp.WithTracerProvider(t.provider), otelhttp.WithPropagators(propagation.TraceContext{}))
	return roundTripperFunc(func(req *http.Request) (*http.Response, error) {
		l := tracedLook(req.Context())
		if l == nil {
			return next.RoundTrip(req)
		}
		return traced.RoundTrip(req.WithContext(trace.ContextWithSpan(req.Context(), l.begun())))
	})
}

// traced returns r with spans for its reconciliations.
func (t *Traces) traced(controller string, r reconcile.Reconciler) reconcile.Reconciler {
	if t == nil {
		return r
	}
	return reconcile.Func(func(ctx context.Context, req reconcile.Request) (reconcile.Result, error) {
		l := &look{tracer: t.tracer, controller: controller, req: req, at: time.Now()}
		result, err := r.Reconcile(context.WithValue(ctx, lookKey{}, l), req)
		l.end(err)
		return result, err
	})
}

// look is one reconciliation. A nil *look is one without traces.
type look struct {
	tracer     trace.Tracer
	controller string
	req        reconcile.Request
	at         time.Time // when it began

	once sync.Once
	span trace.Span // from the first request on

	// What was written. A reconciliation may write more than once.
	granted, ended, reasons []string
	tokens                  []int64
}

type lookKey struct{}

// tracedLook returns the reconciliation that ctx belongs to, or nil.
func tracedLook(ctx context.Context) *look {
	l, _ := ctx.Value(lookKey{}).(*look)
	return l
}

// begun returns the reconciliation's span, which begins with the reconciliation, however late it is asked for.
func (l *look) begun() trace.Span {
	l.once.Do(func() {
		attributes := []attribute.KeyValue{
			attribute.String("konductor.controller", l.controller), semconv.K8SNamespaceName(l.req.Namespace),
		}
		if l.req.Name != "" {
			attributes = append(attributes, attribute.String("konductor.name", l.req.Name))
		}
		// It has no parent: what led to it, often several changes of several clients, is not known.
		_, l.span = l.tracer.Start(context.Background(), "reconcile "+l.controller, trace.WithTimestamp(l.at), trace.WithAttributes(attributes...))
	})
	return l.span
}

// grants notes that the holder was granted what it asked for.
func (l *look) grants(holder string, token int64) {
	if l != nil {
		l.granted, l.tokens = append(l.granted, holder), append(l.tokens, token)
	}
}

// ends notes that the holder's hold has ended for that reason.
func (l *look) ends(holder, reason string) {
	if l != nil {
		l.ended, l.reasons = append(l.ended, holder), append(l.reasons, reason)
	}
}

// brings notes what a barrier or gate was brought to.
func (l *look) brings(phase string, counts ...attribute.KeyValue) {
	if l != nil {
		l.begun().SetAttributes(append(counts, attribute.String("konductor.phase", phase))...)
	}
}

// end ends the span, if there is one. A failure is told of even if it came before any request.
func (l *look) end(err error) {
	if err != nil {
		l.begun().RecordError(err)
		l.begun().SetStatus(codes.Error, err.Error())
	}
	if l.span == nil {
		return
	}
	if len(l.granted) > 0 {
		l.span.SetAttributes(attribute.StringSlice("konductor.granted", l.granted), attribute.Int64Slice("konductor.fencing_tokens", l.tokens))
	}
	if len(l.ended) > 0 {
		l.span.SetAttributes(attribute.StringSlice("konductor.ended", l.ended), attribute.StringSlice("konductor.ended_reasons", l.reasons))
	}
	l.span.End()
}
