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
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"

	"github.com/LogicIQ/konductor/internal/chart"
	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/flags"
	"github.com/LogicIQ/konductor/internal/cli/install"
)

const (
	// defaultOperatorNamespace is the operator's namespace unless another is named.
	defaultOperatorNamespace = "konductor-system"
	// defaultKubeVersion is the Kubernetes version that is assumed when no cluster is asked.
	defaultKubeVersion = "v1.37.0"
	// defaultInstallTimeout leaves time to pull the image.
	defaultInstallTimeout = 3 * time.Minute
	// defaultUninstallTimeout is more than a deletion takes that no finalizer blocks.
	defaultUninstallTimeout = time.Minute
)

// installOptions are the options of install, upgrade and uninstall.
type installOptions struct {
	app            *app
	valuesFiles    []string
	setAssignments []string
	resetValues    bool
	dryRun         string
	printFlags     *genericclioptions.PrintFlags
	waitReady      bool
	timeout        time.Duration
	forceConflicts bool
	kubeVersion    string
	yes            bool
	deleteData     bool
	ignoreNotFound bool
	collected      []*unstructured.Unstructured
}

func (a *app) installCommand() *cobra.Command {
	s := &installOptions{app: a}
	cmd := &cobra.Command{
		Use: "install", Short: "Install konductor in the cluster", Args: cobra.NoArgs,
		Long: `Install the resource types (CRDs), the operator and its permissions, by server-side
apply. The objects and the values are those of the Helm chart. The namespace is
konductor-system unless -n names another.

Installing again keeps the recorded values, applies those given now, and creates missing
objects. It fails if others have changed a field that it sets: --force-conflicts restores
such fields.`,
		Example: a.formatExamples("  koncli install\n\n  # set values of the chart\n  koncli install --set replicas=1 --set 'watchNamespaces=[etl, reports]'\n\n  # print the objects, without contacting the cluster\n  koncli install --dry-run=client -o yaml\n"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.runApply(cmd.Context(), false) },
	}
	s.addApplyFlags(cmd)
	return cmd
}

func (a *app) upgradeCommand() *cobra.Command {
	s := &installOptions{app: a}
	cmd := &cobra.Command{
		Use: "upgrade", Short: "Upgrade konductor in the cluster to this program's version", Args: cobra.NoArgs,
		Long: `Upgrade an installation made by 'install' to the version of this program, and change its
values. Values that were set before are kept unless they are set again. A downgrade to an
older version is refused.`,
		Example: a.formatExamples("  koncli upgrade\n  koncli upgrade --set replicas=3\n  koncli upgrade --reset-values -f values.yaml --dry-run=server\n"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.runApply(cmd.Context(), true) },
	}
	s.addApplyFlags(cmd)
	cmd.Flags().BoolVar(&s.resetValues, "reset-values", false, "discard the values that were set before")
	return cmd
}

func (a *app) uninstallCommand() *cobra.Command {
	s := &installOptions{app: a}
	cmd := &cobra.Command{
		Use: "uninstall", Short: "Remove konductor from the cluster; resource types and objects stay", Args: cobra.NoArgs,
		Long: `Remove the operator and the objects that belong to it. The resource types (CRDs) stay,
and with them all barriers, gates, leases and semaphores, for a later installation;
--delete-data deletes them too. The namespace always stays. On a terminal, this command
asks for confirmation; elsewhere it requires --yes.

If a finalizer still blocks a deletion after --timeout, the command names the object and
exits with code 3.`,
		Example: a.formatExamples("  koncli uninstall --yes\n  koncli uninstall --delete-data --dry-run=server\n"),
		RunE:    func(cmd *cobra.Command, _ []string) error { return s.runUninstall(cmd.Context()) },
	}
	s.addFlags(cmd, "deleted")
	f := cmd.Flags()
	f.BoolVarP(&s.yes, "yes", "y", false, "skip the confirmation prompt")
	f.BoolVar(&s.deleteData, "delete-data", false, "also delete the resource types, and with them all konductor objects in the cluster")
	f.BoolVar(&s.ignoreNotFound, "ignore-not-found", false, "don't fail if konductor is not installed")
	flags.AddDuration(cmd, &s.timeout, "timeout", defaultUninstallTimeout, "maximum time to wait until everything is deleted")
	return cmd
}

