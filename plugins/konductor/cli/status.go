package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
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

// statusCommand returns the command status, which shows one object or all.
func (a *app) statusCommand() *cobra.Command {
	l := &listing{}
	s := &summary{listing: l}
	cmd := &cobra.Command{
		Use: "status [KIND NAME | all]", Short: "Show how things stand",
		Long: `Show how one object stands, or all of a namespace in short: a line for each, with
what it waits for, who holds it and who waits.`,
		Example: a.examples("  koncli status all\n  koncli status all -A --sort-by=waiting\n  koncli status barrier extracts-done\n  koncli status lease db-migration -o yaml\n"),
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || (len(args) == 1 && args[0] == "all") {
				return a.statusAll(cmd.Context(), s)
			}
			kind, name := args[0], ""
			if len(args) == 2 {
				name = args[1]
			} else {
				kind, name, _ = strings.Cut(args[0], "/")
			}
			for _, k := range kinds() {
				if strings.EqualFold(kind, k[0]) || strings.EqualFold(kind, k[1]) || strings.EqualFold(kind, k[1]+"."+konductorv1.GroupName) {
					if name == "" {
						return fmt.Errorf("the name is missing: %s %s NAME", cmd.CommandPath(), strings.ToLower(k[0]))
					}
					return a.status(cmd.Context(), k[0], name, l.format, &s.drawing)
				}
			}
			return fmt.Errorf("there is no kind %q: use barrier, gate, lease or semaphore", kind)
		},
	}
	s.addFlags(cmd)
	return cmd
}

// statusOf returns the verb status of a kind.
func (a *app) statusOf(kind string) *cobra.Command {
	var format string
	d := &drawing{}
	lower := strings.ToLower(kind)
	cmd := &cobra.Command{
		Use: "status NAME", Short: fmt.Sprintf("Show how a %s stands", lower), Args: oneName(lower),
		Example: a.examples(fmt.Sprintf("  koncli %s status my-%s\n  koncli %s status my-%s -o json\n", lower, lower, lower, lower)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.status(cmd.Context(), kind, args[0], format, d)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, yaml, name, jsonpath=… or go-template=…, as in kubectl get")
	d.addFlags(cmd)
	return cmd
}

// status prints how one object stands.
func (a *app) status(ctx context.Context, kind, name, format string, d *drawing) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	obj, err := object(ctx, client, kind, name)
	if err != nil {
		return err
	}
	if format != "" {
		out := newOutput("")
		*out.flags.OutputFormat = format
		return out.print(obj, a.streams.Out)
	}
	config, err := a.config.ToRESTConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
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
