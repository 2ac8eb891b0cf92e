package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/plugins/konductor/frame"
	"github.com/LogicIQ/konductor/plugins/konductor/live"
	"github.com/LogicIQ/konductor/plugins/konductor/terminal"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// summary are the flags of the summary of everything.
type summary struct {
	drawing
	*listing
	sortBy string
	follow bool
}

func (s *summary) addFlags(cmd *cobra.Command) {
	s.listing.addFlags(cmd)
	cmd.Flags().Lookup("output").Usage = "json, yaml, name or wide; of one object also jsonpath=… or go-template=…"
	var orders []string
	for _, order := range view.Orders() {
		orders = append(orders, string(order))
	}
	cmd.Flags().StringVar(&s.sortBy, "sort-by", string(view.ByKind), strings.Join(orders, ", "))
	cmd.Flags().BoolVarP(&s.follow, "watch", "w", false, "then print a line for each change")
	s.drawing.addFlags(cmd)
}

// statusAll prints a line for each object.
func (a *app) statusAll(ctx context.Context, s *summary) error {
	switch {
	case !slices.Contains(view.Orders(), view.Order(s.sortBy)):
		return fmt.Errorf("--sort-by must be kind, state, name, waiting or age, not %q", s.sortBy)
	case s.follow && s.fieldSelector != "":
		return fmt.Errorf("--watch doesn't go with --field-selector: leave one of them out")
	}
	s.drawing.allNamespaces, s.selector = s.listing.allNamespaces, s.labelSelector
	if s.follow {
		format := s.format
		if format != "" && format != "json" {
			return fmt.Errorf("-o must be json with --watch, not %q", format)
		}
		return a.watchLines(ctx, format, &s.drawing)
	}
	o, err := a.following(&s.drawing, append(view.Kinds(), claimKind)...)
	if err != nil {
		return err
	}
	o.Fields = s.fieldSelector
	config, err := a.config.ToRESTConfig()
	if err != nil {
		return fmt.Errorf("finding the cluster: %w", err)
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
	view.Sort(rows, view.Order(s.sortBy))
	return a.printRows(s, rows, o.Namespace, time.Now().Add(world.Skew()))
}

// printRows prints rows as -o says.
func (a *app) printRows(s *summary, rows []*view.Row, namespace string, now time.Time) error {
	switch s.format {
	case "", "wide":
	case "json":
		return a.printJSON(view.Summarize(rows))
	case "yaml":
		text, err := yaml.Marshal(view.Summarize(rows))
		if err != nil {
			return err
		}
		_, err = a.streams.Out.Write(text)
		return err
	case "name":
		for _, r := range rows {
			fmt.Fprintf(a.streams.Out, "%s/%s\n", resourceName(r.Kind), r.Name)
		}
		return nil
	default:
		return fmt.Errorf("-o must be json, yaml, name or wide, not %q", s.format)
	}
	if len(rows) == 0 {
		a.say(noneFound("barriers, gates, leases or semaphores", namespace))
		return nil
	}
	theme, err := a.theme(&s.drawing, true)
	if err != nil {
		return err
	}
	width, _ := terminal.Size(a.streams.Out)
	if s.format == "wide" {
		width = 0
	}
	table := frame.NewTable(theme, rows, width, namespace == "")
	var lines []string
	if !s.noHeaders {
		lines = append(lines, table.Header())
	}
	for _, r := range rows {
		lines = append(lines, strings.TrimRight(table.Row(r, now, false), " "))
	}
	return a.printLines(lines)
}
