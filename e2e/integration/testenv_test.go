package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// waitTimeout is how long a test waits for anything before it fails. It is far more than needed: the machine may be busy.
const waitTimeout = 2 * time.Minute

// testEnv is the environment of a test: a namespace, and an administrator's clients.
type testEnv struct {
	testing.TB
	ctx             context.Context
	cancel          context.CancelFunc
	adminConfig     *rest.Config // the administrator's
	operatorConfig  *rest.Config // an operator's
	adminKubeconfig string       // the administrator's
	namespace       string
	client          client.WithWatch
	kube            kubernetes.Interface
}

// newTestEnv returns an environment on the shared control plane, for a test that runs in parallel.
func newTestEnv(t *testing.T) *testEnv {
	t.Helper()
	t.Parallel()
	return newTestEnvOn(t, sharedCluster)
}

// newTestEnvOn returns an environment on that control plane.
func newTestEnvOn(t testing.TB, on *testCluster) *testEnv {
	t.Helper()
	config := on.Config()
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitTimeout)
	t.Cleanup(cancel)
	scheme, err := operator.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	w := &testEnv{TB: t, ctx: ctx, cancel: cancel, adminConfig: config, operatorConfig: on.operatorConfig, adminKubeconfig: on.Kubeconfig()}
	if w.client, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	if w.kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	w.namespace = w.createNamespace()
	return w
}

// createNamespace creates a namespace. It is not deleted: it ends with the control plane.
func (w *testEnv) createNamespace() string {
	w.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	ns, err := w.kube.CoreV1().Namespaces().Create(w.ctx, ns, metav1.CreateOptions{})
	w.must(err)
	return ns.Name
}

// must fails the test if there is an error.
func (w *testEnv) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// createObjects creates objects in the test's namespace.
func (w *testEnv) createObjects(objects ...client.Object) {
	w.Helper()
	for _, obj := range objects {
		if obj.GetNamespace() == "" {
			obj.SetNamespace(w.namespace)
		}
		if err := w.client.Create(w.ctx, obj); err != nil {
			w.Fatalf("creating %T %s: %v", obj, obj.GetName(), err)
		}
	}
}

// deleteObjects deletes objects of the test's namespace.
func (w *testEnv) deleteObjects(objects ...client.Object) {
	w.Helper()
	for _, obj := range objects {
		obj.SetNamespace(w.namespace)
		if err := w.client.Delete(w.ctx, obj); err != nil {
			w.Fatalf("deleting %T %s: %v", obj, obj.GetName(), err)
		}
	}
}

// patchSpec merges a JSON fragment into the spec of an object, as kubectl patch does.
func (w *testEnv) patchSpec(obj client.Object, spec string) {
	w.Helper()
	w.patchObject(obj, fmt.Sprintf(`{"spec":%s}`, spec))
}

func (w *testEnv) patchObject(obj client.Object, fragment string) {
	w.Helper()
	obj.SetNamespace(w.namespace)
	patch := client.RawPatch("application/merge-patch+json", []byte(fragment))
	if err := w.client.Patch(w.ctx, obj, patch); err != nil {
		w.Fatalf("patching %T %s: %v", obj, obj.GetName(), err)
	}
}

// testParticipant is a participant: an SDK client with a name with which it acquires and arrives.
type testParticipant struct {
	*konductor.Client
	env           *testEnv
	name          string
	podUID        types.UID // of the Pod it runs in; empty outside of one
	notifications *notificationLog
}

// newParticipant returns a participant outside of any Pod, which to konductor is a process of its own.
func (w *testEnv) newParticipant(name string) *testParticipant {
	w.Helper()
	return w.newParticipantWithConfig(w.adminConfig, name)
}

// newParticipants returns participants of those names.
func (w *testEnv) newParticipants(names ...string) []*testParticipant {
	w.Helper()
	actors := make([]*testParticipant, len(names))
	for i, name := range names {
		actors[i] = w.newParticipant(name)
	}
	return actors
}

// newParticipantWithConfig returns a participant that uses config. If name is empty the SDK chooses the holder's name.
func (w *testEnv) newParticipantWithConfig(config *rest.Config, name string) *testParticipant {
	w.Helper()
	told := &notificationLog{}
	c, err := konductor.New(config, konductor.InNamespace(w.namespace), konductor.NotifyFunc(told.add))
	w.must(err)
	return &testParticipant{Client: c, env: w, name: name, notifications: told}
}

// asHolder returns the option for the participant's name.
func (a *testParticipant) asHolder() konductor.HolderOption { return konductor.WithHolder(a.name) }

// acquire acquires the lease, or permits of the semaphore, under the participant's name. A lease takes no WithPermits.
func (a *testParticipant) acquire(ctx context.Context, kind, name string, opts ...konductor.AcquireSemaphoreOption) (*konductor.Hold, error) {
	if kind == konductorv1.KindSemaphore {
		return a.AcquireSemaphore(ctx, name, append([]konductor.AcquireSemaphoreOption{a.asHolder()}, opts...)...)
	}
	leaseOpts := konductor.AcquireLeaseOptions{a.asHolder()}
	for _, o := range opts {
		leaseOpts = append(leaseOpts, o.(konductor.AcquireLeaseOption))
	}
	return a.AcquireLease(ctx, name, leaseOpts)
}

