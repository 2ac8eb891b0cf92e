package integration

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/go-logr/logr/funcr"
	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"

	"github.com/LogicIQ/konductor/operator"
)

// operation is a running operator.
type operation struct {
	w       *world
	cancel  context.CancelFunc
	ended   *future[struct{}]
	metrics *prometheus.Registry
	once    sync.Once
}

// operator starts an operator for the test's namespace and for others if need be. It is stopped when the test ends.
func (w *world) operator(namespaces ...string) *operation {
	w.Helper()
	return w.operatorWith(func(o *operator.Options) { o.Namespaces = append(o.Namespaces, namespaces...) })
}

// operatorWith starts an operator with changed options.
func (w *world) operatorWith(change func(*operator.Options)) *operation {
	w.Helper()
	log := &logbook{}
	metrics := prometheus.NewRegistry()
	o := operator.Options{
		Config:         rest.CopyConfig(w.operators),
		Logger:         log.logger(),
		Namespaces:     []string{w.namespace},
		MetricsAddress: "0",
		HealthAddress:  "0",
		Registerer:     metrics,
	}
	change(&o)
	ctx, cancel := context.WithCancel(context.Background())
	op := &operation{w: w, cancel: cancel, metrics: metrics}
	op.ended = waiting(w, func() error { return operator.Run(ctx, o) })
	w.Cleanup(func() {
		op.stop()
		if w.Failed() {
			w.Logf("the operator's log:\n%s", log.text())
		}
	})
	return op
}

// stop stops the operator as SIGTERM does, and checks that it never tried what the API server had to refuse.
func (op *operation) stop() {
	op.w.Helper()
	op.once.Do(func() {
		op.cancel()
		if !op.ended.wait(patience) {
			op.w.Error("the operator does not stop")
			return
		}
		if op.ended.err != nil {
			op.w.Errorf("the operator ended with an error: %v", op.ended.err)
		}
		if n := op.counter("konductor_invariant_violations_total"); n != 0 {
			op.w.Errorf("the API server had to refuse %v writes that break a promise", n)
		}
	})
}

// counter returns the sum of a counter over its labels.
func (op *operation) counter(name string) (sum float64) {
	op.w.Helper()
	families, err := op.metrics.Gather()
	if err != nil {
		op.w.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			sum += m.GetCounter().GetValue()
		}
	}
	return sum
}

// logbook keeps an operator's log, to be shown when a test fails.
type logbook struct {
	mu    sync.Mutex
	lines []string
}

func (l *logbook) logger() logr.Logger {
	start := time.Now()
	return funcr.New(func(prefix, args string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, time.Since(start).Round(time.Millisecond).String()+" "+prefix+" "+args)
	}, funcr.Options{Verbosity: 1})
}

func (l *logbook) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	const most = 60
	lines := l.lines
	if len(lines) > most {
		lines = append([]string{"…"}, lines[len(lines)-most:]...)
	}
	return strings.Join(lines, "\n")
}
