package cli

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/cluster"
	"github.com/LogicIQ/konductor/internal/cli/printer"
	"github.com/LogicIQ/konductor/internal/cli/tui"
	"github.com/LogicIQ/konductor/internal/live"
	"github.com/LogicIQ/konductor/internal/view"
)

const claimKind = konductorv1.KindClaim

// dashboardCluster is the cluster that the dashboard reads and changes: the one that the command line named when it was
// opened.
type dashboardCluster struct {
	*cluster.Config
	warnings      *printer.DeferredWarnings
	watchOptions  live.Options
	displayName   string
	ownHolder     string
	redactedFlags []string // the flags that define the cluster and the user, fit to be displayed
}

var _ tui.Cluster = (*dashboardCluster)(nil)

func (a *app) newDashboardCluster(cmd *cobra.Command, o live.Options) (*dashboardCluster, error) {
	opened, err := a.connection.Resolve()
	if err != nil {
		return nil, err
	}
	client, err := a.connection.NewClient()
	if err != nil {
		return nil, err
	}
	own := *opened
	own.REST = rest.CopyConfig(opened.REST)
	c := &dashboardCluster{Config: &own, watchOptions: o, displayName: a.displayName, ownHolder: client.Holder(), warnings: &printer.DeferredWarnings{Handler: opened.REST.WarningHandler}}
	own.REST.WarningHandler = c.warnings
	c.redactedFlags = append(cluster.RedactedFlags(cmd.Root().PersistentFlags()), opened.ContextFlags...)
	return c, nil
}

// WatchNamespace starts to watch a namespace; empty: all.
func (c *dashboardCluster) WatchNamespace(namespace string) (tui.Feed, error) {
	o := c.watchOptions
	o.Namespace = namespace
	return live.Start(c.REST, o)
}

// ListNamespaces returns the names of all namespaces.
func (c *dashboardCluster) ListNamespaces(ctx context.Context) ([]string, error) {
	client, err := c.newRESTClient(corev1.SchemeGroupVersion, corev1.AddToScheme)
	if err != nil {
		return nil, err
	}
	list := &corev1.NamespaceList{}
	if err := client.Get().Resource("namespaces").Do(ctx).Into(list); err != nil {
		return nil, err
	}
	var names []string
	for i := range list.Items {
		names = append(names, list.Items[i].Name)
	}
	return names, nil
}

// IsAllowed asks the API server whether we have a permission.
func (c *dashboardCluster) IsAllowed(ctx context.Context, right view.Permission) (bool, error) {
	client, err := c.newRESTClient(authorizationv1.SchemeGroupVersion, authorizationv1.AddToScheme)
	if err != nil {
		return false, err
	}
	group := schema.ParseGroupResource(right.Resource)
	review := &authorizationv1.SelfSubjectAccessReview{
		TypeMeta: metav1.TypeMeta{APIVersion: authorizationv1.SchemeGroupVersion.String(), Kind: "SelfSubjectAccessReview"},
		Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: &authorizationv1.ResourceAttributes{
			Namespace: right.Namespace, Verb: right.Verb, Group: group.Group, Resource: group.Resource,
		}},
	}
	err = client.Post().Resource("selfsubjectaccessreviews").Body(review).Do(ctx).Into(review)
	return review.Status.Allowed, err
}

// newRESTClient returns a client of one API group.
func (c *dashboardCluster) newRESTClient(gv schema.GroupVersion, register func(*runtime.Scheme) error) (*rest.RESTClient, error) {
	s := runtime.NewScheme()
	if err := register(s); err != nil {
		return nil, err
	}
	clients, err := apiclient.NewRESTClients(c.REST, s, gv)
	return clients[gv], err
}

// RunCommand runs a command line of this program in this process, with the dashboard's connection, and returns its output.
func (c *dashboardCluster) RunCommand(ctx context.Context, args []string) (string, error) {
	var out, errOut bytes.Buffer
	a := newApp(c.displayName, genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut})
	a.connection.Pin(c.Config)
	if clierror.ExitCode(a.execute(ctx, args)) != clierror.ExitOK {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", errors.New(strings.TrimPrefix(strings.TrimSpace(errOut.String()), "error: "))
	}
	return out.String(), nil
}

// CommandLine returns a command line that does the same in any shell of this machine.
func (c *dashboardCluster) CommandLine(args []string) string {
	line := view.CommandLine(c.displayName, slices.Concat(args, c.redactedFlags))
	if c.KubeconfigEnv != "" {
		line = c.KubeconfigEnv + " " + line
	}
	return line
}
