package integration

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/resource"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/utils/ptr"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/internal/cli"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// linkPlugins links the program into a directory under those names, and returns a PATH that begins with it.
func (w *testEnv) linkPlugins(names ...string) string {
	w.Helper()
	dir := w.TempDir()
	for _, name := range names {
		w.must(os.Symlink(koncliPath, filepath.Join(dir, name)))
	}
	w.must(os.Symlink(kubectlPath, filepath.Join(dir, "kubectl")))
	return dir + ":" + os.Getenv("PATH")
}

// runShell runs a script, with that PATH and kubeconfig.
func (w *testEnv) runShell(path, kubeconfig, script string) commandResult {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, waitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = w.TempDir()
	cmd.Env = []string{"KUBECONFIG=" + kubeconfig, "HOME=" + cmd.Dir, "PATH=" + path, "LANG=C.UTF-8", "KUBECACHEDIR=" + discoveryCacheDir()}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	// A child that is left behind by an example must not keep the test from ending.
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		w.Fatalf("%s: %v\n%s", script, err, errOut.String())
	}
	return commandResult{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

func TestListMatchesKubectlGet(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	createBarrier(w, "first", 1)
	createBarrier(w, "second", 2)
	arriveInOrder(w, "first", "a")
	waitBarrierPhase(w, "first", konductorv1.BarrierOpen)
	waitBarrierPhase(w, "second", konductorv1.BarrierWaiting)
	kubeconfig := w.writeKubeconfig(w.adminKubeconfig, nil)
	path := w.linkPlugins("kubectl-konductor", "koncli")
	for _, flags := range []string{
		"", "-o wide", "--no-headers", "--sort-by={.spec.expected}", "-o name", "-o json", "-o yaml", "-l app=etl", "-l app=etl --ignore-not-found",
		"--field-selector=status.phase=Open", "-o jsonpath={.items[*].metadata.name}", "-o custom-columns=NAME:.metadata.name,PHASE:.status.phase",
		"-o 'go-template={{len .items}}'", "--show-labels", "-o json --field-selector=metadata.name=none",
	} {
		// The age may have changed at the second call.
		age := regexp.MustCompile(`\b\d+s\b`)
		theirs, ours := w.runShell(path, kubeconfig, "kubectl get barriers.konductor.io "+flags), w.runShell(path, kubeconfig, "kubectl konductor barrier list "+flags)
		for _, a := range []*commandResult{&theirs, &ours} {
			a.Stdout = regexp.MustCompile(` +`).ReplaceAllString(age.ReplaceAllString(a.Stdout, "AGE"), " ")
		}
		if diff := gocmp.Diff(theirs, ours); diff != "" {
			t.Errorf("%q (-kubectl +konductor):\n%s", flags, diff)
		}
	}
	if got := w.runShell(path, kubeconfig, "koncli status barrier/second -o jsonpath={.spec.expected}"); got.Stdout != "2" {
		t.Errorf("status -o jsonpath: %+v", got)
	}
	if got := w.runShell(path, kubeconfig, "koncli status all -o jsonpath='{.kind} {.objects[*].name}'"); got.Stdout != "Summary first second" {
		t.Errorf("status all -o jsonpath: %+v", got)
	}
}

func TestListWatch(t *testing.T) {
	w := newTestEnv(t)
	createBarrier(w, "first", 1)
	p := w.startKoncli("barrier", "list", "-w", "-o", "name")
	p.waitForOutput("barrier.konductor.io/first\n")
	createBarrier(w, "second", 1)
	p.waitForOutput("barrier.konductor.io/second\n")
	p.signal(syscall.SIGINT)
	p.expectExit(0)
}

func TestProgramNamesAndCompletion(t *testing.T) {
	w := newTestEnv(t)
	w.createLease("db-migration")
	w.createLease("db-cleanup")
	w.createLease("nightly")
	w.createObjects(newHeldJob("waiting", holding("lease/nightly"), true))
	kubeconfig := w.writeKubeconfig(w.adminKubeconfig, nil)
	path := w.linkPlugins("kubectl-konductor", "koncli")
	dir, _, _ := strings.Cut(path, ":")
	for script, want := range map[string]string{
		"kubectl konductor lease --help | grep -c 'kubectl konductor lease <command>'": "1\n",
		"koncli lease --help | grep -c 'koncli lease <command>'":                       "1\n",
		"kubectl plugin list 2>&1 | grep -ci warning":                                  "0\n",
		"kubectl konductor completion install":                                         filepath.Join(dir, "kubectl_complete-konductor") + " installed\n",
	} {
		if got := w.runShell(path, kubeconfig, script); got.Stdout != want {
			t.Errorf("%s: %+v, want %q", script, got, want)
		}
	}
	for line, want := range map[string]string{
		"kubectl_complete-konductor lease release d":                                "db-cleanup db-migration :4",
		"koncli __complete lease delete db-cleanup ''":                              "db-migration nightly :4",
		"koncli __complete status lease/n":                                          "lease/nightly :4",
		"koncli __complete why lease db-m":                                          "db-migration :4",
		"koncli __complete status a":                                                "all :6",
		"koncli __complete why po":                                                  "pod/ :6",
		"koncli __complete run --lease night":                                       "nightly :4",
		"koncli __complete why job/wait":                                            "job/waiting :4",
		"koncli __complete doctor --for job/w":                                      "job/waiting :4",
		"koncli __complete rbac --for u":                                            "user/ :6",
		"koncli __complete lease list --context ''":                                 "prod :4",
		"koncli __complete lease create x --dry-run=":                               "none client server :4",
		"koncli __complete --namespace " + w.namespace:                              w.namespace + " :4",
		"KUBECONFIG=/none koncli __complete lease acquire ''":                       ":4",
		"koncli --server https://127.0.0.1:1 __complete lease release ''":           ":4",
		"koncli --token none --as nobody __complete lease release ''":               ":4",
		"koncli completion bash | bash -n":                                          "",
		"koncli completion zsh | head -1 | cut -c1-8":                               "#compdef",
		"koncli completion fish | grep -c 'complete -c koncli' | sed 's/[1-9]/ok/'": "ok",
		"koncli completion powershell | grep -c Register-ArgumentCompleter":         "1",
	} {
		got := w.runShell(path, kubeconfig, line+" 2> errors; grep -v '^Completion ended' errors >&2; true")
		if names := strings.Join(strings.Fields(got.Stdout), " "); names != want || got.Stderr != "" {
			t.Errorf("%s: %q, stderr %q, want %q", line, names, got.Stderr, want)
		}
	}
	// Completion must be fast: it doesn't wait for a server that never responds.
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	begin := time.Now()
	got := w.runShell(path, kubeconfig, "KUBECACHEDIR=$PWD koncli --server "+silent.URL+" __complete lease release '' 2> errors")
	if took := time.Since(begin); strings.TrimSpace(got.Stdout) != ":4" || took > 10*time.Second {
		t.Errorf("completion by a silent server: %+v after %s", got, took)
	}
}

func TestMutationOutputAndDryRun(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createSemaphore("api", 2)
	w.createLease("db")
	createBarrier(w, "stage", 1)
	kubeconfig := w.writeKubeconfig(w.adminKubeconfig, nil)
	for _, step := range []struct{ args, want string }{
		{"lease create new --dry-run=server", "lease.konductor.io/new created (server dry run)\n"},
		{"lease create new --dry-run=client", "lease.konductor.io/new created (dry run)\n"},
		{"lease create new -o name", "lease.konductor.io/new\n"},
		{"lease acquire db --holder a", "TOKEN\n"},
		{"semaphore acquire api --holder a", "TOKEN\n"},
		{"semaphore acquire api --holder b", "TOKEN\n"},
		{"lease renew db --holder a --dry-run=server", "lease.konductor.io/db renewed (server dry run)\n"},
		{"lease renew db --holder a", "lease.konductor.io/db renewed\n"},
		{"lease release db --holder a --dry-run=server", "lease.konductor.io/db released (server dry run)\n"},
		{"lease break db --dry-run=server", "lease.konductor.io/db broken (was held by a) (server dry run)\n"},
		{"lease break db --dry-run=client", "lease.konductor.io/db broken (was held by a) (dry run)\n"},
		{"lease release db --holder a -o name", "lease.konductor.io/db\n"},
		{"semaphore resize api --permits 5 --dry-run=server -o jsonpath={.spec.permits}", "5"},
		{"semaphore resize api --permits 3", "semaphore.konductor.io/api resized\n"},
		{"semaphore break api --all --dry-run=server", "semaphore.konductor.io/api broken (was held by a, b) (server dry run)\n"},
		{"semaphore break api --holder a --yes", "semaphore.konductor.io/api broken (was held by a)\n"},
		{"semaphore release api --holder b", "semaphore.konductor.io/api released\n"},
		{"barrier arrive stage --dry-run=server", "barrier.konductor.io/stage arrived (server dry run)\n"},
		{"barrier arrive stage --wait", "barrier.konductor.io/stage arrived\nbarrier.konductor.io/stage open\n"},
		{"barrier delete stage --dry-run=client", "barrier.konductor.io/stage deleted (dry run)\n"},
		{"barrier delete stage --dry-run=server", "barrier.konductor.io/stage deleted (server dry run)\n"},
		{"barrier delete stage --yes -o name", "barrier.konductor.io/stage\n"},
	} {
		got := w.runKoncli(kubeconfig, strings.Fields(step.args)...)
		out := got.Stdout
		if strings.Contains(step.args, "acquire") {
			out = regexp.MustCompile(`^\d+\n$`).ReplaceAllString(out, "TOKEN\n")
		}
		if out != step.want || got.ExitCode != 0 {
			t.Errorf("%s: %+v, want %q", step.args, got, step.want)
		}
	}
	created := getObject[*konductorv1.Lease](w, "new")
	// The operator, which has reconciled the object, is another manager.
	if !slices.ContainsFunc(created.ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == "kubectl-konductor" && m.Subresource == ""
	}) {
		t.Errorf("the field managers are %+v", created.ManagedFields)
	}
}

