package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/utils/ptr"

	"github.com/LogicIQ/konductor/plugins/konductor/frame"
	"github.com/LogicIQ/konductor/plugins/konductor/live"
	"github.com/LogicIQ/konductor/plugins/konductor/terminal"
	"github.com/LogicIQ/konductor/plugins/konductor/tui"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// watching are the flags of watch, and what follows from them.
type watching struct {
	drawing
	once   bool
	format string
}

// drawing are the flags of what draws a view.
type drawing struct {
	allNamespaces bool
	selector      string
	background    string
	ascii         bool
}

func (l *drawing) addFlags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&l.ascii, "ascii", false, "draw with nothing but ASCII")
}

func (a *app) watchCommand() *cobra.Command {
	w := &watching{}
	cmd := &cobra.Command{
		Use: "watch", Aliases: []string{"dashboard", "ui"}, Short: "Show everything, live", Args: cobra.NoArgs,
		Long: `Show the barriers, gates, leases and semaphores of a namespace as they change: who
has arrived, who holds what and for how long, who waits, and what just happened.
Press ? for the keys.

Where the output is not a terminal, with -o json, and with TERM=dumb or CI set, it
prints a line for each change instead.`,
		Example: a.examples("  koncli watch\n  koncli watch --all-namespaces\n\n  # one picture, as text\n  koncli watch --once\n\n  # a line of JSON for each change\n  koncli watch -o json\n"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.watch(cmd, w) },
	}
	f := cmd.Flags()
	f.BoolVarP(&w.allNamespaces, "all-namespaces", "A", false, "watch all namespaces")
	f.StringVarP(&w.selector, "selector", "l", "", "watch only objects with these labels, for example app=etl")
	f.BoolVar(&w.once, "once", false, "print one picture and end")
	f.StringVarP(&w.format, "output", "o", "", "json: a line of JSON for each change, or with --once one document")
	f.StringVar(&w.background, "background", "auto", "auto (ask the terminal), dark or light")
	w.addFlags(cmd)
	return cmd
}

// watch shows what the flags ask for.
func (a *app) watch(cmd *cobra.Command, w *watching) error {
	switch {
	case w.format != "" && w.format != "json":
		return fmt.Errorf("-o must be json, not %q", w.format)
	case w.background != "auto" && w.background != "dark" && w.background != "light":
		return fmt.Errorf("--background must be auto, dark or light, not %q", w.background)
	}
	ctx := cmd.Context()
	drawn := terminal.IsTerminal(a.streams.In, os.Getenv) && terminal.IsTerminal(a.streams.Out, os.Getenv) && w.format == ""
	var err error
	switch {
	case w.once:
		err = a.watchOnce(ctx, w)
	case drawn:
		err = a.dashboard(cmd, w)
	default:
		err = a.watchLines(ctx, w.format, &w.drawing)
	}
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		// It goes on until it is interrupted: that is no failure.
		return nil
	}
	return err
}

// following returns what to follow.
func (a *app) following(l *drawing, kinds ...string) (live.Options, error) {
	o := live.Options{Selector: l.selector, Kinds: kinds}
	if l.allNamespaces {
		return o, nil
	}
	var err error
	o.Namespace, err = a.namespace()
	return o, err
}

// dashboard shows the live dashboard on the terminal.
func (a *app) dashboard(cmd *cobra.Command, w *watching) error {
	ctx := cmd.Context()
	o, err := a.following(&w.drawing)
	if err != nil {
		return err
	}
	c, err := a.newCluster(cmd, o)
	if err != nil {
		return err
	}
	defer c.warnings.say()
	feed, err := live.Start(c.config, o)
	if err != nil {
		return err
	}
	dark := a.background(ctx, w.background)
	first, err := a.settled(ctx, feed)
	if err != nil {
		feed.Close()
		return err
	}
	theme, err := a.theme(&w.drawing, dark)
	if err != nil {
		feed.Close()
		return err
	}
	return tui.Run(ctx, tui.Options{
		Cluster: c, Feed: feed, First: first, Namespace: o.Namespace, Context: a.contextName(), Theme: theme, Clock: time.Now, Self: c.self,
	}, a.streams.In, a.streams.Out)
}

// settled waits for the first picture, and says so if that takes a while.
func (a *app) settled(ctx context.Context, feed *live.Feed) (view.News, error) {
	const aWhile = 2 * time.Second
	timer := time.AfterFunc(aWhile, func() { a.say("waiting for the API server…") })
	defer timer.Stop()
	return feed.Settled(ctx)
}

// background reports whether the terminal's background is dark.
func (a *app) background(ctx context.Context, which string) bool {
	in, ok := a.streams.In.(*os.File)
	out, isFile := a.streams.Out.(*os.File)
	if which != "auto" || !ok || !isFile {
		return which != "light"
	}
	return terminal.IsDark(ctx, in, out, os.Getenv)
}

// theme returns the colours and characters of what goes to stdout.
func (a *app) theme(l *drawing, dark bool) (frame.Theme, error) {
	r, err := terminal.Renderer(a.streams.Out, a.color, dark, os.Getenv)
	if err != nil {
		return frame.Theme{}, err
	}
	return frame.NewTheme(r, l.onlyASCII()), nil
}

// onlyASCII reports whether to draw with nothing else.
func (l *drawing) onlyASCII() bool { return l.ascii || terminal.OnlyASCII(os.Getenv) }

// glyphs returns the signs and colours of trees that go to stdout.
func (a *app) glyphs(l *drawing) (glyphs, error) {
	theme, err := a.theme(l, true)
	if err != nil {
		return glyphs{}, err
	}
	return newGlyphs(&theme, l.onlyASCII()), nil
}

// contextName returns the name of the kubeconfig's context, if there is one and it says which cluster is meant.
func (a *app) contextName() string {
	if ptr.Deref(a.config.APIServer, "") != "" || ptr.Deref(a.config.ClusterName, "") != "" {
		return ""
	}
	if wanted := ptr.Deref(a.config.Context, ""); wanted != "" {
		return wanted
	}
	raw, err := a.config.ToRawKubeConfigLoader().RawConfig()
	if err != nil {
		return ""
	}
	return raw.CurrentContext
}

// watchOnce prints one picture.
func (a *app) watchOnce(ctx context.Context, w *watching) error {
	o, err := a.following(&w.drawing)
	if err != nil {
		return err
	}
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
	rows := world.Rows()
	view.Sort(rows, view.ByKind)
	if w.format == "json" {
		return a.printJSON(view.Summarize(rows))
	}
	theme, err := a.theme(&w.drawing, true)
	if err != nil {
		return err
	}
	const events = 10
	once := frame.Once{
		Theme: theme, Width: a.width(), Where: where(o.Namespace), Namespaces: o.Namespace == "", Rows: rows,
		Events: world.Events(view.Ref{}, events), Now: time.Now().Add(world.Skew()),
	}
	for _, kind := range view.Followed() {
		if denied := world.Denied(kind); denied != "" {
			once.Notes = append(once.Notes, denied)
		}
	}
	return a.printLines(once.Lines())
}

// width returns how wide a picture may be: as wide as the terminal, else what is usual, for it is drawn to be looked at.
func (a *app) width() int {
	const usual = 120
	if width, _ := terminal.Size(a.streams.Out); width > 0 {
		return width
	}
	return usual
}

func where(namespace string) string {
	if namespace == "" {
		return "all namespaces"
	}
	return namespace
}
