package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/kubectlget"
	"github.com/LogicIQ/konductor/internal/cli/printer"
	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/cli/terminal"
	"github.com/LogicIQ/konductor/internal/live"
	"github.com/LogicIQ/konductor/internal/view"
)

// statusFlags are the flags of status without an object: those of kubectl get, and those for display.
type statusFlags struct {
	displayFlags
	*kubectlget.Options
}

func (a *app) newStatusFlags() *statusFlags {
	return &statusFlags{Options: kubectlget.New(a.displayName, a.streams, a.connection)}
}

// AddFlags adds all of them to a command.
func (s *statusFlags) AddFlags(cmd *cobra.Command) {
	s.Options.AddFlags(cmd)
	cmd.Flags().Lookup("sort-by").Usage = "sort all objects by " + clierror.JoinAlternatives(sortOrders()) + " (default kind)"
	s.addASCIIFlag(cmd)
}

func sortOrders() []string {
	var all []string
	for _, order := range view.SortOrders() {
		all = append(all, string(order))
	}
	return all
}

// sortOrder returns the value of --sort-by.
func (s *statusFlags) sortOrder() view.SortOrder {
	return cmp.Or(view.SortOrder(*s.PrintFlags.HumanReadableFlags.SortBy), view.ByKind)
}

// runStatusAll prints a line for each object.
func (a *app) runStatusAll(ctx context.Context, s *statusFlags) error {
	switch {
	case !slices.Contains(view.SortOrders(), s.sortOrder()):
		return fmt.Errorf("--sort-by must be %s, not %q", clierror.JoinAlternatives(sortOrders()), s.sortOrder())
	case s.Watch && s.FieldSelector != "":
		return fmt.Errorf("--watch can't be used with --field-selector: omit one of them")
	case s.Watch && s.OutputFormat() != "" && s.OutputFormat() != "json":
		return fmt.Errorf("-o must be json with --watch, not %q", s.OutputFormat())
	}
	if err := s.ValidateFlags(); err != nil {
		return err
	}
	s.allNamespaces, s.selector = s.AllNamespaces, s.LabelSelector
	if s.Watch {
		return a.printWatchEvents(ctx, s.OutputFormat(), &s.displayFlags)
	}
	o, err := a.watchOptions(&s.displayFlags, append(view.PrimitiveKinds(), claimKind)...)
	if err != nil {
		return err
	}
	o.FieldSelector = s.FieldSelector
	config, err := a.connection.ReadRetryConfig(ctx)
	if err != nil {
		return err
	}
	news, err := live.List(ctx, config, o)
	if err != nil {
		return err
	}
	world := view.NewStore()
	world.Apply(news)
	for _, kind := range view.PrimitiveKinds() {
		if denied := world.DeniedMessage(kind); denied != "" {
			a.notify(denied)
		}
	}
	rows := world.Rows()
	view.Sort(rows, s.sortOrder())
	return a.printRows(s, rows, o.Namespace, time.Now().Add(world.ClockSkew()))
}

// printRows prints rows in the format of -o.
func (a *app) printRows(s *statusFlags, rows []*view.Row, namespace string, now time.Time) error {
	switch s.OutputFormat() {
	case "", "wide":
	case "name":
		for _, r := range rows {
			fmt.Fprintf(a.streams.Out, "%s/%s\n", printer.QualifiedKind(r.Kind), r.Name)
		}
		return nil
	default:
		return s.PrintDocument(view.NewSummary(rows))
	}
	if len(rows) == 0 {
		if s.IgnoreNotFound {
			return nil
		}
		a.notify(printer.NoneFoundText("barriers, gates, leases or semaphores", namespace))
		return nil
	}
	theme, err := a.newTheme(&s.displayFlags, true)
	if err != nil {
		return err
	}
	width, _ := terminal.Size(a.streams.Out)
	if s.OutputFormat() == "wide" {
		width = 0
	}
	table := render.NewTable(theme, rows, width, namespace == "")
	var lines []string
	if !*s.PrintFlags.NoHeaders {
		lines = append(lines, table.HeaderLine())
	}
	for _, r := range rows {
		lines = append(lines, strings.TrimRight(table.RowLine(r, now, false), " "))
	}
	return printer.WriteLines(a.streams.Out, lines)
}
