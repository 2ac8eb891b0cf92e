package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/LogicIQ/konductor/e2e/cluster"
)

func (e *cli) newStatusCommand() *cobra.Command {
	var output string
	cmd := &cobra.Command{
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
			switch output {
			case "":
				err = e.printStatus(c, status)
			case "json":
				encoder := json.NewEncoder(e.out)
				encoder.SetIndent("", "  ")
				err = encoder.Encode(status)
			default:
				err = fmt.Errorf("--output %s: only json is known", output)
			}
			if problem := status.Problem(); err == nil && problem != "" {
				err = errors.New(problem)
			}
			return err
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "json, or a table")
	return cmd
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

func (e *cli) newStopCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:     "stop COMPONENT",
		Short:   "End a component and keep it stopped",
		Example: "  go run ./cmd/cluster stop kube-apiserver --signal KILL",
		Args:    cobra.ExactArgs(1),
		RunE: e.runOnComponent(&name, func(_ context.Context, c *cluster.Cluster, component string, sig os.Signal) error {
			return c.StopComponent(component, sig)
		}),
	}
	addSignalFlag(cmd, &name)
	return cmd
}

func (e *cli) newStartCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "start COMPONENT",
		Short: "Start a stopped component and wait until it is well",
		Args:  cobra.ExactArgs(1),
		RunE: e.runOnComponent(nil, func(ctx context.Context, c *cluster.Cluster, component string, _ os.Signal) error {
			return c.StartComponent(ctx, component)
		}),
	}
}

func (e *cli) newRestartCommand() *cobra.Command {
	var name string
	cmd := &cobra.Command{
		Use:   "restart COMPONENT",
		Short: "End a component, start it again and wait until it is well",
		Args:  cobra.ExactArgs(1),
		RunE: e.runOnComponent(&name, func(ctx context.Context, c *cluster.Cluster, component string, sig os.Signal) error {
			if err := c.StopComponent(component, sig); err != nil {
				return err
			}
			return c.StartComponent(ctx, component)
		}),
	}
	addSignalFlag(cmd, &name)
	return cmd
}

func addSignalFlag(cmd *cobra.Command, name *string) {
	cmd.Flags().StringVar(name, "signal", "TERM", "signal to end it with: TERM, KILL, ...")
}

func (e *cli) runOnComponent(signalName *string, do func(context.Context, *cluster.Cluster, string, os.Signal) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		sig := syscall.SIGTERM
		if signalName != nil {
			sig = unix.SignalNum("SIG" + strings.TrimPrefix(strings.ToUpper(*signalName), "SIG"))
			if sig == 0 {
				return fmt.Errorf("--signal %s: no such signal", *signalName)
			}
		}
		c, err := e.openCluster()
		if err != nil {
			return err
		}
		start := time.Now()
		if err := do(cmd.Context(), c, args[0], sig); err != nil {
			return err
		}
		e.logf("%s: %s done in %s", args[0], cmd.Name(), time.Since(start).Round(10*time.Millisecond))
		return nil
	}
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
