package pods

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/operator"
)

const (
	// waitTimeout is how long a test waits for anything before it fails. It is far more than needed: the machine may be busy.
	waitTimeout = 3 * time.Minute
	// promptLimit is the limit for what has to happen without a timeout or a retry in between. It takes well under a second, but
	// times of Kubernetes objects are whole seconds, and the machine may be busy.
	promptLimit = 30 * time.Second
)

// testEnv is the environment of a test: a namespace whose Pods may be participants, and an administrator's clients.
type testEnv struct {
	*testing.T
	ctx       context.Context
	namespace string
	config    *rest.Config
	kube      kubernetes.Interface
	client    client.WithWatch
	// toleratesGaps is set by a test that restarts the API server or changes CRDs, after which older events are unavailable.
	toleratesGaps bool
	// pods and jobs record all revisions of those in the namespace.
	pods *revisionLog[*corev1.Pod]
	jobs *revisionLog[*batchv1.Job]
}

// namespaceCounter counts namespaces, so that a test that runs again has a namespace of its own.
var namespaceCounter atomic.Int32

// newTestEnv returns the environment of a test that runs in parallel.
func newTestEnv(t *testing.T, name string) *testEnv {
	t.Helper()
	if sharedCluster.missing == "" {
		t.Parallel()
	}
	return newExclusiveTestEnv(t, name)
}

// newExclusiveTestEnv returns the environment of a test that can't run in parallel, because it stops parts of the cluster.
func newExclusiveTestEnv(t *testing.T, name string) *testEnv {
	t.Helper()
	if sharedCluster.missing != "" {
		skipped.skip(t, sharedCluster.missing)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*waitTimeout, errors.New("the test takes too long"))
	t.Cleanup(cancel)
	s := &testEnv{T: t, ctx: ctx, namespace: fmt.Sprintf("%s-%d", name, namespaceCounter.Add(1)), config: sharedCluster.Config()}
	scheme, err := operator.NewScheme()
	s.must(err)
	s.must(appsv1.AddToScheme(scheme))
	s.client, err = client.NewWithWatch(s.config, client.Options{Scheme: scheme})
	s.must(err)
	s.kube, err = kubernetes.NewForConfig(s.config)
	s.must(err)

	s.must(install.CreateParticipantNamespace(ctx, s.config, s.namespace))
	t.Cleanup(s.cleanUp)
	s.pods, s.jobs = recordRevisions[*corev1.Pod](s), recordRevisions[*batchv1.Job](s)
	// Pods are rejected until their ServiceAccount exists.
	recordRevisions[*corev1.ServiceAccount](s).waitForObject("default", "there", func(*corev1.ServiceAccount) bool { return true })
	return s
}

// cleanUp reports the state if the test has failed, and deletes the namespace, so that its Pods take no resources from the tests
// that still run.
func (s *testEnv) cleanUp() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if s.Failed() {
		s.Log(failureReport(ctx, s))
	}
	err := s.kube.CoreV1().Namespaces().Delete(ctx, s.namespace, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		s.Errorf("removing namespace %s: %v", s.namespace, err)
	}
}

// must fails the test if there is an error.
func (s *testEnv) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// waitJobsComplete waits until the n Jobs whose names begin with prefix are complete. It fails the test as soon as one has
// failed.
func (s *testEnv) waitJobsComplete(n int, prefix string) {
	s.Helper()
	failed := ""
	s.jobs.waitUntil(fmt.Sprintf("%d jobs %s* are complete", n, prefix), func(now map[string]*batchv1.Job) bool {
		complete := 0
		for name, job := range now {
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			if reason, ended := jobConditionTrue(job, batchv1.JobFailed); ended {
				failed = fmt.Sprintf("job %s failed: %s", name, reason)
			}
			if _, ended := jobConditionTrue(job, batchv1.JobComplete); ended {
				complete++
			}
		}
		return complete == n || failed != ""
	})
	if failed != "" {
		s.Fatal(failed)
	}
}

// waitJobFailed waits until the Job whose name begins with prefix has failed.
func (s *testEnv) waitJobFailed(prefix string) {
	s.Helper()
	s.jobs.waitUntil("job "+prefix+"* has failed", func(now map[string]*batchv1.Job) bool {
		return countObjects(now, func(job *batchv1.Job) bool {
			_, ended := jobConditionTrue(job, batchv1.JobFailed)
			return ended && strings.HasPrefix(job.Name, prefix)
		}) == 1
	})
}

