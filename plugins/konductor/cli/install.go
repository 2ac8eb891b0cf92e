package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/dynamic"

	"github.com/LogicIQ/konductor/plugins/konductor/chart"
	"github.com/LogicIQ/konductor/plugins/konductor/install"
)

const (
	// installNamespace is where the operator runs unless another namespace is named.
	installNamespace = "konductor-system"
	// renderedFor is the Kubernetes that is assumed where none is asked.
	renderedFor = "v1.37.0"
	// defaultInstallTimeout leaves time to pull the image.
	defaultInstallTimeout = 3 * time.Minute
	// defaultUninstallTimeout is long for what nothing keeps.
	defaultUninstallTimeout = time.Minute
)

// setup are the flags of install, upgrade and uninstall.
type setup struct {
	app         *app
	values      []string
	set         []string
	reset       bool
	dryRun      string
	printing    *genericclioptions.PrintFlags
	wait        bool
	timeout     time.Duration
	force       bool
	kubeVersion string
	yes         bool
	deleteData  bool
	ignore      bool
	shown       []*unstructured.Unstructured
}

func (a *app) installCommand() *cobra.Command {
	s := &setup{app: a}
	cmd := &cobra.Command{
		Use: "install", Short: "Install konductor into the cluster", Args: cobra.NoArgs,
		Long: `Install the resource types, the operator and its rights: the same objects as the
Helm chart's, with the same values, by server-side apply. The namespace is
konductor-system unless -n names another. Doing it twice changes nothing.`,
		Example: a.examples("  koncli install\n\n  # with values of the chart\n  koncli install --set replicas=1 --set 'watchNamespaces=[etl, reports]'\n\n  # for a repository; the cluster is not asked\n  koncli install --dry-run=client -o yaml\n"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.apply(cmd.Context(), false) },
	}
	s.addApplyFlags(cmd)
	return cmd
}

func (a *app) upgradeCommand() *cobra.Command {
	s := &setup{app: a}
	cmd := &cobra.Command{
		Use: "upgrade", Short: "Upgrade konductor in the cluster to this program's version", Args: cobra.NoArgs,
		Long: `Upgrade what "install" has installed to the version of this program, and change
values. Those given before stay as they are unless they are given anew. It refuses to go back to an older version.`,
		Example: a.examples("  koncli upgrade\n  koncli upgrade --set replicas=3\n  koncli upgrade --reset-values -f values.yaml --dry-run=server\n"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.apply(cmd.Context(), true) },
	}
	s.addApplyFlags(cmd)
	cmd.Flags().BoolVar(&s.reset, "reset-values", false, "forget the values given before")
	return cmd
}

func (a *app) uninstallCommand() *cobra.Command {
	s := &setup{app: a}
	cmd := &cobra.Command{
		Use: "uninstall", Short: "Remove konductor from the cluster; resource types and objects stay", Args: cobra.NoArgs,
		Long: `Remove the operator and what belongs to it. The resource types stay, and with them
all barriers, gates, leases and semaphores, for a later installation; --delete-data
deletes them too. The namespace stays in any case. On a terminal it asks first;
elsewhere --yes is needed.

What can't be deleted, for a finalizer that nobody takes away, is named after
--timeout, with exit code 3.`,
		Example: a.examples("  koncli uninstall --yes\n  koncli uninstall --delete-data --dry-run=server\n"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.uninstall(cmd.Context()) },
	}
	s.addFlags(cmd, "deleted")
	f := cmd.Flags()
	f.BoolVarP(&s.yes, "yes", "y", false, "don't ask")
	f.BoolVar(&s.deleteData, "delete-data", false, "delete the resource types, and with them all of konductor's objects in the cluster")
	f.BoolVar(&s.ignore, "ignore-not-found", false, "don't complain when konductor is not installed")
	durationFlag(cmd, &s.timeout, "timeout", defaultUninstallTimeout, "how long to wait until everything is gone")
	return cmd
}

func (s *setup) addApplyFlags(cmd *cobra.Command) {
	s.addFlags(cmd, "applied")
	f := cmd.Flags()
	f.StringArrayVarP(&s.values, "values", "f", nil, "a file with values of the chart; - reads them from standard input")
	f.StringArrayVar(&s.set, "set", nil, "a value of the chart, as in replicas=3; what is right of = is YAML")
	f.BoolVar(&s.wait, "wait", true, "wait until the operator is ready")
	f.BoolVar(&s.force, "force-conflicts", false, "take over fields that somebody else has set")
	f.StringVar(&s.kubeVersion, "kube-version", "", "the version of Kubernetes to install for (default the cluster's; "+renderedFor+" with --dry-run=client)")
	durationFlag(cmd, &s.timeout, "timeout", defaultInstallTimeout, "how long it may take in all")
}