func (s *installOptions) addApplyFlags(cmd *cobra.Command) {
	s.addFlags(cmd, "applied")
	f := cmd.Flags()
	f.StringArrayVarP(&s.valuesFiles, "values", "f", nil, "file with values of the chart; - reads standard input (can be repeated)")
	f.StringArrayVar(&s.setAssignments, "set", nil, "value of the chart, for example replicas=3; the part after = is YAML (can be repeated)")
	f.BoolVar(&s.waitReady, "wait", true, "wait until the operator is ready")
	f.BoolVar(&s.forceConflicts, "force-conflicts", false, "take over fields that another field manager has set")
	f.StringVar(&s.kubeVersion, "kube-version", "", "version of Kubernetes to install for (default the cluster's; "+defaultKubeVersion+" with --dry-run=client)")
	flags.AddDuration(cmd, &s.timeout, "timeout", defaultInstallTimeout, "maximum time in total")
}

func (s *installOptions) addFlags(cmd *cobra.Command, operation string) {
	s.printFlags = genericclioptions.NewPrintFlags(operation)
	s.printFlags.AddFlags(cmd)
	cmd.Flags().StringVar(&s.dryRun, "dry-run", "none", `"none", "client" (only print what would be done) or "server" (let the API server check it, without saving it)`)
}

// validate rejects flags that don't go together.
func (s *installOptions) validate() error {
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

// namespace returns the operator's namespace.
func (s *installOptions) namespace() string {
	if given := s.app.connection.ConfigFlags.Namespace; given != nil && *given != "" {
		return *given
	}
	return defaultOperatorNamespace
}

// chartRelease returns the release to render the chart for when the cluster isn't asked.
func (s *installOptions) chartRelease() chart.Release {
	return chart.Release{Namespace: s.namespace(), Version: releasedVersion(), KubeVersion: s.kubeVersion}
}

// connectCluster returns the cluster that the flags name, and the release to render the chart for there. ctx limits its own
// requests only.
func (s *installOptions) connectCluster(ctx context.Context) (*install.Cluster, chart.Release, error) {
	release := s.chartRelease()
	// The reason of a timeout is looked up after ctx has ended.
	later, err := s.app.connection.ReadRetryConfig(context.WithoutCancel(ctx))
	if err != nil {
		return nil, release, err
	}
	objects, err := dynamic.NewForConfig(later)
	if err != nil {
		return nil, release, err
	}
	config, err := s.app.connection.ReadRetryConfig(ctx)
	if err != nil {
		return nil, release, err
	}
	if release.KubeVersion == "" {
		if release.KubeVersion, err = s.app.serverVersion(ctx); err != nil {
			return nil, release, err
		}
	}
	// The discovery cache on disk may be older than the cluster's last upgrade.
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, release, err
	}
	if release.APIVersions, err = install.ServedAPIVersions(found); err != nil {
		return nil, release, err
	}
	if err := s.app.connection.EnableReadRetry(ctx, nil); err != nil {
		return nil, release, err
	}
	mapper, err := s.app.connection.ConfigFlags.ToRESTMapper()
	if err != nil {
		return nil, release, err
	}
	return &install.Cluster{Client: objects, Mapper: mapper, Notify: s.app.notify}, release, nil
}

// readValues returns the values from files and flags; later ones override earlier ones.
func (s *installOptions) readValues() (map[string]any, error) {
	values := map[string]any{}
	for _, file := range s.valuesFiles {
		text, err := s.readFile(file)
		if err != nil {
			return nil, fmt.Errorf("reading values: %w", err)
		}
		more, err := chart.ParseValues(text)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		values = chart.MergeValues(values, more)
	}
	for _, assignment := range s.setAssignments {
		more, err := chart.ParseSet(assignment)
		if err != nil {
			return nil, fmt.Errorf("--set: %w", err)
		}
		values = chart.MergeValues(values, more)
	}
	return values, nil
}

func (s *installOptions) readFile(file string) ([]byte, error) {
	if file == "-" {
		return io.ReadAll(s.app.streams.In)
	}
	return os.ReadFile(file)
}

