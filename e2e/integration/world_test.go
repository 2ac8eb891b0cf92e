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

// patience is how long a test waits for anything before it fails. Far more than needed: the machine may be busy.
const patience = 2 * time.Minute

// world is a test's own corner of a cluster: a namespace, and an administrator's clients to set the scene with.
type world struct {
	testing.TB
	ctx        context.Context
	cancel     context.CancelFunc
	config     *rest.Config // the administrator's
	operators  *rest.Config // an operator's
	kubeconfig string       // the administrator's
	namespace  string
	objects    client.WithWatch
	kube       kubernetes.Interface
}

// newWorld returns a world on the shared control plane, for a test that runs beside others.
func newWorld(t *testing.T) *world {
	t.Helper()
	t.Parallel()
	return newWorldOn(t, shared)
}

// newWorldOn returns a world on that control plane.
func newWorldOn(t testing.TB, on *site) *world {
	t.Helper()
	config := on.Config()
	ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
	t.Cleanup(cancel)
	scheme, err := operator.NewScheme()
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, ctx: ctx, cancel: cancel, config: config, operators: on.operator, kubeconfig: on.Kubeconfig()}
	if w.objects, err = client.NewWithWatch(config, client.Options{Scheme: scheme}); err != nil {
		t.Fatal(err)
	}
	if w.kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	w.namespace = w.newNamespace()
	return w
}

// newNamespace creates a namespace. It is left behind: it goes with the control plane.
func (w *world) newNamespace() string {
	w.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "t-"}}
	ns, err := w.kube.CoreV1().Namespaces().Create(w.ctx, ns, metav1.CreateOptions{})
	w.ok(err)
	return ns.Name
}

// ok ends the test if there is an error.
func (w *world) ok(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

// create creates objects in the test's namespace.
func (w *world) create(objects ...client.Object) {
	w.Helper()
	for _, obj := range objects {
		if obj.GetNamespace() == "" {
			obj.SetNamespace(w.namespace)
		}
		if err := w.objects.Create(w.ctx, obj); err != nil {
			w.Fatalf("creating %T %s: %v", obj, obj.GetName(), err)
		}
	}
}

// delete deletes objects of the test's namespace.
func (w *world) delete(objects ...client.Object) {
	w.Helper()
	for _, obj := range objects {
		obj.SetNamespace(w.namespace)
		if err := w.objects.Delete(w.ctx, obj); err != nil {
			w.Fatalf("deleting %T %s: %v", obj, obj.GetName(), err)
		}
	}
}

// patchSpec merges a JSON fragment into the spec of an object, as kubectl patch does.
func (w *world) patchSpec(obj client.Object, spec string) {
	w.Helper()
	w.patch(obj, fmt.Sprintf(`{"spec":%s}`, spec))
}

func (w *world) patch(obj client.Object, fragment string) {
	w.Helper()
	obj.SetNamespace(w.namespace)
	patch := client.RawPatch("application/merge-patch+json", []byte(fragment))
	if err := w.objects.Patch(w.ctx, obj, patch); err != nil {
		w.Fatalf("patching %T %s: %v", obj, obj.GetName(), err)
	}
}

// actor is a participant: an SDK client with a name under which it acquires and arrives.
type actor struct {
	*konductor.Client
	w    *world
	name string
	pod  types.UID // of the Pod it runs in; empty outside of one
	told *sentences
}

// someone returns a participant outside of any Pod, in a process of its own as far as konductor can tell.
func (w *world) someone(name string) *actor {
	w.Helper()
	return w.actorWith(w.config, name)
}

// people returns participants of those names.
func (w *world) people(names ...string) []*actor {
	w.Helper()
	actors := make([]*actor, len(names))
	for i, name := range names {
		actors[i] = w.someone(name)
	}
	return actors
}

// actorWith returns a participant who reaches the cluster by config. With an empty name it is who the SDK takes it for.
func (w *world) actorWith(config *rest.Config, name string) *actor {
	w.Helper()
	told := &sentences{}
	c, err := konductor.New(config, konductor.InNamespace(w.namespace), konductor.NotifyFunc(told.add))
	w.ok(err)
	return &actor{Client: c, w: w, name: name, told: told}
}

// as adds the actor's name to the options of a call.
func (a *actor) as(opts []konductor.Option) []konductor.Option {
	if a.name == "" {
		return opts
	}
	return append([]konductor.Option{konductor.WithHolder(a.name)}, opts...)
}

// acquire acquires and ends the test if that fails.
func (a *actor) acquire(kind, name string, opts ...konductor.Option) *konductor.Hold {
	a.w.Helper()
	return a.acquiring(kind, name, opts...).must()
}

// acquiring acquires in the background. Whatever comes of it is released when the test ends.
func (a *actor) acquiring(kind, name string, opts ...konductor.Option) *future[*konductor.Hold] {
	a.w.Helper()
	return a.acquiringWith(a.w.ctx, kind, name, opts...)
}

func (a *actor) acquiringWith(ctx context.Context, kind, name string, opts ...konductor.Option) *future[*konductor.Hold] {
	a.w.Helper()
	call := a.AcquireLease
	if kind == konductorv1.KindSemaphore {
		call = a.AcquireSemaphore
	}
	f := inBackground(a.w, func() (*konductor.Hold, error) { return call(ctx, name, a.as(opts)...) })
	a.w.Cleanup(func() {
		if !f.wait(patience) || f.err != nil {
			return
		}
		select {
		case <-f.value.Lost():
			// There is nothing to give back, and perhaps no Pod any more that could.
		default:
			ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
			defer cancel()
			_ = f.value.Release(ctx) // whether the hold is still there is the test's business
		}
	})
	return f
}

// claimName returns the name of the actor's claim on the object of that kind and name.
func (a *actor) claimName(kind string, target client.Object) string {
	return konductorv1.ClaimName(konductorv1.ClaimTarget{Kind: kind, Name: target.GetName()}, target.GetUID(), a.Holder(a.as(nil)...), a.pod)
}

// release gives a hold back and ends the test if that fails.
func (w *world) release(h *konductor.Hold) {
	w.Helper()
	w.ok(h.Release(context.WithoutCancel(w.ctx)))
}

// future is the result of a call in the background.
type future[T any] struct {
	w     *world
	done  chan struct{}
	value T
	err   error
}

// inBackground runs f beside the test.
func inBackground[T any](w *world, f func() (T, error)) *future[T] {
	r := &future[T]{w: w, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.value, r.err = f()
	}()
	return r
}

// wait waits for the result and reports whether it came.
func (f *future[T]) wait(atMost time.Duration) bool {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-f.done:
		return true
	case <-timer.C:
		return false
	}
}

