package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"k8s.io/kubectl/pkg/cmd/get"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/plugins/konductor/terminal"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// getting shows objects as kubectl get does, with its flags and by its code: the server's columns, and every -o.
type getting struct {
	*get.GetOptions
	app *app
}

func (a *app) newGetting() *getting {
	return &getting{GetOptions: get.NewGetOptions(a.name, a.streams), app: a}
}

// format is the value of -o.
func (g *getting) format() string { return *g.PrintFlags.OutputFormat }

func (g *getting) addFlags(cmd *cobra.Command) {
	g.PrintFlags.AddFlags(cmd)
	f := cmd.Flags()
	f.Lookup("output").Usage = strings.Join(g.formats(), ", ") + ", as in kubectl get"
	f.Lookup("sort-by").Usage = "sort by this field, as in kubectl get; for example {.metadata.creationTimestamp}"
	f.BoolVarP(&g.AllNamespaces, "all-namespaces", "A", false, "in all namespaces")
	f.StringVarP(&g.LabelSelector, "selector", "l", "", "only objects with these labels, for example app=etl")
	f.StringVar(&g.FieldSelector, "field-selector", "", "only objects with these fields, for example status.phase=Waiting")
	f.BoolVarP(&g.Watch, "watch", "w", false, "then show each change")
	f.BoolVar(&g.IgnoreNotFound, "ignore-not-found", false, "don't complain when there is none")
	cmdutil.AddChunkSizeFlag(cmd, &g.ChunkSize)
}

// formats are the values of -o that people use. kubectl knows a few more.
func (g *getting) formats() []string {
	return []string{"json", "yaml", "name", "wide", "jsonpath=…", "go-template=…", "custom-columns=…"}
}

// check checks -o before anybody is asked anything.
func (g *getting) check() error {
	if _, err := labels.Parse(g.LabelSelector); err != nil {
		return fmt.Errorf("-l can't be %q (%w): write for example app=etl, app!=etl or 'app in (etl,ops)'", g.LabelSelector, err)
	}
	_, err := g.PrintFlags.ToPrinter()
	if genericclioptions.IsNoCompatiblePrinterError(err) {
		return fmt.Errorf("-o must be %s, not %q", oneOfThese(g.formats()), g.format())
	}
	return err
}

// run shows all objects of a kind, or those of these names.
func (g *getting) run(cmd *cobra.Command, kind string, names ...string) error {
	ctx := cmd.Context()
	if err := g.check(); err != nil {
		return err
	}
	if _, err := g.app.restConfig(); err != nil {
		return err
	}
	factory := cmdutil.NewFactory(g.app.config)
	args := append([]string{view.Resource(kind)}, names...)
	if err := g.Complete(factory, cmd, args); err != nil {
		return err
	}
	if err := g.Validate(); err != nil {
		return err
	}
	// What goes on to ask the API server when nobody wants to know any more ends with the process.
	done := make(chan error, 1)
	go func() { done <- g.show(ctx, factory, args) }()
	select {
	case err := <-done:
		return g.explain(err, kind, names)
	case <-ctx.Done():
		if g.Watch {
			// It goes on until it is interrupted: that is no failure.
			return nil
		}
		return context.Cause(ctx)
	}
}

func (g *getting) show(ctx context.Context, factory cmdutil.Factory, args []string) error {
	mapper, err := factory.ToRESTMapper()
	if err != nil {
		return err
	}
	// The builder would say of a type that isn't there only that.
	resource, _, _ := strings.Cut(args[0], ".")
	if _, err := mapper.ResourceFor(konductorv1.GroupVersion().WithResource(resource)); err != nil {
		return err
	}
	if g.Watch {
		return g.follow(ctx, factory, args)
	}
	return g.Run(factory, args)
}

