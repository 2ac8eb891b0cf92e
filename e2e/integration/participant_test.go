package integration

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// createWorkerJob creates a real Job whose Pods run as workers.
func (w *testEnv) createWorkerJob(name string, change func(*batchv1.JobSpec)) {
	w.Helper()
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: podSpec(workerAccount)}},
	}
	change(&job.Spec)
	w.createObjects(job)
}

func participantName(w *testEnv, a *testParticipant, opts ...konductor.HolderOption) string {
	w.Helper()
	name, err := a.Participant(w.ctx, opts...)
	w.must(err)
	return name
}

func TestParticipantName(t *testing.T) {
	w := newTestEnv(t)
	w.createWorkerAccount()
	w.createWorkerJob("migrate", func(*batchv1.JobSpec) {})
	inJob := w.newPodParticipant(w.waitForJobPod("migrate"))
	bare := w.newPodParticipant(w.createPod("bare"))
	outside := w.newParticipantWithConfig(w.adminConfig, "")
	host, _, _ := strings.Cut(outside.Holder(), "/")
	ofHost, user, _ := strings.Cut(participantName(w, outside), "/")
	if user == "" {
		t.Errorf("outside of a pod the participant is %q, without the machine and user", ofHost)
	}
	got := []string{
		participantName(w, inJob), participantName(w, bare), ofHost,
		participantName(w, inJob, konductor.WithHolder("me")), participantName(w, outside, konductor.WithHolder("me")),
	}
	if diff := cmp.Diff([]string{"job/migrate", "pod/bare", host, "me", "me"}, got); diff != "" {
		t.Errorf("participants (-want +got):\n%s", diff)
	}
}

func TestIndexedJobParticipants(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	two, indexed := int32(2), batchv1.IndexedCompletion
	w.createWorkerJob("shards", func(s *batchv1.JobSpec) {
		s.CompletionMode, s.Completions, s.Parallelism = &indexed, &two, &two
	})
	pods := map[string]*corev1.Pod{}
	stream, err := w.client.Watch(w.ctx, &corev1.PodList{}, client.InNamespace(w.namespace), client.MatchingLabels{batchv1.JobNameLabel: "shards"})
	w.must(err)
	defer stream.Stop()
	consumeWatch(w.ctx, stream, func(p *corev1.Pod, _ bool) bool {
		pods[p.Annotations[batchv1.JobCompletionIndexAnnotation]] = p
		return len(pods) == 2
	})
	createBarrier(w, "stage", 2)
	for _, index := range []string{"0", "1"} {
		w.must(w.newPodParticipant(pods[index]).ArriveBarrier(w.ctx, "stage"))
	}
	opened := waitBarrierPhase(w, "stage", konductorv1.BarrierOpen)
	if diff := cmp.Diff([]string{"job/shards/0", "job/shards/1"}, opened.Status.Arrivals); diff != "" {
		t.Errorf("arrivals (-want +got):\n%s", diff)
	}
}

func TestRetriedJobPodCountsOnce(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createWorkerAccount()
	createBarrier(w, "stage", 2)
	w.createWorkerJob("retry", func(*batchv1.JobSpec) {})
	first := w.waitForJobPod("retry")
	w.must(w.newPodParticipant(first).ArriveBarrier(w.ctx, "stage"))
	w.setPodPhase(first.Name, corev1.PodFailed)
	second := w.waitForReplacementPod("retry", first)
	w.must(w.newPodParticipant(second).ArriveBarrier(w.ctx, "stage"))
	waiter := startWaitBarrier(w, "stage")
	waitFor(w, "stage", "filled with 1", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	waiter.mustBePending()
	arriveInOrder(w, "stage", "other")
	waiter.mustSucceed()
}

// waitForReplacementPod waits for the Pod that the Job controller creates in place of a failed one.
func (w *testEnv) waitForReplacementPod(job string, failed *corev1.Pod) *corev1.Pod {
	w.Helper()
	stream, err := w.client.Watch(w.ctx, &corev1.PodList{}, client.InNamespace(w.namespace), client.MatchingLabels{batchv1.JobNameLabel: job})
	w.must(err)
	defer stream.Stop()
	var found *corev1.Pod
	consumeWatch(w.ctx, stream, func(p *corev1.Pod, _ bool) bool {
		found = p
		return p.UID != failed.UID
	})
	return found
}

func TestParticipantNameForbidden(t *testing.T) {
	w := newTestEnv(t)
	w.startOperator()
	w.createClusterRole("konductor-test-blind", participantRules()[:3]...)
	w.createServiceAccount("blind", false)
	w.bindRole("konductor-test-blind", "blind")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "blind"}, Spec: podSpec("blind")}
	w.createObjects(pod)
	blind := w.newPodParticipant(pod)
	w.waitForRight(blind)
	createBarrier(w, "stage", 1)

	err := blind.ArriveBarrier(w.ctx, "stage")
	var forbidden *konductor.ForbiddenError
	if !errors.As(err, &forbidden) || forbidden.Verb != "get" || forbidden.Resource != "pods" {
		t.Fatalf("the error is %v", err)
	}
	if !strings.Contains(err.Error(), "finding the job of pod blind (not needed if a holder name is set)") {
		t.Errorf("the error is %q", err)
	}
	w.must(blind.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("blind")))
	startWaitBarrier(w, "stage").mustSucceed()
	// The rights that it has are enough to acquire.
	w.createLease("db")
	w.mustRelease(blind.mustAcquire(konductorv1.KindLease, "db"))
}

func TestPodHoldInOtherNamespaceIsUnbound(t *testing.T) {
	w := newTestEnv(t)
	w.createWorkerAccount()
	other := w.createNamespace()
	w.startOperator(other)
	pod := w.createPod("traveller")
	there := *w
	there.namespace = other
	lease := there.createLease("db")
	// As a Pod that may be a participant there, too.
	w.createClusterRole(participantRole, participantRules()...)
	w.bindRoleIn(other, participantRole, workerAccount)
	a := there.newParticipantWithConfig(w.podTokenConfig(pod), "")
	w.waitForRight(a)
	hold := a.mustAcquire(konductorv1.KindLease, "db")
	if hold.TTL() != konductorv1.DefaultTTL {
		t.Errorf("the ttl is %s", hold.TTL())
	}
	if claim := getObject[*konductorv1.Claim](&there, a.claimName(konductorv1.KindLease, lease)); claim.Spec.BoundTo != nil {
		t.Errorf("the claim is bound to %v", claim.Spec.BoundTo)
	}
}
