package cli

import (
	"context"
	"os"
	"os/signal"

	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/runner"
)

// SignalContext returns a context that is canceled by a termination signal, unless the program was started to ignore that.
func SignalContext(parent context.Context) (ctx context.Context, stop func()) {
	runner.PreserveIgnoredSignals()
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, runner.TerminationSignals()...)
	go func() {
		select {
		case s := <-signals:
			cancel(&clierror.InterruptedError{Signal: s})
		case <-ctx.Done():
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		cancel(nil)
	}
}
