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
	"github.com/LogicIQ/konductor/apis/waits"
	"github.com/LogicIQ/konductor/e2e/cluster"
	"github.com/LogicIQ/konductor/plugins/konductor/cli"
)

// plugins puts the program into a directory under those names, and returns a PATH that begins with it.
func (w *world) plugins(names ...string) string {
	w.Helper()
	dir := w.TempDir()
	for _, name := range names {
		w.ok(os.Symlink(koncliPath, filepath.Join(dir, name)))
	}
	w.ok(os.Symlink(kubectlPath, filepath.Join(dir, "kubectl")))
	return dir + ":" + os.Getenv("PATH")
}

// shell runs a script, with that PATH and kubeconfig.
func (w *world) shell(path, kubeconfig, script string) answered {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", script)
	cmd.Dir = w.TempDir()
	cmd.Env = []string{"KUBECONFIG=" + kubeconfig, "HOME=" + cmd.Dir, "PATH=" + path, "LANG=C.UTF-8", "KUBECACHEDIR=" + discovered()}
	var out, errOut bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errOut
	// Who is left behind by an example must not keep the test from ending.
	cmd.WaitDelay = 5 * time.Second
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && !ended {
		w.Fatalf("%s: %v\n%s", script, err, errOut.String())
	}
	return answered{out.String(), errOut.String(), cmd.ProcessState.ExitCode()}
}

func TestListsAreThoseOfKubectl(t *testing.T) {
	w := newWorld(t)
	w.operator()
	barrierOf(w, "first", 1)
	barrierOf(w, "second", 2)
	arrive(w, "first", "a")
	isBarrier(w, "first", konductorv1.BarrierOpen)
	isBarrier(w, "second", konductorv1.BarrierWaiting)
	kubeconfig := w.kubeconfigFor(w.kubeconfig, nil)
	path := w.plugins("kubectl-konductor", "koncli")
	for _, flags := range []string{
		"", "-o wide", "--no-headers", "--sort-by={.spec.expected}", "-o name", "-o json", "-o yaml", "-l app=etl", "-l app=etl --ignore-not-found",
		"--field-selector=status.phase=Open", "-o jsonpath={.items[*].metadata.name}", "-o custom-columns=NAME:.metadata.name,PHASE:.status.phase",
		"-o 'go-template={{len .items}}'", "--show-labels", "-o json --field-selector=metadata.name=none",
	} {
		// An age may be another by the time the second is asked.
		age := regexp.MustCompile(`\b\d+s\b`)
		theirs, ours := w.shell(path, kubeconfig, "kubectl get barriers.konductor.io "+flags), w.shell(path, kubeconfig, "kubectl konductor barrier list "+flags)
		for _, a := range []*answered{&theirs, &ours} {
			a.Out = regexp.MustCompile(` +`).ReplaceAllString(age.ReplaceAllString(a.Out, "AGE"), " ")
		}
		if diff := gocmp.Diff(theirs, ours); diff != "" {
			t.Errorf("%q (-kubectl +konductor):\n%s", flags, diff)
		}
	}
	if got := w.shell(path, kubeconfig, "koncli status barrier/second -o jsonpath={.spec.expected}"); got.Out != "2" {
		t.Errorf("status -o jsonpath: %+v", got)
	}
	if got := w.shell(path, kubeconfig, "koncli status all -o jsonpath='{.kind} {.objects[*].name}'"); got.Out != "Summary first second" {
		t.Errorf("status all -o jsonpath: %+v", got)
	}
}

func TestAListFollowsChangesUntilItIsInterrupted(t *testing.T) {
	w := newWorld(t)
	barrierOf(w, "first", 1)
	p := w.koncli("barrier", "list", "-w", "-o", "name")
	p.says("barrier.konductor.io/first\n")
	barrierOf(w, "second", 1)
	p.says("barrier.konductor.io/second\n")
	p.signal(syscall.SIGINT)
	p.exits(0)
}

