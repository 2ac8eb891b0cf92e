package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	"github.com/LogicIQ/konductor/internal/cli/printer"
	"github.com/LogicIQ/konductor/internal/cli/terminal"
	"github.com/LogicIQ/konductor/internal/doctor"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (a *app) doctorCommand() *cobra.Command {
	var format string
	var of subjectFlags
	cmd := &cobra.Command{
		Use: "doctor", Short: "Check the installation, and the permissions to use it",
		Long: `Check that konductor works in this cluster: the versions of Kubernetes and the operator,
the resource types and their fields, how many of the operator's replicas are ready, when
the leader last renewed its lease, and whether an object in the namespace has waited for
the operator for more than 10 seconds. Check that users and Pods can't act in the name
of another Pod, and that the creator of claims and arrivals made outside of Pods is
recorded.

Check that you have the permissions to use konductor; with --for or -f, check those of a
workload instead, and print the missing Role, ready to apply. Nothing is changed.

Of Jobs and CronJobs with annotations (docs/jobs.md), check whether the annotations are
valid and in their place, whether the objects that they name exist and admit what they
ask for, and whether Jobs are held in the namespace. Their Pods need no permissions. With
-f, check also those of the user who creates them: yours, or with --for another's.

The exit code is 0 if no check has failed, 4 if only permissions are missing, and 1
otherwise. -o json prints the same in a stable format.`,
		Example: a.formatExamples(`  # check the installation, and your own permissions
  koncli doctor

  # check the permissions of a Job's Pods, and grant them
  koncli doctor -f job.yaml
  koncli rbac -f job.yaml | kubectl apply -f -

  # check held Jobs, and whether a pipeline may create them
  koncli doctor -f held.yaml --for serviceaccount/ci:deployer

  # in CI
  koncli doctor --for serviceaccount/worker -o json
`),
		Args: of.validateArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.ValidateOutputFormat(format, "", "json", "yaml"); err != nil {
				return err
			}
			report, err := a.runDoctor(cmd.Context(), &of, args)
			if err != nil {
				return err
			}
			if format != "" {
				err = printer.WriteJSONOrYAML(a.streams.Out, format, report)
			} else {
				err = writeReport(a.streams.Out, report)
			}
			if err != nil || report.Healthy {
				return err
			}
			if report.OnlyRightsFailed() {
				return &clierror.ExitCodeError{Code: clierror.ExitForbidden}
			}
			return &clierror.ExitCodeError{Code: clierror.ExitError}
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "output format: json or yaml (default text)")
	of.addFlags(cmd)
	return cmd
}

func (a *app) runDoctor(ctx context.Context, of *subjectFlags, args []string) (*doctor.Report, error) {
	config, err := a.connection.ReadRetryConfig(ctx)
	if err != nil {
		return nil, err
	}
	namespace, err := a.connection.Namespace()
	if err != nil {
		return nil, err
	}
	targets, err := a.resolveTargets(ctx, of, args, namespace)
	if err != nil {
		return nil, err
	}
	file := of.fileArg(args)
	if file == "-" {
		file = "FILE" // A command line that reads standard input can't be run again.
	}
	var clock apiclient.ServerClock
	config = rest.CopyConfig(config)
	config.Wrap(clock.WrapTransport)
	// Warnings about what is created as a dry run are not what was asked for.
	config.WarningHandler = rest.NoWarnings{}
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	facts, err := doctor.Collect(ctx, kube, doctor.Options{
		Program: a.displayName, ClientVersion: version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Namespace: namespace, Context: a.connection.ContextName(), Kubeconfig: ptr.Deref(a.connection.ConfigFlags.KubeConfig, ""), Targets: targets, Filename: file, Now: clock.Now,
	})
	if apierrors.IsUnauthorized(err) {
		return nil, &konductor.ForbiddenError{Verb: "get", Resource: "version", Namespace: namespace, Unauthorized: true}
	}
	if err != nil {
		return nil, err
	}
	return doctor.Diagnose(facts), nil
}

// subjectFlags are the flags that name a subject.
type subjectFlags struct {
	forValue string
	filename string
}

func (s *subjectFlags) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.forValue, "for", "", "subject of the permissions: serviceaccount/NAME, user/NAME, or a workload as KIND/NAME; with -f, the user who creates held Jobs")
	cmd.Flags().StringVarP(&s.filename, "filename", "f", "", "file with the workloads that are the subject of the permissions; - reads standard input")
}

// fileArg returns the file; empty: none.
func (s *subjectFlags) fileArg(args []string) string {
	if s.forValue == "-f" {
		return args[0]
	}
	return s.filename
}

