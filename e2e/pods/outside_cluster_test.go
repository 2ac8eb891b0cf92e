package pods

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestBarrierFromOutsideTheCluster(t *testing.T) {
	s := newTestEnv(t, "outside")
	barriers, events := recordRevisions[*konductorv1.Barrier](s), recordRevisions[*corev1.Event](s)

	s.runCommand("kubectl apply -f examples/outside/barrier.yaml").expectExit(0).expectStdout("barrier.konductor.io/stage-1-complete created")
	barriers.waitForObject("stage-1-complete", "accepted", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierWaiting })
	s.runCommand("kubectl wait --for=condition=Ready kbar/stage-1-complete --timeout=1m").expectExit(0)
	s.runCommand("kubectl get kbar").expectExit(0).expectStdout("NAME", "PHASE", "ARRIVED", "EXPECTED", "AGE", "stage-1-complete", "Waiting")
	s.runCommand("kubectl get konductor").expectExit(0).expectStdout("barrier.konductor.io/stage-1-complete")
	s.runCommand("kubectl plugin list").expectExit(0).expectStdout(filepath.Join(sharedCluster.bin, "kubectl-konductor"))

	opens := s.startCommand("kubectl wait --for=condition=Open kbar/stage-1-complete --timeout=3m")
	waits := s.startCommand("kubectl konductor barrier wait stage-1-complete --timeout 3m")
	s.runCommand("kubectl konductor barrier arrive stage-1-complete --holder east").expectExit(0).expectStdout("barrier.konductor.io/stage-1-complete arrived")
	s.runCommand("koncli barrier arrive stage-1-complete --holder east").expectExit(0)
	barriers.waitForObject("stage-1-complete", "told of one", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	s.runCommand("kubectl konductor barrier status stage-1-complete").expectExit(0).expectStdout("Waiting", "1 of 2", "east")
	opens.mustBeRunning()
	waits.mustBeRunning()
	s.runCommand("kubectl konductor barrier arrive stage-1-complete --holder west --wait").expectExit(0).expectStdout("stage-1-complete open")
	opens.mustSucceed()
	waits.mustSucceed()

	s.runCommand("kubectl konductor barrier status stage-1-complete").expectExit(0).expectStdout("Open", "2 of 2", "east", "west")
	s.runCommand("kubectl konductor barrier list").expectExit(0).expectStdout("NAME", "PHASE", "stage-1-complete", "Open")
	s.runCommand("kubectl konductor status all").expectExit(0).expectStdout("STATE", "barrier/stage-1-complete", "2/2")
	events.waitUntil("an event tells of the opening", func(now map[string]*corev1.Event) bool {
		return countObjects(now, func(e *corev1.Event) bool { return e.Reason == konductorv1.EventOpened }) == 1
	})
	s.runCommand("kubectl describe kbar stage-1-complete").expectExit(0).expectStdout("Arrivals:", "east", "Events:", "Opened", "2 of 2")

	s.runCommand("kubectl konductor barrier delete stage-1-complete").expectExit(1).expectStderr("--yes")
	s.runCommand("kubectl konductor barrier delete stage-1-complete --yes").expectExit(0).expectStdout("stage-1-complete deleted")
	barriers.waitGone("stage-1-complete")
	s.runCommand("kubectl konductor barrier list").expectExit(0).expectStderr("No resources found in " + s.namespace + " namespace.")
}

func TestExitCodes(t *testing.T) {
	s := newTestEnv(t, "exit-codes")
	nobody := s.writeKubeconfig(s.createAccount("nobody"))

	s.runCommand("koncli lease create nightly").expectExit(0)
	s.runCommand("koncli barrier create nightly").expectExit(1).expectStderr("--expected is required")
	s.runCommand("koncli barrier wait nowhere --fail-if-missing").expectExit(2).expectStderr("barrier/nowhere not found in namespace " + s.namespace)

	s.runCommand("koncli barrier create lonely --expected 2").expectExit(0)
	s.runCommand("koncli barrier wait lonely --timeout 300ms").expectExit(3).expectStderr("timed out after 300ms", "barrier/lonely")
	s.runCommand("koncli barrier wait lonely --timeout 0").expectExit(3)

	refused := s.runCommandAs(nobody, "koncli barrier list").expectExit(4)
	refused.expectStderr(fmt.Sprintf("system:serviceaccount:%[1]s:nobody may not list barriers.konductor.io in namespace %[1]s", s.namespace))
	_, command, _ := strings.Cut(strings.TrimSpace(refused.stderr), "to allow it: ")
	s.runCommand(command).expectExit(0)
	s.runCommandAs(nobody, "koncli barrier list").expectExit(0).expectStdout("lonely")

	s.runCommand("koncli lease acquire nightly --holder first").expectExit(0)
	s.runCommand("koncli lease acquire nightly --holder second --timeout 0").expectExit(5).expectStderr("lease/nightly is busy")

	s.runCommand("koncli barrier arrive lonely --holder east --failed --reason empty").expectExit(0)
	s.runCommand("koncli barrier wait lonely").expectExit(6).expectStderr("barrier/lonely failed", "the quorum of 2 can't be reached any more")

	s.runCommand("koncli lease break nightly --yes").expectExit(0)
	s.runCommand("koncli lease renew nightly --holder first").expectExit(7).expectStderr("lost")
}