func TestThreeNamesAndCompletion(t *testing.T) {
	w := newWorld(t)
	w.lease("db-migration")
	w.lease("db-cleanup")
	w.lease("nightly")
	kubeconfig := w.kubeconfigFor(w.kubeconfig, nil)
	path := w.plugins("kubectl-konductor", "koncli")
	dir, _, _ := strings.Cut(path, ":")
	for script, want := range map[string]string{
		"kubectl konductor lease --help | grep -c 'kubectl konductor lease <command>'": "1\n",
		"koncli lease --help | grep -c 'koncli lease <command>'":                       "1\n",
		"kubectl plugin list 2>&1 | grep -ci warning":                                  "0\n",
		"kubectl konductor completion install":                                         filepath.Join(dir, "kubectl_complete-konductor") + " installed\n",
	} {
		if got := w.shell(path, kubeconfig, script); got.Out != want {
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
		got := w.shell(path, kubeconfig, line+" 2> errors; grep -v '^Completion ended' errors >&2; true")
		if names := strings.Join(strings.Fields(got.Out), " "); names != want || got.Err != "" {
			t.Errorf("%s: %q, stderr %q, want %q", line, names, got.Err, want)
		}
	}
	// Who waits for names has a finger on the key: a server that never answers is not waited for.
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	begin := time.Now()
	got := w.shell(path, kubeconfig, "KUBECACHEDIR=$PWD koncli --server "+silent.URL+" __complete lease release '' 2> errors")
	if took := time.Since(begin); strings.TrimSpace(got.Out) != ":4" || took > 10*time.Second {
		t.Errorf("completion by a silent server: %+v after %s", got, took)
	}
}

func TestMutationsPrintWhatTheyDidAndCanBeTried(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.semaphore("api", 2)
	w.lease("db")
	barrierOf(w, "stage", 1)
	kubeconfig := w.kubeconfigFor(w.kubeconfig, nil)
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
		{"lease break db --dry-run=server", "lease.konductor.io/db taken away from a (server dry run)\n"},
		{"lease break db --dry-run=client", "lease.konductor.io/db taken away from a (dry run)\n"},
		{"lease release db --holder a -o name", "lease.konductor.io/db\n"},
		{"semaphore resize api --permits 5 --dry-run=server -o jsonpath={.spec.permits}", "5"},
		{"semaphore resize api --permits 3", "semaphore.konductor.io/api resized\n"},
		{"semaphore break api --all --dry-run=server", "semaphore.konductor.io/api taken away from a, b (server dry run)\n"},
		{"semaphore break api --holder a --yes", "semaphore.konductor.io/api taken away from a\n"},
		{"semaphore release api --holder b", "semaphore.konductor.io/api released\n"},
		{"barrier arrive stage --dry-run=server", "barrier.konductor.io/stage arrived (server dry run)\n"},
		{"barrier arrive stage --wait", "barrier.konductor.io/stage arrived\nbarrier.konductor.io/stage open\n"},
		{"barrier delete stage --dry-run=client", "barrier.konductor.io/stage deleted (dry run)\n"},
		{"barrier delete stage --dry-run=server", "barrier.konductor.io/stage deleted (server dry run)\n"},
		{"barrier delete stage --yes -o name", "barrier.konductor.io/stage\n"},
	} {
		got := w.call(kubeconfig, strings.Fields(step.args)...)
		out := got.Out
		if strings.Contains(step.args, "acquire") {
			out = regexp.MustCompile(`^\d+\n$`).ReplaceAllString(out, "TOKEN\n")
		}
		if out != step.want || got.Code != 0 {
			t.Errorf("%s: %+v, want %q", step.args, got, step.want)
		}
	}
	created := get[*konductorv1.Lease](w, "new")
	// The operator, which has looked at it, is another.
	if !slices.ContainsFunc(created.ManagedFields, func(m metav1.ManagedFieldsEntry) bool {
		return m.Manager == "kubectl-konductor" && m.Subresource == ""
	}) {
		t.Errorf("the field managers are %+v", created.ManagedFields)
	}
}

