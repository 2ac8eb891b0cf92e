package operator

import (
	"context"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"

	"github.com/LogicIQ/konductor/operator/controller"
)

// MaxTracingSamplingRate is the rate at which all reconciliations are traced.
const MaxTracingSamplingRate = 1_000_000

// flushWithin is how long an operator that ends tries to send the traces it still has. With what it takes to finish the
// work at hand, that must be less than the time a Pod has to end.
const flushWithin = 5 * time.Second

// newTraces returns what makes traces, nil if none are wanted, and what sends those that are left at the end. It connects
// to the collector when there is something to send: a collector that is away keeps no operator from starting.
func newTraces(ctx context.Context, o Options) (*controller.Traces, func(), error) {
	if o.TracingEndpoint == "" {
		return nil, func() {}, nil
	}
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(o.TracingEndpoint))
	if err != nil {
		return nil, nil, fmt.Errorf("setting up traces to %s: %w", o.TracingEndpoint, err)
	}
	about, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(semconv.ServiceName("konductor-operator"), semconv.ServiceVersion(o.Version)), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("setting up traces: write OTEL_RESOURCE_ATTRIBUTES as NAME=VALUE,NAME=VALUE: %w", err)
	}
	options := []sdktrace.TracerProviderOption{
		sdktrace.WithBatcher(&announced{SpanExporter: exporter, logger: o.Logger}), sdktrace.WithResource(about),
	}
	if o.TracingSamplingRate < MaxTracingSamplingRate {
		// Otherwise the SDK's own choice: all, unless OTEL_TRACES_SAMPLER says something else.
		share := float64(o.TracingSamplingRate) / MaxTracingSamplingRate
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(share))))
	}
	provider := sdktrace.NewTracerProvider(options...)
	return controller.NewTraces(provider), func() {
		// The operator ends because ctx is done. What it did to the last is to be told all the same.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), flushWithin)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			o.Logger.Error(err, "the last traces could not be sent")
		}
	}, nil
}

// announced is an exporter that says in the operator's log when spans can't be sent, once, and when they can again. The SDK
// would tell a handler that is one for the whole process, of each batch.
type announced struct {
	sdktrace.SpanExporter
	logger  logr.Logger
	failing bool
}

// ExportSpans sends spans. The SDK calls it once at a time.
func (a *announced) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := a.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !a.failing:
		a.logger.Error(err, "traces can't be sent, and are lost until they can")
	case err == nil && a.failing:
		a.logger.Info("traces are sent again")
	}
	a.failing = err != nil
	return nil
}
