// Package flags has the flags and arguments that several commands share, and checks their values.
package flags

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

// Output are the output flags of a command that writes: -o and --dry-run.
type Output struct {
	printFlags     *genericclioptions.PrintFlags
	operation      string
	dryRunStrategy cmdutil.DryRunStrategy
	dryRun         string
}

// NewOutput returns the output flags of a command that prints the object that it has written. operation is what was
// done, such as "created".
func NewOutput(operation string) *Output {
	s := runtime.NewScheme()
	// Registering types that exist can't fail.
	_ = konductorv1.AddToScheme(s)
	return &Output{printFlags: genericclioptions.NewPrintFlags(operation).WithTypeSetter(s), operation: operation}
}

// NewNameOutput returns the output flags of a command that prints only the object's name and the operation.
func NewNameOutput() *Output {
	o := NewOutput("done")
	o.printFlags.JSONYamlPrintFlags, o.printFlags.TemplatePrinterFlags = nil, nil
	return o
}

// AddFlags adds the flags to a command.
func (o *Output) AddFlags(cmd *cobra.Command) {
	o.printFlags.AddFlags(cmd)
	cmd.Flags().Lookup("output").Usage = "output format: " + strings.Join(o.formats(), ", ")
	cmd.Flags().StringVar(&o.dryRun, "dry-run", "none", `"none", "client" (only print what would be written) or "server" (let the API server check it, without saving it)`)
	cmd.Flags().Lookup("dry-run").NoOptDefVal = "client"
}

// formats returns the usual values of -o. cli-runtime accepts a few more.
func (o *Output) formats() []string {
	if o.printFlags.JSONYamlPrintFlags == nil {
		return []string{"name"}
	}
	return []string{"json", "yaml", "name", "jsonpath=…", "go-template=…"}
}

// Complete validates the flags. Call it before anything is written.
func (o *Output) Complete() error {
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

// IsDryRun reports whether nothing will be written.
func (o *Output) IsDryRun() bool { return o.dryRunStrategy != cmdutil.DryRunNone }

// IsClientDryRun reports whether nothing is sent to the API server.
func (o *Output) IsClientDryRun() bool { return o.dryRunStrategy == cmdutil.DryRunClient }

// IsServerDryRun reports whether the API server only checks what is written: the SDK's DryRun.
func (o *Output) IsServerDryRun() bool { return o.dryRunStrategy == cmdutil.DryRunServer }

// PrintObject prints an object in the format of -o; the default is KIND/NAME OPERATION.
func (o *Output) PrintObject(obj runtime.Object, w io.Writer) error {
	o.printFlags.NamePrintFlags.Operation = o.operation
	cmdutil.PrintFlagsWithDryRunStrategy(o.printFlags, o.dryRunStrategy)
	p, err := o.printFlags.ToPrinter()
	if err != nil {
		return err
	}
	return p.PrintObj(obj, w)
}

// PrintOperation prints that operation was done to the object.
func (o *Output) PrintOperation(kind, name, operation string, w io.Writer) error {
	o.operation = operation
	return o.PrintObject(&metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: konductorv1.GroupVersion().String(), Kind: kind},
		ObjectMeta: metav1.ObjectMeta{Name: name},
	}, w)
}

// ValidateOutputFormat checks the value of -o. The first of the formats is the default, which its error doesn't name.
func ValidateOutputFormat(format string, formats ...string) error {
	for _, f := range formats {
		if format == f {
			return nil
		}
	}
	return fmt.Errorf("-o must be %s, not %q", clierror.JoinAlternatives(formats[1:]), format)
}
