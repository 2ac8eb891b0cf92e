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

type runningOperator struct {
	env      *testEnv
	cancel   context.CancelFunc
	result   *future[struct{}]
	metrics  *prometheus.Registry
	stopOnce sync.Once
}

// startOperator starts an operator for the test's namespace and the given ones. It is stopped when the test ends.
func (w *testEnv) startOperator(namespaces ...string) *runningOperator {
	w.Helper()
	return w.startOperatorWith(func(o *operator.Options) { o.Namespaces = append(o.Namespaces, namespaces...) })
}

// startOperatorWith starts an operator with changed options.
func (w *testEnv) startOperatorWith(change func(*operator.Options)) *runningOperator {
	w.Helper()
	log := &logBuffer{}
	metrics := prometheus.NewRegistry()
	o := operator.Options{
		Config:         rest.CopyConfig(w.operatorConfig),
		Logger:         log.logger(),
		Namespaces:     []string{w.namespace},
		MetricsAddress: "0",
		HealthAddress:  "0",
		Registerer:     metrics,
	}
	change(&o)
	ctx, cancel := context.WithCancel(context.Background())
	op := &runningOperator{env: w, cancel: cancel, metrics: metrics}
	op.result = runAsyncErr(w, func() error { return operator.Run(ctx, o) })
	w.Cleanup(func() {
		op.stop()
		if w.Failed() {
			w.Logf("the operator's log:\n%s", log.tail())
		}
	})
	return op
}

// stop stops the operator as SIGTERM does, and checks that the API server has rejected none of its requests.
func (op *runningOperator) stop() {
	op.env.Helper()
	op.stopOnce.Do(func() {
		op.cancel()
		if !op.result.waitUpTo(waitTimeout) {
			op.env.Error("the operator does not stop")
			return
		}
		if op.result.err != nil {
			op.env.Errorf("the operator ended with an error: %v", op.result.err)
		}
		if n := op.counterSum("konductor_invariant_violations_total"); n != 0 {
			op.env.Errorf("the API server had to refuse %v writes that break a promise", n)
		}
	})
}

// counterSum returns the sum of a counter over its labels.
func (op *runningOperator) counterSum(name string) (sum float64) {
	op.env.Helper()
	families, err := op.metrics.Gather()
	if err != nil {
		op.env.Fatal(err)
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

// logBuffer collects an operator's log, to be shown when a test fails.
type logBuffer struct {
	mu    sync.Mutex
	lines []string
}

func (l *logBuffer) logger() logr.Logger {
	start := time.Now()
	return funcr.New(func(prefix, args string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.lines = append(l.lines, time.Since(start).Round(time.Millisecond).String()+" "+prefix+" "+args)
	}, funcr.Options{Verbosity: 1})
}

func (l *logBuffer) tail() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	const most = 60
	lines := l.lines
	if len(lines) > most {
		lines = append([]string{"…"}, lines[len(lines)-most:]...)
	}
	return strings.Join(lines, "\n")
}
