package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

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

func (a *app) semaphore() *cobra.Command {
	return group("semaphore", []string{"semaphores", "sem", "ksem"}, "Hold with others: a limited number at a time",
		a.semaphoreCreate(),
		a.acquireCommand(konductorv1.KindSemaphore, (*konductor.Client).AcquireSemaphore),
		a.renewCommand(konductorv1.KindSemaphore, (*konductor.Client).RenewSemaphore),
		a.releaseCommand(konductorv1.KindSemaphore, (*konductor.Client).ReleaseSemaphore),
		a.semaphoreResize(),
		a.statusOf(konductorv1.KindSemaphore), a.listCommand(konductorv1.KindSemaphore, "semaphores"),
		a.deleteCommand(konductorv1.KindSemaphore, (*konductor.Client).DeleteSemaphore))
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
	out.addTo(cmd)
	out.addDryRun(cmd)
	return cmd
}

func addDefaultTTL(cmd *cobra.Command, ttl *time.Duration) {
	durationFlag(cmd, ttl, "ttl", 0, "how long a hold lasts without renewal (default as long as its Pod; 10m for a holder without a Pod)")
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
	out.addTo(cmd)
	out.addDryRun(cmd)
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
			opts, err := out.options()
			if err != nil {
				return err
			}
			client, err := a.client()
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
			s, err := client.ResizeSemaphore(cmd.Context(), args[0], permits, opts...)
			if err != nil {
				return err
			}
			return out.print(s, a.streams.Out)
		},
	}
	cmd.Flags().Int32Var(&permits, "permits", 0, "how many permits there are; 0: paused")
	out.addTo(cmd)
	out.addDryRun(cmd)
	return cmd
}

// acquired is what acquire prints with -o json or yaml.
type acquired struct {
	Kind         string `json:"kind"`
	Name         string `json:"name"`
	Namespace    string `json:"namespace"`
	Holder       string `json:"holder"`
	FencingToken int64  `json:"fencingToken"`
	TTL          string `json:"ttl,omitempty"`
}

func (a *app) acquireCommand(kind string, acquire func(*konductor.Client, context.Context, string, ...konductor.Option) (*konductor.Hold, error)) *cobra.Command {
	var w waiting
	var ttl time.Duration
	var priority int32
	permits := int32(1)
	var holder, format string
	lower := strings.ToLower(kind)
	cmd := &cobra.Command{
		Use: "acquire NAME", Short: fmt.Sprintf("Wait for a %s and hold it", lower), Args: oneName(lower),
		Long: fmt.Sprintf(`Wait for a %s, hold it, and print the fencing token: a number that is larger
than that of every grant before.

In a Pod the hold is bound to the Pod: it ends when the Pod has finished or is
gone, or when it is released. Elsewhere it ends after its TTL (10m unless given).
Acquiring again under the same name in the same Pod finds the same hold.`, lower),
		Example: a.examples(fmt.Sprintf(`  # hold for the rest of the Pod's life
  koncli %s acquire nightly

  # don't wait: exit code 5 when it is not to be had
  if koncli %s acquire nightly --timeout 0; then report; koncli %s release nightly; else echo skipped; fi
`, lower, lower, lower)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := positive(cmd, "ttl"); err != nil {
				return err
			}
			if permits < 1 {
				return fmt.Errorf("--permits must be at least 1, not %d", permits)
			}
			switch format {
			case "", "json", "yaml", "name":
			default:
				return fmt.Errorf("-o must be json, yaml or name, not %q", format)
			}
			opts, err := holderOption(cmd, holder)
			if err != nil {
				return err
			}
			client, err := a.client()
			if err != nil {
				return err
			}
			opts = append(opts, w.options()...)
			opts = append(opts, konductor.WithTTL(ttl), konductor.WithPriority(priority), konductor.WithPermits(permits), konductor.Detached())
			hold, err := acquire(client, cmd.Context(), args[0], opts...)
			if err != nil {
				return err
			}
			result := acquired{Kind: kind, Name: args[0], Namespace: client.Namespace(), Holder: hold.Holder(), FencingToken: hold.Token()}
			if hold.TTL() > 0 {
				result.TTL = hold.TTL().String()
			}
			return a.printAcquired(result, format)
		},
	}
	w.addFlags(cmd)
	acceptWait(cmd)
	durationFlag(cmd, &ttl, "ttl", 0, fmt.Sprintf("how long the hold lasts without renewal (default the %s's; else as long as the Pod, or 10m without one)", lower))
	cmd.Flags().Int32Var(&priority, "priority", 0, "be served before all of lower priority")
	if kind == konductorv1.KindSemaphore {
		cmd.Flags().Int32Var(&permits, "permits", 1, "how many permits to hold")
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, yaml or name (default the fencing token alone)")
	addHolder(cmd, &holder, "holder")
	return cmd
}

// printAcquired prints the token to stdout, for scripts, and the rest to stderr, for people.
func (a *app) printAcquired(r acquired, format string) error {
	var text string
	switch format {
	case "json":
		b, err := json.MarshalIndent(r, "", "    ")
		if err != nil {
			return err
		}
		text = string(b) + "\n"
	case "yaml":
		b, err := yaml.Marshal(r)
		if err != nil {
			return err
		}
		text = string(b)
	case "name":
		text = fmt.Sprintf("%s.%s/%s\n", strings.ToLower(r.Kind), konductorv1.GroupName, r.Name)
	default:
		a.say(fmt.Sprintf("%s/%s acquired by %s", strings.ToLower(r.Kind), r.Name, r.Holder))
		text = strconv.FormatInt(r.FencingToken, 10) + "\n"
	}
	_, err := fmt.Fprint(a.streams.Out, text)
	return err
}

// heldVerb returns a verb that a holder applies to its own hold.
func (a *app) heldVerb(kind string, cmd *cobra.Command, done string, act func(*konductor.Client, context.Context, string, ...konductor.Option) error) *cobra.Command {
	var holder string
	cmd.Args = oneName(strings.ToLower(kind))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opts, err := holderOption(cmd, holder)
		if err != nil {
			return err
		}
		client, err := a.client()
		if err != nil {
			return err
		}
		if err := act(client, cmd.Context(), args[0], opts...); err != nil {
			return err
		}
		a.did(kind, args[0], done)
		return nil
	}
	addHolder(cmd, &holder, "holder")
	return cmd
}

