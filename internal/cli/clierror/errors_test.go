package clierror

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/LogicIQ/konductor/internal/cli/cluster"
	"github.com/LogicIQ/konductor/internal/cli/readretry"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// TestExplainSDKErrors: that an error of the SDK is also one of Go or Kubernetes changes nothing in what is printed.
func TestExplainSDKErrors(t *testing.T) {
	e := &Explainer{Connection: cluster.NewConnection("test", io.Discard), DisplayName: "koncli"}
	for want, err := range map[string]error{
		"timed out after 5s waiting for gate/g: 1 of 2":                                                         &konductor.TimeoutError{Object: "gate/g", Timeout: 5 * time.Second, Status: "1 of 2"},
		"gate/g is not open: 1 of 2":                                                                            &konductor.TimeoutError{Object: "gate/g", Status: "1 of 2"},
		"no operator has answered the claim on lease/db within 10s":                                             &konductor.UnansweredError{Message: "no operator has answered the claim on lease/db within 10s"},
		"lease/db not found in namespace etl":                                                                   &konductor.NotFoundError{Kind: "Lease", Name: "db", Namespace: "etl"},
		"semaphore/s in namespace etl now has 3 permits":                                                        &konductor.ConflictError{Object: "semaphore/s", Message: "semaphore/s in namespace etl now has 3 permits"},
		"not allowed to create claims in namespace etl: exceeded quota q":                                       &konductor.ForbiddenError{Verb: "create", Resource: "claims", Namespace: "etl", Reason: "exceeded quota q"},
		"a already has a claim on lease/db with different terms (ttl): release it first, or use another holder": &konductor.TermsError{Object: "lease/db", Holder: "a", Difference: "ttl"},
		"lease/db already exists: use another name, or delete it first with 'koncli lease delete db'":           apierrors.NewAlreadyExists(schema.GroupResource{Group: "konductor.io", Resource: "leases"}, "db"),
		"the hold on lease/db was lost: gone\narriving: timed out after 5s waiting for barrier/b": errors.Join(
			&konductor.LostError{Object: "lease/db", Reason: "gone"}, fmt.Errorf("arriving: %w", &konductor.TimeoutError{Object: "barrier/b", Timeout: 5 * time.Second})),
	} {
		if diff := cmp.Diff(want, e.Explain(t.Context(), &cobra.Command{}, err)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestUnreachableMessage(t *testing.T) {
	kubeconfig := api.NewConfig()
	kubeconfig.Clusters["staging"] = &api.Cluster{Server: "https://server:6443"}
	kubeconfig.Contexts["staging"] = &api.Context{Cluster: "staging"}
	kubeconfig.CurrentContext = "staging"
	path := filepath.Join(t.TempDir(), "config")
	if err := clientcmd.WriteToFile(*kubeconfig, path); err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBECONFIG", path)
	e := &Explainer{Connection: cluster.NewConnection("test", io.Discard)}
	for want, err := range map[string]error{
		"can't reach the API server: the connection to https://server:6443 was refused (tried for 10s); check that the cluster is running, and check the server of context staging": &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED},
		"host server not found (tried for 10s): check the server of context staging and the network":                                                                                &net.DNSError{Name: "server", Err: "no such host", IsNotFound: true},
		"can't reach the API server: https://server:6443 didn't answer in time (tried for 10s); check the network, the server of context staging and --request-timeout":             &net.OpError{Op: "read", Net: "tcp", Err: syscall.ETIMEDOUT},
	} {
		lasting := &url.Error{Op: "Get", URL: "https://server:6443/version", Err: &readretry.UnreachableError{TriedFor: 10 * time.Second, Err: err}}
		if diff := cmp.Diff(want, e.Explain(t.Context(), &cobra.Command{}, lasting)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestExplainInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if got := (&Explainer{}).Explain(ctx, &cobra.Command{}, fmt.Errorf("waiting: %w", context.Canceled)); got != "interrupted" {
		t.Errorf("got %q", got)
	}
}
