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

	"github.com/LogicIQ/konductor/operator/internal/controller"
)

// MaxTracingSamplingRate is the rate at which all reconciliations are traced.
const MaxTracingSamplingRate = 1_000_000

// traceFlushTimeout is how long a terminating operator tries to send its last traces. Together with the time for finishing
// its work it must be less than the Pod's termination grace period.
const traceFlushTimeout = 5 * time.Second

// newTraces returns the Traces, nil if tracing is off, and a function that flushes the last spans at the end. It connects to
// the collector when there are spans to send: an unreachable collector keeps no operator from starting.
func newTraces(ctx context.Context, o Options) (*controller.Traces, func(), error) {
	if o.TracingEndpoint == "" {
		return nil, func() {}, nil
	}
	exporter, err := otlptracegrpc.New(ctx, otlptracegrpc.WithEndpointURL(o.TracingEndpoint))
	if err != nil {
		return nil, nil, fmt.Errorf("setting up traces to %s: %w", o.TracingEndpoint, err)
	}
	traceResource, err := resource.New(ctx, resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(semconv.ServiceName("konductor-operator"), semconv.ServiceVersion(o.Version)), resource.WithFromEnv())
	if err != nil {
		return nil, nil, fmt.Errorf("setting up traces: write OTEL_RESOURCE_ATTRIBUTES as NAME=VALUE,NAME=VALUE: %w", err)
	}
	options := []sdktrace.TracerProviderOption{
		sdktrace.WithBatcher(&loggingExporter{SpanExporter: exporter, logger: o.Logger}), sdktrace.WithResource(traceResource),
	}
	if o.TracingSamplingRate < MaxTracingSamplingRate {
		// At the full rate the SDK's default applies: all, unless OTEL_TRACES_SAMPLER says otherwise.
		sampledFraction := float64(o.TracingSamplingRate) / MaxTracingSamplingRate
		options = append(options, sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(sampledFraction))))
	}
	provider := sdktrace.NewTracerProvider(options...)
	return controller.NewTraces(provider), func() {
		// ctx is done when the operator terminates. The last spans are sent all the same.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), traceFlushTimeout)
		defer cancel()
		if err := provider.Shutdown(ctx); err != nil {
			o.Logger.Error(err, "failed to send the last traces")
		}
	}, nil
}

// loggingExporter is an exporter that logs once when sending spans fails, and once when it works again. The SDK would report
// each failed batch to a handler that is global to the process.
type loggingExporter struct {
	sdktrace.SpanExporter
	logger  logr.Logger
	failing bool
}

// ExportSpans sends spans. The SDK doesn't call it concurrently.
func (a *loggingExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := a.SpanExporter.ExportSpans(ctx, spans)
	switch {
	case err != nil && !a.failing:
		a.logger.Error(err, "failed to send traces; they are dropped until the collector accepts them again")
	case err == nil && a.failing:
		a.logger.Info("traces are sent again")
	}
	a.failing = err != nil
	return nil
}
