package pods

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestOneReplicaLeadsAndAnotherTakesOverWhenItIsDeleted(t *testing.T) {
	s := newScene(t, "leader")
	leases := watching[*konductorv1.Lease](s)
	s.given("examples/leader-election/controller.yaml")
	replicas := s.runs(3, "controller-", "controller")
	lease := leases.awaitOne("controller-leader", "held", held)
	leader := lease.Status.Holder
	s.says(leader, "controller", "leading with token "+strconv.FormatInt(lease.Status.FencingToken, 10))

	for _, pod := range replicas {
		if log := s.logOf(pod.Name, "controller"); pod.Name != leader && strings.Contains(log, "leading") {
			t.Errorf("%s leads while %s does:\n%s", pod.Name, leader, log)
		}
		if pod.Name == leader {
			s.delete(pod.DeepCopy())
		}
	}
	next := leases.awaitOne("controller-leader", "held by another", func(l *konductorv1.Lease) bool { return held(l) && l.Status.Holder != leader })
	s.says(next.Status.Holder, "controller", "leading with token "+strconv.FormatInt(next.Status.FencingToken, 10))

	s.pods.awaitGone(leader)
	gone := s.pods.first("the leader gone", func(e entry[*corev1.Pod]) bool { return e.obj.Name == leader && e.deleted })
	if ended := endOf(grants(leases, "controller-leader"), leader); ended == 0 || ended >= gone.revision {
		t.Errorf("the leader gave back at revision %d, not before its Pod was gone at %d", ended, gone.revision)
	}
	if next.Status.FencingToken <= lease.Status.FencingToken {
		t.Errorf("the next leader's token is %d, the first one's was %d", next.Status.FencingToken, lease.Status.FencingToken)
	}
}