// mustAcquire acquires and fails the test if that fails.
func (a *testParticipant) mustAcquire(kind, name string, opts ...konductor.AcquireSemaphoreOption) *konductor.Hold {
	a.env.Helper()
	return a.startAcquire(kind, name, opts...).mustSucceed()
}

// startAcquire acquires in the background. A hold that it gets is released when the test ends.
func (a *testParticipant) startAcquire(kind, name string, opts ...konductor.AcquireSemaphoreOption) *future[*konductor.Hold] {
	a.env.Helper()
	return a.startAcquireWithContext(a.env.ctx, kind, name, opts...)
}

func (a *testParticipant) startAcquireWithContext(ctx context.Context, kind, name string, opts ...konductor.AcquireSemaphoreOption) *future[*konductor.Hold] {
	a.env.Helper()
	f := runAsync(a.env, func() (*konductor.Hold, error) { return a.acquire(ctx, kind, name, opts...) })
	a.env.Cleanup(func() {
		if !f.waitUpTo(waitTimeout) || f.err != nil {
			return
		}
		select {
		case <-f.value.Lost():
			// There is nothing to release, and the Pod may not exist any more.
		default:
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = f.value.Release(ctx) // whether the hold still exists is up to the test
		}
	})
	return f
}

// claimName returns the name of the participant's claim on the object of that kind and name.
func (a *testParticipant) claimName(kind string, target client.Object) string {
	return konductorv1.ClaimName(konductorv1.ClaimTarget{Kind: kind, Name: target.GetName(), UID: target.GetUID()}, a.Holder(a.asHolder()), a.podUID)
}

// mustRelease releases a hold and fails the test if that fails.
func (w *testEnv) mustRelease(h *konductor.Hold) {
	w.Helper()
	w.must(h.Release(context.WithoutCancel(w.ctx)))
}

// future is the result of a call in the background.
type future[T any] struct {
	env   *testEnv
	done  chan struct{}
	value T
	err   error
}

// runAsync runs f in the background.
func runAsync[T any](w *testEnv, f func() (T, error)) *future[T] {
	r := &future[T]{env: w, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.value, r.err = f()
	}()
	return r
}

// waitUpTo waits for the result and reports whether it came.
func (f *future[T]) waitUpTo(atMost time.Duration) bool {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-f.done:
		return true
	case <-timer.C:
		return false
	}
}

// mustSucceed returns the result of a call that has to succeed.
func (f *future[T]) mustSucceed() T {
	f.env.Helper()
	if !f.waitUpTo(waitTimeout) {
		f.env.Fatal("the call did not return")
	}
	f.env.must(f.err)
	return f.value
}

// mustFail returns the error of a call that has to fail.
func (f *future[T]) mustFail() error {
	f.env.Helper()
	if !f.waitUpTo(waitTimeout) {
		f.env.Fatal("the call did not return")
	}
	if f.err == nil {
		f.env.Fatal("the call succeeded")
	}
	return f.err
}

// mustBePending fails the test if the call has returned.
func (f *future[T]) mustBePending() {
	f.env.Helper()
	select {
	case <-f.done:
		f.env.Fatalf("the call has returned: %v", f.err)
	default:
	}
}

// runAsyncErr runs a call that returns only an error in the background.
func runAsyncErr(w *testEnv, f func() error) *future[struct{}] {
	return runAsync(w, func() (struct{}, error) { return struct{}{}, f() })
}

// requireErrorAs fails the test unless err is an E, and returns it.
func requireErrorAs[E error](w *testEnv, err error) E {
	w.Helper()
	var e E
	if !errors.As(err, &e) {
		w.Fatalf("got error %T %v, want a %T", err, err, e)
	}
	return e
}

// waitClosed fails the test if the channel isn't closed within waitTimeout.
func (w *testEnv) waitClosed(c <-chan struct{}, what string) {
	w.Helper()
	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
		w.Fatalf("%s: waited in vain", what)
	}
}

// notificationLog collects what a client has reported to the user.
type notificationLog struct {
	mu       sync.Mutex
	messages []string
	changed  chan struct{}
}

func (s *notificationLog) add(sentence string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.messages = append(s.messages, sentence)
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// snapshot returns a channel that is closed at the next message, and the messages so far.
func (s *notificationLog) snapshot() (<-chan struct{}, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.changed == nil {
		s.changed = make(chan struct{})
	}
	return s.changed, strings.Join(s.messages, "\n")
}

// waitForNotification waits until the client has reported a message that contains part.
func (a *testParticipant) waitForNotification(part string) {
	a.env.Helper()
	timer := time.NewTimer(waitTimeout)
	defer timer.Stop()
	for {
		more, all := a.notifications.snapshot()
		if strings.Contains(all, part) {
			return
		}
		select {
		case <-more:
		case <-timer.C:
			a.env.Fatalf("nobody was told %q, only:\n%s", part, all)
		}
	}
}