// validateArgs accepts a file name where "--for -f FILE" was written: -f is then the value of --for.
func (s *subjectFlags) validateArgs(cmd *cobra.Command, args []string) error {
	switch {
	case s.forValue == "-f" && len(args) == 1 && s.filename == "":
		return nil
	case s.forValue == "-f":
		return fmt.Errorf("the file is missing: %s -f FILE", cmd.CommandPath())
	case len(args) > 0:
		return fmt.Errorf("unexpected argument %q: %s takes no names, only --for KIND/NAME", args[0], cmd.CommandPath())
	}
	return nil
}

// resolveTargets returns what the flags name; nothing without flags.
func (a *app) resolveTargets(ctx context.Context, s *subjectFlags, args []string, namespace string) (t doctor.Targets, err error) {
	file := s.fileArg(args)
	var creator *doctor.Subject
	if s.forValue != "" && s.forValue != "-f" {
		if w, ok := doctor.ParseSubject(s.forValue, namespace); ok {
			creator = &w
		}
	}
	builder := resource.NewBuilder(a.connection.ConfigFlags).Unstructured().NamespaceParam(namespace).DefaultNamespace().Flatten().ContinueOnError()
	switch {
	case file != "" && creator == nil && s.forValue != "" && s.forValue != "-f":
		return t, fmt.Errorf("with -f, --for must be user/NAME or serviceaccount/NAME, not %q", s.forValue)
	case file != "":
		builder = builder.Local().FilenameParam(false, &resource.FilenameOptions{Filenames: []string{file}})
	case s.forValue != "":
		if creator != nil {
			t.Subjects = []doctor.Subject{*creator}
			return t, nil
		}
		if kind, name, ok := strings.Cut(s.forValue, "/"); !ok || kind == "" || name == "" {
			return t, fmt.Errorf("--for must be serviceaccount/NAME, user/NAME, or a workload as KIND/NAME, not %q", s.forValue)
		}
		if err := a.connection.EnableReadRetry(ctx, nil); err != nil {
			return t, err
		}
		builder = builder.ResourceTypeOrNameArgs(false, s.forValue)
	default:
		return t, nil
	}
	infos, err := builder.Do().Infos()
	if apierrors.IsNotFound(err) {
		return t, &konductor.NotFoundError{Message: s.forValue + " not found in namespace " + namespace}
	}
	if err != nil && strings.Contains(err.Error(), "metadata.annotations of type string") {
		err = fmt.Errorf("%w: write the values of annotations in quotes", err)
	}
	if err != nil {
		return t, fmt.Errorf("finding the workload: %w", err)
	}
	var objects []*unstructured.Unstructured
	for _, info := range infos {
		if obj, ok := info.Object.(*unstructured.Unstructured); ok {
			objects = append(objects, obj)
		}
	}
	if t, err = doctor.FindTargets(objects, namespace, creator, file != ""); err != nil || len(t.Subjects)+len(t.Workloads) > 0 {
		return t, err
	}
	if creator != nil {
		return t, fmt.Errorf("%s has no Job or CronJob with annotations of konductor, and creating others needs no rights: leave --for out to check their own accounts", file)
	}
	return t, fmt.Errorf("%s has no workload: name a Pod, Job, CronJob, Deployment or similar, or a ServiceAccount", cmp.Or(file, s.forValue))
}

// writeReport writes a report as text: a line for each check, its fix below it, and the missing Role at the end.
func writeReport(w io.Writer, r *doctor.Report) error {
	icons := map[doctor.Status]string{doctor.OK: "ok", doctor.Warning: "!", doctor.Failed: "x", doctor.Unknown: "?"}
	if !terminal.IsASCIIOnly(os.Getenv) {
		icons[doctor.OK], icons[doctor.Failed] = "✓", "✗"
	}
	words := map[doctor.Status]string{doctor.Warning: "warning: ", doctor.Failed: "failed: ", doctor.Unknown: "unknown: "}
	var b strings.Builder
	for _, c := range r.Checks {
		fmt.Fprintf(&b, "%-3s%-15s%s%s\n", icons[c.Status], c.Name, words[c.Status], c.Message)
		if c.Fix != "" {
			fmt.Fprintf(&b, "%18s%s\n", "", "-> "+c.Fix)
		}
	}
	if objects := r.RBACObjects(); len(objects) > 0 {
		b.WriteString("\n# Missing permissions, ready to apply:\n")
		if err := writeYAMLDocuments(&b, objects); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeYAMLDocuments writes objects as a YAML stream.
func writeYAMLDocuments(w io.Writer, objects []any) error {
	for i, object := range objects {
		text, err := yaml.Marshal(object)
		if err != nil {
			return err
		}
		if i > 0 {
			text = append([]byte("---\n"), text...)
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return nil
}
