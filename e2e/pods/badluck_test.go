package pods

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/install"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

func TestNothingIsLostOrGivenTwiceWhileNoOperatorRuns(t *testing.T) {
	s := newSceneAlone(t, "no-operator")
	semaphores, claims := watching[*konductorv1.Semaphore](s), watching[*konductorv1.Claim](s)
	const job = "examples/semaphore/job.yaml"
	forEver := []edit{script("sleep 1", "sleep 86400"), with("Job", int64(1), "spec", "template", "spec", "terminationGracePeriodSeconds")}

	s.given("examples/semaphore/semaphore.yaml", with("Semaphore", int64(3), "spec", "permits"))
	holders := s.givenMany(3, job, forEver...)
	s.runs(3, "batch-", "work")
	waiters := s.givenMany(5, job)
	claims.await("five wait", func(now map[string]*konductorv1.Claim) bool {
		return len(now) == 8 && count(now, func(c *konductorv1.Claim) bool { return c.Status.Phase == konductorv1.ClaimPending }) == 5
	})
	semaphores.awaitOne("db-connections", "told that five wait", func(s *konductorv1.Semaphore) bool { return s.Status.Waiting == 5 })

	s.operators(0)
	alone := semaphores.state()["db-connections"]
	for _, name := range holders[1:] {
		s.delete(&batchv1.Job{ObjectMeta: s.named(name)})
	}
	s.pods.await("the Pods of two holders are gone", func(now map[string]*corev1.Pod) bool {
		return count(now, func(pod *corev1.Pod) bool { return belongs(pod, holders[1:]...) }) == 0
	})
	s.runs(5, "batch-", "permit")
	if now := semaphores.state()["db-connections"]; now.ResourceVersion != alone.ResourceVersion || len(now.Status.Holders) != 3 {
		t.Errorf("without an operator the semaphore changed from %+v to %+v", alone.Status, now.Status)
	}
	s.operators(2)

	for _, name := range waiters {
		s.complete(1, name)
	}
	claims.await("only the first holder's claim is left", func(now map[string]*konductorv1.Claim) bool { return len(now) == 1 })
	all := grants(semaphores, "db-connections")
	if len(all) != 8 {
		t.Errorf("there were %d grants for 8 jobs", len(all))
	}
	first := all[slices.IndexFunc(all, func(g grant) bool { return strings.HasPrefix(g.Holder, holders[0]) })]
	if first.to != 0 {
		t.Errorf("%s lost its hold at revision %d", first.Holder, first.to)
	}
	if most := s.pods.most(func(pod *corev1.Pod) bool { return running(pod, "work") && !finished(pod) }); most != 3 {
		t.Errorf("%d Pods were at work at the same time, not 3", most)
	}
	s.delete(&batchv1.Job{ObjectMeta: s.named(holders[0])})
	semaphores.awaitOne("db-connections", "without holders", idle)
}

// belongs reports whether the Pod is one of those Jobs'.
func belongs(pod *corev1.Pod, jobs ...string) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && slices.Contains(jobs, owner.Name)
}

// operators sets how many operators run, and waits until they do. When the test ends there are two again.
func (s *scene) operators(n int) {
	s.Helper()
	if n != operatorsOfChart {
		s.Cleanup(func() { s.scale(context.Background(), operatorsOfChart) })
	}
	pods := watchingIn[*corev1.Pod](s, install.Namespace)
	deployments := watchingIn[*appsv1.Deployment](s, install.Namespace)
	s.scale(s.ctx, n)
	pods.await(fmt.Sprintf("%d operators run", n), func(now map[string]*corev1.Pod) bool { return len(now) == n })
	deployments.awaitOne(install.Deployment, "ready", func(d *appsv1.Deployment) bool { return int(d.Status.ReadyReplicas) == n })
}

// operatorsOfChart is how many operators the chart starts.
const operatorsOfChart = 2

func (s *scene) scale(ctx context.Context, n int) {
	s.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: install.Namespace, Name: install.Deployment}}
	s.ok(s.objects.Patch(ctx, d, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n))))
}

