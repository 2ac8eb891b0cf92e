package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (a *app) leaseCommand() *cobra.Command {
	return kindCommand("lease", []string{"leases", "klease"}, "Enforce mutual exclusion: at most one holder",
		a.leaseCreateCommand(),
		a.acquireCommand(konductorv1.KindLease),
		a.renewCommand(konductorv1.KindLease, (*konductor.Client).RenewLease),
		a.releaseCommand(konductorv1.KindLease, (*konductor.Client).ReleaseLease),
		a.leaseBreakCommand(),
		a.kindStatusCommand(konductorv1.KindLease), a.listCommand(konductorv1.KindLease, "leases"),
		a.deleteCommand(konductorv1.KindLease))
}

func (a *app) leaseCreateCommand() *cobra.Command {
	var f flags.Target
	out := flags.NewOutput("created")
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a lease", Args: flags.ExactlyOneName("lease"),
		Example: a.formatExamples("  koncli lease create db-migration\n  koncli lease create nightly-report --ttl 1h\n\n  # refuse requests with a priority above 100\n  koncli lease create shared-license --max-priority 100\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := f.Options(cmd)
			if err != nil {
				return err
			}
			return runCreate(a, out, konductor.NewLease(args[0], opts...),
				func(client *konductor.Client) (*konductorv1.Lease, error) {
					return client.CreateLease(cmd.Context(), args[0], flags.CreateTargetOptions(opts, out)...)
				})
		},
	}
	f.AddFlags(cmd)
	out.AddFlags(cmd)
	return cmd
}

func (a *app) leaseBreakCommand() *cobra.Command {
	var yes bool
	var holder string
	var token int64
	out := flags.NewNameOutput()
	cmd := &cobra.Command{
		Use: "break NAME", Short: "Break a lease: end its holder's hold", Args: flags.ExactlyOneName("lease"),
		Long: `Break the hold on a lease: end it, whoever the holder is, and grant the lease to the
next waiter in the queue. The holder is notified, but may keep working until it
notices: make sure that it has stopped, or that the resource checks fencing tokens.

On a terminal, this command asks for confirmation; elsewhere it requires --yes. Only
the hold shown in the prompt is broken: if it has ended before you answer, nothing is
done, and the exit code is 2.`,
		Example: a.formatExamples("  koncli lease break db-migration\n\n  # in a script: only if load-7 is still the holder\n  koncli lease break db-migration --holder load-7 --yes\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ofHolder, err := flags.HolderOption(cmd, holder)
			if err != nil {
				return err
			}
			opts := []konductor.BreakOption{ofHolder}
			client, err := a.newWriteClient(out)
			if err != nil {
				return err
			}
			l, err := client.GetLease(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			by := l.Status.Holder
			matches := by != "" && (holder == "" || holder == by)
			if matches && cmd.Flags().Changed("fencing-token") && token != l.Status.FencingToken {
				// The current hold isn't the one that is meant.
				matches, opts = false, append(opts, konductor.OnlyClaims())
			}
			if matches {
				object := fmt.Sprintf("lease/%s in namespace %s (held by %q since %s)",
					args[0], client.Namespace(), by, l.Status.AcquiredAt.Format(time.RFC3339))
				if err := a.confirm(yes || out.IsDryRun(), "break", object); err != nil {
					return err
				}
				opts = append(opts, konductor.OnlyClaims(l.Status.ClaimUID))
			}
			// If nobody holds it, or another holder does, BreakLease returns the error.
			if !matches || !out.IsClientDryRun() {
				if out.IsServerDryRun() {
					opts = append(opts, konductor.DryRun())
				}
				if by, err = client.BreakLease(cmd.Context(), args[0], opts...); err != nil {
					return err
				}
			}
			return out.PrintOperation(konductorv1.KindLease, args[0], fmt.Sprintf("broken (was held by %s)", by), a.streams.Out)
		},
	}
	cmd.Flags().StringVar(&holder, "holder", "", "break the hold only if this is its holder")
	cmd.Flags().Int64Var(&token, "fencing-token", 0, "break the hold only if it has this fencing token; tokens are never reused")
	flags.AddYes(cmd, &yes)
	out.AddFlags(cmd)
	return cmd
}
