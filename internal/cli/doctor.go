package cli

import (
	"context"
	"errors"
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

The exit code is 0 if no check has failed, 4 if only permissions are missing, and 1
otherwise. -o json prints the same in a stable format.`,
		Example: a.formatExamples(`  # check the installation, and your own permissions
  koncli doctor

  # check the permissions of a Job's Pods, and grant them
  koncli doctor -f job.yaml
  koncli rbac -f job.yaml | kubectl apply -f -

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
	workloads, err := a.resolveSubjects(ctx, of, args, namespace)
	if err != nil {
		return nil, err
	}
	var clock apiclient.ServerClock
	config = rest.CopyConfig(config)
	config.Wrap(clock.WrapTransport)
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	facts, err := doctor.Collect(ctx, kube, doctor.Options{
		Program: a.displayName, ClientVersion: version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Namespace: namespace, Context: a.connection.ContextName(), Kubeconfig: ptr.Deref(a.connection.ConfigFlags.KubeConfig, ""), Subjects: workloads, Now: clock.Now,
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
	cmd.Flags().StringVar(&s.forValue, "for", "", "subject of the permissions: serviceaccount/NAME, user/NAME, or a workload as KIND/NAME")
	cmd.Flags().StringVarP(&s.filename, "filename", "f", "", "file with the workload that is the subject of the permissions; - reads standard input")
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

// resolveSubjects returns the subjects that the flags name; none without flags.
func (a *app) resolveSubjects(ctx context.Context, s *subjectFlags, args []string, namespace string) ([]doctor.Subject, error) {
	file := s.filename
	if s.forValue == "-f" {
		file = args[0]
	} else if s.forValue != "" && file != "" {
		return nil, errors.New("--for and -f can't be used together: pass either --for KIND/NAME or -f FILE")
	}
	builder := resource.NewBuilder(a.connection.ConfigFlags).Unstructured().NamespaceParam(namespace).DefaultNamespace().Flatten().ContinueOnError()
	switch {
	case file != "":
		builder = builder.Local().FilenameParam(false, &resource.FilenameOptions{Filenames: []string{file}})
	case s.forValue != "":
		if w, ok := doctor.ParseSubject(s.forValue, namespace); ok {
			return []doctor.Subject{w}, nil
		}
		if kind, name, ok := strings.Cut(s.forValue, "/"); !ok || kind == "" || name == "" {
			return nil, fmt.Errorf("--for must be serviceaccount/NAME, user/NAME, or a workload as KIND/NAME, not %q", s.forValue)
		}
		if err := a.connection.EnableReadRetry(ctx, nil); err != nil {
			return nil, err
		}
		builder = builder.ResourceTypeOrNameArgs(false, s.forValue)
	default:
		return nil, nil
	}
	infos, err := builder.Do().Infos()
	if apierrors.IsNotFound(err) {
		return nil, &konductor.NotFoundError{Message: s.forValue + " not found in namespace " + namespace}
	}
	if err != nil {
		return nil, fmt.Errorf("finding the workload: %w", err)
	}
	var found []doctor.Subject
	for _, info := range infos {
		obj, ok := info.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		w, has, err := doctor.SubjectOf(obj, namespace)
		if err != nil {
			return nil, err
		}
		if has {
			found = append(found, w)
		}
	}
	if len(found) == 0 {
		named := s.forValue
		if file != "" {
			named = file
		}
		return nil, fmt.Errorf("%s has no workload: name a Pod, Job, CronJob, Deployment or similar, or a ServiceAccount", named)
	}
	return found, nil
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
