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
	// patience is how long a test waits for anything before it fails. Far more than needed: the machine may be busy.
	patience = 3 * time.Minute
	// atOnce is the limit for what has to happen without a timeout or a retry in between. It takes well under a second,
	// but times of Kubernetes objects are whole seconds, and the machine may be busy.
	atOnce = 30 * time.Second
)

// scene is a test's own corner of the cluster: a namespace whose Pods may take part, and an administrator's clients.
type scene struct {
	*testing.T
	ctx       context.Context
	namespace string
	config    *rest.Config
	kube      kubernetes.Interface
	objects   client.WithWatch
	// forgets is set by a test that makes the API server forget what went before: it restarts it, or changes resource types.
	forgets bool
	// pods and jobs tell all that happens to those of the namespace.
	pods *chronicle[*corev1.Pod]
	jobs *chronicle[*batchv1.Job]
}

// scenes counts them, so that a test that runs again has a namespace of its own.
var scenes atomic.Int32

// newScene returns the scene of a test that runs beside others.
func newScene(t *testing.T, name string) *scene {
	t.Helper()
	if ground.missing == "" {
		t.Parallel()
	}
	return newSceneAlone(t, name)
}

// newSceneAlone returns the scene of a test that others can't run beside, because it stops parts of the cluster.
func newSceneAlone(t *testing.T, name string) *scene {
	t.Helper()
	if ground.missing != "" {
		skipped.skip(t, ground.missing)
	}
	ctx, cancel := context.WithTimeoutCause(t.Context(), 2*patience, errors.New("the test takes too long"))
	t.Cleanup(cancel)
	s := &scene{T: t, ctx: ctx, namespace: fmt.Sprintf("%s-%d", name, scenes.Add(1)), config: ground.Config()}
	scheme, err := operator.NewScheme()
	s.ok(err)
	s.ok(appsv1.AddToScheme(scheme))
	s.objects, err = client.NewWithWatch(s.config, client.Options{Scheme: scheme})
	s.ok(err)
	s.kube, err = kubernetes.NewForConfig(s.config)
	s.ok(err)

	s.ok(install.Participants(ctx, s.config, s.namespace))
	t.Cleanup(s.leave)
	s.pods, s.jobs = watching[*corev1.Pod](s), watching[*batchv1.Job](s)
	// Pods are refused until their ServiceAccount is there.
	watching[*corev1.ServiceAccount](s).awaitOne("default", "there", func(*corev1.ServiceAccount) bool { return true })
	return s
}

// leave shows how things stand if the test has failed, and removes the namespace, so that what is left in it takes
// nothing from the tests that still run.
func (s *scene) leave() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if s.Failed() {
		s.Log(report(ctx, s))
	}
	err := s.kube.CoreV1().Namespaces().Delete(ctx, s.namespace, metav1.DeleteOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		s.Errorf("removing namespace %s: %v", s.namespace, err)
	}
}

// ok ends the test if there is an error.
func (s *scene) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// complete waits until the n Jobs whose names begin with prefix are complete. It ends the test as soon as one has failed.
func (s *scene) complete(n int, prefix string) {
	s.Helper()
	failed := ""
	s.jobs.await(fmt.Sprintf("%d jobs %s* are complete", n, prefix), func(now map[string]*batchv1.Job) bool {
		complete := 0
		for name, job := range now {
			if !strings.HasPrefix(name, prefix) {
				continue
			}
			if reason, ended := jobEnded(job, batchv1.JobFailed); ended {
				failed = fmt.Sprintf("job %s failed: %s", name, reason)
			}
			if _, ended := jobEnded(job, batchv1.JobComplete); ended {
				complete++
			}
		}
		return complete == n || failed != ""
	})
	if failed != "" {
		s.Fatal(failed)
	}
}

// fails waits until the Job whose name begins with prefix has failed.
func (s *scene) fails(prefix string) {
	s.Helper()
	s.jobs.await("job "+prefix+"* has failed", func(now map[string]*batchv1.Job) bool {
		return count(now, func(job *batchv1.Job) bool {
			_, ended := jobEnded(job, batchv1.JobFailed)
			return ended && strings.HasPrefix(job.Name, prefix)
		}) == 1
	})
}

