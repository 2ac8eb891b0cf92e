package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/duration"
	"k8s.io/cli-runtime/pkg/printers"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
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
	cmd := &cobra.Command{
		Use: "status [KIND NAME | all]", Short: "Show how things stand",
		Example: a.examples("  koncli status all\n  koncli status barrier extracts-done\n  koncli status lease db-migration -o yaml\n"),
		Args:    cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 || (len(args) == 1 && args[0] == "all") {
				return a.statusAll(cmd.Context(), l)
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
					return a.status(cmd.Context(), k[0], name, l.format)
				}
			}
			return fmt.Errorf("there is no kind %q: use barrier, gate, lease or semaphore", kind)
		},
	}
	l.addFlags(cmd)
	return cmd
}

// statusOf returns the verb status of a kind.
func (a *app) statusOf(kind string) *cobra.Command {
	var format string
	lower := strings.ToLower(kind)
	cmd := &cobra.Command{
		Use: "status NAME", Short: fmt.Sprintf("Show how a %s stands", lower), Args: oneName(lower),
		Example: a.examples(fmt.Sprintf("  koncli %s status my-%s\n  koncli %s status my-%s -o json\n", lower, lower, lower, lower)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.status(cmd.Context(), kind, args[0], format)
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json, yaml, name, jsonpath=… or go-template=…, as in kubectl get")
	return cmd
}

// statusAll prints a table for each kind of which there are objects.
func (a *app) statusAll(ctx context.Context, l *listing) error {
	total := 0
	for _, k := range kinds() {
		if l.format == "" || l.format == "wide" {
			var text strings.Builder
			section := *a
			section.streams.Out = &text
			n, err := section.list(ctx, l, k[0], k[1], true)
			if err != nil {
				return err
			}
			if n > 0 && total > 0 {
				fmt.Fprintln(a.streams.Out)
			}
			if n > 0 {
				fmt.Fprintf(a.streams.Out, "%s\n%s", strings.ToUpper(k[1]), text.String())
			}
			total += n
			continue
		}
		n, err := a.list(ctx, l, k[0], k[1], true)
		if err != nil {
			return err
		}
		total += n
	}
	if total > 0 {
		return nil
	}
	namespace, err := a.namespace()
	if err != nil {
		return err
	}
	if l.allNamespaces {
		namespace = ""
	}
	a.say(noneFound("barriers, gates, leases or semaphores", namespace))
	return nil
}

// status prints how one object stands.
func (a *app) status(ctx context.Context, kind, name, format string) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	obj, text, err := look(ctx, client, kind, name)
	if err != nil {
		return err
	}
	if format != "" {
		out := newOutput("")
		*out.flags.OutputFormat = format
		return out.print(obj, a.streams.Out)
	}
	tabbed := printers.GetNewTabWriter(a.streams.Out)
	text(tabbed)
	return tabbed.Flush()
}

// look gets the object and returns it with what writes it for people.
func look(ctx context.Context, client *konductor.Client, kind, name string) (runtime.Object, func(io.Writer), error) {
	switch kind {
	case konductorv1.KindBarrier:
		b, err := client.GetBarrier(ctx, name)
		return b, func(w io.Writer) { writeBarrier(w, b) }, err
	case konductorv1.KindGate:
		g, err := client.GetGate(ctx, name)
		return g, func(w io.Writer) { writeGate(w, g) }, err
	case konductorv1.KindLease:
		l, err := client.GetLease(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		claims, err := client.ListClaims(ctx, kind, name)
		return l, func(w io.Writer) { writeLease(w, l, claims) }, err
	default:
		s, err := client.GetSemaphore(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		claims, err := client.ListClaims(ctx, kind, name)
		return s, func(w io.Writer) { writeSemaphore(w, s, claims) }, err
	}
}

// line writes one "Name: value" of a status.
func line(w io.Writer, name string, value any) { fmt.Fprintf(w, "%s:\t%v\n", name, value) }

func head(w io.Writer, kind string, m metav1.ObjectMeta, phase string) {
	line(w, kind, m.Name)
	line(w, "Namespace", m.Namespace)
	if phase == "" {
		phase = "not seen by an operator yet"
	}
	line(w, "Phase", phase)
}

func message(w io.Writer, conditions []metav1.Condition, kind string) {
	if c := meta.FindStatusCondition(conditions, kind); c != nil {
		line(w, "Message", c.Message)
	}
}

func writeBarrier(w io.Writer, b *konductorv1.Barrier) {
	head(w, konductorv1.KindBarrier, b.ObjectMeta, string(b.Status.Phase))
	line(w, "Arrived", fmt.Sprintf("%d of %d (quorum %d)", b.Status.Arrived, b.Spec.Expected, b.Quorum()))
	if b.Status.Failed > 0 {
		line(w, "Failed", b.Status.Failed)
	}
	if b.Spec.Timeout != nil {
		line(w, "Timeout", b.Spec.Timeout.Duration.Duration)
	}
	if b.Status.OpenedAt != nil {
		line(w, "Opened", since(b.Status.OpenedAt.Time)+" ago")
	}
	message(w, b.Status.Conditions, konductorv1.ConditionOpen)
	for i, participant := range b.Status.Arrivals {
		if i == 0 {
			fmt.Fprintln(w, "Arrivals:")
		}
		fmt.Fprintf(w, "  %s\n", participant)
	}
}

func writeGate(w io.Writer, g *konductorv1.Gate) {
	head(w, konductorv1.KindGate, g.ObjectMeta, string(g.Status.Phase))
	line(w, "Conditions", fmt.Sprintf("%d of %d met", g.Status.ConditionsMet, g.Status.ConditionsTotal))
	if g.Spec.Timeout != nil {
		line(w, "Timeout", g.Spec.Timeout.Duration.Duration)
	}
	if g.Status.OpenedAt != nil {
		line(w, "Opened", since(g.Status.OpenedAt.Time)+" ago")
	}
	for _, c := range g.Status.ConditionStatuses {
		mark := "not met"
		if c.Met {
			mark = "met"
		}
		fmt.Fprintf(w, "  %s\t%s\n", mark, c.Message)
	}
	if c := meta.FindStatusCondition(g.Status.Conditions, konductorv1.ConditionReady); c != nil && c.Status == metav1.ConditionFalse {
		line(w, "Problem", c.Message)
	}
}

func writeLease(w io.Writer, l *konductorv1.Lease, claims *konductorv1.ClaimList) {
	head(w, konductorv1.KindLease, l.ObjectMeta, string(l.Status.Phase))
	writeHolders(w, rules.LeaseHolders(&l.Status))
	writeQueue(w, claims)
}

func writeSemaphore(w io.Writer, s *konductorv1.Semaphore, claims *konductorv1.ClaimList) {
	head(w, konductorv1.KindSemaphore, s.ObjectMeta, string(s.Status.Phase))
	line(w, "Permits", fmt.Sprintf("%d in use of %d, %d free", s.Status.InUse, s.Spec.Permits, s.Status.Available))
	writeHolders(w, s.Status.Holders)
	writeQueue(w, claims)
}

func writeHolders(w io.Writer, holders []konductorv1.SemaphoreHolder) {
	for i, h := range holders {
		if i == 0 {
			fmt.Fprintln(w, "Holders:\nHOLDER\tPERMITS\tTOKEN\tHELD FOR\tEXPIRES IN")
		}
		expires := "with its pod"
		if h.ExpiresAt != nil {
			expires = duration.HumanDuration(time.Until(h.ExpiresAt.Time))
		}
		fmt.Fprintf(w, "%s\t%d\t%d\t%s\t%s\n", h.Holder, h.Permits, h.FencingToken, since(h.AcquiredAt.Time), expires)
	}
}

// writeQueue writes who waits, in the order in which they will be served.
func writeQueue(w io.Writer, claims *konductorv1.ClaimList) {
	var waiting []konductorv1.Claim
	for _, c := range claims.Items {
		if c.Status.Phase == konductorv1.ClaimPending || c.Status.Phase == "" {
			waiting = append(waiting, c)
		}
	}
	slices.SortFunc(waiting, func(x, y konductorv1.Claim) int {
		if rules.Before(&x, &y, revision) {
			return -1
		}
		return 1
	})
	for i, c := range waiting {
		if i == 0 {
			fmt.Fprintln(w, "Waiting:\nPLACE\tHOLDER\tPERMITS\tPRIORITY\tWAITS FOR")
		}
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%s\n", i+1, c.Spec.Holder, c.Spec.Permits, c.Spec.Priority, since(c.CreationTimestamp.Time))
	}
}

func revision(c *konductorv1.Claim) uint64 {
	n, err := strconv.ParseUint(c.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func since(t time.Time) string { return duration.HumanDuration(time.Since(t)) }
