package main

import (
	"errors"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/e2e/cluster"
)

func (e *cli) newStatusCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how each component is; fails unless all are well",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := e.openCluster()
			if err != nil {
				return err
			}
			status, err := c.Status(cmd.Context())
			if err != nil {
				return err
			}
			if err := e.printStatus(c, status); err != nil {
				return err
			}
			if problem := status.Problem(); problem != "" {
				return errors.New(problem)
			}
			return nil
		},
	}
}

func (e *cli) printStatus(c *cluster.Cluster, status cluster.Status) error {
	node := "yes"
	if !c.HasNode() {
		node = "no: " + c.NoNodeReason()
	}
	fmt.Fprintf(e.out, "server      %s\nkubeconfig  %s\nlogs        %s\nnode        %s\n\n", c.Config().Host, c.Kubeconfig(), c.LogDir(), node)
	w := tabwriter.NewWriter(e.out, 0, 8, 2, ' ', 0)
	fmt.Fprintln(w, "COMPONENT\tSTATE\tRESTARTS\tAGE")
	for _, s := range status.Components {
		state, age := "well", ""
		switch {
		case s.Stopped && s.PID == 0:
			state = "stopped"
		case s.Problem != "":
			state = "not well: " + strings.ReplaceAll(s.Problem, "\n", " ")
		}
		if s.PID != 0 {
			age = time.Since(s.Started).Round(time.Second).String()
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%s\n", s.Name, state, s.Restarts, age)
	}
	return w.Flush()
}

// newSuperviseCommand returns the command that "up" starts in the background.
func (e *cli) newSuperviseCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "supervise",
		Short:  "Run the cluster of a folder; for \"up\" to use",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cluster.Supervise(cmd.Context(), e.dir, func(format string, args ...any) {
				e.logf(time.Now().Format("15:04:05.000 ")+format, args...)
			})
		},
	}
}