func jobEnded(job *batchv1.Job, how batchv1.JobConditionType) (reason string, ended bool) {
	for _, c := range job.Status.Conditions {
		if c.Type == how && c.Status == corev1.ConditionTrue {
			return c.Message, true
		}
	}
	return "", false
}

// runs waits until n Pods whose names begin with prefix are in their container of that name, and returns them.
func (s *scene) runs(n int, prefix, container string) []*corev1.Pod {
	s.Helper()
	what := fmt.Sprintf("container %s of %d pods %s* runs", container, n, prefix)
	in := func(pod *corev1.Pod) bool { return strings.HasPrefix(pod.Name, prefix) && running(pod, container) }
	now := s.pods.await(what, func(now map[string]*corev1.Pod) bool { return count(now, in) == n })
	var found []*corev1.Pod
	for _, pod := range now {
		if in(pod) {
			found = append(found, pod)
		}
	}
	return found
}

// exits waits until the container of the Pod whose name begins with prefix has ended, with that exit code, and returns
// when that was.
func (s *scene) exits(prefix, container string, code int32) (pod *corev1.Pod, at time.Time) {
	s.Helper()
	s.pods.await(fmt.Sprintf("container %s of pod %s* has ended", container, prefix), func(now map[string]*corev1.Pod) bool {
		for name, p := range now {
			if strings.HasPrefix(name, prefix) && ended(p, container) != nil {
				pod = p
			}
		}
		return pod != nil
	})
	end := ended(pod, container)
	if end.ExitCode != code {
		s.Fatalf("container %s of pod %s ended with exit code %d, not %d; it said\n%s", container, pod.Name, end.ExitCode, code, s.logOf(pod.Name, container))
	}
	return pod, end.FinishedAt.Time
}

// logOf returns what a container has said, as the API server tells.
func (s *scene) logOf(pod, container string) string {
	s.Helper()
	text, err := s.kube.CoreV1().Pods(s.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container}).DoRaw(s.ctx)
	s.ok(err)
	return string(text)
}

// says waits until a container has said part, and returns all that it said until then.
func (s *scene) says(pod, container, part string) string {
	s.Helper()
	ctx, cancel := context.WithTimeout(s.ctx, patience)
	defer cancel()
	stream, err := s.kube.CoreV1().Pods(s.namespace).GetLogs(pod, &corev1.PodLogOptions{Container: container, Follow: true}).Stream(ctx)
	s.ok(err)
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
		s.ok(err)
	}
}

// named returns the metadata of an object of that name in the test's namespace.
func (s *scene) named(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: s.namespace, Name: name}
}

// delete deletes an object of the namespace, and what depends on it.
func (s *scene) delete(obj client.Object, opts ...client.DeleteOption) {
	s.Helper()
	s.ok(s.objects.Delete(s.ctx, obj, append([]client.DeleteOption{client.PropagationPolicy(metav1.DeletePropagationBackground)}, opts...)...))
}

// task is a call in the background.
type task struct {
	s    *scene
	what string
	done chan struct{}
	err  error
}

// background runs f beside the test.
func (s *scene) background(what string, f func() error) *task {
	t := &task{s: s, what: what, done: make(chan struct{})}
	go func() {
		defer close(t.done)
		t.err = f()
	}()
	s.Cleanup(func() { <-t.done })
	return t
}

// succeeds waits until the task has ended well.
func (t *task) succeeds() {
	t.s.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-t.done:
	case <-timer.C:
		t.s.Fatalf("%s: waited in vain for %s", t.what, patience)
	}
	if t.err != nil {
		t.s.Fatalf("%s: %v", t.what, t.err)
	}
}

// goesOn ends the test if the task has ended.
func (t *task) goesOn() {
	t.s.Helper()
	select {
	case <-t.done:
		t.s.Fatalf("%s has ended too early: %v", t.what, t.err)
	default:
	}
}
