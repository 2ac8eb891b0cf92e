package main

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/e2e/cluster/toolchain"
)

// cli is what all commands share: results go to out, messages to errOut.
type cli struct {
	out, errOut io.Writer
	dir         string
}

func newCommand(out, errOut io.Writer) *cobra.Command {
	e := &cli{out: out, errOut: errOut}
	root := &cobra.Command{
		Use:   "cluster",
		Short: "A real Kubernetes cluster without a container engine",
		Long: `A real Kubernetes cluster, built from Go modules: etcd, kube-apiserver,
kube-controller-manager and, as root on Linux, a node where Pods run.

The first start builds the programs, which takes some minutes; they are kept in
${KONDUCTOR_CACHE:-${XDG_CACHE_HOME:-~/.cache}/konductor}. After that it takes seconds.

The node has no registry. It has the image busybox:1.37 (a shell and small
utilities); others are put there with "cluster image load". There is no DNS, and of
all Services only "kubernetes" can be reached by its address.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
	}
	root.SetOut(out)
	root.SetErr(errOut)
	root.PersistentFlags().StringVar(&e.dir, "dir", "", "folder of the cluster (default: .cluster in the checkout)")
	root.AddCommand(
		e.newUpCommand(), e.newDownCommand(), e.newStatusCommand(), e.newImageCommand(), e.newToolCommand(), e.newVersionsCommand(), e.newSuperviseCommand(),
	)
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}

func (e *cli) logf(format string, args ...any) { fmt.Fprintf(e.errOut, format+"\n", args...) }

// clusterDir returns the directory in the flag, else the checkout's.
func (e *cli) clusterDir() (string, error) {
	if e.dir != "" {
		return e.dir, nil
	}
	return cluster.DefaultDir()
}

func (e *cli) openCluster() (*cluster.Cluster, error) {
	dir, err := e.clusterDir()
	if err != nil {
		return nil, err
	}
	return cluster.Open(dir)
}

func (e *cli) newUpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "up",
		Short: "Start the cluster and wait until it is ready",
		Long: `Start the cluster and wait until it is ready. A cluster that runs already is left
as it is. Where no node is possible (not root, not Linux, neither runc nor gcc) the
control plane is started alone.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := cluster.Up(cmd.Context(), cluster.Options{Dir: e.dir, Log: e.logf})
			return err
		},
	}
}

func (e *cli) newDownCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "End the cluster and remove every trace of it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := e.clusterDir()
			if err != nil {
				return err
			}
			start := time.Now()
			if err := cluster.Down(cmd.Context(), dir); err != nil {
				return err
			}
			e.logf("no cluster left in %s (%s)", dir, time.Since(start).Round(10*time.Millisecond))
			return nil
		},
	}
}

func (e *cli) newVersionsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "versions",
		Short: "Print the versions of Kubernetes that " + toolchain.KubernetesEnv + " can select",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(e.out, strings.Join(toolchain.KubernetesVersions(), "\n"))
			return err
		},
	}
}

func (e *cli) newToolCommand() *cobra.Command {
	return &cobra.Command{
		Use:       "tool NAME",
		Short:     "Print the path of a tool, building it if need be",
		Example:   `  $(go run ./cmd/cluster tool kubectl) get pods -A`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: toolchain.ToolNames(),
		RunE: func(cmd *cobra.Command, args []string) error {
			tools, err := toolchain.Open(e.logf)
			if err != nil {
				return err
			}
			path, err := tools.Path(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(e.out, path)
			return err
		},
	}
}