// runApply installs or upgrades.
func (s *installOptions) runApply(ctx context.Context, upgrade bool) error {
	if err := s.validate(); err != nil {
		return err
	}
	values, err := s.readValues()
	if err != nil {
		return err
	}
	if s.dryRun == "client" && !upgrade {
		return s.printClientDryRun(values)
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	c, release, err := s.connectCluster(ctx)
	if err != nil {
		return s.withExitCode(err)
	}
	found, err := c.ReadState(ctx, s.namespace())
	if err != nil {
		return s.withExitCode(err)
	}
	if found.Record == nil && upgrade && found.HelmRelease() == "" {
		hint := fmt.Sprintf(": use '%s install', or name its namespace with -n", s.app.displayName)
		return s.notInstalledError(found, hint)
	}
	if found.Record != nil && !s.resetValues {
		values = chart.MergeValues(found.Record.Values, values)
	}
	plan, err := install.NewManifest(release, values)
	if err != nil {
		return err
	}
	if err := found.Preflight(plan, s.forceConflicts); err != nil {
		return err
	}
	if found.Record != nil && !upgrade && install.IsNewer(plan.Version, found.Record.Version) {
		return fmt.Errorf("konductor %s is installed: use '%s upgrade' to upgrade it to %s", found.Record.Version, s.app.displayName, plan.Version)
	}
	if s.dryRun == "client" {
		return s.printPlanned(plan.ApplyOrder())
	}
	options := install.ApplyOptions{DryRun: s.dryRun == "server", ForceConflicts: s.forceConflicts, OnResult: s.printResult}
	if err := c.Apply(ctx, plan, options); err != nil {
		return s.withExitCode(err)
	}
	if s.waitReady && !options.DryRun {
		if err := c.WaitOperatorReady(ctx, plan); err != nil {
			return s.withExitCode(err)
		}
	}
	if !options.DryRun && !s.hasOutputFormat() {
		s.app.notify("\n" + strings.TrimSpace(plan.Notes))
	}
	return s.printList()
}

// printClientDryRun prints what would be applied, without asking the cluster.
func (s *installOptions) printClientDryRun(values map[string]any) error {
	release := s.chartRelease()
	if release.KubeVersion == "" {
		release.KubeVersion = defaultKubeVersion
	}
	plan, err := install.NewManifest(release, values)
	if err != nil {
		return err
	}
	return s.printPlanned(plan.ApplyOrder())
}

// printPlanned prints objects that are not sent to the API server.
func (s *installOptions) printPlanned(objects []*unstructured.Unstructured) error {
	for _, obj := range objects {
		if err := s.printResult(install.Result{Object: obj, Operation: "applied"}); err != nil {
			return err
		}
	}
	return s.printList()
}

// runUninstall removes what install has installed.
func (s *installOptions) runUninstall(ctx context.Context) error {
	if err := s.validate(); err != nil {
		return err
	}
	c, release, err := s.connectCluster(ctx)
	if err != nil {
		return err
	}
	found, err := c.ReadState(ctx, s.namespace())
	if err != nil {
		return s.withExitCode(err)
	}
	plan, err := install.NewManifest(release, install.AllFeatureValues())
	if err != nil {
		return err
	}
	removal, err := c.PlanRemoval(ctx, found, plan, s.deleteData)
	if err != nil {
		return s.withExitCode(err)
	}
	if len(removal.Objects) == 0 {
		return s.nothingToUninstallError(found, removal)
	}
	if !s.yes && s.dryRun == "none" {
		if err := s.app.confirm(false, "uninstall", s.uninstallText(removal)); err != nil {
			return err
		}
		// Objects added since the question was asked were not confirmed.
		later, err := c.PlanRemoval(ctx, found, plan, s.deleteData)
		if err != nil {
			return s.withExitCode(err)
		}
		if more := removal.AddedIn(later); len(more) > 0 {
			return fmt.Errorf("objects were added after the prompt (%s): nothing was done; run the command again", strings.Join(more, ", "))
		}
	}
	if s.dryRun == "client" {
		for _, ref := range removal.Objects {
			if err := s.printResult(install.Result{Object: ref.Unstructured(), Operation: "deleted"}); err != nil {
				return err
			}
		}
		return s.printList()
	}
	// The timeout doesn't include the time for the answer.
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := c.Remove(ctx, removal, s.dryRun == "server", s.printResult); err != nil {
		return s.withExitCode(err)
	}
	if removal.CRDsKept && s.dryRun == "none" {
		s.app.notify(fmt.Sprintf("the resource types, all their objects and namespace %s were kept", s.namespace()))
	}
	return s.printList()
}

// nothingToUninstallError returns the error for an uninstallation with nothing to remove; nil if that doesn't matter.
func (s *installOptions) nothingToUninstallError(found *install.State, removal *install.RemovalPlan) error {
	if s.ignoreNotFound {
		return nil
	}
	hint := ""
	if removal.CRDsKept {
		hint = "; its resource types still exist: pass --delete-data to delete them with all objects"
	}
	return s.notInstalledError(found, hint)
}

// notInstalledError says that konductor is not installed in this namespace, and in which others it is; hint is appended if
// there are none.
func (s *installOptions) notInstalledError(found *install.State, hint string) error {
	if others := found.OtherNamespaces(); len(others) > 0 {
		hint = fmt.Sprintf(", but in %s: select its namespace with -n", strings.Join(others, ", "))
	}
	return &clierror.ExitCodeError{Code: clierror.ExitNotFound, Err: fmt.Errorf("konductor is not installed in namespace %s%s", s.namespace(), hint)}
}

// uninstallText says what an uninstallation deletes.
func (s *installOptions) uninstallText(removal *install.RemovalPlan) string {
	text := "konductor from namespace " + s.namespace()
	switch {
	case !s.deleteData:
		return text
	case len(removal.DataCounts) == 0:
		return text + " (deletes its resource types, which have no objects)"
	default:
		return text + " (deletes its resource types, and " + strings.Join(removal.DataCounts, ", ") + " in all namespaces)"
	}
}

// hasOutputFormat reports whether -o asks for objects instead of lines.
func (s *installOptions) hasOutputFormat() bool { return *s.printFlags.OutputFormat != "" }

// printResult prints an object at once as a line, or collects it for -o.
func (s *installOptions) printResult(r install.Result) error {
	if s.hasOutputFormat() {
		s.collected = append(s.collected, r.Object)
		return nil
	}
	verb := r.Operation
	if s.dryRun != "none" {
		verb += " (" + s.dryRun + " dry run)"
	}
	_, err := fmt.Fprintf(s.app.streams.Out, "%s %s\n", install.QualifiedName(r.Object), verb)
	return err
}

// printList prints the collected objects as one list, if -o asks for that.
func (s *installOptions) printList() error {
	if !s.hasOutputFormat() {
		return nil
	}
	list := &unstructured.UnstructuredList{Object: map[string]any{"apiVersion": "v1", "kind": "List"}}
	for _, obj := range s.collected {
		list.Items = append(list.Items, *obj)
	}
	printer, err := s.printFlags.ToPrinter()
	if err != nil {
		return err
	}
	return printer.PrintObj(list, s.app.streams.Out)
}

// withExitCode returns an error with its exit code.
func (s *installOptions) withExitCode(err error) error {
	var timeout *install.TimeoutError
	var replaced *install.ReplacedError
	switch {
	case errors.As(err, &replaced):
		return &clierror.ExitCodeError{Code: clierror.ExitNotFound, Err: err}
	case errors.As(err, &timeout), errors.Is(err, context.DeadlineExceeded):
		return &clierror.ExitCodeError{Code: clierror.ExitTimeout, Err: err}
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		return &clierror.ExitCodeError{Code: clierror.ExitForbidden, Err: fmt.Errorf("%w: this needs cluster-admin, or namespace admin with namespace-only values", err)}
	default:
		return err
	}
}

// releasedVersion returns this program's version if it is a release; otherwise "", which selects the chart's own version.
func releasedVersion() string {
	if v := version(); regexp.MustCompile(`^v\d+\.\d+\.\d+(-(alpha|beta|rc)[.\d]*)?$`).MatchString(v) && v != "v0.0.0" {
		return v
	}
	return ""
}
