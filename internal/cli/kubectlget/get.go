// Package kubectlget shows objects as kubectl get does, with its flags and its code: the server's columns, and every -o. Its
// watch outlasts interruptions, which kubectl's own doesn't.
package kubectlget

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/transport"
	"k8s.io/kubectl/pkg/cmd/get"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/cluster"
	"github.com/LogicIQ/konductor/internal/view"
	"github.com/LogicIQ/konductor/internal/watchretry"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Options are kubectl get's options, and the connection to the cluster that it asks.
type Options struct {
	*get.GetOptions
	connection *cluster.Connection
}

// New returns the options of a program of that name whose flags aren't set yet.
func New(displayName string, streams genericiooptions.IOStreams, connection *cluster.Connection) *Options {
	return &Options{GetOptions: get.NewGetOptions(displayName, streams), connection: connection}
}

// OutputFormat returns the value of -o.
func (g *Options) OutputFormat() string { return *g.PrintFlags.OutputFormat }

// AddFlags adds kubectl get's flags to a command.
func (g *Options) AddFlags(cmd *cobra.Command) {
	g.PrintFlags.AddFlags(cmd)
	f := cmd.Flags()
	f.Lookup("output").Usage = "output format: " + strings.Join(g.outputFormats(), ", ") + ", as in kubectl get"
	f.Lookup("sort-by").Usage = "JSONPath of the field to sort by, as in kubectl get; for example {.metadata.creationTimestamp}"
	f.BoolVarP(&g.AllNamespaces, "all-namespaces", "A", false, "show objects in all namespaces")
	f.StringVarP(&g.LabelSelector, "selector", "l", "", "label selector, for example app=etl")
	f.StringVar(&g.FieldSelector, "field-selector", "", "field selector, for example status.phase=Waiting")
	f.BoolVarP(&g.Watch, "watch", "w", false, "after the list, watch for changes")
	f.BoolVar(&g.IgnoreNotFound, "ignore-not-found", false, "don't fail if nothing is found")
	cmdutil.AddChunkSizeFlag(cmd, &g.ChunkSize)
}

// outputFormats returns the usual values of -o. kubectl accepts a few more.
func (g *Options) outputFormats() []string {
	return []string{"json", "yaml", "name", "wide", "jsonpath=…", "go-template=…", "custom-columns=…"}
}

// ValidateFlags checks the flags before the first request.
func (g *Options) ValidateFlags() error {
	if _, err := labels.Parse(g.LabelSelector); err != nil {
		return fmt.Errorf("-l %q is not a label selector (%w): write for example app=etl, app!=etl or 'app in (etl,ops)'", g.LabelSelector, err)
	}
	_, err := g.PrintFlags.ToPrinter()
	if genericclioptions.IsNoCompatiblePrinterError(err) {
		return fmt.Errorf("-o must be %s, not %q", clierror.JoinAlternatives(g.outputFormats()), g.OutputFormat())
	}
	return err
}

// Show shows all objects of a kind, or those of the given names.
func (g *Options) Show(cmd *cobra.Command, kind string, names ...string) error {
	ctx := cmd.Context()
	if err := g.ValidateFlags(); err != nil {
		return err
	}
	var wrap transport.WrapperFunc
	if g.Watch {
		wrap = watchretry.NewTransport
	}
	if err := g.connection.EnableReadRetry(ctx, wrap); err != nil {
		return err
	}
	factory := cmdutil.NewFactory(g.connection.ConfigFlags)
	args := append([]string{view.GroupResourceName(kind)}, names...)
	if err := g.Complete(factory, cmd, args); err != nil {
		return err
	}
	if err := g.Validate(); err != nil {
		return err
	}
	// After a cancellation the goroutine is left behind: it ends with the process.
	done := make(chan error, 1)
	go func() { done <- g.getOrWatch(ctx, factory, args) }()
	select {
	case err := <-done:
		return g.wrapError(err, kind, names)
	case <-ctx.Done():
		if g.Watch {
			// A watch goes on until it is interrupted: that is no failure.
			return nil
		}
		return context.Cause(ctx)
	}
}

func (g *Options) getOrWatch(ctx context.Context, factory cmdutil.Factory, args []string) error {
	mapper, err := factory.ToRESTMapper()
	if err != nil {
		return err
	}
	// For a missing type the builder's error would say no more than that.
	resource, _, _ := strings.Cut(args[0], ".")
	if _, err := mapper.ResourceFor(konductorv1.GroupVersion().WithResource(resource)); err != nil {
		return err
	}
	if g.Watch {
		return g.watchList(ctx, factory, args)
	}
	return g.Run(factory, args)
}

// wrapError converts an error to the type that its message and exit code come from.
func (g *Options) wrapError(err error, kind string, names []string) error {
	if meta.IsNoMatchError(err) {
		return &konductor.UninstalledError{}
	}
	if all, ok := errors.AsType[utilerrors.Aggregate](err); ok {
		err = utilerrors.Reduce(utilerrors.Flatten(all))
	}
	if err != nil {
		if _, field, found := strings.Cut(err.Error(), "field label not supported: "); found {
			return fmt.Errorf("--field-selector doesn't support %s: use metadata.name, metadata.namespace or status.phase", field)
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

// printObject prints an object, or each object of a list.
func (g *Options) printObject(printer printers.ResourcePrinterFunc, obj runtime.Object) error {
	objects := []runtime.Object{obj}
	if meta.IsListType(obj) {
		var err error
		if objects, err = meta.ExtractList(obj); err != nil {
			return err
		}
	}
	tabbed := printers.GetNewTabWriter(g.Out)
	for _, one := range objects {
		if err := printer(one, tabbed); err != nil {
			return err
		}
	}
	return tabbed.Flush()
}

// requestTable requests the server's columns if those are printed.
func (g *Options) requestTable(request *rest.Request) {
	if g.ServerPrint && g.IsHumanReadablePrinter {
		request.SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io,application/json")
	}
}

// PrintDocument prints a document in the format of -o.
func (g *Options) PrintDocument(document any) error {
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
	return p.PrintObj(obj, g.Out)
}
