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

func TestSemaphoreWhileNoOperatorRuns(t *testing.T) {
	s := newExclusiveTestEnv(t, "no-operator")
	semaphores, claims := recordRevisions[*konductorv1.Semaphore](s), recordRevisions[*konductorv1.Claim](s)
	const job = "examples/semaphore/job.yaml"
	forEver := []exampleEdit{replaceInCommand("sleep 1", "sleep 86400"), setField("Job", int64(1), "spec", "template", "spec", "terminationGracePeriodSeconds")}

	s.createExample("examples/semaphore/semaphore.yaml", setField("Semaphore", int64(3), "spec", "permits"))
	holders := s.createExampleTimes(3, job, forEver...)
	s.waitContainersRunning(3, "batch-", "work")
	waiters := s.createExampleTimes(5, job)
	claims.waitUntil("five wait", func(now map[string]*konductorv1.Claim) bool {
		return len(now) == 8 && countObjects(now, func(c *konductorv1.Claim) bool { return c.Status.Phase == konductorv1.ClaimPending }) == 5
	})
	semaphores.waitForObject("db-connections", "told that five wait", func(s *konductorv1.Semaphore) bool { return s.Status.Waiting == 5 })

	s.scaleOperators(0)
	alone := semaphores.currentObjects()["db-connections"]
	for _, name := range holders[1:] {
		s.deleteObject(&batchv1.Job{ObjectMeta: s.objectMeta(name)})
	}
	s.pods.waitUntil("the Pods of two holders are gone", func(now map[string]*corev1.Pod) bool {
		return countObjects(now, func(pod *corev1.Pod) bool { return belongsToJob(pod, holders[1:]...) }) == 0
	})
	s.waitContainersRunning(5, "batch-", "permit")
	if now := semaphores.currentObjects()["db-connections"]; now.ResourceVersion != alone.ResourceVersion || len(now.Status.Holders) != 3 {
		t.Errorf("without an operator the semaphore changed from %+v to %+v", alone.Status, now.Status)
	}
	s.scaleOperators(2)

	for _, name := range waiters {
		s.waitJobsComplete(1, name)
	}
	claims.waitUntil("only the first holder's claim is left", func(now map[string]*konductorv1.Claim) bool { return len(now) == 1 })
	all := checkedGrants(semaphores, "db-connections")
	if len(all) != 8 {
		t.Errorf("there were %d grants for 8 jobs", len(all))
	}
	first := all[slices.IndexFunc(all, func(g grant) bool { return strings.HasPrefix(g.Name, holders[0]) })]
	if first.endedAtRevision != 0 {
		t.Errorf("%s lost its hold at revision %d", first.Name, first.endedAtRevision)
	}
	if most := s.pods.maxConcurrent(func(pod *corev1.Pod) bool { return isContainerRunning(pod, "work") && !isPodFinished(pod) }); most != 3 {
		t.Errorf("%d Pods were at work at the same time, not 3", most)
	}
	s.deleteObject(&batchv1.Job{ObjectMeta: s.objectMeta(holders[0])})
	semaphores.waitForObject("db-connections", "without holders", isIdle)
}

// belongsToJob reports whether the Pod belongs to one of those Jobs.
func belongsToJob(pod *corev1.Pod, jobs ...string) bool {
	owner := metav1.GetControllerOf(pod)
	return owner != nil && slices.Contains(jobs, owner.Name)
}

// scaleOperators sets the number of operators, and waits until they run. When the test ends there are two again.
func (s *testEnv) scaleOperators(n int) {
	s.Helper()
	if n != chartReplicas {
		s.Cleanup(func() { s.setOperatorReplicas(context.Background(), chartReplicas) })
	}
	pods := recordRevisionsIn[*corev1.Pod](s, install.Namespace)
	deployments := recordRevisionsIn[*appsv1.Deployment](s, install.Namespace)
	s.setOperatorReplicas(s.ctx, n)
	pods.waitUntil(fmt.Sprintf("%d operators run", n), func(now map[string]*corev1.Pod) bool { return len(now) == n })
	deployments.waitForObject(install.Deployment, "ready", func(d *appsv1.Deployment) bool { return int(d.Status.ReadyReplicas) == n })
}

// chartReplicas is how many operators the chart starts.
const chartReplicas = 2

