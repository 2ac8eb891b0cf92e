package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (a *app) lease() *cobra.Command {
	return group("lease", []string{"leases", "klease"}, "Hold alone: one holder at a time",
		a.leaseCreate(),
		a.acquireCommand(konductorv1.KindLease, (*konductor.Client).AcquireLease),
		a.renewCommand(konductorv1.KindLease, (*konductor.Client).RenewLease),
		a.releaseCommand(konductorv1.KindLease, (*konductor.Client).ReleaseLease),
		a.leaseBreak(),
		a.statusOf(konductorv1.KindLease), a.listCommand(konductorv1.KindLease, "leases"),
		a.deleteCommand(konductorv1.KindLease, (*konductor.Client).DeleteLease))
}

func (a *app) leaseCreate() *cobra.Command {
	var ttl time.Duration
	out := newOutput("created")
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a lease", Args: oneName("lease"),
		Example: a.examples("  koncli lease create db-migration\n  koncli lease create nightly-report --ttl 1h\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := positive(cmd, "ttl"); err != nil {
				return err
			}
			return create(cmd.Context(), a, out, []konductor.Option{konductor.WithTTL(ttl)},
				func(opts ...konductor.Option) *konductorv1.Lease { return konductor.NewLease(args[0], opts...) },
				func(ctx context.Context, client *konductor.Client, opts ...konductor.Option) (*konductorv1.Lease, error) {
					return client.CreateLease(ctx, args[0], opts...)
				})
		},
	}
	addDefaultTTL(cmd, &ttl)
	out.addFlags(cmd)
	return cmd
}

func addDefaultTTL(cmd *cobra.Command, ttl *time.Duration) {
	durationFlag(cmd, ttl, "ttl", 0, "how long a hold lasts without renewal (default as long as its Pod; 10m for a holder without a Pod)")
}

func (a *app) leaseBreak() *cobra.Command {
	var yes bool
	var holder string
	out := newDone()
	cmd := &cobra.Command{
		Use: "break NAME", Short: "Take a lease away from whoever holds it", Args: oneName("lease"),
		Long: `Take a lease away from whoever holds it, and give it to the next in the queue. The
holder learns of it, but may go on working until it does: make sure that it has
stopped, or that the resource checks fencing tokens.

On a terminal it asks first; elsewhere --yes is needed. What it takes away is the hold
that it asked about: if that has ended by the time of the answer, nothing is done, and
the exit code is 2.`,
		Example: a.examples("  koncli lease break db-migration\n\n  # in a script: only if it is still this one\n  koncli lease break db-migration --holder load-7 --yes\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := holderOption(cmd, holder)
			if err != nil {
				return err
			}
			client, err := a.writer(out)
			if err != nil {
				return err
			}
			l, err := client.GetLease(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			by := l.Status.Holder
			meant := by != "" && (holder == "" || holder == by)
			if meant {
				question := fmt.Sprintf("take lease %s in namespace %s away from %s, who has held it since %s",
					args[0], client.Namespace(), by, l.Status.AcquiredAt.Format(time.RFC3339))
				if err := a.confirm(yes || out.pretends(), question); err != nil {
					return err
				}
				opts = append(opts, konductor.OnlyClaims(l.Status.ClaimUID))
			}
			// Where nobody holds it, or another, that says so.
			if !meant || !out.clientOnly() {
				if by, err = client.BreakLease(cmd.Context(), args[0], append(opts, out.options()...)...); err != nil {
					return err
				}
			}
			return out.done(konductorv1.KindLease, args[0], "taken away from "+by, a.streams.Out)
		},
	}
	cmd.Flags().StringVar(&holder, "holder", "", "take it away only if this is who holds it")
	addYes(cmd, &yes)
	out.addFlags(cmd)
	return cmd
}
