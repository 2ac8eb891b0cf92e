package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os/signal"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/plugins/konductor/child"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// holdCommand holds for as long as it runs: beside an image that knows nothing of it.
func (a *app) holdCommand() *cobra.Command {
	var f held
	var listen string
	cmd := &cobra.Command{
		Use: "hold [--lease NAME]… [--semaphore NAME[:N]]…", Short: "Hold leases and permits until told to end",
		Long: `Acquire leases and permits, all of them or none, hold them until this program is
told to end, and give them back.

It is made for a sidecar: an initContainer with restartPolicy Always, whose startup
probe asks http://POD:8470/held. The other containers then start when it holds, as
they are, and what it holds is given back when they have ended. They can read the
fencing tokens at http://localhost:8470/held.

When a hold is lost it ends with exit code 7. It can't stop the other containers:
use 'run' where that matters.`,
		Example: a.examples(`  # in a sidecar, see examples/sidecar
  koncli hold --lease db-migration --listen :8470

  # in a terminal, until Ctrl-C
  koncli hold --semaphore db-connections:2
`),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := positive(cmd, "ttl"); err != nil {
				return err
			}
			wanted, err := f.wanted()
			if err != nil {
				return err
			}
			if len(wanted) == 0 {
				return errors.New("say what to hold: --lease NAME or --semaphore NAME[:N]")
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			opts, err := f.options(cmd, client)
			if err != nil {
				return err
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), child.Ending()...)
			defer stop()
			return a.hold(ctx, client, wanted, opts, listen)
		},
	}
	f.addFlags(cmd)
	cmd.Flags().StringVar(&listen, "listen", "", "serve /held at this address, for a startup probe: status 200 while it holds, else 503; for example :8470")
	return cmd
}

// hold acquires, and holds until ctx is done or a hold is lost.
func (a *app) hold(ctx context.Context, client *konductor.Client, wanted []konductor.Wanted, opts []konductor.Option, listen string) error {
	defer child.ReapOrphans()()
	var page heldPage
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
	a.sayHeld(holds)
	page.holds.Store(holds)
	select {
	case <-ctx.Done():
	case <-holds.Lost():
	}
	page.holds.Store(nil)
	if holds.Reason() == nil {
		a.say("told to end, giving back")
	}
	return a.giveBack(ctx, holds)
}

// heldPage serves whether, and what, is held.
type heldPage struct {
	holds atomic.Pointer[konductor.Holds]
}

func (p *heldPage) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
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
	// Who asked and has gone away doesn't matter.
	_ = json.NewEncoder(w).Encode(map[string]any{"fencingTokens": tokens})
}

// serve serves the page until stop is called.
func (p *heldPage) serve(ctx context.Context, address string) (stop func(), err error) {
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
		_ = server.Serve(listener) // it ends when the server is closed
	}()
	return func() {
		_ = server.Close()
		<-done
	}, nil
}
