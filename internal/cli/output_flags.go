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
	"github.com/LogicIQ/konductor/internal/cli/clierror"
)

// outputFlags are the output flags of a command that writes: -o and --dry-run.
type outputFlags struct {
	printFlags     *genericclioptions.PrintFlags
	operation      string
	dryRunStrategy cmdutil.DryRunStrategy
	dryRun         string
}

// newOutputFlags returns the output flags of a command that prints the object that it has written. operation is what was
// done, such as "created".
func newOutputFlags(operation string) *outputFlags {
	s := runtime.NewScheme()
	// Registering types that exist can't fail.
	_ = konductorv1.AddToScheme(s)
	return &outputFlags{printFlags: genericclioptions.NewPrintFlags(operation).WithTypeSetter(s), operation: operation}
}

// newNameOutputFlags returns the output flags of a command that prints only the object's name and the operation.
func newNameOutputFlags() *outputFlags {
	o := newOutputFlags("done")
	o.printFlags.JSONYamlPrintFlags, o.printFlags.TemplatePrinterFlags = nil, nil
	return o
}

func (o *outputFlags) addFlags(cmd *cobra.Command) {
	o.printFlags.AddFlags(cmd)
	cmd.Flags().Lookup("output").Usage = "output format: " + strings.Join(o.formats(), ", ")
	cmd.Flags().StringVar(&o.dryRun, "dry-run", "none", `"none", "client" (only print what would be written) or "server" (let the API server check it, without saving it)`)
	cmd.Flags().Lookup("dry-run").NoOptDefVal = "client"
}

// formats returns the usual values of -o. cli-runtime accepts a few more.
func (o *outputFlags) formats() []string {
	if o.printFlags.JSONYamlPrintFlags == nil {
		return []string{"name"}
	}
	return []string{"json", "yaml", "name", "jsonpath=…", "go-template=…"}
}

// complete validates the flags. Call it before anything is written.
func (o *outputFlags) complete() error {
	switch o.dryRun {
	case "", "none":
	case "client":
		o.dryRunStrategy = cmdutil.DryRunClient
	case "server":
		o.dryRunStrategy = cmdutil.DryRunServer
	default:
		return fmt.Errorf("--dry-run must be none, client or server, not %q", o.dryRun)
	}
	_, err := o.printFlags.ToPrinter()
	if genericclioptions.IsNoCompatiblePrinterError(err) {
		return fmt.Errorf("-o must be %s, not %q", clierror.JoinAlternatives(o.formats()), *o.printFlags.OutputFormat)
	}
	return err
}

// isDryRun reports whether nothing will be written.
func (o *outputFlags) isDryRun() bool { return o.dryRunStrategy != cmdutil.DryRunNone }

func (o *outputFlags) isClientDryRun() bool { return o.dryRunStrategy == cmdutil.DryRunClient }

// isServerDryRun reports whether the API server only checks what is written: the SDK's DryRun.
func (o *outputFlags) isServerDryRun() bool { return o.dryRunStrategy == cmdutil.DryRunServer }

// printObject prints an object in the format of -o; the default is KIND/NAME OPERATION.
func (o *outputFlags) printObject(obj runtime.Object, w io.Writer) error {
	o.printFlags.NamePrintFlags.Operation = o.operation
	cmdutil.PrintFlagsWithDryRunStrategy(o.printFlags, o.dryRunStrategy)
	p, err := o.printFlags.ToPrinter()
	if err != nil {
		return err
	}
	return p.PrintObj(obj, w)
}

// printOperation prints that operation was done to the object.
func (o *outputFlags) printOperation(kind, name, operation string, w io.Writer) error {
	o.operation = operation
	return o.printObject(&metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: konductorv1.GroupVersion().String(), Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Name: name},
	}, w)
}
