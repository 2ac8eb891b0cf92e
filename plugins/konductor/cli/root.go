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