func (s *setup) addFlags(cmd *cobra.Command, operation string) {
	s.printing = genericclioptions.NewPrintFlags(operation)
	s.printing.AddFlags(cmd)
	cmd.Flags().StringVar(&s.dryRun, "dry-run", "none", `"none", "client" (only print what would be done) or "server" (let the API server check it, without keeping it)`)
}

// check refuses flags that don't go together.
func (s *setup) check() error {
	switch s.dryRun {
	case "none", "client", "server":
	default:
		return fmt.Errorf("--dry-run must be none, client or server, not %q", s.dryRun)
	}
	if s.timeout <= 0 {
		return errors.New("--timeout must be longer than zero, for example 30s, 5m or 1h30m")
	}
	return nil
}

// namespace is where the operator runs.
func (s *setup) namespace() string {
	if given := s.app.config.Namespace; given != nil && *given != "" {
		return *given
	}
	return installNamespace
}

// cluster returns the cluster that the flags name, and its version.
func (s *setup) cluster() (*install.Cluster, string, error) {
	config, err := s.app.config.ToRESTConfig()
	if err != nil {
		return nil, "", fmt.Errorf("finding the cluster: %w", err)
	}
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, "", err
	}
	kubernetes := s.kubeVersion
	if kubernetes == "" {
		if kubernetes, err = s.app.serverVersion(); err != nil {
			return nil, "", err
		}
	}
	mapper, err := s.app.config.ToRESTMapper()
	if err != nil {
		return nil, "", err
	}
	return &install.Cluster{Objects: objects, Mapper: mapper, Say: s.app.say}, kubernetes, nil
}

// given returns the values that files and flags give, the later over the earlier.
func (s *setup) given() (map[string]any, error) {
	values := map[string]any{}
	for _, file := range s.values {
		text, err := s.read(file)
		if err != nil {
			return nil, fmt.Errorf("reading values: %w", err)
		}
		more, err := chart.Parse(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		values = chart.Layer(values, more)
	}
	for _, assignment := range s.set {
		more, err := chart.Set(assignment)
		if err != nil {
			return nil, fmt.Errorf("--set: %w", err)
		}
		values = chart.Layer(values, more)
	}
	return values, nil
}

func (s *setup) read(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(s.app.streams.In)
	}
	return os.ReadFile(file)
}

