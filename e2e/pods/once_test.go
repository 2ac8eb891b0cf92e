package pods

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestOneTimeInitialization has three replicas of which one initializes, and a fourth that comes later.
func TestOneTimeInitialization(t *testing.T) {
	s := newTestEnv(t, "once")
	s.createExample("examples/once/once.yaml")
	replicas := s.waitContainersRunning(3, "app-", "serve")
	var initialized []string
	for _, pod := range replicas {
		if strings.Contains(s.containerLog(pod.Name, "initialize"), "initializing") {
			initialized = append(initialized, pod.Name)
		}
	}
	if len(initialized) != 1 {
		t.Fatalf("%v have initialized, want one replica", initialized)
	}
	s.deleteObject(&corev1.Pod{ObjectMeta: s.objectMeta(initialized[0])})
	s.pods.waitGone(initialized[0])
	for _, pod := range s.waitContainersRunning(3, "app-", "serve") {
		if log := s.containerLog(pod.Name, "initialize"); strings.Contains(log, "initializing") || !strings.Contains(log, "isn't run again") {
			t.Errorf("%s says %q", pod.Name, log)
		}
	}
}
