package cli

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/kubectl/pkg/util/templates"

	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/completion"
)

// rootCommand returns the command tree.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "koncli",
		Short: "Barriers, gates, leases and semaphores for Kubernetes workloads",
		Long: `Konductor coordinates Jobs, CronJobs and Pods with four primitives. A Barrier opens
when enough participants have arrived. A Gate opens when all its conditions are met.
A Lease has at most one holder at a time. A Semaphore has a limited number of permits.

Exit codes: 0 success, 1 error, 2 not found, 3 timed out, 4 forbidden, 5 busy,
6 the barrier or gate failed, 7 the hold was lost. If a signal ends the program, the
exit code is 128 plus the signal's number: 130 for SIGINT, 143 for SIGTERM.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Annotations:   map[string]string{cobra.CommandDisplayNameAnnotation: a.displayName},
		Args:          rejectUnknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.CompletionOptions.DisableDefaultCmd = true
	a.connection.ConfigFlags.AddFlags(root.PersistentFlags())
	root.PersistentFlags().Var(&colorValue{&a.color}, "color", "when to use color: auto (on a terminal, unless NO_COLOR is set), always or never")
	groups := templates.CommandGroups{
		{Message: "Coordination Commands:", Commands: []*cobra.Command{a.barrierCommand(), a.gateCommand(), a.leaseCommand(), a.semaphoreCommand(), a.runCommand(), a.holdCommand()}},
		{Message: "Inspection Commands:", Commands: []*cobra.Command{a.statusCommand(), a.whyCommand(), a.graphCommand(), a.watchCommand(), a.doctorCommand(), a.rbacCommand()}},
		{Message: "Installation and Operator Commands:", Commands: []*cobra.Command{a.installCommand(), a.upgradeCommand(), a.uninstallCommand(), a.operatorCommand(), a.copyToCommand()}},
	}
	groups.Add(root)
	// kubectl's template has its own groups; the generated command reference reads cobra's.
	for _, g := range groups {
		root.AddGroup(&cobra.Group{ID: g.Message, Title: g.Message})
		for _, cmd := range g.Commands {
			cmd.GroupID = g.Message
		}
	}
	root.AddCommand(a.completionCommand(), a.versionCommand(), a.optionsCommand(), a.internalCommand())
	templates.ActsAsRootCommand(root, []string{"options"}, groups...)
	root.SetFlagErrorFunc(clierror.FlagError)
	a.setUsageName(root)
	completion.Register(root, a.connection.ConfigFlags)
	return root
}

// setUsageName makes the usage show the display name. In one place kubectl's template shows the first word of the command
// instead, and "kubectl konductor" has two.
func (a *app) setUsageName(root *cobra.Command) {
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
		_, err = io.WriteString(out, strings.ReplaceAll(text.String(), `Use "`+root.Name()+" ", `Use "`+a.displayName+" "))
		return err
	})
}

// colorValue is the value of --color.
type colorValue struct{ mode *string }

func (c *colorValue) String() string { return *c.mode }
func (c *colorValue) Type() string   { return "string" }
func (c *colorValue) Set(s string) error {
	if s != "auto" && s != "always" && s != "never" {
		return fmt.Errorf("must be auto, always or never, not %q", s)
	}
	*c.mode = s
	return nil
}

// optionsCommand returns the command that shows the flags of all commands, which would otherwise fill the help of each.
func (a *app) optionsCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "options", Short: "Print the flags that all commands accept",
		Example: a.formatExamples("  koncli options\n  koncli options --help\n"),
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Usage() },
	}
	// kubectl's template writes to the output for usage, which is stderr.
	cmd.SetErr(a.streams.Out)
	templates.UseOptionsTemplates(cmd)
	return cmd
}

// kindCommand returns the command of one kind, with its verbs as subcommands.
func kindCommand(use string, aliases []string, short string, verbs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Aliases: aliases, Short: short,
		Args: rejectUnknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_ = cmd.Help()
			return fmt.Errorf("specify a command: %s VERB NAME", cmd.CommandPath())
		},
	}
	cmd.AddCommand(verbs...)
	return cmd
}

// rejectUnknownCommand rejects an unknown command, with a suggestion.
func rejectUnknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = clierror.MaxSuggestDistance
	message := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), args[0])
	if meant := cmd.SuggestionsFor(args[0]); len(meant) > 0 {
		return fmt.Errorf("%s: did you mean %s?", message, strings.Join(meant, " or "))
	}
	return fmt.Errorf("%s (see '%s --help')", message, cmd.CommandPath())
}

// formatExamples formats a command's examples, with the display name in place of "koncli".
func (a *app) formatExamples(lines string) string {
	return strings.TrimRight(strings.ReplaceAll(lines, "koncli", a.displayName), "\n")
}