func TestFiftyWaitersGoOnAfterTheAPIServerWasRestarted(t *testing.T) {
	s := newSceneAlone(t, "api-restart")
	s.forgets = true
	claims := watching[*konductorv1.Claim](s)
	s.run("koncli lease create nightly").exits(0)
	// A pipeline with the rights of a participant and no more: an API server that starts knows nobody's rights at first.
	pipeline := s.account("pipeline")
	s.run("kubectl create rolebinding pipeline --clusterrole=konductor-participant --serviceaccount=" + s.namespace + ":pipeline").exits(0)
	hold, err := s.sdk(pipeline, io.Discard).AcquireLease(s.ctx, "nightly", konductor.WithHolder("the test"))
	s.ok(err)

	var waiters []*task
	for i := range 10 {
		waiters = append(waiters, s.queue(pipeline, "nightly", fmt.Sprintf("waiter-%d", i)))
	}
	var unready []*listener
	for range 20 {
		l := s.listenFor("waiting for barrier/start")
		unready = append(unready, l)
		waiters = append(waiters, s.background("WaitBarrier", func() error { return s.sdk(pipeline, l).WaitBarrier(s.ctx, "start") }))
	}
	for range 15 {
		cmd, _, _ := s.shell(s.kubeconfigFor(pipeline), "koncli barrier wait start")
		l := s.listenFor("waiting for barrier/start")
		cmd.Stderr = l
		unready = append(unready, l)
		waiters = append(waiters, s.background("koncli barrier wait", cmd.Run))
	}
	consumers := s.givenMany(5, "examples/quorum/consumer.yaml", env("BARRIER", "start"))
	for _, l := range unready {
		l.hears()
	}
	for _, pod := range s.runs(len(consumers), "consumer-", "wait") {
		s.says(pod.Name, "wait", "waiting for barrier/start")
	}
	claims.await("ten are in the queue", func(now map[string]*konductorv1.Claim) bool { return len(now) == 11 })

	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		begin := time.Now()
		s.ok(ground.StopComponent("kube-apiserver", signal))
		s.ok(ground.StartComponent(s.ctx, "kube-apiserver"))
		t.Logf("the API server was away for %s after %s", time.Since(begin).Round(100*time.Millisecond), signal)
	}
	for _, w := range waiters {
		w.goesOn()
	}
	s.runs(len(consumers), "consumer-", "wait")
	leases := watching[*konductorv1.Lease](s)

	s.run("koncli barrier create start --expected 1").exits(0)
	s.run("koncli barrier arrive start --holder starter").exits(0)
	s.ok(hold.Release(s.ctx))
	for _, w := range waiters {
		w.succeeds()
	}
	s.complete(len(consumers), "consumer-")
	leases.awaitOne("nightly", "free", func(l *konductorv1.Lease) bool { return !held(l) })
	if n := len(grants(leases, "nightly")); n != 11 {
		t.Errorf("there were %d grants, not one for the test and each of ten waiters", n)
	}
}

// queue lets one wait for a lease and give it back at once.
func (s *scene) queue(config *rest.Config, lease, holder string) *task {
	c := s.sdk(config, io.Discard)
	return s.background("AcquireLease of "+holder, func() error {
		hold, err := c.AcquireLease(s.ctx, lease, konductor.WithHolder(holder))
		if err != nil {
			return err
		}
		return hold.Release(context.WithoutCancel(s.ctx))
	})
}

// sdk returns a client with those credentials that writes what it has to tell people to out.
func (s *scene) sdk(config *rest.Config, out io.Writer) *konductor.Client {
	s.Helper()
	c, err := konductor.New(config, konductor.InNamespace(s.namespace), konductor.NotifyFunc(func(said string) { fmt.Fprintln(out, said) }))
	s.ok(err)
	return c
}

// listener waits for a part of what is written to it.
type listener struct {
	s     *scene
	part  string
	heard chan struct{}

	mu   sync.Mutex
	said strings.Builder
}

func (s *scene) listenFor(part string) *listener {
	return &listener{s: s, part: part, heard: make(chan struct{})}
}

func (l *listener) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := strings.Contains(l.said.String(), l.part)
	l.said.Write(text)
	if !before && strings.Contains(l.said.String(), l.part) {
		close(l.heard)
	}
	return len(text), nil
}

// hears waits until the part has been written.
func (l *listener) hears() {
	l.s.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-l.heard:
	case <-timer.C:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.s.Fatalf("nobody said %q but\n%s", l.part, l.said.String())
	}
}
