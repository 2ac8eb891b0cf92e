package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/LogicIQ/konductor/internal/cli/printer"
	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/cli/terminal"
	"github.com/LogicIQ/konductor/internal/cli/tui"
	"github.com/LogicIQ/konductor/internal/live"
	"github.com/LogicIQ/konductor/internal/view"
)

// watchFlags are the flags of watch, and values derived from them.
type watchFlags struct {
	displayFlags
	once   bool
	format string
}

// displayFlags are the flags of commands that draw objects.
type displayFlags struct {
	allNamespaces bool
	selector      string
	background    string
	ascii         bool
}

func (l *displayFlags) addASCIIFlag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&l.ascii, "ascii", false, "draw with ASCII characters only")
}

func (a *app) watchCommand() *cobra.Command {
	w := &watchFlags{}
	cmd := &cobra.Command{
		Use: "watch", Aliases: []string{"dashboard", "ui"}, Short: "Show all objects in a live dashboard", Args: cobra.NoArgs,
		Long: `Show the barriers, gates, leases and semaphores of a namespace as they change: who
has arrived, who holds what and for how long, who waits, and the recent events. Press ?
to list the keys.

With -o json, with TERM=dumb or CI set, or if the output is not a terminal, print one
line for each change instead.`,
		Example: a.formatExamples("  koncli watch\n  koncli watch --all-namespaces\n\n  # print the current state as text and exit\n  koncli watch --once\n\n  # print one line of JSON for each change\n  koncli watch -o json\n"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runWatch(cmd, w) },
	}
	f := cmd.Flags()
	f.BoolVarP(&w.allNamespaces, "all-namespaces", "A", false, "watch all namespaces")
	f.StringVarP(&w.selector, "selector", "l", "", "label selector, for example app=etl")
	f.BoolVar(&w.once, "once", false, "print the current state and exit")
	f.StringVarP(&w.format, "output", "o", "", "output format; json: one line per change; with --once, one document")
	f.StringVar(&w.background, "background", "auto", "background of the terminal: auto (ask the terminal), dark or light")
	w.addASCIIFlag(cmd)
	return cmd
}

// runWatch runs the mode that the flags ask for.
func (a *app) runWatch(cmd *cobra.Command, w *watchFlags) error {
	switch {
	case w.format != "" && w.format != "json":
		return fmt.Errorf("-o must be json, not %q", w.format)
	case w.background != "auto" && w.background != "dark" && w.background != "light":
		return fmt.Errorf("--background must be auto, dark or light, not %q", w.background)
	}
	ctx := cmd.Context()
	drawn := terminal.IsInteractive(a.streams.In, os.Getenv) && terminal.IsInteractive(a.streams.Out, os.Getenv) && w.format == ""
	var err error
	switch {
	case w.once:
		err = a.printOnce(ctx, w)
	case drawn:
		err = a.runDashboard(cmd, w)
	default:
		err = a.printWatchEvents(ctx, w.format, &w.displayFlags)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		// It runs until it is interrupted: that is no failure.
		return nil
	}
	return err
}

// watchOptions returns what to watch.
func (a *app) watchOptions(l *displayFlags, kinds ...string) (live.Options, error) {
	o := live.Options{LabelSelector: l.selector, Kinds: kinds}
	if l.allNamespaces {
		return o, nil
	}
	var err error
	o.Namespace, err = a.connection.Namespace()
	return o, err
}

// runDashboard shows the live dashboard on the terminal.
func (a *app) runDashboard(cmd *cobra.Command, w *watchFlags) error {
	ctx := cmd.Context()
	o, err := a.watchOptions(&w.displayFlags)
	if err != nil {
		return err
	}
	c, err := a.newDashboardCluster(cmd, o)
	if err != nil {
		return err
	}
	defer c.warnings.Flush()
	feed, err := live.Start(c.REST, o)
	if err != nil {
		return err
	}
	dark := a.hasDarkBackground(ctx, w.background)
	first, err := a.waitForFirstState(ctx, feed)
	if err != nil {
		feed.Close()
		return err
	}
	theme, err := a.newTheme(&w.displayFlags, dark)
	if err != nil {
		feed.Close()
		return err
	}
	return tui.Run(ctx, tui.Options{
		Cluster: c, Feed: feed, Initial: first, Namespace: o.Namespace, Context: a.connection.ContextName(), Theme: theme, Clock: time.Now, OwnHolder: c.ownHolder,
	}, a.streams.In, a.streams.Out)
}

