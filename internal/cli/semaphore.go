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

func (a *app) semaphoreCommand() *cobra.Command {
	return kindCommand("semaphore", []string{"semaphores", "sem", "ksem"}, "Limit concurrency: at most N holders",
		a.semaphoreCreateCommand(),
		a.acquireCommand(konductorv1.KindSemaphore, (*konductor.Client).AcquireSemaphore),
		a.renewCommand(konductorv1.KindSemaphore, (*konductor.Client).RenewSemaphore),
		a.releaseCommand(konductorv1.KindSemaphore, (*konductor.Client).ReleaseSemaphore),
		a.semaphoreResizeCommand(), a.semaphoreBreakCommand(),
		a.kindStatusCommand(konductorv1.KindSemaphore), a.listCommand(konductorv1.KindSemaphore, "semaphores"),
		a.deleteCommand(konductorv1.KindSemaphore, (*konductor.Client).DeleteSemaphore))
}

func (a *app) semaphoreCreateCommand() *cobra.Command {
	var ttl time.Duration
	var permits int32
	out := newOutputFlags("created")
	cmd := &cobra.Command{
		Use: "create NAME --permits N", Short: "Create a semaphore", Args: exactlyOneName("semaphore"),
		Example: a.formatExamples("  koncli semaphore create db-connections --permits 10\n  koncli semaphore create api-calls --permits 3 --ttl 5m\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("permits") {
				return errors.New("--permits is missing: say how many may hold at the same time, for example --permits 10")
			}
			if err := validateTTL(cmd); err != nil {
				return err
			}
			return runCreate(cmd.Context(), a, out, []konductor.Option{konductor.WithTTL(ttl)},
				func(opts ...konductor.Option) *konductorv1.Semaphore {
					return konductor.NewSemaphore(args[0], permits, opts...)
				},
				func(ctx context.Context, client *konductor.Client, opts ...konductor.Option) (*konductorv1.Semaphore, error) {
					return client.CreateSemaphore(ctx, args[0], permits, opts...)
				})
		},
	}
	cmd.Flags().Int32Var(&permits, "permits", 0, "number of permits; 0 pauses the semaphore")
	addDefaultTTLFlag(cmd, &ttl)
	out.addFlags(cmd)
	return cmd
}

func (a *app) semaphoreResizeCommand() *cobra.Command {
	var permits, before int32
	var uid string
	out := newOutputFlags("resized")
	cmd := &cobra.Command{
		Use: "resize NAME --permits N", Short: "Change the number of permits", Args: exactlyOneName("semaphore"),
		Long: `Change the number of permits. The change takes effect at once. No holder loses a
permit; 0 pauses the semaphore.`,
		Example: a.formatExamples("  koncli semaphore resize db-connections --permits 20\n\n  # add one permit, unless the number has been changed in the meantime\n  koncli semaphore resize db-connections --permits 21 --current-permits 20\n\n  koncli semaphore resize db-connections --permits 0   # pause\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("permits") {
				return errors.New("--permits is missing: say how many permits there are to be, for example --permits 10")
			}
			if permits < 0 {
				return fmt.Errorf("--permits must be at least 0, not %d; 0 pauses the semaphore", permits)
			}
			client, err := a.newWriteClient(out)
			if err != nil {
				return err
			}
			opts := append(out.clientOptions(), uidOption(uid)...)
			if cmd.Flags().Changed("current-permits") {
				opts = append(opts, konductor.OnlyFromPermits(before))
			}
			if out.isClientDryRun() {
				s, err := client.GetSemaphore(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				s.Spec.Permits = permits
				return out.printObject(s, a.streams.Out)
			}
			s, err := client.ResizeSemaphore(cmd.Context(), args[0], permits, opts...)
			if err != nil {
				return err
			}
			return out.printObject(s, a.streams.Out)
		},
	}
	cmd.Flags().Int32Var(&permits, "permits", 0, "number of permits; 0 pauses the semaphore")
	cmd.Flags().Int32Var(&before, "current-permits", 0, "resize only if this is the current number of permits")
	addUIDFlag(cmd, &uid, "semaphore")
	out.addFlags(cmd)
	return cmd
}

// semaphoreBreakCommand returns the verb that revokes permits. Unlike a lease, a semaphore may have many holders, so the
// user has to say whose permits are meant.
func (a *app) semaphoreBreakCommand() *cobra.Command {
	var yes, all bool
	var holder string
	out := newNameOutputFlags()
	cmd := &cobra.Command{
		Use: "break NAME --holder HOLDER", Short: "Break the holds of one holder, or of all", Args: exactlyOneName("semaphore"),
		Long: `Break the holds of one holder on a semaphore, or with --all those of all holders, and
grant their permits to the next waiters in the queue. Holders are notified, but may
keep working until they notice: make sure that they have stopped, or that the resource
checks fencing tokens.

On a terminal, this command asks for confirmation; elsewhere it requires --yes. Only
the holds that it asked about are broken. Holds that have ended by the time of the
answer are skipped; if none is left, nothing is done, and the exit code is 2.`,
		Example: a.formatExamples("  koncli semaphore break db-connections --holder load-7 --yes\n  koncli semaphore break db-connections --all --dry-run=server\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == cmd.Flags().Changed("holder") {
				return errors.New("say whose permits to take away: --holder NAME, or --all")
			}
			opts, err := holderOption(cmd, holder)
			if err != nil {
				return err
			}
			client, err := a.newWriteClient(out)
			if err != nil {
				return err
			}
			// The dry run returns the holds that would be broken; it is an error if there are none.
			holds, err := client.BreakSemaphore(cmd.Context(), args[0], append(opts, konductor.DryRun())...)
			if err != nil {
				return err
			}
			question := fmt.Sprintf("take the permits of semaphore %s in namespace %s away from %s", args[0], client.Namespace(), holderNames(holds))
			if err := a.confirm(yes || out.isDryRun(), question); err != nil {
				return err
			}
			if !out.isDryRun() {
				asked := holds
				if holds, err = client.BreakSemaphore(cmd.Context(), args[0], konductor.OnlyClaims(claimUIDs(asked)...)); err != nil {
					return err
				}
				if n := len(asked) - len(holds); n > 0 {
					a.notify(fmt.Sprintf("%d of these %d had ended before: only what is left was taken away", n, len(asked)))
				}
			}
			return out.printOperation(konductorv1.KindSemaphore, args[0], "taken away from "+holderNames(holds), a.streams.Out)
		},
	}
	cmd.Flags().StringVar(&holder, "holder", "", "break the holds of this holder")
	cmd.Flags().BoolVar(&all, "all", false, "break the holds of all holders")
	addYesFlag(cmd, &yes)
	out.addFlags(cmd)
	return cmd
}

// holderNames joins the names of the holders. Consecutive permits of one holder are named once.
func holderNames(holds []konductorv1.SemaphoreHolder) string {
	var names []string
	for i := range holds {
		names = append(names, holds[i].Holder)
	}
	return strings.Join(slices.Compact(names), ", ")
}

func claimUIDs(holds []konductorv1.SemaphoreHolder) (uids []types.UID) {
	for i := range holds {
		uids = append(uids, holds[i].ClaimUID)
	}
	return uids
}
