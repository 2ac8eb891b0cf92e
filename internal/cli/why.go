package cli

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	"github.com/LogicIQ/konductor/internal/cli/printer"
	"github.com/LogicIQ/konductor/internal/waitgraph"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (a *app) whyCommand() *cobra.Command {
	var format string
	drawn := &displayFlags{}
	cmd := &cobra.Command{
		Use: "why KIND/NAME", Short: "Explain why an object is blocked",
		Long: `Explain why a barrier, gate, lease, semaphore, Job or Pod is blocked: the root cause
first, with what would unblock it and a command to investigate further; then the whole
dependency chain. It finds wait cycles, and conditions that can never be met.

Waiting for a gate or a barrier writes nothing to the cluster, so such waits are
inferred from the commands of running containers; the output says where that is the
case. Objects that you have no permission to read are left out, and the output says so.

The exit code is 0 whatever is found, and 2 if the object does not exist. -o json
contains the reasons as stable identifiers, which are listed in docs/why.md.`,
		Example: a.formatExamples(`  # why doesn't the deploy Job of examples/gate start?
  koncli why job/deploy

  # who holds the lease, what is the holder doing, and who waits?
  koncli why lease/db-migration

  # in a script: fail if the gate can't open without intervention
  koncli why gate dependencies-ready -o json | jq -e '.never | not'
`),
		Args: func(cmd *cobra.Command, args []string) error {
			_, err := parseWhyArgs(cmd, args)
			return err
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ref, err := parseWhyArgs(cmd, args)
			if err != nil {
				return err
			}
			if err := flags.ValidateOutputFormat(format, "", "json", "yaml"); err != nil {
				return err
			}
			if ref.Namespace, err = a.connection.Namespace(); err != nil {
				return err
			}
			s, err := a.loadSnapshot(cmd.Context(), ref.Namespace, ref.Kind)
			if err != nil {
				return err
			}
			d, err := waitgraph.Analyze(s).Why(ref)
			var missing *waitgraph.NotFoundError
			if errors.As(err, &missing) {
				return &konductor.NotFoundError{Kind: ref.Kind, Name: ref.Name, Namespace: ref.Namespace}
			} else if err != nil {
				return err
			}
			printer.RewriteCommands(d, a.displayName, a.connection.ClusterFlags())
			if format != "" {
				return printer.WriteJSONOrYAML(a.streams.Out, format, d)
			}
			signs, err := a.newSymbols(drawn)
			if err != nil {
				return err
			}
			_, err = io.WriteString(a.streams.Out, printer.WhyText(d, s.Now, signs))
			return err
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "output format: json or yaml (default text)")
	drawn.addASCIIFlag(cmd)
	return cmd
}

// parseWhyArgs parses KIND/NAME or KIND NAME.
func parseWhyArgs(cmd *cobra.Command, args []string) (waitgraph.Ref, error) {
	const kinds = "barrier, gate, lease, semaphore, job or pod"
	if len(args) == 0 {
		return waitgraph.Ref{}, fmt.Errorf("specify an object: %s KIND/NAME, for example %s job/deploy", cmd.CommandPath(), cmd.CommandPath())
	}
	if len(args) > 2 || (len(args) == 2 && strings.Contains(args[0], "/")) {
		return waitgraph.Ref{}, fmt.Errorf("one object at a time, not %q: %s KIND/NAME", args, cmd.CommandPath())
	}
	ref, ok := waitgraph.ParseRef(args...)
	kind, _, _ := strings.Cut(args[0], "/")
	switch {
	case !ok && len(args) == 1 && !strings.Contains(args[0], "/"):
		return ref, fmt.Errorf("%q has no kind: write KIND/NAME, where KIND is %s", args[0], kinds)
	case !ok:
		return ref, clierror.UnknownKindError(kind, "barrier", "gate", "lease", "semaphore", "job", "pod")
	case ref.Name == "":
		return ref, fmt.Errorf("the name is missing: %s %s/NAME", cmd.CommandPath(), strings.ToLower(ref.Kind))
	}
	return ref, nil
}