func (s *testEnv) setOperatorReplicas(ctx context.Context, n int) {
	s.Helper()
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: install.Namespace, Name: install.Deployment}}
	s.must(s.client.Patch(ctx, d, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"spec":{"replicas":%d}}`, n))))
}

func TestWaitersSurviveAPIServerRestart(t *testing.T) {
	s := newExclusiveTestEnv(t, "api-restart")
	s.toleratesGaps = true
	claims := recordRevisions[*konductorv1.Claim](s)
	s.runCommand("koncli lease create nightly").expectExit(0)
	// The pipeline has exactly the rights of a participant: a starting API server doesn't know any rights at first.
	pipeline := s.createAccount("pipeline")
	s.runCommand("kubectl create rolebinding pipeline --clusterrole=konductor-participant --serviceaccount=" + s.namespace + ":pipeline").expectExit(0)
	hold, err := s.newSDKClient(pipeline, io.Discard).AcquireLease(s.ctx, "nightly", konductor.WithHolder("the test"))
	s.must(err)

	var waiters []*backgroundCall
	for i := range 10 {
		waiters = append(waiters, s.startAcquireAndRelease(pipeline, "nightly", fmt.Sprintf("waiter-%d", i)))
	}
	var unready []*outputWaiter
	for range 20 {
		l := s.newOutputWaiter("waiting for barrier/start")
		unready = append(unready, l)
		waiters = append(waiters, s.runInBackground("WaitBarrier", func() error { return s.newSDKClient(pipeline, l).WaitBarrier(s.ctx, "start") }))
	}
	for range 15 {
		cmd, _, _ := s.newCommand(s.writeKubeconfig(pipeline), "koncli barrier wait start")
		l := s.newOutputWaiter("waiting for barrier/start")
		cmd.Stderr = l
		unready = append(unready, l)
		waiters = append(waiters, s.runInBackground("koncli barrier wait", cmd.Run))
	}
	consumers := s.createExampleTimes(5, "examples/quorum/consumer.yaml", setEnvVar("BARRIER", "start"))
	for _, l := range unready {
		l.wait()
	}
	for _, pod := range s.waitContainersRunning(len(consumers), "consumer-", "wait") {
		s.waitForLog(pod.Name, "wait", "waiting for barrier/start")
	}
	claims.waitUntil("ten are in the queue", func(now map[string]*konductorv1.Claim) bool { return len(now) == 11 })

	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		begin := time.Now()
		s.must(sharedCluster.StopComponent("kube-apiserver", signal))
		s.must(sharedCluster.StartComponent(s.ctx, "kube-apiserver"))
		t.Logf("the API server was away for %s after %s", time.Since(begin).Round(100*time.Millisecond), signal)
	}
	for _, w := range waiters {
		w.mustBeRunning()
	}
	s.waitContainersRunning(len(consumers), "consumer-", "wait")
	leases := recordRevisions[*konductorv1.Lease](s)

	s.runCommand("koncli barrier create start --expected 1").expectExit(0)
	s.runCommand("koncli barrier arrive start --holder starter").expectExit(0)
	s.must(hold.Release(s.ctx))
	for _, w := range waiters {
		w.mustSucceed()
	}
	s.waitJobsComplete(len(consumers), "consumer-")
	leases.waitForObject("nightly", "free", func(l *konductorv1.Lease) bool { return !isHeld(l) })
	if n := len(checkedGrants(leases, "nightly")); n != 11 {
		t.Errorf("there were %d grants, not one for the test and each of ten waiters", n)
	}
}

// startAcquireAndRelease acquires a lease in the background and releases it at once.
func (s *testEnv) startAcquireAndRelease(config *rest.Config, lease, holder string) *backgroundCall {
	c := s.newSDKClient(config, io.Discard)
	return s.runInBackground("AcquireLease of "+holder, func() error {
		hold, err := c.AcquireLease(s.ctx, lease, konductor.WithHolder(holder))
		if err != nil {
			return err
		}
		return hold.Release(context.WithoutCancel(s.ctx))
	})
}

// newSDKClient returns a client with those credentials that writes its messages for users to out.
func (s *testEnv) newSDKClient(config *rest.Config, out io.Writer) *konductor.Client {
	s.Helper()
	c, err := konductor.New(config, konductor.InNamespace(s.namespace), konductor.NotifyFunc(func(said string) { fmt.Fprintln(out, said) }))
	s.must(err)
	return c
}

// outputWaiter waits until its input contains part.
type outputWaiter struct {
	env   *testEnv
	text  string
	found chan struct{}

	mu      sync.Mutex
	written strings.Builder
}

func (s *testEnv) newOutputWaiter(part string) *outputWaiter {
	return &outputWaiter{env: s, text: part, found: make(chan struct{})}
}

func (l *outputWaiter) Write(text []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	before := strings.Contains(l.written.String(), l.text)
	l.written.Write(text)
	if !before && strings.Contains(l.written.String(), l.text) {
		close(l.found)
	}
	return len(text), nil
}

// wait waits until the part has been written.
func (l *outputWaiter) wait() {
	l.env.Helper()
	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	select {
	case <-l.found:
	case <-timer.C:
		l.mu.Lock()
		defer l.mu.Unlock()
		l.env.Fatalf("nobody said %q but\n%s", l.text, l.written.String())
	}
}