func TestOutputFormats(t *testing.T) {
	s := newTestEnv(t, "formats")
	s.runCommand("koncli barrier create stage --expected 2").expectExit(0)
	s.runCommand("koncli lease create nightly").expectExit(0)
	s.runCommand("koncli semaphore create pool --permits 3").expectExit(0)

	for command, name := range map[string]string{
		"kubectl konductor barrier status stage":                               "stage",
		"kubectl konductor barrier create other --expected 1 --dry-run=client": "other",
		"koncli barrier list":                          "stage",
		"koncli status lease nightly":                  "nightly",
		"koncli semaphore list":                        "pool",
		"koncli semaphore resize pool --permits 4":     "pool",
		"koncli lease acquire nightly --holder reader": "nightly",
	} {
		var fromJSON, fromYAML any
		if err := json.Unmarshal([]byte(s.runCommand(command+" -o json").expectExit(0).expectStdout(name).stdout), &fromJSON); err != nil {
			t.Errorf("%s -o json: %v", command, err)
		}
		if err := yaml.Unmarshal([]byte(s.runCommand(command+" -o yaml").expectExit(0).expectStdout(name).stdout), &fromYAML); err != nil {
			t.Errorf("%s -o yaml: %v", command, err)
		}
		for what, value := range map[string]any{"json": fromJSON, "yaml": fromYAML} {
			if _, ok := value.(map[string]any); !ok {
				t.Errorf("%s -o %s is not one object but %T", command, what, value)
			}
		}
		got := s.runCommand(command + " -o name").expectExit(0).stdout
		if !strings.HasSuffix(strings.TrimSpace(got), ".konductor.io/"+name) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s -o name printed %q", command, got)
		}
	}
	token := s.runCommand("koncli lease acquire nightly --holder reader").expectExit(0).stdout
	if strings.Trim(token, "0123456789") != "\n" {
		t.Errorf("acquire prints %q, and not the fencing token alone", token)
	}
}

func TestCopyToAndVersion(t *testing.T) {
	s := newTestEnv(t, "version")
	dir := t.TempDir()

	s.runCommand("koncli copy-to " + dir).expectExit(0).expectStderr("copied to " + filepath.Join(dir, "koncli"))
	original := s.runCommand("koncli version --client").expectExit(0).expectStdout("Client Version: ")
	copied := s.runCommand(filepath.Join(dir, "koncli") + " version --client").expectExit(0)
	if original.stdout != copied.stdout {
		t.Errorf("the copy is version %q, the original %q", copied.stdout, original.stdout)
	}
	s.runCommand("koncli copy-to " + filepath.Join(dir, "nowhere")).expectExit(1).expectStderr("does not exist")
	s.runCommand("kubectl konductor version").expectExit(0).expectStdout("Client Version: ", "Kubernetes Version: v1.")
	s.runCommand("kubectl konductor version -o json").expectExit(0).expectStdout(`"client"`, `"kubernetes"`)
}

// createAccount creates a ServiceAccount without any rights and returns the config of a process with its token.
func (s *testEnv) createAccount(name string) *rest.Config {
	s.Helper()
	s.must(s.client.Create(s.ctx, &corev1.ServiceAccount{ObjectMeta: s.objectMeta(name)}))
	token, err := s.kube.CoreV1().ServiceAccounts(s.namespace).CreateToken(s.ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	s.must(err)
	config := rest.AnonymousClientConfig(s.config)
	config.BearerToken = token.Status.Token
	return config
}
