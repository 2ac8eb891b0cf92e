package cli

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	cmdutil "k8s.io/kubectl/pkg/cmd/util"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// output is what a command that writes prints: -o, and --dry-run.
type output struct {
	flags     *genericclioptions.PrintFlags
	operation string
	strategy  cmdutil.DryRunStrategy
	dryRun    string
}

// newOutput returns the output flags of a command that has done operation ("created") to an object and prints that object.
func newOutput(operation string) *output {
	s := runtime.NewScheme()
	// Registering types that exist can't fail.
	_ = konductorv1.AddToScheme(s)
	return &output{flags: genericclioptions.NewPrintFlags(operation).WithTypeSetter(s), operation: operation}
}

// newDone returns the output flags of a command that has no object to print, only that something was done to one.
func newDone() *output {
	o := newOutput("done")
	o.flags.JSONYamlPrintFlags, o.flags.TemplatePrinterFlags = nil, nil
	return o
}

func (o *output) addFlags(cmd *cobra.Command) {
	o.flags.AddFlags(cmd)
	cmd.Flags().Lookup("output").Usage = strings.Join(o.formats(), ", ")
	cmd.Flags().StringVar(&o.dryRun, "dry-run", "none", `"none", "client" (only print what would be written) or "server" (let the API server check it, without keeping it)`)
	cmd.Flags().Lookup("dry-run").NoOptDefVal = "client"
}

// formats are the values of -o that people use. cli-runtime knows a few more.
func (o *output) formats() []string {
	if o.flags.JSONYamlPrintFlags == nil {
		return []string{"name"}
	}
	return []string{"json", "yaml", "name", "jsonpath=…", "go-template=…"}
}

// complete checks what the flags say. It comes before anything is written.
func (o *output) complete() error {
	switch o.dryRun {
	case "", "none":
	case "client":
		o.strategy = cmdutil.DryRunClient
	case "server":
		o.strategy = cmdutil.DryRunServer
	default:
		return fmt.Errorf("--dry-run must be none, client or server, not %q", o.dryRun)
	}
	_, err := o.flags.ToPrinter()
	if genericclioptions.IsNoCompatiblePrinterError(err) {
		return fmt.Errorf("-o must be %s, not %q", oneOfThese(o.formats()), *o.flags.OutputFormat)
	}
	return err
}

// oneOfThese lists alternatives.
func oneOfThese(words []string) string {
	if len(words) == 1 {
		return words[0]
	}
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// options returns what the SDK needs to know of --dry-run.
func (o *output) options() []konductor.Option {
	if o.strategy == cmdutil.DryRunServer {
		return []konductor.Option{konductor.DryRun()}
	}
	return nil
}

// pretends reports whether nothing will be written.
func (o *output) pretends() bool { return o.strategy != cmdutil.DryRunNone }

func (o *output) clientOnly() bool { return o.strategy == cmdutil.DryRunClient }

// print prints an object as -o says: as KIND/NAME OPERATION when it is not given.
func (o *output) print(obj runtime.Object, w io.Writer) error {
	o.flags.NamePrintFlags.Operation = o.operation
	cmdutil.PrintFlagsWithDryRunStrategy(o.flags, o.strategy)
	p, err := o.flags.ToPrinter()
	if err != nil {
		return err
	}
	return p.PrintObj(obj, w)
}

// done prints that operation was done to the object of that kind and name.
func (o *output) done(kind, name, operation string, w io.Writer) error {
	o.operation = operation
	return o.print(&metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: konductorv1.GroupVersion().String(), Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Name: name},
	}, w)
}

// did prints that something was done to an object.
func (a *app) did(kind, name, what string) {
	fmt.Fprintf(a.streams.Out, "%s/%s %s\n", resourceName(kind), name, what)
}

// resourceName returns a kind as kubectl prints it before the name of an object.
func resourceName(kind string) string { return strings.ToLower(kind) + "." + konductorv1.GroupName }

func noneFound(resource, namespace string) string {
	if namespace == "" {
		return "no " + resource + " found in any namespace"
	}
	return fmt.Sprintf("no %s found in namespace %s", resource, namespace)
}
