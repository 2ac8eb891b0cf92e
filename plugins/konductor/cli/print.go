package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/printers"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// output is the -o flag, and --dry-run where there is something to write.
type output struct {
	flags  *genericclioptions.PrintFlags
	dryRun string
}

// newOutput returns the output flags of a command that has done operation ("created") to an object.
func newOutput(operation string) *output {
	s := runtime.NewScheme()
	// Registering types that exist can't fail.
	_ = konductorv1.AddToScheme(s)
	return &output{flags: genericclioptions.NewPrintFlags(operation).WithTypeSetter(s)}
}

func (o *output) addTo(cmd *cobra.Command) { o.flags.AddFlags(cmd) }

func (o *output) addDryRun(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.dryRun, "dry-run", "none", `"none", "client" (only print what would be written) or "server" (let the API server check it, without keeping it)`)
	cmd.Flags().Lookup("dry-run").NoOptDefVal = "unchanged"
}

// print prints an object as -o says: as KIND/NAME OPERATION when it is not given.
func (o *output) print(obj runtime.Object, w io.Writer) error {
	switch o.dryRun {
	case "client", "server":
		if err := o.flags.Complete("%s (" + o.dryRun + " dry run)"); err != nil {
			return err
		}
	}
	p, err := o.flags.ToPrinter()
	if err != nil {
		return err
	}
	return p.PrintObj(obj, w)
}

// options returns what the SDK needs to know of --dry-run.
func (o *output) options() ([]konductor.Option, error) {
	switch o.dryRun {
	case "", "none", "client":
		return nil, nil
	case "server":
		return []konductor.Option{konductor.DryRun()}, nil
	default:
		return nil, fmt.Errorf("--dry-run must be none, client or server, not %q", o.dryRun)
	}
}

func (o *output) clientOnly() bool { return o.dryRun == "client" }

// did prints that something was done to an object, unless -o name asks for its name alone.
func (a *app) did(kind, name, what string) {
	fmt.Fprintf(a.streams.Out, "%s/%s %s\n", resourceName(kind), name, what)
}

// resourceName returns a kind as kubectl prints it before the name of an object.
func resourceName(kind string) string { return strings.ToLower(kind) + "." + konductorv1.GroupName }

// listing is a list of objects as the server would show it: -A, -l and --field-selector as in kubectl get.
type listing struct {
	allNamespaces bool
	labelSelector string
	fieldSelector string
	noHeaders     bool
	format        string
}

func (l *listing) addFlags(cmd *cobra.Command) {
	f := cmd.Flags()
	f.BoolVarP(&l.allNamespaces, "all-namespaces", "A", false, "list in all namespaces")
	f.StringVarP(&l.labelSelector, "selector", "l", "", "list only objects with these labels, for example app=etl")
	f.StringVar(&l.fieldSelector, "field-selector", "", "list only objects with these fields, for example status.phase=Waiting")
	f.BoolVar(&l.noHeaders, "no-headers", false, "print no line of headers")
	f.StringVarP(&l.format, "output", "o", "", "json, yaml, name or wide, as in kubectl get")
}

// listCommand returns the verb list of a kind.
func (a *app) listCommand(kind, resource string) *cobra.Command {
	l := &listing{}
	cmd := &cobra.Command{
		Use: "list", Aliases: []string{"ls"}, Short: "List " + resource,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.list(cmd.Context(), l, kind, resource)
		},
		Example: a.examples(fmt.Sprintf("  koncli %s list\n  koncli %s list -A -o wide\n", strings.ToLower(kind), strings.ToLower(kind))),
	}
	l.addFlags(cmd)
	return cmd
}

