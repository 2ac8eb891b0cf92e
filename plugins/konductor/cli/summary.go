package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/LogicIQ/konductor/plugins/konductor/frame"
	"github.com/LogicIQ/konductor/plugins/konductor/live"
	"github.com/LogicIQ/konductor/plugins/konductor/terminal"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// summary are the flags of the summary of everything: those of kubectl get, and how to draw it.
type summary struct {
	drawing
	*getting
}

func (a *app) newSummary() *summary { return &summary{getting: a.newGetting()} }

func (s *summary) addFlags(cmd *cobra.Command) {
	s.getting.addFlags(cmd)
	cmd.Flags().Lookup("sort-by").Usage = "sort all by " + oneOfThese(orders()) + " (default kind)"
	s.drawing.addFlags(cmd)
}

func orders() []string {
	var all []string
	for _, order := range view.Orders() {
		all = append(all, string(order))
	}
	return all
}

// order is the value of --sort-by.
func (s *summary) order() view.Order {
	return cmp.Or(view.Order(*s.PrintFlags.HumanReadableFlags.SortBy), view.ByKind)
}

// statusAll prints a line for each object.
func (a *app) statusAll(ctx context.Context, s *summary) error {
	switch {
	case !slices.Contains(view.Orders(), s.order()):
		return fmt.Errorf("--sort-by must be %s, not %q", oneOfThese(orders()), s.order())
	case s.Watch && s.FieldSelector != "":
		return fmt.Errorf("--watch doesn't go with --field-selector: leave one of them out")
	case s.Watch && s.format() != "" && s.format() != "json":
		return fmt.Errorf("-o must be json with --watch, not %q", s.format())
	}
	if err := s.check(); err != nil {
		return err
	}
	s.allNamespaces, s.selector = s.AllNamespaces, s.LabelSelector
	if s.Watch {
		return a.watchLines(ctx, s.format(), &s.drawing)
	}
	o, err := a.following(&s.drawing, append(view.Kinds(), claimKind)...)
	if err != nil {
		return err
	}
	o.Fields = s.FieldSelector
	config, err := a.restConfig()
	if err != nil {
		return err
	}
	news, err := live.Look(ctx, config, o)
	if err != nil {
		return err
	}
	world := view.NewWorld()
	world.Apply(news)
	for _, kind := range view.Kinds() {
		if denied := world.Denied(kind); denied != "" {
			a.say(denied)
		}
	}
	rows := world.Rows()
	view.Sort(rows, s.order())
	return a.printRows(s, rows, o.Namespace, time.Now().Add(world.Skew()))
}

// printRows prints rows as -o says.
func (a *app) printRows(s *summary, rows []*view.Row, namespace string, now time.Time) error {
	switch s.format() {
	case "", "wide":
	case "name":
		for _, r := range rows {
			fmt.Fprintf(a.streams.Out, "%s/%s\n", resourceName(r.Kind), r.Name)
		}
		return nil
	default:
		return s.printDocument(view.Summarize(rows))
	}
	if len(rows) == 0 {
		if s.IgnoreNotFound {
			return nil
		}
		a.say(noneFound("barriers, gates, leases or semaphores", namespace))
		return nil
	}
	theme, err := a.theme(&s.drawing, true)
	if err != nil {
		return err
	}
	width, _ := terminal.Size(a.streams.Out)
	if s.format() == "wide" {
		width = 0
	}
	table := frame.NewTable(theme, rows, width, namespace == "")
	var lines []string
	if !*s.PrintFlags.NoHeaders {
		lines = append(lines, table.Header())
	}
	for _, r := range rows {
		lines = append(lines, strings.TrimRight(table.Row(r, now, false), " "))
	}
	return a.printLines(lines)
}

// printDocument prints a document of ours as -o says.
func (g *getting) printDocument(document any) error {
	content, err := json.Marshal(document)
	if err != nil {
		return err
	}
	obj := &unstructured.Unstructured{}
	if err := obj.UnmarshalJSON(content); err != nil {
		return err
	}
	p, err := g.PrintFlags.ToPrinter()
	if err != nil {
		return err
	}
	return p.PrintObj(obj, g.app.streams.Out)
}
