package cli

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
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
	var f targetFlags
	out := newOutputFlags("created")
	cmd := &cobra.Command{
		Use: "create NAME", Short: "Create a lease", Args: exactlyOneName("lease"),
		Example: a.formatExamples("  koncli lease create db-migration\n  koncli lease create nightly-report --ttl 1h\n\n  # refuse requests with a priority above 100\n  koncli lease create shared-license --max-priority 100\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts, err := f.options(cmd)
			if err != nil {
				return err
			}
			return runCreate(a, out, konductor.NewLease(args[0], opts...),
				func(client *konductor.Client) (*konductorv1.Lease, error) {
					return client.CreateLease(cmd.Context(), args[0], createTargetOptions(opts, out)...)
				})
		},
	}
	f.addFlags(cmd)
	out.addFlags(cmd)
	return cmd
}

// targetFlags are the flags that lease create and semaphore create have in common.
type targetFlags struct {
	ttl         time.Duration
	maxPriority int32
}

func (f *targetFlags) addFlags(cmd *cobra.Command) {
	addDurationFlag(cmd, &f.ttl, "ttl", 0, "time after which a hold expires unless renewed (default: none in a Pod, whose end ends the hold; 10m outside of Pods)")
	cmd.Flags().Int32Var(&f.maxPriority, "max-priority", 0, "highest allowed priority, from 0 to 1000000; requests with a higher one are refused (default any priority)")
}

// options validates the flags and returns the SDK's options for them.
func (f *targetFlags) options(cmd *cobra.Command) ([]konductor.TargetOption, error) {
	if err := validateTTL(cmd); err != nil {
		return nil, err
	}
	opts := []konductor.TargetOption{konductor.WithTTL(f.ttl)}
	if cmd.Flags().Changed("max-priority") {
		const highest = 1_000_000 // of a claim
		if f.maxPriority < 0 || f.maxPriority > highest {
			return nil, fmt.Errorf("--max-priority must be from 0 to %d, not %d", highest, f.maxPriority)
		}
		opts = append(opts, konductor.WithMaxPriority(f.maxPriority))
	}
	return opts, nil
}

// createTargetOptions returns the options for creating a lease or semaphore.
func createTargetOptions(spec []konductor.TargetOption, out *outputFlags) []konductor.CreateTargetOption {
	var opts []konductor.CreateTargetOption
	for _, o := range spec {
		opts = append(opts, o)
	}
	if out.isServerDryRun() {
		opts = append(opts, konductor.DryRun())
	}
	return opts
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
the hold shown in the prompt is broken: if it has ended before you answer, nothing is
done, and the exit code is 2.`,
		Example: a.formatExamples("  koncli lease break db-migration\n\n  # in a script: only if load-7 is still the holder\n  koncli lease break db-migration --holder load-7 --yes\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ofHolder, err := holderOption(cmd, holder)
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
				if err := a.confirm(yes || out.isDryRun(), "break", object); err != nil {
					return err
				}
				opts = append(opts, konductor.OnlyClaims(l.Status.ClaimUID))
			}
			// If nobody holds it, or another holder does, BreakLease returns the error.
			if !matches || !out.isClientDryRun() {
				if out.isServerDryRun() {
					opts = append(opts, konductor.DryRun())
				}
				if by, err = client.BreakLease(cmd.Context(), args[0], opts...); err != nil {
					return err
				}
			}
			return out.printOperation(konductorv1.KindLease, args[0], fmt.Sprintf("broken (was held by %s)", by), a.streams.Out)
		},
	}
	cmd.Flags().StringVar(&holder, "holder", "", "break the hold only if this is its holder")
	cmd.Flags().Int64Var(&token, "fencing-token", 0, "break the hold only if it has this fencing token; tokens are never reused")
	addYesFlag(cmd, &yes)
	out.addFlags(cmd)
	return cmd
}