// list prints the objects of a kind.
func (a *app) list(ctx context.Context, l *listing, kind, resource string) error {
	switch l.format {
	case "", "wide", "json", "yaml", "name":
	default:
		return fmt.Errorf("-o must be json, yaml, name or wide, not %q", l.format)
	}
	namespace := ""
	if !l.allNamespaces {
		var err error
		if namespace, err = a.namespace(); err != nil {
			return err
		}
	}
	client, err := a.restClient()
	if err != nil {
		return err
	}
	request := client.Get().NamespaceIfScoped(namespace, namespace != "").Resource(resource).
		VersionedParams(&metav1.ListOptions{LabelSelector: l.labelSelector, FieldSelector: l.fieldSelector}, metav1.ParameterCodec)
	if l.format == "json" || l.format == "yaml" || l.format == "name" {
		return a.listObjects(ctx, request, l.format, kind, namespace)
	}
	body, err := answer(ctx, request.SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io"))
	if err != nil {
		return konductor.Explain(err, "list", kind, namespace)
	}
	table := &metav1.Table{}
	if err := json.Unmarshal(body, table); err != nil {
		return fmt.Errorf("reading the API server's table: %w", err)
	}
	if len(table.Rows) == 0 {
		a.say(noneFound(resource, namespace))
		return nil
	}
	for i := range table.Rows {
		if err := json.Unmarshal(table.Rows[i].Object.Raw, &metav1.PartialObjectMetadata{}); err == nil {
			meta := &metav1.PartialObjectMetadata{}
			_ = json.Unmarshal(table.Rows[i].Object.Raw, meta)
			table.Rows[i].Object.Object = meta
		}
	}
	p := printers.NewTablePrinter(printers.PrintOptions{NoHeaders: l.noHeaders, WithNamespace: l.allNamespaces, Wide: l.format == "wide"})
	tabbed := printers.GetNewTabWriter(a.streams.Out)
	if err := p.PrintObj(table, tabbed); err != nil {
		return err
	}
	return tabbed.Flush()
}

func noneFound(resource, namespace string) string {
	if namespace == "" {
		return "no " + resource + " found in any namespace"
	}
	return fmt.Sprintf("no %s found in namespace %s", resource, namespace)
}

// listObjects prints the objects themselves, as one document.
func (a *app) listObjects(ctx context.Context, request *rest.Request, format, kind, namespace string) error {
	body, err := answer(ctx, request.SetHeader("Accept", "application/json"))
	if err != nil {
		return konductor.Explain(err, "list", kind, namespace)
	}
	list := &metav1.List{}
	if err := json.Unmarshal(body, list); err != nil {
		return fmt.Errorf("reading the API server's list: %w", err)
	}
	if format == "name" {
		for _, item := range list.Items {
			obj := &metav1.PartialObjectMetadata{}
			if err := json.Unmarshal(item.Raw, obj); err != nil {
				return err
			}
			fmt.Fprintf(a.streams.Out, "%s.%s/%s\n", strings.ToLower(kind), konductorv1.GroupName, obj.Name)
		}
		return nil
	}
	p, err := (&genericclioptions.JSONYamlPrintFlags{}).ToPrinter(format)
	if err != nil {
		return err
	}
	list.APIVersion, list.Kind = "v1", "List"
	return p.PrintObj(list, a.streams.Out)
}

// answer returns the body of the API server's answer, or as an error what it says is wrong.
func answer(ctx context.Context, request *rest.Request) ([]byte, error) {
	result := request.Do(ctx)
	if err := result.Error(); err != nil {
		return nil, err
	}
	return result.Raw()
}

// restClient returns a client of konductor's API group for requests whose answer is not an object.
func (a *app) restClient() (*rest.RESTClient, error) {
	config, err := a.config.ToRESTConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the cluster: %w", err)
	}
	s := runtime.NewScheme()
	gv := konductorv1.GroupVersion()
	// Without it an answer that is an error could not be read, and it says who may not do what.
	metav1.AddToGroupVersion(s, gv)
	config.GroupVersion, config.APIPath = &gv, "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(s).WithoutConversion()
	return rest.RESTClientFor(config)
}