func jobConditionTrue(job *batchv1.Job, how batchv1.JobConditionType) (reason string, ended bool) {
	for _, c := range job.Status.Conditions {
		if c.Type == how && c.Status == corev1.ConditionTrue {
			return c.Message, true
		}
	}
	return "", false
}

// waitContainersRunning waits until that container runs in n Pods whose names begin with prefix, and returns them.
func (s *testEnv) waitContainersRunning(n int, prefix, container string) []*corev1.Pod {
	s.Helper()
	what := fmt.Sprintf("container %s of %d pods %s* runs", container, n, prefix)
	in := func(pod *corev1.Pod) bool {
		return strings.HasPrefix(pod.Name, prefix) && isContainerRunning(pod, container)
	}
	now := s.pods.waitUntil(what, func(now map[string]*corev1.Pod) bool { return countObjects(now, in) == n })
	var found []*corev1.Pod
	for _, pod := range now {
		if in(pod) {
			found = append(found, pod)
		}
	}
	return found
}

// waitContainerExit waits until the container of the Pod whose name begins with prefix has ended, with that exit code, and
// returns when that was.
func (s *testEnv) waitContainerExit(prefix, container string, code int32) (pod *corev1.Pod, at time.Time) {
	s.Helper()
	s.pods.waitUntil(fmt.Sprintf("container %s of pod %s* has ended", container, prefix), func(now map[string]*corev1.Pod) bool {
		for name, p := range now {
			if strings.HasPrefix(name, prefix) && terminatedState(p, container) != nil {
				pod = p
			}
		}
		return pod != nil
	})
	end := terminatedState(pod, container)
	if end.ExitCode != code {
		s.Fatalf("container %s of pod %s ended with exit code %d, not %d; it said\n%s", container, pod.Name, end.ExitCode, code, s.containerLog(pod.Name, container))
	}
	return pod, end.FinishedAt.Time
}

// containerLog returns a container's log from the API server.
func (s *testEnv) containerLog(pod, container string) string {
	s.Helper()
	text, err := s.kube.CoreV1().Pods(s.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container}).DoRaw(s.ctx)
	s.must(err)
	return string(text)
}

// waitForLog waits until a container's log contains part, and returns the log up to then.
func (s *testEnv) waitForLog(pod, container, part string) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, waitTimeout)
	defer cancel()
	stream, err := s.kube.CoreV1().Pods(s.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, Follow: true}).Stream(ctx)
	s.must(err)
	defer stream.Close()
	var said strings.Builder
	chunk := make([]byte, 4096)
	for {
		n, err := stream.Read(chunk)
		said.Write(chunk[:n])
		if strings.Contains(said.String(), part) {
			return said.String()
		}
		if errors.Is(err, io.EOF) || ctx.Err() != nil {
			s.Fatalf("container %s of pod %s never said %q but\n%s", container, pod, part, said.String())
		}
		s.must(err)
	}
}

// objectMeta returns the metadata of an object of that name in the test's namespace.
func (s *testEnv) objectMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: s.namespace, Name: name}
}

// deleteObject deletes an object of the namespace, and its dependents.
func (s *testEnv) deleteObject(obj client.Object, opts ...client.DeleteOption) {
	s.Helper()
	s.must(s.client.Delete(s.ctx, obj, append([]client.DeleteOption{client.PropagationPolicy(metav1.DeletePropagationBackground)}, opts...)...))
}

// backgroundCall is a call in the background.
type backgroundCall struct {
	env         *testEnv
	description string
	done        chan struct{}
	err         error
}

// runInBackground runs f in the background.
func (s *testEnv) runInBackground(what string, f func() error) *backgroundCall {
	t := &backgroundCall{env: s, description: what, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.err = f()
	}()
	s.Cleanup(func() { <-t.done })
	return t
}

// mustSucceed waits until the call has succeeded.
func (t *backgroundCall) mustSucceed() {
	t.env.Helper()
	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	select {
	case <-t.done:
	case <-timer.C:
		t.env.Fatalf("%s: waited in vain for %s", t.description, waitTimeout)
	}
	if t.err != nil {
		t.env.Fatalf("%s: %v", t.description, t.err)
	}
}

// mustBeRunning fails the test if the call has ended.
func (t *backgroundCall) mustBeRunning() {
	t.env.Helper()
	select {
	case <-t.done:
		t.env.Fatalf("%s has ended too early: %v", t.description, t.err)
	default:
	}
}
