package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	"github.com/LogicIQ/konductor/internal/cli/printer"
	"github.com/LogicIQ/konductor/internal/cli/terminal"
	"github.com/LogicIQ/konductor/internal/live"
	"github.com/LogicIQ/konductor/internal/view"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// statusCommand returns the command status, which shows one object or all.
func (a *app) statusCommand() *cobra.Command {
	s := a.newStatusFlags()
	cmd := &cobra.Command{
		Use: "status [KIND/NAME | all]", Short: "Show the status of one object, or of all",
		Long: `Show the status of one object, or one line for each object in the namespace: what it
waits for, who holds it and who waits for it. KIND NAME is the same as KIND/NAME.

One object: -o works as in kubectl get. All objects: -o json or yaml prints one document
of kind Summary.`,
		Example: a.formatExamples(`  # one line for each object, those with the longest wait first
  koncli status all --sort-by=waiting

  # who holds the lease, who waits for it, and the state of their Pods
  koncli status lease/db-migration

  # the number of arrivals
  koncli status barrier extracts-done -o jsonpath='{.status.arrived}'
`),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, err := parseStatusArgs(cmd, args)
			if err != nil {
				return err
			}
			if kind == "" {
				return a.runStatusAll(cmd.Context(), s)
			}
			return a.runStatus(cmd, s, kind, name)
		},
	}
	s.AddFlags(cmd)
	return cmd
}

// parseStatusArgs parses KIND/NAME, KIND NAME or all, for which kind is empty.
func parseStatusArgs(cmd *cobra.Command, args []string) (kind, name string, err error) {
	if len(args) == 0 || (len(args) == 1 && args[0] == "all") {
		return "", "", nil
	}
	if len(args) > 2 || (len(args) == 2 && strings.Contains(args[0], "/")) {
		return "", "", fmt.Errorf("one object at a time, not %q: %s KIND/NAME", args, cmd.CommandPath())
	}
	word := args[0]
	if len(args) == 2 {
		name = args[1]
	} else {
		word, name, _ = strings.Cut(args[0], "/")
	}
	kind, ok := flags.ParsePrimitiveKind(word)
	switch {
	case !ok:
		return "", "", clierror.UnknownKindError(word, "barrier", "gate", "lease", "semaphore")
	case name == "":
		return "", "", fmt.Errorf("the name is missing: %s %s/NAME", cmd.CommandPath(), strings.ToLower(kind))
	}
	return kind, name, nil
}

// kindStatusCommand returns the verb status of a kind.
func (a *app) kindStatusCommand(kind string) *cobra.Command {
	s := a.newStatusFlags()
	lower := strings.ToLower(kind)
	cmd := &cobra.Command{
		Use: "status NAME", Short: fmt.Sprintf("Show the status of a %s", lower), Args: flags.ExactlyOneName(lower),
		Example: a.formatExamples(fmt.Sprintf("  koncli %[1]s status my-%[1]s\n  koncli %[1]s status my-%[1]s -o json\n", lower)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runStatus(cmd, s, kind, args[0])
		},
	}
	s.AddFlags(cmd)
	// One object can't be selected or sorted.
	for _, name := range []string{"all-namespaces", "selector", "field-selector", "sort-by"} {
		cmd.Flags().Lookup(name).Hidden = true
	}
	cmd.Flags().Lookup("watch").Usage = "print the object, then its changes"
	return cmd
}

// runStatus prints the status of one object.
func (a *app) runStatus(cmd *cobra.Command, s *statusFlags, kind, name string) error {
	ctx, d := cmd.Context(), &s.displayFlags
	switch {
	case s.AllNamespaces:
		return fmt.Errorf("-A can't be used with the name of an object: use -n NAMESPACE")
	case s.LabelSelector != "" || s.FieldSelector != "":
		return fmt.Errorf("-l and --field-selector can't be used with the name of an object: omit them, or use 'status all'")
	case s.OutputFormat() != "" || s.Watch:
		return s.Show(cmd, kind, name)
	}
	client, err := a.connection.NewClient()
	if err != nil {
		return err
	}
	obj, err := getPrimitive(ctx, client, kind, name)
	var missing *konductor.NotFoundError
	if s.IgnoreNotFound && errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return err
	}
	config, err := a.connection.ReadRetryConfig(ctx)
	if err != nil {
		return err
	}
	ref := view.Ref{Kind: kind, Namespace: client.Namespace(), Name: name}
	// Related objects are shown as far as they can be read.
	news, err := live.List(ctx, config, live.Options{Namespace: ref.Namespace, OnlyObject: ref, Kinds: relatedKinds(kind)})
	if err != nil && len(news.Kinds) == 0 {
		return err
	}
	news.Kinds = append(news.Kinds, view.KindDelta{Kind: kind, Upserted: []metav1.Object{obj}})
	world := view.NewStore()
	world.Apply(news)
	now := time.Now().Add(world.ClockSkew())
	detail, ok := world.Detail(ref, now)
	if !ok {
		return fmt.Errorf("%s can't be shown", ref)
	}
	theme, err := a.newTheme(d, true)
	if err != nil {
		return err
	}
	width, _ := terminal.Size(a.streams.Out)
	return printer.WriteLines(a.streams.Out, theme.DetailLines(&detail, width, now))
}

// relatedKinds returns the kinds related to objects of a kind.
func relatedKinds(kind string) []string {
	switch kind {
	case konductorv1.KindBarrier:
		return []string{konductorv1.KindArrival, view.KindEvent, view.KindPod, view.KindJob}
	case konductorv1.KindGate:
		return []string{view.KindEvent, view.KindPod, view.KindJob}
	default:
		return []string{konductorv1.KindClaim, view.KindEvent, view.KindPod, view.KindJob}
	}
}

// primitiveObject is one of the four primitives.
type primitiveObject interface {
	runtime.Object
	metav1.Object
}

func getPrimitive(ctx context.Context, client *konductor.Client, kind, name string) (primitiveObject, error) {
	switch kind {
	case konductorv1.KindBarrier:
		return client.GetBarrier(ctx, name)
	case konductorv1.KindGate:
		return client.GetGate(ctx, name)
	case konductorv1.KindLease:
		return client.GetLease(ctx, name)
	default:
		return client.GetSemaphore(ctx, name)
	}
}
