package clierror

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/cluster"
	"github.com/LogicIQ/konductor/internal/cli/readretry"
	"github.com/LogicIQ/konductor/internal/view"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// Explainer says in sentences what went wrong in a command.
type Explainer struct {
	Connection  *cluster.Connection
	DisplayName string // the program's name in messages
}

// Explain returns err as one sentence that says what to do. cmd is the command that failed.
func (e *Explainer) Explain(ctx context.Context, cmd *cobra.Command, err error) string {
	var unreachable *url.Error
	var uninstalled *konductor.UninstalledError
	var missing *konductor.NotFoundError
	var forbidden *konductor.ForbiddenError
	var timeout *konductor.TimeoutError
	var unanswered *konductor.UnansweredError
	if errors.As(err, &forbidden) {
		forbidden.Flags = e.Connection.ClusterFlags()
	}
	switch {
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		return "interrupted"
	case errors.As(err, &uninstalled):
		uninstalled.Context = e.Connection.ContextName()
		return err.Error()
	case errors.As(err, &missing):
		return err.Error() + e.notFoundHint(ctx, cmd, missing)
	case errors.As(err, &unreachable):
		return e.unreachableMessage(unreachable)
	case errors.As(err, &timeout), errors.As(err, &unanswered):
		// They are a context.DeadlineExceeded too, but say more.
		return err.Error()
	case errors.Is(err, context.DeadlineExceeded):
		server := "the API server"
		if config, err := e.Connection.RESTConfig(); err == nil {
			server = config.Host
		}
		return e.unreachableMessage(&url.Error{URL: server, Err: err})
	case apierrors.IsAlreadyExists(err):
		return e.alreadyExistsMessage(err)
	case apierrors.IsTooManyRequests(err), apierrors.IsServerTimeout(err), apierrors.IsInternalError(err), apierrors.IsServiceUnavailable(err):
		return fmt.Sprintf("the API server can't handle the request now (%v): try again later", err)
	default:
		return err.Error()
	}
}

// unreachableMessage says why the API server didn't answer, and what to check.
func (e *Explainer) unreachableMessage(err *url.Error) string {
	server := err.URL
	if u, parseErr := url.Parse(err.URL); parseErr == nil && u.Host != "" {
		server = u.Scheme + "://" + u.Host
	}
	where := "--server"
	if context := e.Connection.ContextName(); context != "" {
		where = "the server of context " + context
	}
	var (
		authority x509.UnknownAuthorityError
		hostname  x509.HostnameError
		invalid   x509.CertificateInvalidError
		plain     tls.RecordHeaderError
		alert     tls.AlertError
		noHost    *net.DNSError
		lasting   *readretry.UnreachableError
		tried     string
	)
	if errors.As(err, &lasting) {
		tried = fmt.Sprintf(" (tried for %s)", lasting.TriedFor)
	}
	switch {
	case errors.As(err, &authority):
		return fmt.Sprintf("the certificate of %s is signed by an unknown authority: check certificate-authority-data in the kubeconfig, or pass --certificate-authority", server)
	case errors.As(err, &hostname):
		return fmt.Sprintf("the certificate of %s is for a different host name (%v): check %s, or pass --tls-server-name", server, hostname, where)
	case errors.As(err, &invalid):
		return fmt.Sprintf("the certificate of %s isn't valid (%v): check this machine's clock and the server", server, invalid)
	case errors.As(err, &plain), strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return fmt.Sprintf("%s doesn't speak HTTPS: check %s", server, where)
	case errors.As(err, &alert):
		return fmt.Sprintf("%s refuses the client certificate (%v): log in again, or check the kubeconfig's user", server, alert)
	case errors.As(err, &noHost):
		return fmt.Sprintf("host %s not found%s: check %s and the network", noHost.Name, tried, where)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("can't reach the API server: the connection to %s was refused%s; check that the cluster is running, and check %s", server, tried, where)
	case err.Timeout():
		return fmt.Sprintf("can't reach the API server: %s didn't answer in time%s; check the network, %s and --request-timeout", server, tried, where)
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), strings.Contains(err.Error(), "server closed idle connection"):
		return fmt.Sprintf("%s closed the connection without an answer%s: check that %s is an API server", server, tried, where)
	case lasting != nil:
		return fmt.Sprintf("%v: check %s, or --server and --context", lasting, where)
	default:
		return fmt.Sprintf("can't reach the API server (%v): check %s, or --server and --context", err.Err, where)
	}
}

// alreadyExistsMessage says that an object of that name exists already.
func (e *Explainer) alreadyExistsMessage(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return err.Error()
	}
	details := status.Status().Details
	kind := strings.TrimSuffix(details.Kind, "s")
	return fmt.Sprintf("%[1]s/%[2]s already exists: use another name, or delete it first with '%[3]s %[1]s delete %[2]s'", kind, details.Name, e.DisplayName)
}

// notFoundHint suggests what may have been meant instead of a missing object: one of a similar name, or one in another
// namespace. It gives up quickly.
func (e *Explainer) notFoundHint(ctx context.Context, cmd *cobra.Command, missing *konductor.NotFoundError) string {
	switch {
	case missing.Message != "", missing.Deleted, !slices.Contains(view.PrimitiveKinds(), missing.Kind):
		return ""
	case !slices.Contains([]string{"status", "why", "delete", "resize", "break", "release", "renew"}, cmd.Name()):
		// It may be a script that waits for the object or polls for it.
		return ""
	}
	const moment = time.Second
	ctx, cancel := context.WithTimeout(ctx, moment)
	defer cancel()
	config, err := e.Connection.RESTConfig()
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
		return fmt.Sprintf("; it exists in namespace %[1]s: add -n %[1]s", elsewhere[0])
	case len(elsewhere) > 1:
		return fmt.Sprintf("; it exists in namespaces %s: add -n NAMESPACE", strings.Join(elsewhere[:min(len(elsewhere), named)], ", "))
	}
	if meant := SuggestWord(missing.Name, here); meant != "" {
		return fmt.Sprintf(": did you mean %s?", meant)
	}
	return fmt.Sprintf(": see '%s %s list'", e.DisplayName, strings.ToLower(missing.Kind))
}
