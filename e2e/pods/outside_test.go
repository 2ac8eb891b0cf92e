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

func TestPeopleUseABarrierWithKubectlAndThePlugin(t *testing.T) {
	s := newScene(t, "outside")
	barriers, events := watching[*konductorv1.Barrier](s), watching[*corev1.Event](s)

	s.run("kubectl apply -f examples/outside/barrier.yaml").exits(0).prints("barrier.konductor.io/stage-1-complete created")
	barriers.awaitOne("stage-1-complete", "accepted", func(b *konductorv1.Barrier) bool { return b.Status.Phase == konductorv1.BarrierWaiting })
	s.run("kubectl wait --for=condition=Ready kbar/stage-1-complete --timeout=1m").exits(0)
	s.run("kubectl get kbar").exits(0).prints("NAME", "PHASE", "ARRIVED", "EXPECTED", "AGE", "stage-1-complete", "Waiting")
	s.run("kubectl get konductor").exits(0).prints("barrier.konductor.io/stage-1-complete")
	s.run("kubectl plugin list").exits(0).prints(filepath.Join(ground.bin, "kubectl-konductor"))

	opens := s.inBackground("kubectl wait --for=condition=Open kbar/stage-1-complete --timeout=3m")
	waits := s.inBackground("kubectl konductor barrier wait stage-1-complete --timeout 3m")
	s.run("kubectl konductor barrier arrive stage-1-complete --holder east").exits(0).prints("barrier.konductor.io/stage-1-complete arrived")
	s.run("koncli barrier arrive stage-1-complete --holder east").exits(0)
	barriers.awaitOne("stage-1-complete", "told of one", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	s.run("kubectl konductor barrier status stage-1-complete").exits(0).prints("Waiting", "1 of 2", "east")
	opens.goesOn()
	waits.goesOn()
	s.run("kubectl konductor barrier arrive stage-1-complete --holder west --wait").exits(0).prints("stage-1-complete open")
	opens.succeeds()
	waits.succeeds()

	s.run("kubectl konductor barrier status stage-1-complete").exits(0).prints("Open", "2 of 2", "east", "west")
	s.run("kubectl konductor barrier list").exits(0).prints("NAME", "PHASE", "stage-1-complete", "Open")
	s.run("kubectl konductor status all").exits(0).prints("STATE", "barrier/stage-1-complete", "2/2")
	events.await("an event tells of the opening", func(now map[string]*corev1.Event) bool {
		return count(now, func(e *corev1.Event) bool { return e.Reason == konductorv1.EventOpened }) == 1
	})
	s.run("kubectl describe kbar stage-1-complete").exits(0).prints("Arrivals:", "east", "Events:", "Opened", "2 of 2")

	s.run("kubectl konductor barrier delete stage-1-complete").exits(1).says("--yes")
	s.run("kubectl konductor barrier delete stage-1-complete --yes").exits(0).prints("stage-1-complete deleted")
	barriers.awaitGone("stage-1-complete")
	s.run("kubectl konductor barrier list").exits(0).says("No resources found in " + s.namespace + " namespace.")
}

func TestEachExitCodeComesFromARealCommand(t *testing.T) {
	s := newScene(t, "exit-codes")
	nobody := s.kubeconfigFor(s.account("nobody"))

	s.run("koncli lease create nightly").exits(0)
	s.run("koncli barrier create nightly").exits(1).says("--expected is missing")
	s.run("koncli barrier wait nowhere --fail-if-missing").exits(2).says("barrier/nowhere not found in namespace " + s.namespace)

	s.run("koncli barrier create lonely --expected 2").exits(0)
	s.run("koncli barrier wait lonely --timeout 300ms").exits(3).says("timed out after 300ms", "barrier/lonely")
	s.run("koncli barrier wait lonely --timeout 0").exits(3)

	refused := s.runAs(nobody, "koncli barrier list").exits(4)
	refused.says(fmt.Sprintf("system:serviceaccount:%[1]s:nobody may not list barriers.konductor.io in namespace %[1]s", s.namespace))
	_, command, _ := strings.Cut(strings.TrimSpace(refused.stderr), "to allow it: ")
	s.run(command).exits(0)
	s.runAs(nobody, "koncli barrier list").exits(0).prints("lonely")

	s.run("koncli lease acquire nightly --holder first").exits(0)
	s.run("koncli lease acquire nightly --holder second --timeout 0").exits(5).says("lease/nightly is busy")

	s.run("koncli barrier arrive lonely --holder east --failed --reason empty").exits(0)
	s.run("koncli barrier wait lonely").exits(6).says("barrier/lonely failed", "the quorum of 2 can't be reached any more")

	s.run("koncli lease break nightly --yes").exits(0)
	s.run("koncli lease renew nightly --holder first").exits(7).says("lost")
}

func TestProgramsCanReadWhatCommandsPrint(t *testing.T) {
	s := newScene(t, "formats")
	s.run("koncli barrier create stage --expected 2").exits(0)
	s.run("koncli lease create nightly").exits(0)
	s.run("koncli semaphore create pool --permits 3").exits(0)

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
		if err := json.Unmarshal([]byte(s.run(command+" -o json").exits(0).prints(name).stdout), &fromJSON); err != nil {
			t.Errorf("%s -o json: %v", command, err)
		}
		if err := yaml.Unmarshal([]byte(s.run(command+" -o yaml").exits(0).prints(name).stdout), &fromYAML); err != nil {
			t.Errorf("%s -o yaml: %v", command, err)
		}
		for what, value := range map[string]any{"json": fromJSON, "yaml": fromYAML} {
			if _, ok := value.(map[string]any); !ok {
				t.Errorf("%s -o %s is not one object but %T", command, what, value)
			}
		}
		got := s.run(command + " -o name").exits(0).stdout
		if !strings.HasSuffix(strings.TrimSpace(got), ".konductor.io/"+name) || strings.Count(got, "\n") != 1 {
			t.Errorf("%s -o name printed %q", command, got)
		}
	}
	token := s.run("koncli lease acquire nightly --holder reader").exits(0).stdout
	if strings.Trim(token, "0123456789") != "\n" {
		t.Errorf("acquire prints %q, and not the fencing token alone", token)
	}
}

func TestTheProgramCopiesItselfAndTellsItsVersion(t *testing.T) {
	s := newScene(t, "version")
	dir := t.TempDir()

	s.run("koncli copy-to " + dir).exits(0).says("copied to " + filepath.Join(dir, "koncli"))
	original := s.run("koncli version --client").exits(0).prints("Client Version: ")
	copied := s.run(filepath.Join(dir, "koncli") + " version --client").exits(0)
	if original.stdout != copied.stdout {
		t.Errorf("the copy is version %q, the original %q", copied.stdout, original.stdout)
	}
	s.run("koncli copy-to " + filepath.Join(dir, "nowhere")).exits(1).says("does not exist")
	s.run("kubectl konductor version").exits(0).prints("Client Version: ", "Kubernetes Version: v1.")
	s.run("kubectl konductor version -o json").exits(0).prints(`"client"`, `"kubernetes"`)
}

// account returns how a process with the token of a new ServiceAccount, without any rights, reaches the API server.
func (s *scene) account(name string) *rest.Config {
	s.Helper()
	s.ok(s.objects.Create(s.ctx, &corev1.ServiceAccount{ObjectMeta: s.named(name)}))
	token, err := s.kube.CoreV1().ServiceAccounts(s.namespace).CreateToken(s.ctx, name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	s.ok(err)
	config := rest.AnonymousClientConfig(s.config)
	config.BearerToken = token.Status.Token
	return config
}
