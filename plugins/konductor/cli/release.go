package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// heldVerb returns a verb that a holder applies to its own hold.
func (a *app) heldVerb(kind string, cmd *cobra.Command, done string, act func(*konductor.Client, context.Context, string, ...konductor.Option) error) *cobra.Command {
	var holder string
	out := newDone()
	cmd.Args = oneName(strings.ToLower(kind))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opts, err := holderOption(cmd, holder)
		if err != nil {
			return err
		}
		client, err := a.writer(out)
		if err != nil {
			return err
		}
		if !out.clientOnly() {
			if err := act(client, cmd.Context(), args[0], append(opts, out.options()...)...); err != nil {
				return err
			}
		}
		return out.done(kind, args[0], done, a.streams.Out)
	}
	addHolder(cmd, &holder, "holder")
	out.addFlags(cmd)
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
