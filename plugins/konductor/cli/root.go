package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/kubectl/pkg/util/templates"
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
	root.CompletionOptions.DisableDefaultCmd = true
	a.config.AddFlags(root.PersistentFlags())
	root.PersistentFlags().Var(&colorValue{&a.color}, "color", "auto (on a terminal, unless NO_COLOR is set), always or never")
	groups := templates.CommandGroups{
		{Message: "Coordinate:", Commands: []*cobra.Command{a.barrier(), a.gate(), a.lease(), a.semaphore(), a.runCommand(), a.holdCommand()}},
		{Message: "Look:", Commands: []*cobra.Command{a.statusCommand(), a.why(), a.graph(), a.watchCommand(), a.doctor(), a.rbac()}},
		{Message: "Run and install:", Commands: []*cobra.Command{a.installCommand(), a.upgradeCommand(), a.uninstallCommand(), a.operator(), a.copyTo()}},
	}
	groups.Add(root)
	// kubectl's template has its own groups; the reference of the commands reads cobra's.
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.Message, Title: g.Message})
		for _, cmd := range g.Commands {
			cmd.GroupID = g.Message
		}
	}
	root.AddCommand(a.completionCommand(), a.versionCommand(), a.options(), a.keepCommand())
	templates.ActsAsRootCommand(root, []string{"options"}, groups...)
	root.SetFlagErrorFunc(flagError)
	a.nameInUsage(root)
	a.addCompletion(root)
	return root
}

// nameInUsage makes the usage name the program as people call it. kubectl's template has in one place the first word of
// its command instead, and "kubectl konductor" is two.
func (a *app) nameInUsage(root *cobra.Command) {
	usage := root.UsageFunc()
	root.SetUsageFunc(func(cmd *cobra.Command) error {
		out := cmd.OutOrStderr()
		var text bytes.Buffer
		cmd.SetOut(&text)
		err := usage(cmd)
		cmd.SetOut(out)
		if err != nil {
			return err
		}
		_, err = io.WriteString(out, strings.ReplaceAll(text.String(), `Use "`+root.Name()+" ", `Use "`+a.name+" "))
		return err
	})
}

// colorValue is the value of --color.
type colorValue struct{ when *string }

func (c *colorValue) String() string { return *c.when }
func (c *colorValue) Type() string   { return "string" }
func (c *colorValue) Set(s string) error {
	if s != "auto" && s != "always" && s != "never" {
		return fmt.Errorf("write auto, always or never, not %q", s)
	}
	*c.when = s
	return nil
}

// options returns the command that shows the flags that all commands have, which would fill each help otherwise.
func (a *app) options() *cobra.Command {
	cmd := &cobra.Command{
		Use: "options", Short: "Show the flags that all commands have",
		Example: a.examples("  koncli options\n  koncli options --help\n"),
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Usage() },
	}
	// kubectl's template writes it to where usage goes, which is stderr.
	cmd.SetErr(a.streams.Out)
	templates.UseOptionsTemplates(cmd)
	return cmd
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

// typos is how many letters of a word may be wrong for us to know what was meant.
const typos = 2

// unknownCommand refuses what is not a command, with what may have been meant.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
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
