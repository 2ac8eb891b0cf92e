package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

const (
	groupKinds = "kinds"
	groupView  = "view"
	groupOther = "other"
)

// root returns the tree of commands.
func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "koncli",
		Short: "Barriers, gates, leases and semaphores for Kubernetes workloads",
		Long: `Konductor coordinates Jobs, CronJobs and Pods with four primitives: a Barrier
lets many meet, a Gate opens when others are done, a Lease has one holder at a
time, a Semaphore a limited number.

Exit codes: 0 done, 1 error, 2 not found, 3 timed out, 4 forbidden, 5 busy,
6 the barrier or gate failed, 7 the hold was lost.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: a.name},
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.AddGroup(
		&cobra.Group{ID: groupKinds, Title: "Coordinate:"},
		&cobra.Group{ID: groupView, Title: "Look:"},
		&cobra.Group{ID: groupOther, Title: "Run and install:"},
	)
	a.config.AddFlags(root.PersistentFlags())
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w (see '%s --help')", err, cmd.CommandPath())
	})
	add := func(group string, commands ...*cobra.Command) {
		for _, c := range commands {
			c.GroupID = group
			root.AddCommand(c)
		}
	}
	add(groupKinds, a.barrier(), a.gate(), a.lease(), a.semaphore(), a.runCommand(), a.holdCommand(), a.keepCommand())
	add(groupView, a.statusCommand(), a.why(), a.graph(), a.watchCommand(), a.doctor(), a.rbac(), a.versionCommand())
	add(groupOther, a.operator(), a.copyTo())
	root.SetHelpCommandGroupID(groupOther)
	root.SetCompletionCommandGroupID(groupOther)
	return root
}

// group returns the command of one kind, whose verbs are below it.
func group(use string, aliases []string, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Aliases: aliases, Short: short,
		Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help()
			return fmt.Errorf("say what to do: %s VERB NAME", cmd.CommandPath())
		},
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// unknownCommand refuses what is not a command, with what may have been meant.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	const typos = 2
	cmd.SuggestionsMinimumDistance = typos
	message := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])
	if meant := cmd.SuggestionsFor(args[0]); len(meant) > 0 {
		return fmt.Errorf("%s: did you mean %s?", message, strings.Join(meant, " or "))
	}
	return fmt.Errorf("%s (see '%s --help')", message, cmd.CommandPath())
}

// examples formats the examples of a command, which are written with the name of the plugin.
func (a *app) examples(lines string) string {
	return strings.TrimRight(strings.ReplaceAll(lines, "koncli", a.name), "\n")
}
