package cli

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/LogicIQ/konductor/internal/cli/clierror"
)

// cliResult is the result of a command line.
type cliResult struct {
	Out, Err string
	Code     int
}

// runCLI runs a command line without a cluster.
func runCLI(t *testing.T, args ...string) cliResult {
	t.Helper()
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("HOME", t.TempDir())
	var out, errOut bytes.Buffer
	code := Run(t.Context(), args, genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &errOut})
	return cliResult{out.String(), errOut.String(), code}
}

func TestArgumentErrors(t *testing.T) {
	for mistake, c := range map[string]struct {
		args string
		want string
	}{
		"a misspelt command": {"koncli barier wait x", `koncli has no command "barier": did you mean barrier?`},
		"a misspelt verb":    {"koncli barrier wiat x", `koncli barrier has no command "wiat": did you mean list or wait?`},
		"a command that has nothing in common with any": {"koncli frobnicate", `koncli has no command "frobnicate" (see 'koncli --help')`},
		"a barrier without a name":                      {"koncli barrier wait", "the name of the barrier is missing: koncli barrier wait NAME"},
		"two barriers at once":                          {"koncli barrier wait a b", `one barrier at a time, not ["a" "b"]: koncli barrier wait NAME`},
		"a barrier without participants":                {"koncli barrier create x", "--expected is required: the number of participants, for example --expected 10"},
		"a number that is none":                         {"koncli barrier create x --expected ten", `--expected must be a whole number, not "ten" (see 'koncli barrier create --help')`},
		"a timeout without a unit":                      {"koncli barrier wait x --timeout 30", `--timeout: "30" is not a duration: write a number with a unit, for example 30s, 5m or 1h30m`},
		"a timeout in days":                             {"koncli gate wait x --timeout 1d", `--timeout: "1d" is not a duration: write a number with a unit, for example 30s, 5m or 1h30m`},
		"a ttl of zero":                                 {"koncli lease create x --ttl 0s", "--ttl must be longer than zero, for example 30s, 5m or 1h30m"},
		"a negative ttl of a hold":                      {"koncli lease acquire x --ttl -5s", "--ttl must be longer than zero, for example 30s, 5m or 1h30m"},
		"a semaphore without permits":                   {"koncli semaphore create x", "--permits is required: the number of permits that can be held at the same time, for example --permits 10"},
		"no permits at all":                             {"koncli semaphore acquire x --permits 0", "--permits must be at least 1, not 0"},
		"permits of a lease":                            {"koncli lease acquire x --permits 2", "koncli lease acquire has no flag --permits (see 'koncli lease acquire --help')"},
		"a resize to nothing in particular":             {"koncli semaphore resize x", "--permits is required: the new number of permits, for example --permits 10"},
		"a gate without conditions":                     {"koncli gate create x", "the gate has no condition: add one, for example --job NAME or --barrier NAME"},
		"a condition without a name":                    {"koncli gate create x --job =Failed", `--job "=Failed": write NAME or NAME=STATE`},
		"a condition without a state":                   {"koncli gate create x --job a=", `--job "a=": write NAME or NAME=STATE`},
		"a priority below all that can be limited":      {"koncli lease create x --max-priority -1", "--max-priority must be from 0 to 1000000, not -1"},
		"a priority above all":                          {"koncli semaphore create x --permits 1 --max-priority 1000001", "--max-priority must be from 0 to 1000000, not 1000001"},
		"a holder from a variable that is not set":      {"koncli lease acquire x --holder=", "--holder is empty: pass a name, or omit --holder for the default (is a variable unset?)"},
		"a reason for what went well":                   {"koncli barrier arrive x --reason why", "--reason requires --failed: add --failed, or omit --reason"},
		"an output that does not exist":                 {"koncli lease acquire x -o table", `-o must be json, yaml or name, not "table"`},
		"a list in a format that does not exist":        {"koncli barrier list -o csv", `-o must be json, yaml, name, wide, jsonpath=…, go-template=… or custom-columns=…, not "csv"`},
		"a dry run of another kind":                     {"koncli lease create x --dry-run=maybe", `--dry-run must be none, client or server, not "maybe"`},
		"the status of a kind that does not exist":      {"koncli status mutex x", `there is no kind "mutex": use barrier, gate, lease or semaphore`},
		"the status of a kind without a name":           {"koncli status lease", "the name is missing: koncli status lease/NAME"},
		"deleting another kind":                         {"koncli barrier delete lease/x --yes", "lease/x is not a barrier: pass NAME or barrier/NAME"},
		"deleting a type without a name":                {"koncli gate delete kgate/ --yes", `the name of the gate is missing in "kgate/"`},
		"deleting a kind that does not exist":           {"koncli gate delete mutex/x --yes", "mutex/x is not a gate: pass NAME or gate/NAME"},
		"no directory to copy to":                       {"koncli copy-to", "name one directory: koncli copy-to DIR"},
		"a directory that is not there":                 {"koncli copy-to /does/not/exist", "directory /does/not/exist does not exist: mount a volume there or create it first"},
		"a log level that does not exist":               {"koncli operator --log-level loud", `--log-level must be debug, info, warn or error, not "loud"`},
		"a collector of traces without a port":          {"koncli operator --tracing-endpoint collector", `--tracing-endpoint must be HOST:PORT, or https://HOST:PORT for TLS, such as otel-collector.monitoring:4317, not "collector"`},
		"a collector of traces by another protocol":     {"koncli operator --tracing-endpoint http://collector:4318", `--tracing-endpoint must be HOST:PORT, or https://HOST:PORT for TLS, such as otel-collector.monitoring:4317, not "http://collector:4318"`},
		"a collector of traces with a path":             {"koncli operator --tracing-endpoint https://collector/x:4318", `--tracing-endpoint must be HOST:PORT, or https://HOST:PORT for TLS, such as otel-collector.monitoring:4317, not "https://collector/x:4318"`},
		"a collector of traces at no port":              {"koncli operator --tracing-endpoint collector:0", `--tracing-endpoint must be HOST:PORT, or https://HOST:PORT for TLS, such as otel-collector.monitoring:4317, not "collector:0"`},
		"more traces than all":                          {"koncli operator --tracing-sampling-rate 1000001", "--tracing-sampling-rate must be from 0 to 1000000, not 1000001"},
		"a share of traces":                             {"koncli operator --tracing-sampling-rate 0.5", `--tracing-sampling-rate must be a whole number, not "0.5" (see 'koncli operator --help')`},
		"a version in a format that does not exist":     {"koncli version --client -o xml", `-o must be json or yaml, not "xml"`},
		"nothing to do with a barrier":                  {"kubectl-konductor barrier", "specify a command: kubectl konductor barrier VERB NAME"},
	} {
		t.Run(mistake, func(t *testing.T) {
			got := runCLI(t, strings.Fields(c.args)...)
			if diff := cmp.Diff("error: "+c.want+"\n", got.Err); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
			if got.Code != clierror.ExitError {
				t.Errorf("exit code %d, want %d", got.Code, clierror.ExitError)
			}
		})
	}
}

