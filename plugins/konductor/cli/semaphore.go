package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (a *app) semaphore() *cobra.Command {
	return group("semaphore", []string{"semaphores", "sem", "ksem"}, "Hold with others: a limited number at a time",
		a.semaphoreCreate(),
		a.acquireCommand(konductorv1.KindSemaphore, (*konductor.Client).AcquireSemaphore),
		a.renewCommand(konductorv1.KindSemaphore, (*konductor.Client).RenewSemaphore),
		a.releaseCommand(konductorv1.KindSemaphore, (*konductor.Client).ReleaseSemaphore),
		a.semaphoreResize(), a.semaphoreBreak(),
		a.statusOf(konductorv1.KindSemaphore), a.listCommand(konductorv1.KindSemaphore, "semaphores"),
		a.deleteCommand(konductorv1.KindSemaphore, (*konductor.Client).DeleteSemaphore))
}

func (a *app) semaphoreCreate() *cobra.Command {
	var ttl time.Duration
	var permits int32
	out := newOutput("created")
	cmd := &cobra.Command{
		Use: "create NAME --permits N", Short: "Create a semaphore", Args: oneName("semaphore"),
		Example: a.examples("  koncli semaphore create db-connections --permits 10\n  koncli semaphore create api-calls --permits 3 --ttl 5m\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("permits") {
				return errors.New("--permits is missing: say how many may hold at the same time, for example --permits 10")
			}
			if err := positive(cmd, "ttl"); err != nil {
				return err
			}
			return create(cmd.Context(), a, out, []konductor.Option{konductor.WithTTL(ttl)},
				func(opts ...konductor.Option) *konductorv1.Semaphore {
					return konductor.NewSemaphore(args[0], permits, opts...)
				},
				func(ctx context.Context, client *konductor.Client, opts ...konductor.Option) (*konductorv1.Semaphore, error) {
					return client.CreateSemaphore(ctx, args[0], permits, opts...)
				})
		},
	}
	cmd.Flags().Int32Var(&permits, "permits", 0, "how many permits there are; 0: paused")
	addDefaultTTL(cmd, &ttl)
	out.addFlags(cmd)
	return cmd
}

func (a *app) semaphoreResize() *cobra.Command {
	var permits int32
	out := newOutput("resized")
	cmd := &cobra.Command{
		Use: "resize NAME --permits N", Short: "Change how many permits there are", Args: oneName("semaphore"),
		Long:    "Change how many permits there are. It acts at once. Nobody loses a permit by it; 0 pauses the semaphore.",
		Example: a.examples("  koncli semaphore resize db-connections --permits 20\n  koncli semaphore resize db-connections --permits 0   # pause\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("permits") {
				return errors.New("--permits is missing: say how many permits there are to be, for example --permits 10")
			}
			if permits < 0 {
				return fmt.Errorf("--permits must be at least 0, not %d; 0 pauses the semaphore", permits)
			}
			client, err := a.writer(out)
			if err != nil {
				return err
			}
			if out.clientOnly() {
				s, err := client.GetSemaphore(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				s.Spec.Permits = permits
				return out.print(s, a.streams.Out)
			}
			s, err := client.ResizeSemaphore(cmd.Context(), args[0], permits, out.options()...)
			if err != nil {
				return err
			}
			return out.print(s, a.streams.Out)
		},
	}
	cmd.Flags().Int32Var(&permits, "permits", 0, "how many permits there are; 0: paused")
	out.addFlags(cmd)
	return cmd
}

// semaphoreBreak returns the verb that takes permits away. Unlike a lease, a semaphore may have many holders, so that one
// has to say whose permits are meant.
func (a *app) semaphoreBreak() *cobra.Command {
	var yes, all bool
	var holder string
	out := newDone()
	cmd := &cobra.Command{
		Use: "break NAME --holder HOLDER", Short: "Take permits away from one holder, or from all", Args: oneName("semaphore"),
		Long: `Take the permits of a semaphore away from one holder, or with --all from all of them,
and give them to the next in the queue. Holders learn of it, but may go on working
until they do: make sure that they have stopped, or that the resource checks fencing
tokens.

On a terminal it asks first; elsewhere --yes is needed. What it takes away are the holds
that it asked about: those that have ended by the time of the answer are left out, and
if none is left, nothing is done, and the exit code is 2.`,
		Example: a.examples("  koncli semaphore break db-connections --holder load-7 --yes\n  koncli semaphore break db-connections --all --dry-run=server\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == cmd.Flags().Changed("holder") {
				return errors.New("say whose permits to take away: --holder NAME, or --all")
			}
			opts, err := holderOption(cmd, holder)
			if err != nil {
				return err
			}
			client, err := a.writer(out)
			if err != nil {
				return err
			}
			// Who would be meant; it is an error if there is nobody.
			holds, err := client.BreakSemaphore(cmd.Context(), args[0], append(opts, konductor.DryRun())...)
			if err != nil {
				return err
			}
			question := fmt.Sprintf("take the permits of semaphore %s in namespace %s away from %s", args[0], client.Namespace(), holdersOf(holds))
			if err := a.confirm(yes || out.pretends(), question); err != nil {
				return err
			}
			if !out.pretends() {
				asked := holds
				if holds, err = client.BreakSemaphore(cmd.Context(), args[0], konductor.OnlyClaims(claimsOf(asked)...)); err != nil {
					return err
				}
				if n := len(asked) - len(holds); n > 0 {
					a.say(fmt.Sprintf("%d of these %d had ended before: only what is left was taken away", n, len(asked)))
				}
			}
			return out.done(konductorv1.KindSemaphore, args[0], "taken away from "+holdersOf(holds), a.streams.Out)
		},
	}
	cmd.Flags().StringVar(&holder, "holder", "", "whose permits to take away")
	cmd.Flags().BoolVar(&all, "all", false, "take them away from all holders")
	addYes(cmd, &yes)
	out.addFlags(cmd)
	return cmd
}

// holdersOf names who holds, each once in a row.
func holdersOf(holds []konductorv1.SemaphoreHolder) string {
	var names []string
	for i := range holds {
		names = append(names, holds[i].Holder)
	}
	return strings.Join(slices.Compact(names), ", ")
}

func claimsOf(holds []konductorv1.SemaphoreHolder) (uids []types.UID) {
	for i := range holds {
		uids = append(uids, holds[i].ClaimUID)
	}
	return uids
}