// apply installs or upgrades.
func (s *setup) apply(ctx context.Context, upgrade bool) error {
	if err := s.check(); err != nil {
		return err
	}
	values, err := s.given()
	if err != nil {
		return err
	}
	if s.dryRun == "client" && !upgrade {
		return s.printOnly(values)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	c, kubernetes, err := s.cluster()
	if err != nil {
		return err
	}
	found, err := c.Look(ctx, s.namespace())
	if err != nil {
		return s.explain(err)
	}
	if found.Record == nil && upgrade && found.Helm() == "" {
		hint := fmt.Sprintf(": use '%s install', or name its namespace with -n", s.app.name)
		return s.missing(found, hint)
	}
	if found.Record != nil && !s.reset {
		values = chart.Layer(found.Record.Values, values)
	}
	plan, err := install.NewPlan(s.namespace(), releasedVersion(), kubernetes, values)
	if err != nil {
		return err
	}
	if err := found.Check(plan, s.force); err != nil {
		return err
	}
	if found.Record != nil && !upgrade && install.Newer(plan.Version, found.Record.Version) {
		return fmt.Errorf("konductor %s is installed: '%s upgrade' makes it %s", found.Record.Version, s.app.name, plan.Version)
	}
	if s.dryRun == "client" {
		return s.show(plan.Objects())
	}
	options := install.ApplyOptions{DryRun: s.dryRun == "server", Force: s.force, Done: s.did}
	if err := c.Apply(ctx, plan, options); err != nil {
		return s.explain(err)
	}
	if s.wait && !options.DryRun {
		if err := c.Await(ctx, plan); err != nil {
			return s.explain(err)
		}
	}
	if !options.DryRun && !s.formatted() {
		s.app.say("\n" + strings.TrimSpace(plan.Notes))
	}
	return s.finish()
}

// printOnly prints what would be applied, without asking the cluster.
func (s *setup) printOnly(values map[string]any) error {
	kubernetes := s.kubeVersion
	if kubernetes == "" {
		kubernetes = renderedFor
	}
	plan, err := install.NewPlan(s.namespace(), releasedVersion(), kubernetes, values)
	if err != nil {
		return err
	}
	return s.show(plan.Objects())
}

// show prints objects that are not sent to the API server.
func (s *setup) show(objects []*unstructured.Unstructured) error {
	for _, obj := range objects {
		if err := s.did(install.Result{Object: obj, Verb: "applied"}); err != nil {
			return err
		}
	}
	return s.finish()
}

// uninstall removes what install has installed.
func (s *setup) uninstall(ctx context.Context) error {
	if err := s.check(); err != nil {
		return err
	}
	c, kubernetes, err := s.cluster()
	if err != nil {
		return err
	}
	found, err := c.Look(ctx, s.namespace())
	if err != nil {
		return s.explain(err)
	}
	plan, err := install.NewPlan(s.namespace(), releasedVersion(), kubernetes, install.Everything())
	if err != nil {
		return err
	}
	removal, err := c.PlanRemoval(ctx, found, plan, s.deleteData)
	if err != nil {
		return s.explain(err)
	}
	if len(removal.Objects) == 0 {
		return s.nothing(found, removal)
	}
	if err := s.app.confirm(s.yes || s.dryRun != "none", s.question(removal)); err != nil {
		return err
	}
	if s.dryRun == "client" {
		for _, ref := range removal.Objects {
			if err := s.did(install.Result{Object: ref.Object(), Verb: "deleted"}); err != nil {
				return err
			}
		}
		return s.finish()
	}
	// The time to answer doesn't count.
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := c.Remove(ctx, removal, s.dryRun == "server", s.did); err != nil {
		return s.explain(err)
	}
	if removal.Kept && s.dryRun == "none" {
		s.app.say("the resource types and all objects stay, and so does namespace " + s.namespace())
	}
	return s.finish()
}

// nothing says that there is nothing to uninstall.
func (s *setup) nothing(found *install.Found, removal *install.Removal) error {
	if s.ignore {
		return nil
	}
	hint := ""
	if removal.Kept {
		hint = "; its resource types are there, --delete-data deletes them with all objects"
	}
	return s.missing(found, hint)
}

// missing says that konductor is not installed here, and where it is; with a hint when that is nowhere.
func (s *setup) missing(found *install.Found, hint string) error {
	if others := found.Namespaces(); len(others) > 0 {
		hint = fmt.Sprintf(" but in %s: name it with -n", strings.Join(others, ", "))
	}
	return &codedError{exitNotFound, fmt.Errorf("konductor is not installed in namespace %s%s", s.namespace(), hint)}
}

// question says what an uninstallation takes away.
func (s *setup) question(removal *install.Removal) string {
	question := "uninstall konductor from namespace " + s.namespace()
	switch {
	case !s.deleteData:
		return question
	case len(removal.Data) == 0:
		return question + " and delete its resource types, of which there are no objects"
	default:
		return question + " and delete " + strings.Join(removal.Data, ", ") + " in all namespaces"
	}
}

// formatted reports whether -o asks for something else than lines.
func (s *setup) formatted() bool { return *s.printing.OutputFormat != "" }

// did tells of an object: at once as a line, or with all others at the end.
func (s *setup) did(r install.Result) error {
	if s.formatted() {
		s.shown = append(s.shown, r.Object)
		return nil
	}
	verb := r.Verb
	if s.dryRun != "none" {
		verb += " (" + s.dryRun + " dry run)"
	}
	_, err := fmt.Fprintf(s.app.streams.Out, "%s %s\n", install.Title(r.Object), verb)
	return err
}

// finish prints what -o asks for, as one list.
func (s *setup) finish() error {
	if !s.formatted() {
		return nil
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}}
	for _, obj := range s.shown {
		list.Items = append(list.Items, *obj)
	}
	printer, err := s.printing.ToPrinter()
	if err != nil {
		return err
	}
	return printer.PrintObj(list, s.app.streams.Out)
}

// explain gives an error its exit code.
func (s *setup) explain(err error) error {
	var timeout *install.TimeoutError
	switch {
	case errors.As(err, &timeout), errors.Is(err, context.DeadlineExceeded):
		return &codedError{exitTimeout, err}
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return &codedError{exitForbidden, fmt.Errorf("%w: this needs the rights of a cluster administrator, or those of a namespace's with values that keep to it", err)}
	default:
		return err
	}
}

// releasedVersion is the version of this program if it is a released one; else nothing, so that the chart's own counts.
func releasedVersion() string {
	if v := version(); regexp.MustCompile(`^v\d+\.\d+\.\d+(-(alpha|beta|rc)[.\d]*)?$`).MatchString(v) && v != "v0.0.0" {
		return v
	}
	return ""
}
