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

// workers creates a real Job whose Pods run as workers.
func (w *world) workers(name string, change func(*batchv1.JobSpec)) {
	w.Helper()
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: podSpec(worker)}},
	}
	change(&job.Spec)
	w.create(job)
}

func participant(w *world, a *actor, opts ...konductor.Option) string {
	w.Helper()
	name, err := a.Participant(w.ctx, opts...)
	w.ok(err)
	return name
}

func TestAParticipantIsItsJobElseItsPodElseItsHost(t *testing.T) {
	w := newWorld(t)
	w.withWorkers()
	w.workers("migrate", func(*batchv1.JobSpec) {})
	inJob := w.in(w.podOf("migrate"))
	bare := w.in(w.pod("bare"))
	outside := w.actorWith(w.config, "")
	host := outside.Holder()
	got := []string{
		participant(w, inJob), participant(w, bare), participant(w, outside),
		participant(w, inJob, konductor.WithHolder("me")), participant(w, outside, konductor.WithHolder("me")),
	}
	if diff := cmp.Diff([]string{"job/migrate", "pod/bare", host, "me", "me"}, got); diff != "" {
		t.Errorf("participants (-want +got):\n%s", diff)
	}
}

func TestEachIndexOfAnIndexedJobIsAParticipant(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	two, indexed := int32(2), batchv1.IndexedCompletion
	w.workers("shards", func(s *batchv1.JobSpec) {
		s.CompletionMode, s.Completions, s.Parallelism = &indexed, &two, &two
	})
	pods := map[string]*corev1.Pod{}
	stream, err := w.objects.Watch(w.ctx, &corev1.PodList{}, client.InNamespace(w.namespace), client.MatchingLabels{batchv1.JobNameLabel: "shards"})
	w.ok(err)
	defer stream.Stop()
	drain(w.ctx, stream, func(p *corev1.Pod, _ bool) bool {
		pods[p.Annotations[batchv1.JobCompletionIndexAnnotation]] = p
		return len(pods) == 2
	})
	barrierOf(w, "stage", 2)
	for _, index := range []string{"0", "1"} {
		w.ok(w.in(pods[index]).ArriveBarrier(w.ctx, "stage"))
	}
	opened := isBarrier(w, "stage", konductorv1.BarrierOpen)
	if diff := cmp.Diff([]string{"job/shards/0", "job/shards/1"}, opened.Status.Arrivals); diff != "" {
		t.Errorf("arrivals (-want +got):\n%s", diff)
	}
}

func TestARetriedPodOfAJobCountsOnce(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.withWorkers()
	barrierOf(w, "stage", 2)
	w.workers("retry", func(*batchv1.JobSpec) {})
	first := w.podOf("retry")
	w.ok(w.in(first).ArriveBarrier(w.ctx, "stage"))
	w.podBecomes(first.Name, corev1.PodFailed)
	second := w.anotherPodOf("retry", first)
	w.ok(w.in(second).ArriveBarrier(w.ctx, "stage"))
	waiter := waitBarrier(w, "stage")
	is(w, "stage", "filled with 1", func(b *konductorv1.Barrier) bool { return b.Status.Arrived == 1 })
	waiter.pending()
	arrive(w, "stage", "other")
	waiter.must()
}

// anotherPodOf waits for the Pod that the Job controller creates in place of one that has failed.
func (w *world) anotherPodOf(job string, failed *corev1.Pod) *corev1.Pod {
	w.Helper()
	stream, err := w.objects.Watch(w.ctx, &corev1.PodList{}, client.InNamespace(w.namespace), client.MatchingLabels{batchv1.JobNameLabel: job})
	w.ok(err)
	defer stream.Stop()
	var found *corev1.Pod
	drain(w.ctx, stream, func(p *corev1.Pod, _ bool) bool {
		found = p
		return p.UID != failed.UID
	})
	return found
}

func TestAPodThatMayNotReadPodsIsToldSo(t *testing.T) {
	w := newWorld(t)
	w.operator()
	w.newRole("konductor-test-blind", participantRules()[:3]...)
	w.serviceAccount("blind", false)
	w.allow("konductor-test-blind", "blind")
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "blind"}, Spec: podSpec("blind")}
	w.create(pod)
	blind := w.in(pod)
	w.awaitRight(blind)
	barrierOf(w, "stage", 1)

	err := blind.ArriveBarrier(w.ctx, "stage")
	var forbidden *konductor.ForbiddenError
	if !errors.As(err, &forbidden) || forbidden.Verb != "get" || forbidden.Resource != "pods" {
		t.Fatalf("the error is %v", err)
	}
	if !strings.Contains(err.Error(), "finding out which job pod blind belongs to (a name given as holder makes it unnecessary)") {
		t.Errorf("the error is %q", err)
	}
	w.ok(blind.ArriveBarrier(w.ctx, "stage", konductor.WithHolder("blind")))
	waitBarrier(w, "stage").must()
	// To acquire it needs no more than it has.
	w.lease("db")
	w.release(blind.acquire(konductorv1.KindLease, "db"))
}

func TestAPodActsUnboundInOtherNamespacesThanItsOwn(t *testing.T) {
	w := newWorld(t)
	w.withWorkers()
	other := w.newNamespace()
	w.operator(other)
	pod := w.pod("traveller")
	there := *w
	there.namespace = other
	lease := there.lease("db")
	// As a Pod that may take part there, too.
	w.newRole(participantRole, participantRules()...)
	w.allowIn(other, participantRole, worker)
	a := there.actorWith(w.podConfig(pod), "")
	w.awaitRight(a)
	hold := a.acquire(konductorv1.KindLease, "db")
	if hold.TTL() != konductorv1.DefaultTTL {
		t.Errorf("the ttl is %s", hold.TTL())
	}
	if claim := get[*konductorv1.Claim](&there, a.claimName(konductorv1.KindLease, lease)); claim.Spec.BoundTo != nil {
		t.Errorf("the claim is bound to %v", claim.Spec.BoundTo)
	}
}
