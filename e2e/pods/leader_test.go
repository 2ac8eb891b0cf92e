package pods

import (
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func TestLeaderElectionExample(t *testing.T) {
	s := newTestEnv(t, "leader")
	leases := recordRevisions[*konductorv1.Lease](s)
	s.createExample("examples/leader-election/controller.yaml")
	replicas := s.waitContainersRunning(3, "controller-", "controller")
	lease := leases.waitForObject("controller-leader", "held", isHeld)
	leader := lease.Status.Holder
	s.waitForLog(leader, "controller", "leading with token "+strconv.FormatInt(lease.Status.FencingToken, 10))

	for _, pod := range replicas {
		if log := s.containerLog(pod.Name, "controller"); pod.Name != leader && strings.Contains(log, "leading") {
			t.Errorf("%s leads while %s does:\n%s", pod.Name, leader, log)
		}
		if pod.Name == leader {
			s.deleteObject(pod.DeepCopy())
		}
	}
	next := leases.waitForObject("controller-leader", "held by another", func(l *konductorv1.Lease) bool { return isHeld(l) && l.Status.Holder != leader })
	s.waitForLog(next.Status.Holder, "controller", "leading with token "+strconv.FormatInt(next.Status.FencingToken, 10))

	s.pods.waitGone(leader)
	gone := s.pods.firstEntry("the leader gone", func(e entry[*corev1.Pod]) bool { return e.obj.Name == leader && e.deleted })
	if ended := endRevisionOf(checkedGrants(leases, "controller-leader"), leader); ended == 0 || ended >= gone.revision {
		t.Errorf("the leader gave back at revision %d, not before its Pod was gone at %d", ended, gone.revision)
	}
	if next.Status.FencingToken <= lease.Status.FencingToken {
		t.Errorf("the next leader's token is %d, the first one's was %d", next.Status.FencingToken, lease.Status.FencingToken)
	}
}
