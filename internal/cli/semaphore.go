package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (a *app) semaphoreCommand() *cobra.Command {
	return kindCommand("semaphore", []string{"semaphores", "sem", "ksem"}, "Limit concurrency: at most N holders",
		a.semaphoreCreateCommand(),
		a.acquireCommand(konductorv1.KindSemaphore),
		a.renewCommand(konductorv1.KindSemaphore, (*konductor.Client).RenewSemaphore),
		a.releaseCommand(konductorv1.KindSemaphore, (*konductor.Client).ReleaseSemaphore),
		a.semaphoreResizeCommand(), a.semaphoreBreakCommand(),
		a.kindStatusCommand(konductorv1.KindSemaphore), a.listCommand(konductorv1.KindSemaphore, "semaphores"),
		a.deleteCommand(konductorv1.KindSemaphore))
}

func (a *app) semaphoreCreateCommand() *cobra.Command {
	var f flags.Target
	var permits int32
	out := flags.NewOutput("created")
	cmd := &cobra.Command{
		Use: "create NAME --permits N", Short: "Create a semaphore", Args: flags.ExactlyOneName("semaphore"),
		Example: a.formatExamples("  koncli semaphore create db-connections --permits 10\n  koncli semaphore create api-calls --permits 3 --ttl 5m\n\n  # refuse requests with a priority above 100\n  koncli semaphore create gpus --permits 4 --max-priority 100\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("permits") {
				return errors.New("--permits is required: the number of permits that can be held at the same time, for example --permits 10")
			}
			opts, err := f.Options(cmd)
			if err != nil {
				return err
			}
			return runCreate(a, out, konductor.NewSemaphore(args[0], permits, opts...),
				func(client *konductor.Client) (*konductorv1.Semaphore, error) {
					return client.CreateSemaphore(cmd.Context(), args[0], permits, flags.CreateTargetOptions(opts, out)...)
				})
		},
	}
	cmd.Flags().Int32Var(&permits, "permits", 0, "number of permits; 0 pauses the semaphore")
	f.AddFlags(cmd)
	out.AddFlags(cmd)
	return cmd
}

func (a *app) semaphoreResizeCommand() *cobra.Command {
	var permits, before int32
	var uid string
	out := flags.NewOutput("resized")
	cmd := &cobra.Command{
		Use: "resize NAME --permits N", Short: "Change the number of permits", Args: flags.ExactlyOneName("semaphore"),
		Long: `Change the number of permits. The change takes effect at once. No holder loses a
permit; 0 pauses the semaphore.`,
		Example: a.formatExamples("  koncli semaphore resize db-connections --permits 20\n\n  # add one permit, unless the number has been changed in the meantime\n  koncli semaphore resize db-connections --permits 21 --current-permits 20\n\n  koncli semaphore resize db-connections --permits 0   # pause\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !cmd.Flags().Changed("permits") {
				return errors.New("--permits is required: the new number of permits, for example --permits 10")
			}
			if permits < 0 {
				return fmt.Errorf("--permits must be at least 0, not %d; 0 pauses the semaphore", permits)
			}
			client, err := a.newWriteClient(out)
			if err != nil {
				return err
			}
			opts := []konductor.ResizeOption{konductor.OnlyUID(types.UID(uid))}
			if out.IsServerDryRun() {
				opts = append(opts, konductor.DryRun())
			}
			if cmd.Flags().Changed("current-permits") {
				opts = append(opts, konductor.OnlyFromPermits(before))
			}
			if out.IsClientDryRun() {
				s, err := client.GetSemaphore(cmd.Context(), args[0])
				if err != nil {
					return err
				}
				s.Spec.Permits = permits
				return out.PrintObject(s, a.streams.Out)
			}
			s, err := client.ResizeSemaphore(cmd.Context(), args[0], permits, opts...)
			if err != nil {
				return err
			}
			return out.PrintObject(s, a.streams.Out)
		},
	}
	cmd.Flags().Int32Var(&permits, "permits", 0, "number of permits; 0 pauses the semaphore")
	cmd.Flags().Int32Var(&before, "current-permits", 0, "resize only if this is the current number of permits")
	flags.AddUID(cmd, &uid, "semaphore")
	out.AddFlags(cmd)
	return cmd
}

// semaphoreBreakCommand returns the verb that revokes permits. Unlike a lease, a semaphore may have many holders, so the
// user has to say whose permits are meant.
func (a *app) semaphoreBreakCommand() *cobra.Command {
	var yes, all bool
	var holder string
	out := flags.NewNameOutput()
	cmd := &cobra.Command{
		Use: "break NAME (--holder HOLDER | --all)", Short: "Break the holds of one holder, or of all", Args: flags.ExactlyOneName("semaphore"),
		Long: `Break the holds of one holder on a semaphore, or with --all those of all holders, and
grant their permits to the next waiters in the queue. Holders are notified, but may
keep working until they notice: make sure that they have stopped, or that the resource
checks fencing tokens.

On a terminal, this command asks for confirmation; elsewhere it requires --yes. Only
the holds shown in the prompt are broken. Holds that have ended before you answer are
skipped; if none is left, nothing is done, and the exit code is 2.`,
		Example: a.formatExamples("  koncli semaphore break db-connections --holder load-7 --yes\n  koncli semaphore break db-connections --all --dry-run=server\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if all == cmd.Flags().Changed("holder") {
				return errors.New("specify whose holds to break: --holder NAME or --all")
			}
			ofHolder, err := flags.HolderOption(cmd, holder)
			if err != nil {
				return err
			}
			client, err := a.newWriteClient(out)
			if err != nil {
				return err
			}
			// The dry run returns the holds that would be broken; it is an error if there are none.
			holds, err := client.BreakSemaphore(cmd.Context(), args[0], ofHolder, konductor.DryRun())
			if err != nil {
				return err
			}
			object := fmt.Sprintf("the holds of %s on semaphore/%s in namespace %s", quoteNames(holderNames(holds)), args[0], client.Namespace())
			if err := a.confirm(yes || out.IsDryRun(), "break", object); err != nil {
				return err
			}
			if !out.IsDryRun() {
				asked := holds
				if holds, err = client.BreakSemaphore(cmd.Context(), args[0], konductor.OnlyClaims(claimUIDs(asked)...)); err != nil {
					return err
				}
				if n := len(asked) - len(holds); n > 0 {
					a.notify(fmt.Sprintf("%d of these %d holds had already ended; only the others were broken", n, len(asked)))
				}
			}
			return out.PrintOperation(konductorv1.KindSemaphore, args[0], fmt.Sprintf("broken (was held by %s)", strings.Join(holderNames(holds), ", ")), a.streams.Out)
		},
	}
	cmd.Flags().StringVar(&holder, "holder", "", "break the holds of this holder")
	cmd.Flags().BoolVar(&all, "all", false, "break the holds of all holders")
	flags.AddYes(cmd, &yes)
	out.AddFlags(cmd)
	return cmd
}

// holderNames returns the names of the holders. Consecutive permits of one holder are named once.
func holderNames(holds []konductorv1.Holder) []string {
	var names []string
	for i := range holds {
		names = append(names, holds[i].Name)
	}
	return slices.Compact(names)
}

func claimUIDs(holds []konductorv1.Holder) (uids []types.UID) {
	for i := range holds {
		uids = append(uids, holds[i].ClaimUID)
	}
	return uids
}
