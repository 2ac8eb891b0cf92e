package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (a *app) leaseCommand() *cobra.Command {
	return kindCommand("lease", []string{"leases", "klease"}, "Enforce mutual exclusion: at most one holder",
		a.leaseCreateCommand(),
		a.acquireCommand(konductorv1.KindLease, (*konductor.Client).AcquireLease),
		a.renewCommand(konductorv1.KindLease, (*konductor.Client).RenewLease),
		a.releaseCommand(konductorv1.KindLease, (*konductor.Client).ReleaseLease),
		a.leaseBreakCommand(),
		a.kindStatusCommand(konductorv1.KindLease), a.listCommand(konductorv1.KindLease, "leases"),
		a.deleteCommand(konductorv1.KindLease, (*konductor.Client).DeleteLease))
}

func (a *app) leaseCreateCommand() *cobra.Command {
	var ttl time.Duration
	out := newOutputFlags("created")
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a lease", Args: exactlyOneName("lease"),
		Example: a.formatExamples("  koncli lease create db-migration\n  koncli lease create nightly-report --ttl 1h\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := validateTTL(cmd); err != nil {
				return err
			}
			return runCreate(cmd.Context(), a, out, []konductor.Option{konductor.WithTTL(ttl)},
				func(opts ...konductor.Option) *konductorv1.Lease { return konductor.NewLease(args[0], opts...) },
				func(ctx context.Context, client *konductor.Client, opts ...konductor.Option) (*konductorv1.Lease, error) {
					return client.CreateLease(ctx, args[0], opts...)
				})
		},
	}
	addDefaultTTLFlag(cmd, &ttl)
	out.addFlags(cmd)
	return cmd
}

func addDefaultTTLFlag(cmd *cobra.Command, ttl *time.Duration) {
	addDurationFlag(cmd, ttl, "ttl", 0, "time after which a hold expires unless renewed (default when its Pod ends; 10m for a holder without a Pod)")
}

func (a *app) leaseBreakCommand() *cobra.Command {
	var yes bool
	var holder string
	var token int64
	out := newNameOutputFlags()
	cmd := &cobra.Command{
		Use: "break NAME", Short: "Break a lease: end its holder's hold", Args: exactlyOneName("lease"),
		Long: `Break the hold on a lease: end it, whoever the holder is, and grant the lease to the
next waiter in the queue. The holder is notified, but may keep working until it
notices: make sure that it has stopped, or that the resource checks fencing tokens.

On a terminal, this command asks for confirmation; elsewhere it requires --yes. Only
the hold that it asked about is broken: if that hold has ended by the time of the
answer, nothing is done, and the exit code is 2.`,
		Example: a.formatExamples("  koncli lease break db-migration\n\n  # in a script: only if load-7 is still the holder\n  koncli lease break db-migration --holder load-7 --yes\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := holderOption(cmd, holder)
			if err != nil {
				return err
			}
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
				question := fmt.Sprintf("take lease %s in namespace %s away from %s, who has held it since %s",
					args[0], client.Namespace(), by, l.Status.AcquiredAt.Format(time.RFC3339))
				if err := a.confirm(yes || out.isDryRun(), question); err != nil {
					return err
				}
				opts = append(opts, konductor.OnlyClaims(l.Status.ClaimUID))
			}
			// If nobody holds it, or another holder does, BreakLease returns the error.
			if !matches || !out.isClientDryRun() {
				if by, err = client.BreakLease(cmd.Context(), args[0], append(opts, out.clientOptions()...)...); err != nil {
					return err
				}
			}
			return out.printOperation(konductorv1.KindLease, args[0], "taken away from "+by, a.streams.Out)
		},
	}
	cmd.Flags().StringVar(&holder, "holder", "", "break the hold only if this is its holder")
	cmd.Flags().Int64Var(&token, "fencing-token", 0, "break the hold only if this is its fencing token, which no other hold ever has")
	addYesFlag(cmd, &yes)
	out.addFlags(cmd)
	return cmd
}
