package pods

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestAPodWithoutRightsIsToldWhichItNeedsAndHowToGrantThem(t *testing.T) {
	s := newScene(t, "rights")
	s.ok(s.objects.Create(s.ctx, &corev1.ServiceAccount{ObjectMeta: s.named("stranger")}))
	stranger := with("Job", "stranger", "spec", "template", "spec", "serviceAccountName")

	s.given("examples/quorum/barriers.yaml")
	refused := s.given("examples/quorum/consumer.yaml", stranger)[0]
	pod, _ := s.exits(refused, "wait", 4)
	s.fails(refused)

	said := s.logOf(pod.Name, "wait")
	grant := fmt.Sprintf("kubectl create rolebinding konductor-participant-stranger --clusterrole=konductor-participant"+
		" --serviceaccount=%[1]s:stranger --namespace=%[1]s", s.namespace)
	who := fmt.Sprintf("system:serviceaccount:%s:stranger may not get,list,watch", s.namespace)
	for _, part := range []string{who, "barriers.konductor.io", "in namespace " + s.namespace, grant} {
		if !strings.Contains(said, part) {
			t.Errorf("it does not say %q but\n%s", part, said)
		}
	}

	// What it says helps, as it stands.
	s.run(grant).exits(0)
	allowed := s.given("examples/quorum/consumer.yaml", stranger)[0]
	s.givenMany(7, "examples/quorum/worker.yaml")
	s.complete(1, allowed)
}
