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
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/plugins/konductor/doctor"
	"github.com/LogicIQ/konductor/plugins/konductor/terminal"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func (a *app) doctor() *cobra.Command {
	var format string
	var of subjects
	cmd := &cobra.Command{
		Use: "doctor", Short: "Find out whether konductor works here, and for whom",
		Long: `Find out whether konductor works in this cluster: versions, resource types, the
operator, who leads, how far it lags behind, whether the API server keeps people
and Pods from acting in another's name, and whether you have the rights to take
part. With --for it looks at the rights of a workload instead, and prints the Role
that is missing, ready to apply. Nothing is changed.

It exits with 0 when nothing has failed, with 4 when only rights are missing, and
with 1 otherwise. -o json has the same in a form that doesn't change.`,
		Example: a.examples(`  # does it work here, for me?
  koncli doctor

  # may the Pods of this Job take part? if not, let them
  koncli doctor --for -f job.yaml
  koncli rbac --for -f job.yaml | kubectl apply -f -

  # in CI
  koncli doctor --for serviceaccount/worker -o json
`),
		Args: of.args,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := oneOf(format, "", "json", "yaml"); err != nil {
				return err
			}
			report, err := a.examine(cmd.Context(), &of, args)
			if err != nil {
				return err
			}
			if format != "" {
				err = encode(a.streams.Out, format, report)
			} else {
				err = writeReport(a.streams.Out, report)
			}
			if err != nil || report.Healthy {
				return err
			}
			if report.OnlyRights() {
				return &codedError{code: exitForbidden}
			}
			return &codedError{code: exitError}
		},
	}
	cmd.Flags().StringVarP(&format, "output", "o", "", "json or yaml")
	of.addTo(cmd)
	return cmd
}

func (a *app) examine(ctx context.Context, of *subjects, args []string) (*doctor.Report, error) {
	config, err := a.restConfig()
	if err != nil {
		return nil, err
	}
	namespace, err := a.namespace()
	if err != nil {
		return nil, err
	}
	workloads, err := a.workloads(of, args, namespace)
	if err != nil {
		return nil, err
	}
	var date serverDate
	config = rest.CopyConfig(config)
	config.Wrap(date.wrap)
	kube, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	facts, err := doctor.Examine(ctx, kube, doctor.Options{
		Program: a.name, Client: version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
		Namespace: namespace, Context: a.contextName(), For: workloads, Now: date.now,
	})
	if apierrors.IsUnauthorized(err) {
		return nil, &konductor.ForbiddenError{Verb: "get", Resource: "version", Namespace: namespace, Unauthorized: true}
	}
	if err != nil {
		return nil, err
	}
	return doctor.Diagnose(facts), nil
}

// subjects are the flags that name somebody.
type subjects struct {
	who  string
	file string
}

func (s *subjects) addTo(cmd *cobra.Command) {
	cmd.Flags().StringVar(&s.who, "for", "", "whose rights matter: serviceaccount/NAME, user/NAME, a workload as KIND/NAME, or -f FILE")
	cmd.Flags().StringVarP(&s.file, "filename", "f", "", "a file with a workload whose rights matter; - for the standard input")
}

// args accepts a file name where "--for -f FILE" was written: -f is then the value of --for.
func (s *subjects) args(cmd *cobra.Command, args []string) error {
	switch {
	case s.who == "-f" && len(args) == 1 && s.file == "":
		return nil
	case s.who == "-f":
		return fmt.Errorf("the file is missing: %s --for -f FILE", cmd.CommandPath())
	case len(args) > 0:
		return fmt.Errorf("%q is too much: %s takes no names, only --for KIND/NAME", args[0], cmd.CommandPath())
	}
	return nil
}

// workloads returns whom the flags name; nobody when there are none.
func (a *app) workloads(s *subjects, args []string, namespace string) ([]doctor.Workload, error) {
	file := s.file
	if s.who == "-f" {
		file = args[0]
	} else if s.who != "" && file != "" {
		return nil, errors.New("say for whom only once: either --for KIND/NAME or -f FILE")
	}
	builder := resource.NewBuilder(a.config).Unstructured().NamespaceParam(namespace).DefaultNamespace().Flatten().ContinueOnError()
	switch {
	case file != "":
		builder = builder.Local().FilenameParam(false, &resource.FilenameOptions{Filenames: []string{file}})
	case s.who != "":
		if w, ok := doctor.ParseSubject(s.who, namespace); ok {
			return []doctor.Workload{w}, nil
		}
		if kind, name, ok := strings.Cut(s.who, "/"); !ok || kind == "" || name == "" {
			return nil, fmt.Errorf("--for must be serviceaccount/NAME, user/NAME, a workload as KIND/NAME, or -f FILE, not %q", s.who)
		}
		builder = builder.ResourceTypeOrNameArgs(false, s.who)
	default:
		return nil, nil
	}
	infos, err := builder.Do().Infos()
	if apierrors.IsNotFound(err) {
		return nil, &konductor.NotFoundError{Message: s.who + " not found in namespace " + namespace}
	}
	if err != nil {
		return nil, fmt.Errorf("finding out for whom: %w", err)
	}
	var found []doctor.Workload
	for _, info := range infos {
		obj, ok := info.Object.(*unstructured.Unstructured)
		if !ok {
			continue
		}
		w, has, err := doctor.WorkloadOf(obj, namespace)
		if err != nil {
			return nil, err
		}
		if has {
			found = append(found, w)
		}
	}
	if len(found) == 0 {
		named := s.who
		if file != "" {
			named = file
		}
		return nil, fmt.Errorf("nothing in %s has Pods: name a Pod, Job, CronJob, Deployment or the like, or a ServiceAccount", named)
	}
	return found, nil
}

// writeReport writes a report as text: a line for each check, what to do below it, and at the end the Role that is missing.
func writeReport(w io.Writer, r *doctor.Report) error {
	icons := map[doctor.Status]string{doctor.OK: "ok", doctor.Warning: "!", doctor.Failed: "x", doctor.Unknown: "?"}
	if !terminal.OnlyASCII(os.Getenv) {
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
	if objects := r.Objects(); len(objects) > 0 {
		b.WriteString("\n# What is missing, ready to apply:\n")
		if err := writeObjects(&b, objects); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// writeObjects writes objects as a stream of YAML documents.
func writeObjects(w io.Writer, objects []any) error {
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
