package cli

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/LogicIQ/konductor/internal/cli/clierror"
	"github.com/LogicIQ/konductor/internal/cli/printer"
	"github.com/LogicIQ/konductor/internal/live"
	"github.com/LogicIQ/konductor/internal/waitgraph"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// recordingServer records an API server's requests, their users and their preconditions.
type recordingServer struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string
}

func newRecordingServer(t *testing.T) *recordingServer {
	s := &recordingServer{}
	s.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		var options struct {
			Preconditions struct {
				UID string `json:"uid"`
			} `json:"preconditions"`
		}
		body, _ := io.ReadAll(req.Body)
		_ = json.Unmarshal(body, &options)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.requests = append(s.requests, strings.Join([]string{req.Method, req.URL.Path, req.Header.Get("Authorization"), options.Preconditions.UID}, " "))
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"kind":"Status","apiVersion":"v1","status":"Success"}`)
	}))
	t.Cleanup(s.Close)
	return s
}

// newKubeconfig returns a kubeconfig with a context for each server; the first one is current.
func newKubeconfig(token string, servers ...*recordingServer) *api.Config {
	c := api.NewConfig()
	for i, name := range []string{"staging", "prod"}[:len(servers)] {
		c.Clusters[name] = &api.Cluster{Server: servers[i].URL, InsecureSkipTLSVerify: true}
		c.AuthInfos[name] = &api.AuthInfo{Token: token + name}
		c.Contexts[name] = &api.Context{Cluster: name, AuthInfo: name, Namespace: "etl"}
	}
	c.CurrentContext = "staging"
	return c
}

func writeKubeconfig(t *testing.T, path string, c *api.Config) {
	t.Helper()
	if err := clientcmd.WriteToFile(*c, path); err != nil {
		t.Fatal(err)
	}
}

// openDashboardCluster returns the dashboard's cluster when it is opened with those flags.
func openDashboardCluster(t *testing.T, flags ...string) *dashboardCluster {
	t.Helper()
	a := newApp("kubectl konductor", genericiooptions.IOStreams{In: strings.NewReader(""), Out: io.Discard, ErrOut: io.Discard})
	root := a.rootCommand()
	watch, _, err := root.Find([]string{"watch"})
	if err != nil {
		t.Fatal(err)
	}
	var c *dashboardCluster
	watch.RunE = func(cmd *cobra.Command, _ []string) (err error) {
		c, err = a.newDashboardCluster(cmd, live.Options{})
		return err
	}
	root.SetArgs(append([]string{"watch"}, flags...))
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDashboardActionsKeepConnection(t *testing.T) {
	args := []string{"gate", "delete", "ready", "--namespace=etl", "--yes", "--uid=shown"}
	type files struct{ first, second string }
	for name, c := range map[string]struct {
		several   bool
		flags     []string
		meanwhile func(t *testing.T, f files, staging, prod *recordingServer)
	}{
		"the current context is switched": {meanwhile: func(t *testing.T, f files, staging, prod *recordingServer) {
			now := newKubeconfig("", staging, prod)
			now.CurrentContext = "prod"
			writeKubeconfig(t, f.second, now)
		}},
		"the contexts change places": {flags: []string{"--context=staging"}, meanwhile: func(t *testing.T, f files, staging, prod *recordingServer) {
			writeKubeconfig(t, f.second, newKubeconfig("", prod, staging))
		}},
		"the user is another": {flags: []string{"--user=staging"}, meanwhile: func(t *testing.T, f files, staging, prod *recordingServer) {
			writeKubeconfig(t, f.second, newKubeconfig("another-", staging, prod))
		}},
		"the file is gone": {meanwhile: func(t *testing.T, f files, _, _ *recordingServer) {
			if err := os.Remove(f.second); err != nil {
				t.Fatal(err)
			}
		}},
		"KUBECONFIG names another file": {meanwhile: func(t *testing.T, f files, staging, prod *recordingServer) {
			writeKubeconfig(t, f.first, newKubeconfig("", prod, staging))
			t.Setenv("KUBECONFIG", f.first)
		}},
		"a file before it has the context now": {several: true, meanwhile: func(t *testing.T, f files, staging, prod *recordingServer) {
			writeKubeconfig(t, f.first, newKubeconfig("", prod, staging))
		}},
	} {
		t.Run(name, func(t *testing.T) {
			staging, prod := newRecordingServer(t), newRecordingServer(t)
			dir := t.TempDir()
			f := files{filepath.Join(dir, "first"), filepath.Join(dir, "second")}
			writeKubeconfig(t, f.second, newKubeconfig("", staging, prod))
			t.Setenv("KUBECONFIG", f.second)
			if c.several {
				t.Setenv("KUBECONFIG", f.first+string(filepath.ListSeparator)+f.second)
			}
			cluster := openDashboardCluster(t, c.flags...)
			shown := cluster.CommandLine(args)
			c.meanwhile(t, f, staging, prod)
			if _, err := cluster.RunCommand(t.Context(), args); err != nil {
				t.Error(err)
			}
			want := []string{"DELETE /apis/konductor.io/v1/namespaces/etl/gates/ready Bearer staging shown"}
			if diff := cmp.Diff(want, staging.requests); diff != "" {
				t.Errorf("what staging was asked (-want +got):\n%s", diff)
			}
			if len(prod.requests) > 0 {
				t.Errorf("prod was asked %q", prod.requests)
			}
			if now := cluster.CommandLine(args); now != shown {
				t.Errorf("the command was shown as %s, and now as %s", shown, now)
			}
		})
	}
}

func TestSuggestedCommandsNameCluster(t *testing.T) {
	staging := newRecordingServer(t)
	path := filepath.Join(t.TempDir(), "config")
	writeKubeconfig(t, path, newKubeconfig("", staging))
	t.Setenv("KUBECONFIG", path)
	named := []string{"--context=staging", "--kubeconfig=" + path}
	a := newApp("koncli", genericiooptions.IOStreams{})
	if got := a.connection.ClusterFlags(); got != nil {
		t.Errorf("in the current context it names %q", got)
	}
	*a.connection.ConfigFlags.Context = "staging"
	if diff := cmp.Diff(named, a.connection.ClusterFlags()); diff != "" {
		t.Errorf("in a context that was given (-want +got):\n%s", diff)
	}
	forbidden := &konductor.ForbiddenError{Verb: "get", Resource: "leases.konductor.io", Namespace: "etl", User: "jane"}
	suggested := (&clierror.Explainer{Connection: a.connection}).Explain(t.Context(), &cobra.Command{}, forbidden)
	if n := strings.Count(suggested, strings.Join(named, " ")); n != 2 {
		t.Errorf("the cluster is named %d times, want 2: %s", n, suggested)
	}
	chain := &waitgraph.Cause{Command: "koncli lease break db -n etl"}
	roots := []waitgraph.RootCause{{Cause: waitgraph.Cause{Command: "kubectl delete pod/p -n etl"}}}
	printer.RewriteCommands(&waitgraph.Diagnosis{Chain: chain, RootCauses: roots}, a.displayName, named)
	want := []string{"koncli lease break db -n etl " + strings.Join(named, " "), "kubectl delete pod/p -n etl " + strings.Join(named, " ")}
	if diff := cmp.Diff(want, []string{chain.Command, roots[0].Command}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDashboardCommandLine(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "first"), filepath.Join(dir, "it's second")
	staging, prod := newRecordingServer(t), newRecordingServer(t)
	one := newKubeconfig("", staging, prod)
	writeKubeconfig(t, second, one)
	other := api.NewConfig()
	other.Contexts["mine"] = &api.Context{Cluster: "prod", AuthInfo: "prod"}
	writeKubeconfig(t, first, other)
	quoted := `'` + strings.ReplaceAll(second, "'", `'\''`) + `'`
	for name, c := range map[string]struct {
		environment string
		flags       []string
		want        string
	}{
		"the environment's file":              {second, nil, "kubectl konductor gate delete ready --context=staging --kubeconfig=" + quoted},
		"a file and a context given":          {"", []string{"--kubeconfig=" + second, "--context=prod", "-n", "x"}, "kubectl konductor gate delete ready --context=prod --kubeconfig=" + quoted},
		"a context of several files":          {first + ":" + second, []string{"--context=mine", "--as=me"}, "KUBECONFIG='" + first + ":" + strings.ReplaceAll(second, "'", `'\''`) + "' kubectl konductor gate delete ready --as=me --context=mine"},
		"files that aren't there don't count": {dir + "/none:" + second, nil, "kubectl konductor gate delete ready --context=staging --kubeconfig=" + quoted},
		"a server without a kubeconfig":       {dir + "/none", []string{"--server=" + staging.URL, "--token=secret"}, "kubectl konductor gate delete ready --server=" + staging.URL + " --token=REDACTED"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KUBECONFIG", c.environment)
			if diff := cmp.Diff(c.want, openDashboardCluster(t, c.flags...).CommandLine([]string{"gate", "delete", "ready"})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
