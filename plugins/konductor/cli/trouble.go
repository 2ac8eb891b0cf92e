package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/tools/clientcmd"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// describe returns err as one sentence that says what to do. cmd is what failed.
func (a *app) describe(ctx context.Context, cmd *cobra.Command, err error) string {
	var unreachable *url.Error
	var uninstalled *konductor.UninstalledError
	var missing *konductor.NotFoundError
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.As(err, &uninstalled):
		uninstalled.Context = a.contextName()
		return err.Error()
	case errors.As(err, &missing):
		return err.Error() + a.hint(ctx, cmd, missing)
	case errors.As(err, &unreachable):
		return a.noAnswer(unreachable)
	case errors.Is(err, context.DeadlineExceeded):
		server := "the API server"
		if config, err := a.restConfig(); err == nil {
			server = config.Host
		}
		return a.noAnswer(&url.Error{URL: server, Err: err})
	case apierrors.IsAlreadyExists(err):
		return a.taken(err)
	case apierrors.IsTooManyRequests(err), apierrors.IsServerTimeout(err), apierrors.IsInternalError(err), apierrors.IsServiceUnavailable(err):
		return fmt.Sprintf("the API server has trouble (%v): try again in a while", err)
	default:
		return err.Error()
	}
}

// noAnswer says why the API server didn't answer, and where to look.
func (a *app) noAnswer(err *url.Error) string {
	server := err.URL
	if u, parseErr := url.Parse(err.URL); parseErr == nil && u.Host != "" {
		server = u.Scheme + "://" + u.Host
	}
	where := "--server"
	if context := a.contextName(); context != "" {
		where = "the server of context " + context
	}
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		plain     tls.RecordHeaderError
		alert     tls.AlertError
		noHost    *net.DNSError
	)
	switch {
	case errors.As(err, &authority):
		return fmt.Sprintf("the certificate of %s is signed by nobody known: check certificate-authority-data of the kubeconfig, or give --certificate-authority", server)
	case errors.As(err, &hostname):
		return fmt.Sprintf("the certificate of %s is for another name (%v): check %s, or give --tls-server-name", server, hostname, where)
	case errors.As(err, &invalid):
		return fmt.Sprintf("the certificate of %s isn't valid (%v): check this machine's clock and the server", server, invalid)
	case errors.As(err, &plain), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Sprintf("%s doesn't speak HTTPS: check %s", server, where)
	case errors.As(err, &alert):
		return fmt.Sprintf("%s refuses the client certificate (%v): log in again, or check the kubeconfig's user", server, alert)
	case errors.As(err, &noHost):
		return fmt.Sprintf("there is no host %s: check %s and the network", noHost.Name, where)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("can't reach the API server, nobody listens at %s: see whether the cluster runs, and check %s", server, where)
	case err.Timeout():
		return fmt.Sprintf("can't reach the API server, %s doesn't answer in time: check the network, %s and --request-timeout", server, where)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), strings.Contains(err.Error(), "server closed idle connection"):
		return fmt.Sprintf("%s has hung up without an answer: check that %s is an API server", server, where)
	default:
		return fmt.Sprintf("can't reach the API server (%v): check %s, or --server and --context", err.Err, where)
	}
}

// taken says that there is an object of that name already.
func (a *app) taken(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return err.Error()
	}
	details := status.Status().Details
	kind := strings.TrimSuffix(details.Kind, "s")
	return fmt.Sprintf("%[1]s/%[2]s exists already: use another name, or delete it first with '%[3]s %[1]s delete %[2]s'", kind, details.Name, a.name)
}

// noCluster says why the kubeconfig names no cluster.
func (a *app) noCluster(err error) error {
	file := ""
	if a.config.KubeConfig != nil {
		file = *a.config.KubeConfig
	}
	wanted := ""
	if a.config.Context != nil {
		wanted = *a.config.Context
	}
	switch {
	case clientcmd.IsEmptyConfig(err):
		return errors.New("there is no kubeconfig that names a cluster: set KUBECONFIG, or give --kubeconfig or --server")
	case errors.Is(err, os.ErrNotExist) && file != "":
		return fmt.Errorf("there is no kubeconfig %s: check --kubeconfig", file)
	case wanted != "" && strings.Contains(err.Error(), fmt.Sprintf("context %q does not exist", wanted)):
		return fmt.Errorf("the kubeconfig has no context %s: see 'kubectl config get-contexts'", wanted)
	default:
		return fmt.Errorf("finding the cluster: %w", err)
	}
}