// must returns the result of a call that has to succeed.
func (f *future[T]) must() T {
	f.w.Helper()
	if !f.wait(patience) {
		f.w.Fatal("the call did not return")
	}
	f.w.ok(f.err)
	return f.value
}

// fails returns the error of a call that has to fail.
func (f *future[T]) fails() error {
	f.w.Helper()
	if !f.wait(patience) {
		f.w.Fatal("the call did not return")
	}
	if f.err == nil {
		f.w.Fatal("the call succeeded")
	}
	return f.err
}

// pending ends the test if the call has returned.
func (f *future[T]) pending() {
	f.w.Helper()
	select {
	case <-f.done:
		f.w.Fatalf("the call has returned: %v", f.err)
	default:
	}
}

// waiting runs a call that returns only an error in the background.
func waiting(w *world, f func() error) *future[struct{}] {
	return inBackground(w, func() (struct{}, error) { return struct{}{}, f() })
}

// wants ends the test unless err is an E, and returns it.
func wants[E error](w *world, err error) E {
	w.Helper()
	var e E
	if !errors.As(err, &e) {
		w.Fatalf("got error %T %v, want a %T", err, err, e)
	}
	return e
}

// closes ends the test if the channel doesn't close.
func (w *world) closes(c <-chan struct{}, what string) {
	w.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	select {
	case <-c:
	case <-timer.C:
		w.Fatalf("%s: waited in vain", what)
	}
}

// sentences are what a client has told people.
type sentences struct {
	mu  sync.Mutex
	all []string
	any chan struct{}
}

func (s *sentences) add(sentence string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, sentence)
	if s.any != nil {
		close(s.any)
		s.any = nil
	}
}

// next returns what closes when the next sentence comes, and what there is already.
func (s *sentences) next() (<-chan struct{}, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.any == nil {
		s.any = make(chan struct{})
	}
	return s.any, strings.Join(s.all, "\n")
}

// awaitSentence waits until the client has told people something that contains part.
func (a *actor) awaitSentence(part string) {
	a.w.Helper()
	timer := time.NewTimer(patience)
	defer timer.Stop()
	for {
		more, all := a.told.next()
		if strings.Contains(all, part) {
			return
		}
		select {
		case <-more:
		case <-timer.C:
			a.w.Fatalf("nobody was told %q, only:\n%s", part, all)
		}
	}
}