// TestRequestsSayWhoAsksAndWarningsAreSaidOnce puts an API server's proxy in between that warns of everything.
func TestRequestsSayWhoAsksAndWarningsAreSaidOnce(t *testing.T) {
	w := newWorld(t)
	barrierOf(w, "stage", 1)
	to, err := url.Parse(w.config.Host)
	w.ok(err)
	transport, err := rest.TransportFor(w.config)
	w.ok(err)
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
	kubeconfig := w.kubeconfigFor(w.kubeconfig, func(c *api.Config) {
		eachServer(func(s *api.Cluster) {
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
		got := w.call(kubeconfig, strings.Fields(args)...)
		if got.Err != warning+"\n" || got.Code != 0 {
			t.Errorf("%s: %+v", args, got)
		}
	}
	for _, args := range []string{"status all -w", "watch", "watch -o json"} {
		// They end when nobody reads any more.
		got := w.shell(w.plugins("koncli"), kubeconfig, "koncli "+args+" | head -n 1 > /dev/null")
		if got.Err != warning+"\n" {
			t.Errorf("%s: %+v", args, got)
		}
	}
	// Across the picture of the dashboard they would go: they come after it.
	s := w.terminal(kubeconfig, 120, 30, "watch").sees("barrier/stage", "barrier/other", "live")
	s.types("a").sees("arrive as:").loses("asking whether").types(enter).sees("arrived").types("q").ends(0)
	picture, after, _ := strings.Cut(s.written(), "\x1b[?1049l")
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

func TestABrokenPipeIsQuiet(t *testing.T) {
	w := newWorld(t)
	barrierOf(w, "stage", 1)
	kubeconfig := w.kubeconfigFor(w.kubeconfig, nil)
	path := w.plugins("koncli")
	for _, args := range []string{"barrier list", "barrier list -o json", "barrier list -w", "status all", "status all -w", "status barrier/stage", "watch", "watch --once", "graph", "why barrier/stage", "--help", "options"} {
		// sleep lets nobody read any more, until the program has ended by itself.
		got := w.shell(path, kubeconfig, "set -o pipefail; koncli "+args+" | true; code=$?; [ $code = 0 ] || [ $code = 141 ] || echo exit code $code")
		if got.Out != "" || got.Err != "" {
			t.Errorf("%s: %+v", args, got)
		}
	}
}

func TestWithoutKonductorTheNextCommandIsNamed(t *testing.T) {
	w := newWorld(t)
	plane, err := cluster.StartControlPlane(w.ctx, cluster.ControlPlaneOptions{})
	w.ok(err)
	t.Cleanup(func() { w.ok(plane.Close()) })
	bare := *w
	bare.namespace = metav1.NamespaceDefault
	kubeconfig := bare.kubeconfigFor(plane.Kubeconfig(), nil)
	want := "error: the cluster of context prod doesn't have konductor's resource types (group konductor.io): install konductor first, for example with 'kubectl konductor install --context=prod'\n"
	for args, code := range map[string]int{
		"lease list": 1, "lease list -w": 1, "lease status x": 1, "status lease/x -o yaml": 1, "lease create x": 1, "lease delete x --yes": 1, "lease acquire x": 1,
		"barrier wait x": 1, "barrier arrive x": 1, "semaphore resize x --permits 1": 1, "status all": 1, "status all -w": 1, "why lease/x": 1, "why job/x": 1, "graph": 1, "graph -A": 1,
		"watch": 1, "watch --once": 1, "watch --once -o json": 1, "watch -A -o json": 1,
		"run --lease x -- true": 65,
	} {
		if got := bare.call(kubeconfig, strings.Fields(args)...); got.Err != want || got.Code != code {
			t.Errorf("%s: %+v", args, got)
		}
	}
	const found = "konductor's resource types are not installed in the cluster of context prod\n                  -> koncli install --context=prod\n"
	if got := bare.call(kubeconfig, "doctor"); !strings.Contains(got.Out, found) || got.Err != "" || got.Code != 1 {
		t.Errorf("doctor: %+v", got)
	}
	// --server overrules the context, which is then not where it is looked.
	want = "error: this cluster doesn't have konductor's resource types (group konductor.io): install konductor first, for example with 'kubectl konductor install'\n"
	if got := bare.call(kubeconfig, "lease", "list", "--server", plane.Config().Host); got.Err != want || got.Code != 1 {
		t.Errorf("with --server: %+v", got)
	}
}

// forTheCluster are commands that install konductor and look at what is installed. Their examples are run in e2e/chart,
// with a cluster of their own.
var forTheCluster = []string{"install", "upgrade", "uninstall", "doctor", "rbac"}

// TestKindsAreSpelledAsKubectlSpellsThem holds what stands at waits.ParseRef against kubectl's own way to read a type.
func TestKindsAreSpelledAsKubectlSpellsThem(t *testing.T) {
	w := newWorld(t)
	flags := genericclioptions.NewConfigFlags(true).WithDiscoveryBurst(300)
	flags.KubeConfig, flags.CacheDir = ptr.To(w.kubeconfigFor(w.kubeconfig, nil)), ptr.To(w.TempDir())
	discovery, err := flags.ToDiscoveryClient()
	w.ok(err)
	all := 0
	for version, kinds := range map[string][]string{
		"konductor.io/v1": {konductorv1.KindBarrier, konductorv1.KindGate, konductorv1.KindLease, konductorv1.KindSemaphore},
		"batch/v1":        {waits.KindJob},
		"v1":              {waits.KindPod},
	} {
		served, err := discovery.ServerResourcesForGroupVersion(version)
		w.ok(err)
		gv, err := schema.ParseGroupVersion(version)
		w.ok(err)
		for _, r := range served.APIResources {
			if !slices.Contains(kinds, r.Kind) || strings.Contains(r.Name, "/") {
				continue
			}
			for _, name := range append([]string{r.Name, r.SingularName}, r.ShortNames...) {
				for _, word := range []string{name, strings.TrimSuffix(name+"."+gv.Group, "."), name + "." + gv.Version + "." + gv.Group} {
					all++
					infos, err := resource.NewBuilder(flags).Unstructured().NamespaceParam(w.namespace).RequireObject(false).
						ResourceTypeOrNameArgs(false, word+"/x").Do().Infos()
					w.ok(err)
					theirs := infos[0].Mapping.GroupVersionKind
					ref, ok := waits.ParseRef(word + "/x")
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
	barrierOf(w, "one", 1)
	barrierOf(w, "two", 1)
	got := w.shell(w.plugins("koncli"), *flags.KubeConfig, "koncli barrier list -o name | xargs koncli barrier delete --yes && koncli why po/x")
	want := answered{"barrier.konductor.io/one deleted\nbarrier.konductor.io/two deleted\n", "error: pod/x not found in namespace " + w.namespace + "\n", 2}
	if got != want {
		t.Errorf("deleting what was listed: %+v", got)
	}
}

// TestEveryCommandsExamplesWork runs the examples of each command's help as they stand there.
func TestEveryCommandsExamplesWork(t *testing.T) {
	w := newWorld(t)
	path := w.plugins("koncli", "kubectl-konductor")
	dir, _, _ := strings.Cut(path, ":")
	// What examples call besides, and what they need to be there.
	for _, name := range []string{"dot", "jq", "psql"} {
		w.ok(os.WriteFile(filepath.Join(dir, name), []byte("#!/bin/sh\n[ \"$1\" = -f ] || cat > /dev/null\n"), 0o700))
	}
	const prepare = `
mkdir -p bin .config/fish/completions; for name in migrate extract report; do printf '#!/bin/sh\ntrue\n' > $name; chmod +x $name; done
`
	examples, namespaces := map[string][]string{}, map[string]string{}
	var find func(cmd *cobra.Command)
	find = func(cmd *cobra.Command) {
		_, command, _ := strings.Cut(cmd.CommandPath(), " ")
		if lines := cli.Examples(cmd); len(lines) > 0 && !cmd.Hidden && !slices.Contains(forTheCluster, command) {
			examples[command], namespaces[command] = lines, w.newNamespace()
		}
		for _, sub := range cmd.Commands() {
			find(sub)
		}
	}
	find(cli.Tree("koncli"))
	const atLeast = 35
	if len(examples) < atLeast {
		t.Fatalf("only %d commands have examples: %q", len(examples), slices.Sorted(maps.Keys(examples)))
	}
	forever := []string{"watch", "hold", "operator"} // until they are told to end
	w.operator(slices.Collect(maps.Values(namespaces))...)
	for command, lines := range examples {
		one := *w
		one.namespace = namespaces[command]
		// There are many, and each has the time of a test.
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		t.Cleanup(cancel)
		one.ctx = ctx
		one.setScene(command)
		for _, example := range lines {
			t.Run(example, func(t *testing.T) {
				one := one
				one.TB = t
				if strings.HasSuffix(command, " create") {
					// They create the same in several ways.
					one.namespace = one.newNamespace()
				}
				kubeconfig := one.kubeconfigFor(one.kubeconfig, nil)
				one.setHolds(kubeconfig, command, example)
				script := strings.ReplaceAll(example, "/konductor", "bin")
				switch {
				case slices.Contains(forever, command) && !strings.Contains(script, "--once"):
					script = "timeout --preserve-status -s INT 3 " + script
				case (strings.HasSuffix(command, "delete") || strings.HasSuffix(command, "break")) && !strings.Contains(script, "--yes") && !strings.Contains(script, "--dry-run"):
					script += " --yes" // nobody is there to answer
				case strings.Contains(script, "--failed"):
					script += " --holder other" // who has arrived well before can't fail
				}
				if got := one.shell(path, kubeconfig, prepare+script); got.Code != 0 {
					t.Errorf("exit code %d\n%s%s", got.Code, got.Out, got.Err)
				}
			})
		}
	}
}

// setScene creates what a command's examples name.
func (w *world) setScene(command string) {
	w.Helper()
	for _, name := range []string{"extracts-done", "round-1", "stage-1-complete", "my-barrier", "old-one", "one", "two"} {
		barrierOf(w, name, 1)
	}
	for _, name := range []string{"dependencies-ready", "stage-1-complete", "my-gate", "old-one", "one", "two"} {
		w.gate(name, condition{Type: konductorv1.GateOnLease, Name: "free"})
	}
	for _, name := range []string{"free", "db-migration", "nightly", "nightly-report", "my-lease", "old-one", "one", "two"} {
		w.lease(name)
	}
	for _, name := range []string{"db-connections", "nightly", "my-semaphore", "old-one", "one", "two"} {
		w.semaphore(name, 5)
	}
	switch command {
	case "barrier wait":
		arrive(w, "stage-1-complete", "a")
	case "why":
		w.workers("deploy", func(*batchv1.JobSpec) {})
	}
}

// setHolds acquires what an example renews, releases or breaks.
func (w *world) setHolds(kubeconfig, command, example string) {
	w.Helper()
	var lines []string
	switch command {
	case "lease break":
		lines = []string{"lease acquire db-migration --holder load-7"}
	case "lease renew", "lease release":
		_, holder, _ := strings.Cut(example, "nightly")
		// The example before may have left it to another holder.
		w.call(kubeconfig, "lease", "break", "nightly", "--yes")
		lines = []string{"lease acquire nightly" + holder}
	case "semaphore break":
		lines = []string{"semaphore acquire db-connections --holder load-7"}
	case "semaphore renew", "semaphore release":
		lines = []string{"semaphore acquire nightly", "semaphore acquire nightly --holder build-17"}
	}
	for _, line := range lines {
		if got := w.call(kubeconfig, strings.Fields(line)...); got.Code != 0 {
			w.Fatalf("%s: %+v", line, got)
		}
	}
}
