package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/internal/cli/flags"
	"github.com/LogicIQ/konductor/internal/cli/runner"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// releaseTimeout is how long a release waits for an API server that can't be reached.
const releaseTimeout = 30 * time.Second

// holdCommand returns the command that holds for as long as it runs: as a sidecar of an image that doesn't know konductor.
func (a *app) holdCommand() *cobra.Command {
	var f flags.Hold
	var listen string
	cmd := &cobra.Command{
		Use: "hold [--lease NAME]… [--semaphore NAME[:N]]…", Short: "Hold leases and permits until stopped",
		Long: `Acquire leases and permits, all of them or none, hold them until this program is
stopped, and release them.

This is for a sidecar: an initContainer with restartPolicy Always, whose startup probe
requests http://POD:8470/held. The other containers need no change: they start when
everything is held, and when they have ended, the kubelet stops the sidecar, which
releases the holds. They can read the fencing tokens at http://localhost:8470/held.

If a hold is lost, the exit code is 7. If the program is stopped before it has acquired
everything, the exit code is 130 (SIGINT) or 143 (SIGTERM). A lost hold doesn't stop
the other containers: where that matters, use 'run'.`,
		Example: a.formatExamples(`  # in a sidecar, see examples/sidecar
  koncli hold --lease db-migration --listen :8470

  # in a terminal, until Ctrl-C
  koncli hold --semaphore db-connections:2
`),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			defer a.tolerateClosedOutput()()
			if err := flags.ValidateTTL(cmd); err != nil {
				return err
			}
			wanted, err := f.ParseWanted()
			if err != nil {
				return err
			}
			if len(wanted) == 0 {
				return errors.New("nothing to hold: pass --lease NAME or --semaphore NAME[:N]")
			}
			client, err := a.connection.NewClient()
			if err != nil {
				return err
			}
			opts, err := f.AcquireOptions(cmd, client)
			if err != nil {
				return err
			}
			return a.holdUntilDone(cmd.Context(), client, wanted, opts, listen)
		},
	}
	f.AddFlags(cmd)
	cmd.Flags().StringVar(&listen, "listen", "", "serve /held at this address, for a startup probe: status 200 while everything is held, else 503; for example :8470")
	return cmd
}

// holdUntilDone acquires, and holds until ctx is done or a hold is lost.
func (a *app) holdUntilDone(ctx context.Context, client *konductor.Client, wanted []konductor.Wanted, opts []konductor.AcquireAllOption, listen string) error {
	defer runner.StartZombieReaper(func(int) bool { return false })()
	var page holdStatusHandler
	if listen != "" {
		stop, err := page.serve(ctx, listen)
		if err != nil {
			return err
		}
		defer stop()
	}
	holds, err := client.AcquireAll(ctx, wanted, opts...)
	if err != nil {
		return err
	}
	a.notifyHolds(holds)
	page.holds.Store(holds)
	select {
	case <-ctx.Done():
	case <-holds.Lost():
	}
	page.holds.Store(nil)
	if holds.Reason() == nil {
		a.notify("stopping: releasing all holds")
	}
	return a.releaseHolds(ctx, holds)
}

// notifyHolds prints what is held.
func (a *app) notifyHolds(holds *konductor.Holds) {
	for _, h := range holds.All() {
		a.notify(fmt.Sprintf("%s %s by %s, fencing token %d", h.Object(), acquiredText(h.Found()), h.Holder(), h.Token()))
	}
}

// acquiredText says how a hold was acquired. If it was found, its claim was made by an earlier call, or by another process
// of the same holder name.
func acquiredText(found bool) string {
	if found {
		return "already held"
	}
	return "acquired"
}

// releaseHolds releases the holds, and returns the *LostError of a hold that had been lost before.
func (a *app) releaseHolds(ctx context.Context, holds *konductor.Holds) error {
	patience := releaseTimeout
	if holds.Reason() != nil {
		patience = 0 // the operator releases it
	}
	// Also release after an interrupt.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), patience)
	defer cancel()
	err := holds.Release(ctx)
	var lost *konductor.LostError
	switch {
	case holds.Reason() != nil:
		return holds.Reason()
	case errors.As(err, &lost):
		return lost
	case err != nil:
		a.notify(fmt.Sprintf("release failed, so others wait until the hold expires or its Pod ends: %v", err))
	}
	return nil
}

// holdStatusHandler serves whether everything is held, and the fencing tokens.
type holdStatusHandler struct {
	holds atomic.Pointer[konductor.Holds]
}

func (p *holdStatusHandler) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	holds := p.holds.Load()
	if holds == nil || holds.Reason() != nil {
		http.Error(w, "not held", http.StatusServiceUnavailable)
		return
	}
	tokens := map[string]int64{}
	for _, h := range holds.All() {
		tokens[h.Object()] = h.Token()
	}
	w.Header().Set("Content-Type", "application/json")
	// The client may have gone away.
	_ = json.NewEncoder(w).Encode(map[string]any{"fencingTokens": tokens})
}

// serve serves the handler until stop is called.
func (p *holdStatusHandler) serve(ctx context.Context, address string) (stop func(), err error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("--listen %s: %w", address, err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /held", p)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener) // It returns when the server is closed.
	}()
	return func() {
		_ = server.Close()
		<-done
	}, nil
}