// waitForFirstState waits for the initial lists, and prints a message if that takes long.
func (a *app) waitForFirstState(ctx context.Context, feed *live.Feed) (view.Delta, error) {
	const aWhile = 2 * time.Second
	timer := time.AfterFunc(aWhile, func() { a.notify("waiting for the API server…") })
	defer timer.Stop()
	return feed.WaitForSync(ctx)
}

// hasDarkBackground reports whether the terminal's background is dark.
func (a *app) hasDarkBackground(ctx context.Context, which string) bool {
	in, ok := a.streams.In.(*os.File)
	out, isFile := a.streams.Out.(*os.File)
	if which != "auto" || !ok || !isFile {
		return which != "light"
	}
	return terminal.HasDarkBackground(ctx, in, out, os.Getenv)
}

// newTheme returns the colors and characters for stdout.
func (a *app) newTheme(l *displayFlags, dark bool) (render.Theme, error) {
	r, err := terminal.NewRenderer(a.streams.Out, a.color, dark, os.Getenv)
	if err != nil {
		return render.Theme{}, err
	}
	return render.NewTheme(r, l.isASCIIOnly()), nil
}

// isASCIIOnly reports whether to draw with ASCII characters only.
func (l *displayFlags) isASCIIOnly() bool { return l.ascii || terminal.IsASCIIOnly(os.Getenv) }

// newSymbols returns the symbols and colors of trees for stdout.
func (a *app) newSymbols(l *displayFlags) (printer.Symbols, error) {
	theme, err := a.newTheme(l, true)
	if err != nil {
		return printer.Symbols{}, err
	}
	return printer.NewSymbols(&theme, l.isASCIIOnly()), nil
}

// printWatchEvents prints a line for each existing object, and then for each change, until ctx ends.
func (a *app) printWatchEvents(ctx context.Context, format string, l *displayFlags) error {
	ctx, leave := terminal.BrokenPipeContext(ctx, a.streams.Out)
	defer leave()
	o, err := a.watchOptions(l, append(view.PrimitiveKinds(), claimKind)...)
	if err != nil {
		return err
	}
	config, err := a.connection.RESTConfig()
	if err != nil {
		return err
	}
	feed, err := live.Start(config, o)
	if err != nil {
		return err
	}
	defer feed.Close()
	first, err := a.waitForFirstState(ctx, feed)
	if ctx.Err() != nil {
		return nil
	}
	if err != nil {
		return err
	}
	events := &printer.WatchEvents{
		Out: a.streams.Out, Messages: a.messages, Theme: render.NewPlainTheme(l.isASCIIOnly()), Format: format, ShowNamespaces: o.Namespace == "",
	}
	return events.Print(ctx, feed, first)
}

// printOnce prints the current state once.
func (a *app) printOnce(ctx context.Context, w *watchFlags) error {
	o, err := a.watchOptions(&w.displayFlags)
	if err != nil {
		return err
	}
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
	rows := world.Rows()
	view.Sort(rows, view.ByKind)
	if w.format == "json" {
		return printer.WriteJSON(a.streams.Out, view.NewSummary(rows))
	}
	theme, err := a.newTheme(&w.displayFlags, true)
	if err != nil {
		return err
	}
	const events = 10
	once := render.Overview{
		Theme: theme, Width: a.displayWidth(), ScopeText: namespaceText(o.Namespace), ShowNamespaces: o.Namespace == "", Rows: rows,
		Events: world.Events(view.Ref{}, events), Now: time.Now().Add(world.ClockSkew()),
	}
	for _, kind := range view.WatchedKinds() {
		if denied := world.DeniedMessage(kind); denied != "" {
			once.Notes = append(once.Notes, denied)
		}
	}
	return printer.WriteLines(a.streams.Out, once.Lines())
}

// displayWidth returns the width to draw in: that of the terminal, else a usual one.
func (a *app) displayWidth() int {
	const usual = 120
	if width, _ := terminal.Size(a.streams.Out); width > 0 {
		return width
	}
	return usual
}

func namespaceText(namespace string) string {
	if namespace == "" {
		return "all namespaces"
	}
	return namespace
}
