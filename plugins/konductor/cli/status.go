package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/apis/waits"
	"github.com/LogicIQ/konductor/plugins/konductor/live"
	"github.com/LogicIQ/konductor/plugins/konductor/terminal"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// kinds are the four primitives and their resources, in the order in which they are shown.
func kinds() [][2]string {
	return [][2]string{
		{konductorv1.KindBarrier, "barriers"}, {konductorv1.KindGate, "gates"},
		{konductorv1.KindLease, "leases"}, {konductorv1.KindSemaphore, "semaphores"},
	}
}

// primitive returns which of the four primitives people call so.
func primitive(word string) (kind string, ok bool) {
	ref, ok := waits.ParseRef(word)
	return ref.Kind, ok && slices.Contains(view.Kinds(), ref.Kind)
}

// unknownKind refuses a kind that there is not, with the one that may have been meant.
func unknownKind(word string, known ...string) error {
	if meant := nearest(word, known); meant != "" {
		return fmt.Errorf("there is no kind %q: did you mean %s?", word, meant)
	}
	return fmt.Errorf("there is no kind %q: use %s", word, oneOfThese(known))
}

// statusCommand returns the command status, which shows one object or all.
func (a *app) statusCommand() *cobra.Command {
	s := a.newSummary()
	cmd := &cobra.Command{
		Use: "status [KIND/NAME | all]", Short: "Show how things stand",
		Long: `Show how one object stands, or all of a namespace in short: a line for each, with
what it waits for, who holds it and who waits. KIND NAME is the same as KIND/NAME.

With -o, one object is printed as kubectl get prints it. All are printed with -o json
or yaml as one document, whose form has a version: kind Summary.`,
		Example: a.examples(`  # a line for each object, those that wait for longest first
  koncli status all --sort-by=waiting

  # who holds the lease, who waits for it, and what its pods do
  koncli status lease/db-migration

  # how many have arrived
  koncli status barrier extracts-done -o jsonpath='{.status.arrived}'
`),
		RunE: func(cmd *cobra.Command, args []string) error {
			kind, name, err := statusArgs(cmd, args)
			if err != nil {
				return err
			}
			if kind == "" {
				return a.statusAll(cmd.Context(), s)
			}
			return a.status(cmd, s, kind, name)
		},
	}
	s.addFlags(cmd)
	return cmd
}

// statusArgs reads KIND/NAME, KIND NAME or all, for which kind is empty.
func statusArgs(cmd *cobra.Command, args []string) (kind, name string, err error) {
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
	kind, ok := primitive(word)
	switch {
	case !ok:
		return "", "", unknownKind(word, "barrier", "gate", "lease", "semaphore")
	case name == "":
		return "", "", fmt.Errorf("the name is missing: %s %s/NAME", cmd.CommandPath(), strings.ToLower(kind))
	}
	return kind, name, nil
}

// statusOf returns the verb status of a kind.
func (a *app) statusOf(kind string) *cobra.Command {
	s := a.newSummary()
	lower := strings.ToLower(kind)
	cmd := &cobra.Command{
		Use: "status NAME", Short: fmt.Sprintf("Show how a %s stands", lower), Args: oneName(lower),
		Example: a.examples(fmt.Sprintf("  koncli %[1]s status my-%[1]s\n  koncli %[1]s status my-%[1]s -o json\n", lower)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.status(cmd, s, kind, args[0])
		},
	}
	s.addFlags(cmd)
	cmd.Flags().Lookup("sort-by").Hidden = true
	return cmd
}

// status prints how one object stands.
func (a *app) status(cmd *cobra.Command, s *summary, kind, name string) error {
	ctx, d := cmd.Context(), &s.drawing
	switch {
	case s.AllNamespaces:
		return fmt.Errorf("an object of a name is in one namespace: use -n NAMESPACE instead of -A")
	case s.LabelSelector != "" || s.FieldSelector != "":
		return fmt.Errorf("an object of a name needs no selector: leave -l and --field-selector out, or use 'status all'")
	case s.format() != "" || s.Watch:
		return s.run(cmd, kind, name)
	}
	client, err := a.client()
	if err != nil {
		return err
	}
	obj, err := object(ctx, client, kind, name)
	var missing *konductor.NotFoundError
	if s.IgnoreNotFound && errors.As(err, &missing) {
		return nil
	}
	if err != nil {
		return err
	}
	config, err := a.restConfig()
	if err != nil {
		return err
	}
	ref := view.Ref{Kind: kind, Namespace: client.Namespace(), Name: name}
	// What belongs to the object is shown as far as it may be seen.
	news, err := live.Look(ctx, config, live.Options{Namespace: ref.Namespace, Only: ref, Kinds: around(kind)})
	if err != nil && len(news.Kinds) == 0 {
		return err
	}
	news.Kinds = append(news.Kinds, view.KindNews{Kind: kind, Put: []metav1.Object{obj}})
	world := view.NewWorld()
	world.Apply(news)
	now := time.Now().Add(world.Skew())
	detail, ok := world.Detail(ref, now)
	if !ok {
		return fmt.Errorf("%s can't be shown", ref)
	}
	theme, err := a.theme(d, true)
	if err != nil {
		return err
	}
	width, _ := terminal.Size(a.streams.Out)
	return a.printLines(theme.Detail(&detail, width, now))
}

// around returns the kinds that belong to objects of a kind.
func around(kind string) []string {
	switch kind {
	case konductorv1.KindBarrier:
		return []string{konductorv1.KindArrival, view.KindEvent, view.KindPod, view.KindJob}
	case konductorv1.KindGate:
		return []string{view.KindEvent, view.KindPod, view.KindJob}
	default:
		return []string{konductorv1.KindClaim, view.KindEvent, view.KindPod, view.KindJob}
	}
}

// konductorObject is one of the four primitives.
type konductorObject interface {
	runtime.Object
	metav1.Object
}

func object(ctx context.Context, client *konductor.Client, kind, name string) (konductorObject, error) {
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
