package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// holdVerbCommand returns a verb that a holder applies to its own hold.
func (a *app) holdVerbCommand(kind string, cmd *cobra.Command, done string, act func(*konductor.Client, context.Context, string, ...konductor.DetachedHoldOption) error) *cobra.Command {
	var holder, uid string
	out := flags.NewNameOutput()
	cmd.Args = flags.ExactlyOneName(strings.ToLower(kind))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		as, err := flags.HolderOption(cmd, holder)
		if err != nil {
			return err
		}
		client, err := a.newWriteClient(out)
		if err != nil {
			return err
		}
		if !out.IsClientDryRun() {
			opts := []konductor.DetachedHoldOption{as, konductor.OnlyUID(types.UID(uid))}
			if out.IsServerDryRun() {
				opts = append(opts, konductor.DryRun())
			}
			if err := act(client, cmd.Context(), args[0], opts...); err != nil {
				return err
			}
		}
		return out.PrintOperation(kind, args[0], done, a.streams.Out)
	}
	flags.AddHolder(cmd, &holder, "holder")
	flags.AddUID(cmd, &uid, strings.ToLower(kind))
	out.AddFlags(cmd)
	return cmd
}

// exampleTargetName returns the name in the examples of a lease or semaphore.
func exampleTargetName(kind string) string {
	if kind == konductorv1.KindSemaphore {
		return "db-connections"
	}
	return "nightly"
}

func (a *app) renewCommand(kind string, renew func(*konductor.Client, context.Context, string, ...konductor.DetachedHoldOption) error) *cobra.Command {
	lower := strings.ToLower(kind)
	return a.holdVerbCommand(kind, &cobra.Command{
		Use: "renew NAME", Short: "Renew your hold for another TTL",
		Long:    "Renew your hold for another TTL. The exit code is 7 if the hold has been lost.",
		Example: a.formatExamples(fmt.Sprintf("  koncli %[1]s renew %[2]s\n  koncli %[1]s renew %[2]s --holder build-17\n", lower, exampleTargetName(kind))),
	}, "renewed", renew)
}

func (a *app) releaseCommand(kind string, release func(*konductor.Client, context.Context, string, ...konductor.DetachedHoldOption) error) *cobra.Command {
	lower := strings.ToLower(kind)
	return a.holdVerbCommand(kind, &cobra.Command{
		Use: "release NAME", Short: "Release your hold, or leave the queue",
		Long: `Release your hold, or leave the queue. The exit code is 7 if the hold was lost
earlier (somebody else may have held it since), and 2 if there was no hold.`,
		Example: a.formatExamples(fmt.Sprintf("  koncli %[1]s release %[2]s\n  koncli %[1]s release %[2]s --holder build-17\n", lower, exampleTargetName(kind))),
	}, "released", release)
}