// TestUserAgentAndWarnings uses a proxy to the API server that adds a warning to each response.
func TestUserAgentAndWarnings(t *testing.T) {
	w := newTestEnv(t)
	createBarrier(w, "stage", 1)
	to, err := url.Parse(w.adminConfig.Host)
	w.must(err)
	transport, err := rest.TransportFor(w.adminConfig)
	w.must(err)
	var mu sync.Mutex
	agents := map[string]bool{}
	proxy := httptest.NewServer(&httputil.ReverseProxy{
		Transport: transport,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(to)
			mu.Lock()
			defer mu.Unlock()
			agents[r.In.UserAgent()] = true
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Add("Warning", `299 - "this API will be gone some day"`)
			return nil
		},
	})
	defer proxy.Close()
	kubeconfig := w.writeKubeconfig(w.adminKubeconfig, func(c *api.Config) {
		changeServers(func(s *api.Cluster) {
			s.Server, s.CertificateAuthority, s.CertificateAuthorityData = proxy.URL, "", nil
		})(c)
		for name := range c.AuthInfos {
			c.AuthInfos[name] = &api.AuthInfo{}
		}
	})
	const warning = "Warning: this API will be gone some day"
	for _, args := range []string{
		"barrier list", "status barrier/stage -o name", "barrier status stage -o yaml", "barrier create other --expected 1",
		"status all", "status barrier/stage", "watch --once", "graph", "why barrier/stage",
	} {
		got := w.runKoncli(kubeconfig, strings.Fields(args)...)
		if got.Stderr != warning+"\n" || got.ExitCode != 0 {
			t.Errorf("%s: %+v", args, got)
		}
	}
	for _, args := range []string{"status all -w", "watch", "watch -o json"} {
		// Commands end when the reader has closed the pipe.
		got := w.runShell(w.linkPlugins("koncli"), kubeconfig, "koncli "+args+" | head -n 1 > /dev/null")
		if got.Stderr != warning+"\n" {
			t.Errorf("%s: %+v", args, got)
		}
	}
	// Warnings would destroy the picture of the dashboard: they are printed after it.
	s := w.startTerminal(kubeconfig, 120, 30, "watch").waitForText("barrier/stage", "barrier/other", "live")
	s.typeKeys("a").waitForText("arrive as:").waitForTextGone("checking permissions").typeKeys(enter).waitForText("arrived").typeKeys("q").expectExit(0)
	picture, after, _ := strings.Cut(s.output(), "\x1b[?1049l")
	if strings.Contains(picture, warning) || strings.Count(after, warning) != 1 {
		t.Errorf("the dashboard drew\n%q\nand said\n%q", picture, after)
	}
	mu.Lock()
	defer mu.Unlock()
	for agent := range agents {
		if !regexp.MustCompile(`^kubectl-konductor/\S+$`).MatchString(agent) {
			t.Errorf("a request came from %q", agent)
		}
	}
}