func (a *app) renewCommand(kind string, renew func(*konductor.Client, context.Context, string, ...konductor.Option) error) *cobra.Command {
	lower := strings.ToLower(kind)
	return a.heldVerb(kind, &cobra.Command{
		Use: "renew NAME", Short: "Prolong your hold by another TTL",
		Long:    "Prolong your hold by another TTL. Exit code 7 says that it has been lost.",
		Example: a.examples(fmt.Sprintf("  koncli %s renew nightly\n  koncli %s renew nightly --holder build-17\n", lower, lower)),
	}, "renewed", renew)
}

func (a *app) releaseCommand(kind string, release func(*konductor.Client, context.Context, string, ...konductor.Option) error) *cobra.Command {
	lower := strings.ToLower(kind)
	return a.heldVerb(kind, &cobra.Command{
		Use: "release NAME", Short: "Give your hold back",
		Long: `Give your hold back, or leave the queue. Exit code 7 says that the hold had been
lost before, so that others may have held in the meantime; exit code 2 that there
was none.`,
		Example: a.examples(fmt.Sprintf("  koncli %s release nightly\n  koncli %s release nightly --holder build-17\n", lower, lower)),
	}, "released", release)
}

func (a *app) leaseBreak() *cobra.Command {
	var yes bool
	cmd := &cobra.Command{
		Use: "break NAME", Short: "Take a lease away from whoever holds it", Args: oneName("lease"),
		Long: `Take a lease away from whoever holds it, and give it to the next in the queue. The
holder learns of it, but may go on working until it does: make sure that it has
stopped, or that the resource checks fencing tokens.`,
		Example: a.examples("  koncli lease break db-migration\n  koncli lease break db-migration --yes\n"),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := a.client()
			if err != nil {
				return err
			}
			l, err := client.GetLease(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if l.Status.Holder != "" {
				question := fmt.Sprintf("take lease %s in namespace %s away from %s, who has held it since %s",
					args[0], client.Namespace(), l.Status.Holder, l.Status.AcquiredAt.Format(time.RFC3339))
				if err := a.confirm(yes, question); err != nil {
					return err
				}
			}
			holder, err := client.BreakLease(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			a.did(konductorv1.KindLease, args[0], "taken away from "+holder)
			return nil
		},
	}
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "don't ask")
	return cmd
}
