package cli

import (
	"net"
	"net/url"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/LogicIQ/konductor/internal/cli/readretry"
)

func TestUnreachableMessage(t *testing.T) {
	staging := newRecordingServer(t)
	path := filepath.Join(t.TempDir(), "config")
	writeKubeconfig(t, path, newKubeconfig("", staging))
	t.Setenv("KUBECONFIG", path)
	a := newApp("koncli", genericiooptions.IOStreams{})
	for want, err := range map[string]error{
		"can't reach the API server, nobody listens at https://server:6443 (tried for 10s): see whether the cluster runs, and check the server of context staging":       &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED},
		"there is no host server (tried for 10s): check the server of context staging and the network":                                                                   &net.DNSError{Name: "server", Err: "no such host", IsNotFound: true},
		"can't reach the API server, https://server:6443 doesn't answer in time (tried for 10s): check the network, the server of context staging and --request-timeout": &net.OpError{Op: "read", Net: "tcp", Err: syscall.ETIMEDOUT},
	} {
		lasting := &url.Error{Op: "Get", URL: "https://server:6443/version", Err: &readretry.UnreachableError{TriedFor: 10 * time.Second, Err: err}}
		if diff := cmp.Diff(want, a.errorMessage(t.Context(), &cobra.Command{}, lasting)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