// explain gives an error its type.
func (g *getting) explain(err error, kind string, names []string) error {
	if meta.IsNoMatchError(err) {
		return &konductor.UninstalledError{}
	}
	if all, ok := errors.AsType[utilerrors.Aggregate](err); ok {
		err = utilerrors.Reduce(utilerrors.Flatten(all))
	}
	if err != nil {
		if _, field, found := strings.Cut(err.Error(), "field label not supported: "); found {
			return fmt.Errorf("--field-selector can't have %s: use metadata.name, metadata.namespace or status.phase", field)
		}
	}
	verb, namespace := "list", g.Namespace
	if g.Watch {
		verb = "list,watch"
	}
	if g.AllNamespaces {
		namespace = ""
	}
	if len(names) > 0 {
		verb = "get"
	}
	err = konductor.Explain(err, verb, kind, namespace)
	var missing *konductor.NotFoundError
	if errors.As(err, &missing) && len(names) > 0 {
		missing.Name = names[0]
	}
	return err
}

// follow shows what there is and then each change, until ctx ends or nobody reads any more. kubectl's own way of doing that
// ends the process at an interrupt, and when the API server ends the watch, which it does every hour.
func (g *getting) follow(ctx context.Context, factory cmdutil.Factory, args []string) error {
	ctx, leave := terminal.ReaderGone(ctx, g.app.streams.Out)
	defer leave()
	found := factory.NewBuilder().
		Unstructured().
		NamespaceParam(g.Namespace).DefaultNamespace().AllNamespaces(g.AllNamespaces).
		LabelSelectorParam(g.LabelSelector).
		FieldSelectorParam(g.FieldSelector).
		RequestChunksOf(g.ChunkSize).
		ResourceTypeOrNameArgs(true, args...).
		SingleResourceType().
		Latest().
		TransformRequests(g.askForTable).
		Do()
	infos, err := found.Infos()
	if apierrors.IsNotFound(err) && g.IgnoreNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	printer, err := g.ToPrinter(infos[0].ResourceMapping(), nil, g.AllNamespaces, false)
	if err != nil {
		return err
	}
	now, err := found.Object()
	if err != nil {
		return err
	}
	revision, err := meta.NewAccessor().ResourceVersion(now)
	if err != nil {
		return err
	}
	if err := g.print(printer, now); err != nil {
		return err
	}
	watcher, err := watchtools.NewRetryWatcherWithContext(ctx, revision, cache.ToListerWatcherWithContext(&cache.ListWatch{
		// The Builder's watch can't be given a context. watcher.Stop ends it.
		WatchFuncWithContext: func(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return found.Watch(o.ResourceVersion)
		},
	}))
	if err != nil {
		return err
	}
	defer watcher.Stop()
	for {
		select {
		case <-ctx.Done():
			// It goes on until it is interrupted, or nobody reads any more: neither is a failure.
			return nil
		case e, ok := <-watcher.ResultChan():
			switch {
			case ctx.Err() != nil:
				return nil
			case !ok:
				return errors.New("the API server has ended the watch: start it again")
			case e.Type == watch.Error:
				return apierrors.FromObject(e.Object)
			}
			if err := g.print(printer, e.Object); err != nil {
				return err
			}
		}
	}
}

// print prints an object, or each of a list.
func (g *getting) print(printer printers.ResourcePrinterFunc, obj runtime.Object) error {
	objects := []runtime.Object{obj}
	if meta.IsListType(obj) {
		var err error
		if objects, err = meta.ExtractList(obj); err != nil {
			return err
		}
	}
	tabbed := printers.GetNewTabWriter(g.app.streams.Out)
	for _, one := range objects {
		if err := printer(one, tabbed); err != nil {
			return err
		}
	}
	return tabbed.Flush()
}

// askForTable asks for the server's columns where they are what is printed.
func (g *getting) askForTable(request *rest.Request) {
	if g.ServerPrint && g.IsHumanReadablePrinter {
		request.SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	}
}

// listCommand returns the verb list of a kind.
func (a *app) listCommand(kind, resource string) *cobra.Command {
	g := a.newGetting()
	lower := strings.ToLower(kind)
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List " + resource,
		Long: fmt.Sprintf("List %s, as kubectl get %s does.", resource, view.Resource(kind)),
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return g.run(cmd, kind) },
		Example: a.examples(fmt.Sprintf(`  koncli %[1]s list
  koncli %[1]s list -A --sort-by '{.metadata.creationTimestamp}'
  koncli %[1]s list -o custom-columns=NAME:.metadata.name,PHASE:.status.phase
`, lower)),
	}
	g.addFlags(cmd)
	return cmd
}