func TestRunArgumentErrors(t *testing.T) {
	for mistake, c := range map[string]struct {
		args string
		code int
		want string
	}{
		"no command":                    {"run --lease a", 65, "the command to run is missing: koncli run [--lease NAME]… [--semaphore NAME[:N]]… [--arrive BARRIER | --once BARRIER] -- COMMAND [ARGS]…"},
		"nothing to hold":               {"run -- true", 65, "nothing to hold while the command runs: pass --lease NAME or --semaphore NAME[:N]"},
		"a flag that does not exist":    {"run --leese a -- true", 65, "koncli run has no flag --leese: did you mean --lease?"},
		"no permits":                    {"run --semaphore a:0 -- true", 65, "--semaphore a:0: write NAME or NAME:N with N permits, at least 1, for example db:3"},
		"permits that are no number":    {"run --semaphore a:b -- true", 65, "--semaphore a:b: write NAME or NAME:N with N permits, at least 1, for example db:3"},
		"permits of nothing":            {"run --semaphore :2 -- true", 65, `--semaphore ":2" has no name: write NAME or NAME:N, for example db:3`},
		"a lease without a name":        {"run --lease= -- true", 65, "--lease is empty: pass the name of a lease (is a variable unset?)"},
		"a ttl of zero":                 {"run --lease a --ttl 0s -- true", 65, "--ttl must be longer than zero, for example 30s, 5m or 1h30m"},
		"an exit code that is none":     {"run --lease a --conflict-exit-code 256 -- true", 65, "--conflict-exit-code must be from 0 to 255, not 256"},
		"another time to arrive":        {"run --arrive a --arrive-on failure -- true", 65, `--arrive-on must be end or success, not "failure"`},
		"tokens that look the same":     {"run --lease a-b --lease a.b -- true", 65, "lease/a-b and lease/a.b would both set KONDUCTOR_TOKEN_LEASE_A_B: nest two 'run' commands, or rename one of them"},
		"a command that does not exist": {"run --lease a -- no-such-command", 127, "command no-such-command not found: check its name and PATH"},
		"a command without the right":   {"run --lease a -- /dev/null", 126, "/dev/null can't be executed: check its permissions"},
		"nothing to hold at all":        {"hold", 1, "nothing to hold: pass --lease NAME or --semaphore NAME[:N]"},
		"the internal command":          {"run-internal", 1, "this command is only for koncli itself: use 'koncli run'"},
	} {
		t.Run(mistake, func(t *testing.T) {
			got := runCLI(t, append([]string{"koncli"}, strings.Fields(c.args)...)...)
			if diff := cmp.Diff(cliResult{Err: "error: " + c.want + "\n", Code: c.code}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRunPassesFlagsToCommand(t *testing.T) {
	// If -n were taken for --namespace, the command would be missing.
	got := runCLI(t, "koncli", "run", "--lease", "a", "no-such-command", "-n", "x", "--lease", "b")
	if got.Code != 127 {
		t.Errorf("%+v", got)
	}
}

func TestReplaceEnv(t *testing.T) {
	given := []string{"A=1", "KONDUCTOR_TOKEN=7", "KONDUCTOR_TOKEN_LEASE_A=7", "A=2"}
	got := replaceEnv(given, []string{"KONDUCTOR_TOKEN=9"})
	if diff := cmp.Diff([]string{"A=1", "KONDUCTOR_TOKEN_LEASE_A=7", "A=2", "KONDUCTOR_TOKEN=9"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestHelpShowsProgramName(t *testing.T) {
	for called, want := range map[string]string{
		"/usr/local/bin/kubectl-konductor": "kubectl konductor barrier arrive round-1 --wait",
		"/konductor/koncli":                "koncli barrier arrive round-1 --wait",
	} {
		got := runCLI(t, called, "barrier", "arrive", "--help")
		if got.Code != clierror.ExitOK || !strings.Contains(got.Out, "  "+want) {
			t.Errorf("help of %s lacks %q:\n%s", called, want, got.Out)
		}
	}
}

func TestCompletionExecutable(t *testing.T) {
	got := runCLI(t, "kubectl_complete-konductor", "bar")
	if !strings.HasPrefix(got.Out, "barrier\t") {
		t.Errorf("completion of bar:\n%s", got.Out)
	}
}

func TestCompletionOfFiles(t *testing.T) {
	const file, noFile = ":0", ":4"
	for line, want := range map[string]string{
		"lease acquire db --ttl": noFile, "barrier wait all --timeout": noFile, "run --grace": noFile,
		"rbac --filename": file, "lease list --kubeconfig": file, "install --values": file,
	} {
		got := runCLI(t, slices.Concat([]string{"koncli", "__complete"}, strings.Fields(line), []string{""})...)
		if !strings.HasSuffix(strings.TrimSpace(got.Out), want) {
			t.Errorf("after %q the shell is told %q, want %s", line, got.Out, want)
		}
	}
}

func TestEveryCommandHasTwoExamples(t *testing.T) {
	a := &app{connection: newConnection(io.Discard), displayName: "koncli", color: "auto"}
	seen := 0
	var check func(cmd *cobra.Command)
	check = func(cmd *cobra.Command) {
		for _, sub := range cmd.Commands() {
			check(sub)
		}
		if cmd.Hidden || (cmd.HasSubCommands() && cmd.Name() != "completion") {
			return
		}
		seen++
		examples := 0
		for _, line := range strings.Split(cmd.Example, "\n") {
			if !strings.HasPrefix(strings.TrimSpace(line), "#") && strings.Contains(line, "koncli ") {
				examples++
			}
		}
		if examples < 2 {
			t.Errorf("%s has %d examples", cmd.CommandPath(), examples)
		}
	}
	check(a.rootCommand())
	const some = 30
	if seen < some {
		t.Errorf("there are only %d commands", seen)
	}
}

func TestCreateClientDryRun(t *testing.T) {
	got := runCLI(t, strings.Fields("koncli barrier create done --expected 10 --quorum 7 --timeout 30m --dry-run=client -o yaml")...)
	want := `apiVersion: konductor.io/v1
kind: Barrier
metadata:
  name: done
spec:
  expected: 10
  quorum: 7
  timeout: 30m0s
`
	if diff := cmp.Diff(cliResult{Out: want}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = runCLI(t, strings.Fields("koncli gate create ready --job a --job b=Failed --semaphore s=3 --barrier other/b --dry-run=client -o yaml")...)
	want = `apiVersion: konductor.io/v1
kind: Gate
metadata:
  name: ready
spec:
  conditions:
  - name: a
    type: Job
  - name: b
    state: Failed
    type: Job
  - name: b
    namespace: other
    type: Barrier
  - name: s
    type: Semaphore
    value: 3
`
	if diff := cmp.Diff(cliResult{Out: want}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = runCLI(t, strings.Fields("koncli semaphore create slots --permits 3 --ttl 5m --max-priority 0 --dry-run=client -o yaml")...)
	want = `apiVersion: konductor.io/v1
kind: Semaphore
metadata:
  name: slots
spec:
  maxPriority: 0
  permits: 3
  ttl: 5m0s
`
	if diff := cmp.Diff(cliResult{Out: want}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	got = runCLI(t, strings.Fields("koncli lease create l --dry-run=client -o name")...)
	if diff := cmp.Diff(cliResult{Out: "lease.konductor.io/l\n"}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestDeleteRequiresConfirmation(t *testing.T) {
	t.Setenv("KUBERNETES_MASTER", "http://127.0.0.1:1")
	got := runCLI(t, "koncli", "barrier", "delete", "a", "--server=http://127.0.0.1:1")
	if want := "error: not deleting barrier/a in namespace default without confirmation; pass --yes\n"; got.Err != want || got.Code != clierror.ExitError {
		t.Errorf("got %+v, want %q", got, want)
	}
}

func TestVersionClientOnly(t *testing.T) {
	got := runCLI(t, "koncli", "version", "--client")
	if got.Code != clierror.ExitOK || !strings.HasPrefix(got.Out, "Client Version: v") {
		t.Errorf("version --client: %+v", got)
	}
}

func TestCopyTo(t *testing.T) {
	dir := t.TempDir()
	if got := runCLI(t, "koncli", "copy-to", dir); got.Code != clierror.ExitOK {
		t.Fatalf("copy-to: %+v", got)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != 1 || entries[0].Name() != "koncli" {
		t.Fatalf("the directory has %v", entries)
	}
	info, err := entries[0].Info()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	original, err := os.Stat(self)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o755 || info.Size() != original.Size() {
		t.Errorf("mode %v and %d bytes, want 0755 and %d", info.Mode(), info.Size(), original.Size())
	}
}
