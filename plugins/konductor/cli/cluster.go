package cli

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/plugins/konductor/live"
	"github.com/LogicIQ/konductor/plugins/konductor/tui"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

const claimKind = konductorv1.KindClaim

// cluster is what the dashboard looks at and acts on: the cluster that the command line names.
type cluster struct {
	config   *rest.Config
	warnings *heldBack
	options  live.Options
	program  string
	self     string
	flags    []string // those that name the cluster and the user
	shown    []string // the same as people may see them
}

var _ tui.Cluster = (*cluster)(nil)

func (a *app) newCluster(cmd *cobra.Command, o live.Options) (*cluster, error) {
	c := &cluster{options: o, program: a.name}
	config, err := a.restConfig()
	if err != nil {
		return nil, err
	}
	c.config, c.warnings = rest.CopyConfig(config), &heldBack{to: config.WarningHandler}
	c.config.WarningHandler = c.warnings
	client, err := a.client()
	if err != nil {
		return nil, err
	}
	c.self = client.Holder()
	c.flags, c.shown = globalFlags(cmd.Root().PersistentFlags())
	return c, nil
}

// globalFlags returns the flags that were given and name the cluster and the user, and the same without what is secret.
// The namespace is not among them: each action names its own.
func globalFlags(flags *pflag.FlagSet) (args, shown []string) {
	flags.VisitAll(func(f *pflag.Flag) {
		if !f.Changed {
			return
		}
		values := []string{f.Value.String()}
		if list, ok := f.Value.(pflag.SliceValue); ok {
			values = list.GetSlice()
		}
		for _, value := range values {
			arg := "--" + f.Name + "=" + value
			switch f.Name {
			case "namespace", "color":
				continue
			case "token", "password":
				shown = append(shown, "--"+f.Name+"=REDACTED")
			default:
				shown = append(shown, arg)
			}
			args = append(args, arg)
		}
	})
	return args, shown
}

// Follow begins to follow a namespace; all when it is empty.
func (c *cluster) Follow(namespace string) (tui.Feed, error) {
	o := c.options
	o.Namespace = namespace
	return live.Start(c.config, o)
}

// Namespaces returns the namespaces that there are.
func (c *cluster) Namespaces(ctx context.Context) ([]string, error) {
	client, err := c.client(corev1.SchemeGroupVersion, corev1.AddToScheme)
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

// May asks the API server whether we have a right.
func (c *cluster) May(ctx context.Context, right view.Right) (bool, error) {
	client, err := c.client(authorizationv1.SchemeGroupVersion, authorizationv1.AddToScheme)
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

// client returns a client of one API group.
func (c *cluster) client(gv schema.GroupVersion, register func(*runtime.Scheme) error) (*rest.RESTClient, error) {
	s := runtime.NewScheme()
	if err := register(s); err != nil {
		return nil, err
	}
	config := rest.CopyConfig(c.config)
	config.GroupVersion, config.APIPath = &gv, "/apis"
	if gv.Group == "" {
		config.APIPath = "/api"
	}
	config.NegotiatedSerializer = serializer.NewCodecFactory(s).WithoutConversion()
	return rest.RESTClientFor(config)
}

// Run runs a command line of this program, in this process, and returns what it says.
func (c *cluster) Run(ctx context.Context, args []string) (string, error) {
	var out, errOut bytes.Buffer
	called := strings.ReplaceAll(c.program, " ", "-")
	line := append(append([]string{called}, args...), c.flags...)
	code := Run(ctx, line, genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut})
	said := c.warnings.lift(errOut.String())
	if code != exitOK {
		if ctx.Err() != nil {
			return "", context.Cause(ctx)
		}
		return "", errors.New(strings.TrimPrefix(strings.TrimSpace(said), "error: "))
	}
	return out.String(), nil
}

// CommandLine returns a command line as it is typed.
func (c *cluster) CommandLine(args []string) string {
	return view.CommandLine(c.program, append(append([]string{}, args...), c.shown...))
}
