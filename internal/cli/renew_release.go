package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// holdVerbCommand returns a verb that a holder applies to its own hold.
func (a *app) holdVerbCommand(kind string, cmd *cobra.Command, done string, act func(*konductor.Client, context.Context, string, ...konductor.Option) error) *cobra.Command {
	var holder, uid string
	out := newNameOutputFlags()
	cmd.Args = exactlyOneName(strings.ToLower(kind))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		opts, err := holderOption(cmd, holder)
		if err != nil {
			return err
		}
		client, err := a.newWriteClient(out)
		if err != nil {
			return err
		}
		if !out.isClientDryRun() {
			if err := act(client, cmd.Context(), args[0], append(append(opts, out.clientOptions()...), uidOption(uid)...)...); err != nil {
				return err
			}
		}
		return out.printOperation(kind, args[0], done, a.streams.Out)
	}
	addHolderFlag(cmd, &holder, "holder")
	addUIDFlag(cmd, &uid, strings.ToLower(kind))
	out.addFlags(cmd)
	return cmd
}

func (a *app) renewCommand(kind string, renew func(*konductor.Client, context.Context, string, ...konductor.Option) error) *cobra.Command {
	lower := strings.ToLower(kind)
	return a.holdVerbCommand(kind, &cobra.Command{
		Use: "renew NAME", Short: "Renew your hold for another TTL",
		Long:    "Renew your hold for another TTL. The exit code is 7 if the hold has been lost.",
		Example: a.formatExamples(fmt.Sprintf("  koncli %s renew nightly\n  koncli %s renew nightly --holder build-17\n", lower, lower)),
	}, "renewed", renew)
}

func (a *app) releaseCommand(kind string, release func(*konductor.Client, context.Context, string, ...konductor.Option) error) *cobra.Command {
	lower := strings.ToLower(kind)
	return a.holdVerbCommand(kind, &cobra.Command{
		Use: "release NAME", Short: "Release your hold, or leave the queue",
		Long: `Release your hold, or leave the queue. The exit code is 7 if the hold was lost before,
so that others may have held in the meantime, and 2 if there was no hold.`,
		Example: a.formatExamples(fmt.Sprintf("  koncli %s release nightly\n  koncli %s release nightly --holder build-17\n", lower, lower)),
	}, "released", release)
}