func TestBrokenPipe(t *testing.T) {
	w := newTestEnv(t)
	createBarrier(w, "stage", 1)
	kubeconfig := w.writeKubeconfig(w.adminKubeconfig, nil)
	path := w.linkPlugins("koncli")
	for _, args := range []string{"barrier list", "barrier list -o json", "barrier list -w", "status all", "status all -w", "status barrier/stage", "watch", "watch --once", "graph", "why barrier/stage", "--help", "options"} {
		// The reader closes the pipe at once, and the program has to end by itself.
		got := w.runShell(path, kubeconfig, "set -o pipefail; koncli "+args+" | true; code=$?; [ $code = 0 ] || [ $code = 141 ] || echo exit code $code")
		if got.Stdout != "" || got.Stderr != "" {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

func TestMissingCRDsMessage(t *testing.T) {
	w := newTestEnv(t)
	plane, err := cluster.StartControlPlane(w.ctx, cluster.ControlPlaneOptions{})
	w.must(err)
	t.Cleanup(func() { w.must(plane.Close()) })
	bare := *w
	bare.namespace = metav1.NamespaceDefault
	kubeconfig := bare.writeKubeconfig(plane.Kubeconfig(), nil)
	want := "error: the cluster of context prod doesn't have konductor's resource types (group konductor.io): install konductor first, for example with 'kubectl konductor install --context=prod'\n"
	for args, code := range map[string]int{
		"lease list": 1, "lease list -w": 1, "lease status x": 1, "status lease/x -o yaml": 1, "lease create x": 1, "lease delete x --yes": 1, "lease acquire x": 1,
		"barrier wait x": 1, "barrier arrive x": 1, "semaphore resize x --permits 1": 1, "status all": 1, "status all -w": 1, "why lease/x": 1, "why job/x": 1, "graph": 1, "graph -A": 1,
		"watch": 1, "watch --once": 1, "watch --once -o json": 1, "watch -A -o json": 1,
		"run --lease x -- true": 65,
	} {
		if got := bare.runKoncli(kubeconfig, strings.Fields(args)...); got.Stderr != want || got.ExitCode != code {
			t.Errorf("%s: %+v", args, got)
		}
	}
	const found = "konductor's resource types are not installed in the cluster of context prod\n                  -> koncli install --context=prod\n"
	if got := bare.runKoncli(kubeconfig, "doctor"); !strings.Contains(got.Stdout, found) || got.Stderr != "" || got.ExitCode != 1 {
		t.Errorf("doctor: %+v", got)
	}
	// --server overrides the context's server: the resource types are looked up on that one.
	want = "error: this cluster doesn't have konductor's resource types (group konductor.io): install konductor first, for example with 'kubectl konductor install'\n"
	if got := bare.runKoncli(kubeconfig, "lease", "list", "--server", plane.Config().Host); got.Stderr != want || got.ExitCode != 1 {
		t.Errorf("with --server: %+v", got)
	}
}

// clusterCommands are commands that install konductor and inspect the installation. Their examples are run in e2e/chart, with a
// cluster of their own.
var clusterCommands = []string{"install", "upgrade", "uninstall", "doctor", "rbac"}

// TestParseRefMatchesKubectl compares waitgraph.ParseRef with how kubectl parses a type.
func TestParseRefMatchesKubectl(t *testing.T) {
	w := newTestEnv(t)
	flags := genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(300)
	flags.KubeConfig, flags.CacheDir = ptr.To(w.writeKubeconfig(w.adminKubeconfig, nil)), ptr.To(w.TempDir())
	discovery, err := flags.ToDiscoveryClient()
	w.must(err)
	all := 0
	for version, kinds := range map[string][]string{
		"konductor.io/v1": {konductorv1.KindBarrier, konductorv1.KindGate, konductorv1.KindLease, konductorv1.KindSemaphore},
		"batch/v1":        {waitgraph.KindJob},
		"v1":              {waitgraph.KindPod},
	} {
		served, err := discovery.ServerResourcesForGroupVersion(version)
		w.must(err)
		gv, err := schema.ParseGroupVersion(version)
		w.must(err)
		for _, r := range served.APIResources {
			if !slices.Contains(kinds, r.Kind) || strings.Contains(r.Name, "/") {
				continue
			}
			for _, name := range append([]string{r.Name, r.SingularName}, r.ShortNames...) {
				for _, word := range []string{name, strings.TrimSuffix(name+"."+gv.Group, "."), name + "." + gv.Version + "." + gv.Group} {
					all++
					infos, err := resource.NewBuilder(flags).Unstructured().NamespaceParam(w.namespace).RequireObject(false).
						ResourceTypeOrNameArgs(false, word+"/x").Do().Infos()
					w.must(err)
					theirs := infos[0].Mapping.GroupVersionKind
					ref, ok := waitgraph.ParseRef(word + "/x")
					if !ok || ref.Kind != r.Kind || ref.Name != "x" {
						t.Errorf("%s is %+v (%v), want a %s", word, ref, ok, r.Kind)
					}
					if ours := theirs.Group == gv.Group && theirs.Kind == r.Kind; !ours && (word != "lease" && word != "leases") {
						t.Errorf("kubectl takes %s for a %s", word, theirs)
					}
				}
			}
		}
	}
	if all < 6*3*2 {
		t.Errorf("only %d spellings were tried", all)
	}
	createBarrier(w, "one", 1)
	createBarrier(w, "two", 1)
	got := w.runShell(w.linkPlugins("koncli"), *flags.KubeConfig, "koncli barrier list -o name | xargs koncli barrier delete --yes && koncli why po/x")
	want := commandResult{"barrier.konductor.io/one deleted\nbarrier.konductor.io/two deleted\n", "error: pod/x not found in namespace " + w.namespace + "\n", 2}
	if got != want {
		t.Errorf("deleting what was listed: %+v", got)
	}
}

// TestCommandExamples runs the examples in each command's help unchanged.
func TestCommandExamples(t *testing.T) {
	w := newTestEnv(t)
	path := w.linkPlugins("koncli", "kubectl-konductor")
	dir, _, _ := strings.Cut(path, ":")
	// Create the other programs and files that the examples use.
	for _, name := range []string{"dot", "jq", "psql"} {
		w.must(os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n[ \"$1\" = -f ] || cat > /dev/null\n"), 0o700))
	}
	const prepare = `
mkdir -p bin .config/fish/completions; for name in migrate extract report init-database; do printf '#!/bin/sh\ntrue\n' > $name; chmod +x $name; done
`
	examples, namespaces := map[string][]string{}, map[string]string{}
	var find func(cmd *cobra.Command)
	find = func(cmd *cobra.Command) {
		_, command, _ := strings.Cut(cmd.CommandPath(), " ")
		if lines := cli.Examples(cmd); len(lines) > 0 && !cmd.Hidden && !slices.Contains(clusterCommands, command) {
			examples[command], namespaces[command] = lines, w.createNamespace()
		}
		for _, sub := range cmd.Commands() {
			find(sub)
		}
	}
	find(cli.CommandTree("koncli"))
	const atLeast = 35
	if len(examples) < atLeast {
		t.Fatalf("only %d commands have examples: %q", len(examples), slices.Sorted(maps.Keys(examples)))
	}
	forever := []string{"watch", "operator"} // until they get a signal
	w.startOperator(slices.Collect(maps.Values(namespaces))...)
	for command, lines := range examples {
		one := *w
		one.namespace = namespaces[command]
		// There are many examples, and each has the timeout of a test.
		ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
		t.Cleanup(cancel)
		one.ctx = ctx
		one.createExampleObjects(command)
		for _, example := range lines {
			t.Run(example, func(t *testing.T) {
				one := one
				one.TB = t
				if strings.HasSuffix(command, " create") {
					// The examples create the same object in several ways.
					one.namespace = one.createNamespace()
				}
				kubeconfig := one.writeKubeconfig(one.adminKubeconfig, nil)
				one.acquireExampleHolds(kubeconfig, command, example)
				script := strings.ReplaceAll(example, "/konductor", "bin")
				if command == "operator" && !strings.Contains(script, "--watch-namespaces") {
					script += " --watch-namespaces=" + one.namespace // in others there are operators of other tests
				}
				switch {
				case command == "hold":
					// It is told to end once it holds, however long that takes.
					script = "said=$(mktemp); " + script + ` >"$said" 2>&1 & until grep -q acquired "$said"; do sleep 0.1; done; kill -TERM $!; wait $!; code=$?; rm "$said"; exit $code`
				case slices.Contains(forever, command) && !strings.Contains(script, "--once"):
					script = "timeout --preserve-status -s INT 3 " + script
				case (strings.HasSuffix(command, "delete") || strings.HasSuffix(command, "break")) && !strings.Contains(script, "--yes") && !strings.Contains(script, "--dry-run"):
					script += " --yes" // there is nobody to answer
				case strings.Contains(script, "--failed"):
					script += " --holder other" // a participant that has already arrived can't fail
				}
				if got := one.runShell(path, kubeconfig, prepare+script); got.ExitCode != 0 {
					t.Errorf("exit code %d\n%s%s", got.ExitCode, got.Stdout, got.Stderr)
				}
			})
		}
	}
}

// createExampleObjects creates the objects that a command's examples name.
func (w *testEnv) createExampleObjects(command string) {
	w.Helper()
	for _, name := range []string{"extracts-done", "initialized", "round-1", "stage-1-complete", "my-barrier", "old-one", "one", "two"} {
		createBarrier(w, name, 1)
	}
	for _, name := range []string{"dependencies-ready", "stage-1-complete", "my-gate", "old-one", "one", "two"} {
		w.createGate(name, condition{Type: konductorv1.GateOnLease, Name: "free"})
	}
	for _, name := range []string{"free", "db-migration", "init", "nightly", "nightly-report", "my-lease", "old-one", "one", "two"} {
		w.createLease(name)
	}
	for _, name := range []string{"db-connections", "my-semaphore", "old-one", "one", "two"} {
		w.createSemaphore(name, 5)
	}
	switch command {
	case "barrier wait":
		arriveInOrder(w, "stage-1-complete", "a")
	case "why":
		w.createWorkerJob("deploy", func(*batchv1.JobSpec) {})
	}
}

// acquireExampleHolds acquires what an example renews, releases or breaks.
func (w *testEnv) acquireExampleHolds(kubeconfig, command, example string) {
	w.Helper()
	var lines []string
	switch command {
	case "lease break":
		lines = []string{"lease acquire db-migration --holder load-7"}
	case "lease renew", "lease release":
		_, holder, _ := strings.Cut(example, "nightly")
		// The previous example may have left a hold of another holder.
		w.runKoncli(kubeconfig, "lease", "break", "nightly", "--yes")
		lines = []string{"lease acquire nightly" + holder}
	case "semaphore break":
		lines = []string{"semaphore acquire db-connections --holder load-7"}
	case "semaphore renew", "semaphore release":
		lines = []string{"semaphore acquire db-connections", "semaphore acquire db-connections --holder build-17"}
	}
	for _, line := range lines {
		if got := w.runKoncli(kubeconfig, strings.Fields(line)...); got.ExitCode != 0 {
			w.Fatalf("%s: %+v", line, got)
		}
	}
}