// hint looks for what may have been meant by an object that there isn't: one of nearly that name, or one in another
// namespace. What can't be found out in a moment is not worth it.
func (a *app) hint(ctx context.Context, cmd *cobra.Command, missing *konductor.NotFoundError) string {
	switch {
	case missing.Message != "", missing.Deleted, !slices.ContainsFunc(kinds(), func(k [2]string) bool { return k[0] == missing.Kind }):
		return ""
	case !slices.Contains([]string{"status", "why", "delete", "resize", "break", "release", "renew"}, cmd.Name()):
		// It is a script that waits for the object, or looks for it now and then.
		return ""
	}
	const moment = time.Second
	ctx, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	config, err := a.restConfig()
	if err != nil {
		return ""
	}
	client, err := metadata.NewForConfig(config)
	if err != nil {
		return ""
	}
	objects := client.Resource(konductorv1.GroupVersion().WithResource(strings.ToLower(missing.Kind) + "s"))
	all, err := objects.List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		all, err = objects.Namespace(missing.Namespace).List(ctx, metav1.ListOptions{})
	}
	if err != nil {
		return ""
	}
	var here, elsewhere []string
	for i := range all.Items {
		switch o := &all.Items[i]; {
		case o.Namespace == missing.Namespace:
			here = append(here, o.Name)
		case o.Name == missing.Name:
			elsewhere = append(elsewhere, o.Namespace)
		}
	}
	const named = 3
	switch {
	case len(elsewhere) == 1:
		return fmt.Sprintf(": there is one in namespace %[1]s, so add -n %[1]s", elsewhere[0])
	case len(elsewhere) > 1:
		return fmt.Sprintf(": there is one in each of the namespaces %s, so add -n", strings.Join(elsewhere[:min(len(elsewhere), named)], ", "))
	}
	if meant := nearest(missing.Name, here); meant != "" {
		return fmt.Sprintf(": did you mean %s?", meant)
	}
	return fmt.Sprintf(": see '%s %s list'", a.name, strings.ToLower(missing.Kind))
}

// flagError says what is wrong with a flag, and what to write instead.
func flagError(cmd *cobra.Command, err error) error {
	var (
		unknown  *pflag.NotExistError
		required *pflag.ValueRequiredError
		invalid  *pflag.InvalidValueError
		syntax   *pflag.InvalidSyntaxError
	)
	see := fmt.Sprintf("(see '%s --help')", cmd.CommandPath())
	switch {
	case errors.As(err, &unknown):
		name := unknown.GetSpecifiedName()
		var known []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			if !f.Hidden {
				known = append(known, f.Name)
			}
		})
		if meant := nearest(name, known); meant != "" && unknown.GetSpecifiedShortnames() == "" {
			return fmt.Errorf("%s has no flag --%s: did you mean --%s?", cmd.CommandPath(), name, meant)
		}
		if unknown.GetSpecifiedShortnames() != "" {
			name = "-" + name
		} else {
			name = "--" + name
		}
		return fmt.Errorf("%s has no flag %s %s", cmd.CommandPath(), name, see)
	case errors.As(err, &required):
		return fmt.Errorf("--%s needs a value %s", required.GetFlag().Name, see)
	case errors.As(err, &invalid):
		return wrongValue(invalid, see)
	case errors.As(err, &syntax):
		return fmt.Errorf("%s is no flag: write --NAME or --NAME=VALUE %s", syntax.GetSpecifiedFlag(), see)
	default:
		return fmt.Errorf("%w %s", err, see)
	}
}

// wrongValue says what a flag's value has to look like.
func wrongValue(err *pflag.InvalidValueError, see string) error {
	flag := err.GetFlag()
	switch flag.Value.Type() {
	case "int32", "int64", "int":
		return fmt.Errorf("--%s must be a whole number, not %q %s", flag.Name, err.GetValue(), see)
	case "bool":
		return fmt.Errorf("--%s must be true or false, not %q %s", flag.Name, err.GetValue(), see)
	case "duration":
		return fmt.Errorf("--%s: %w", flag.Name, err.Unwrap())
	default:
		return fmt.Errorf("--%s: %w %s", flag.Name, err.Unwrap(), see)
	}
}
