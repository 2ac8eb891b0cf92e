package operator

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// fakeExporter is an exporter that fails while exportErr is set.
type fakeExporter struct{ exportErr error }

func (l *fakeExporter) ExportSpans(context.Context, []sdktrace.ReadOnlySpan) error {
	return l.exportErr
}
func (l *fakeExporter) Shutdown(context.Context) error { return nil }

func TestLoggingExporterLogsOutageOnce(t *testing.T) {
	var logged []string
	logger := funcr.New(func(_, args string) { logged = append(logged, args) }, funcr.Options{})
	fake := &fakeExporter{}
	exporter := &loggingExporter{SpanExporter: fake, logger: logger}
	for _, down := range []error{nil, errors.New("cut"), errors.New("still cut"), nil, nil, errors.New("cut again")} {
		fake.exportErr = down
		if err := exporter.ExportSpans(t.Context(), nil); err != nil {
			t.Errorf("the SDK is told of it too: %v", err)
		}
	}
	if diff := cmp.Diff([]string{
		`"msg"="failed to send traces; they are dropped until the collector accepts them again" "error"="cut"`,
		`"level"=0 "msg"="traces are sent again"`,
		`"msg"="failed to send traces; they are dropped until the collector accepts them again" "error"="cut again"`,
	}, logged); diff != "" {
		t.Errorf("log (-want +got):\n%s", diff)
	}
}

func TestNewTracesInvalidResourceAttributes(t *testing.T) {
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "no attribute")
	_, _, err := newTraces(t.Context(), Options{TracingEndpoint: "http://127.0.0.1:1", TracingSamplingRate: 1})
	if err == nil || !strings.Contains(err.Error(), "write OTEL_RESOURCE_ATTRIBUTES as NAME=VALUE") {
		t.Errorf("got error %v", err)
	}
}
