package cli

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/LogicIQ/konductor/internal/cli/flags"
	"github.com/LogicIQ/konductor/internal/cli/kubectlget"
	"github.com/LogicIQ/konductor/internal/cli/printer"
	"github.com/LogicIQ/konductor/internal/view"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// waitCommand returns the verb wait of a kind that opens.
func (a *app) waitCommand(kind string, wait func(*konductor.Client, context.Context, string, ...konductor.WaitOption) error) *cobra.Command {
	var w flags.Wait
	lower := strings.ToLower(kind)
	cmd := &cobra.Command{
		Use: "wait NAME", Short: fmt.Sprintf("Wait until a %s is open", lower), Args: flags.ExactlyOneName(lower),
		Long: fmt.Sprintf(`Wait until a %s is open. If the %s fails or times out, exit at once with
code 6. If the %s does not exist yet, wait for it to be created.`, lower, lower, lower),
		Example: a.formatExamples(fmt.Sprintf(`  # in an initContainer: the containers start when it is open
  koncli %s wait stage-1-complete

  # after 30 minutes, exit with code 3
  koncli %s wait stage-1-complete --timeout 30m
`, lower, lower)),
		RunE: func(cmd *cobra.Command, args []string) error {
			defer a.tolerateClosedOutput()()
			client, err := a.connection.NewClient()
			if err != nil {
				return err
			}
			if err := wait(client, cmd.Context(), args[0], w.Options()...); err != nil {
				return err
			}
			printer.WriteOperation(a.streams.Out, kind, args[0], "open")
			return nil
		},
	}
	w.AddFlags(cmd)
	flags.AddHiddenWait(cmd)
	return cmd
}

// listCommand returns the verb list of a kind.
func (a *app) listCommand(kind, resource string) *cobra.Command {
	g := kubectlget.New(a.displayName, a.streams, a.connection)
	lower := strings.ToLower(kind)
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List " + resource,
		Long: fmt.Sprintf("List %s, in the same format as 'kubectl get %s'.", resource, view.GroupResourceName(kind)),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return g.Show(cmd, kind) },
		Example: a.formatExamples(fmt.Sprintf(`  koncli %[1]s list
  koncli %[1]s list -A --sort-by '{.metadata.creationTimestamp}'
  koncli %[1]s list -o custom-columns=NAME:.metadata.name,PHASE:.status.phase
`, lower)),
	}
	g.AddFlags(cmd)
	return cmd
}

// deleteCommand returns the verb delete of a kind.
func (a *app) deleteCommand(kind string) *cobra.Command {
	var yes, ignoreNotFound, unlessHeld bool
	var uid string
	out := flags.NewNameOutput()
	lower := strings.ToLower(kind)
	lost := ""
	if isHoldable(kind) {
		lost = ", and holds on it are lost"
	}
	cmd := &cobra.Command{
		Use: "delete NAME…", Short: fmt.Sprintf("Delete a %s", lower),
		Long: fmt.Sprintf(`Delete a %s. Commands that wait for it exit with code 2%s.

On a terminal, this command asks for confirmation; elsewhere it requires --yes. If
somebody replaces the object before you answer, the new one isn't deleted, and the exit
code is 2.`, lower, lost),
		Example: a.formatExamples(fmt.Sprintf("  koncli %s delete old-one\n  koncli %s delete one two --yes\n\n  # delete all that have a label\n  koncli %s list -l run=old -o name | xargs -r koncli %s delete --yes\n", lower, lower, lower, lower)),
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return fmt.Errorf("the name of the %s is missing: %s NAME", lower, cmd.CommandPath())
			}
			if uid != "" && len(args) > 1 {
				return fmt.Errorf("--uid identifies one %s: pass only one NAME with it", lower)
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			args, err := flags.ParseNames(kind, args)
			if err != nil {
				return err
			}
			client, err := a.newWriteClient(out)
			if err != nil {
				return err
			}
			d := deleteOptions{app: a, out: out, kind: kind, uid: types.UID(uid), unlessHeld: unlessHeld, ignoreNotFound: ignoreNotFound}
			if yes || out.IsDryRun() {
				for _, name := range args {
					d.deleteObject(cmd.Context(), client, name, d.uid, d.unlessHeld)
				}
				return d.err
			}
			return d.confirmAndDelete(cmd.Context(), client, args)
		},
	}
	flags.AddYes(cmd, &yes)
	flags.AddUID(cmd, &uid, lower)
	if isHoldable(kind) {
		cmd.Flags().BoolVar(&unlessHeld, "unless-held", false, "don't delete it while it is held; exit with code 5 instead")
	}
	cmd.Flags().BoolVar(&ignoreNotFound, "ignore-not-found", false, "don't fail if the object does not exist")
	out.AddFlags(cmd)
	return cmd
}

// runCreate is the common part of all create verbs: it prints the object that would be created, or creates it and prints
// the result.
func runCreate[T runtime.Object](a *app, out *flags.Output, object T, create func(*konductor.Client) (T, error)) error {
	if err := out.Complete(); err != nil {
		return err
	}
	if out.IsClientDryRun() {
		return out.PrintObject(object, a.streams.Out)
	}
	client, err := a.connection.NewClient()
	if err != nil {
		return err
	}
	if object, err = create(client); err != nil {
		return err
	}
	return out.PrintObject(object, a.streams.Out)
}
