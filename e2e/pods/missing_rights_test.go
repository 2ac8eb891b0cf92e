package pods

import (
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

func TestPodWithoutRights(t *testing.T) {
	s := newTestEnv(t, "rights")
	s.must(s.client.Create(s.ctx, &corev1.ServiceAccount{ObjectMeta: s.objectMeta("stranger")}))
	stranger := setField("Job", "stranger", "spec", "template", "spec", "serviceAccountName")

	s.createExample("examples/quorum/barriers.yaml")
	refused := s.createExample("examples/quorum/consumer.yaml", stranger)[0]
	pod, _ := s.waitContainerExit(refused, "wait", 4)
	s.waitJobFailed(refused)

	said := s.containerLog(pod.Name, "wait")
	grant := fmt.Sprintf("kubectl create rolebinding konductor-participant-stranger --clusterrole=konductor-participant"+
		" --serviceaccount=%[1]s:stranger --namespace=%[1]s", s.namespace)
	who := fmt.Sprintf("system:serviceaccount:%s:stranger may not get,list,watch", s.namespace)
	for _, part := range []string{who, "barriers.konductor.io", "in namespace " + s.namespace, grant} {
		if !strings.Contains(said, part) {
			t.Errorf("it does not say %q but\n%s", part, said)
		}
	}

	// The command in its message helps, unchanged.
	s.runCommand(grant).expectExit(0)
	allowed := s.createExample("examples/quorum/consumer.yaml", stranger)[0]
	s.createExampleTimes(7, "examples/quorum/worker.yaml")
	s.waitJobsComplete(1, allowed)
}
