package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/plugins/konductor/view"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// api reaches the API server. All kinds share one connection.
type api struct {
	clients map[schema.GroupVersion]*rest.RESTClient
	params  runtime.ParameterCodec
	skew    *skew
}

func connect(config *rest.Config) (*api, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{konductorv1.AddToScheme, corev1.AddToScheme, batchv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	a := &api{clients: map[schema.GroupVersion]*rest.RESTClient{}, params: runtime.NewParameterCodec(s), skew: &skew{}}
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.NegotiatedSerializer = serializer.NewCodecFactory(s).WithoutConversion()
	config.Wrap(a.skew.read)
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
	}
	for _, gv := range []schema.GroupVersion{konductorv1.GroupVersion(), corev1.SchemeGroupVersion, batchv1.SchemeGroupVersion} {
		config.GroupVersion, config.APIPath = &gv, "/apis"
		if gv.Group == "" {
			config.APIPath = "/api"
		}
		if a.clients[gv], err = rest.RESTClientForConfigAndClient(config, client); err != nil {
			return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
		}
	}
	return a, nil
}

// watcher follows the objects of one kind.
type watcher struct {
	client    *rest.RESTClient
	params    runtime.ParameterCodec
	resource  string
	namespace string
	labels    string
	fields    string
	object    runtime.Object
	list      func() runtime.Object
	outcome   func(error)
	denials   int // in a row
}

func (a *api) watcher(kind string, o Options, namespace string) *watcher {
	w := &watcher{client: a.clients[konductorv1.GroupVersion()], params: a.params, namespace: namespace, fields: only(kind, o.Only), outcome: func(error) {}}
	if slices.Contains(view.Kinds(), kind) {
		w.labels = o.Selector
		if o.Fields != "" {
			w.fields = o.Fields
		}
	}
	switch kind {
	case konductorv1.KindBarrier:
		w.resource, w.object, w.list = "barriers", &konductorv1.Barrier{}, func() runtime.Object { return &konductorv1.BarrierList{} }
	case konductorv1.KindGate:
		w.resource, w.object, w.list = "gates", &konductorv1.Gate{}, func() runtime.Object { return &konductorv1.GateList{} }
	case konductorv1.KindLease:
		w.resource, w.object, w.list = "leases", &konductorv1.Lease{}, func() runtime.Object { return &konductorv1.LeaseList{} }
	case konductorv1.KindSemaphore:
		w.resource, w.object, w.list = "semaphores", &konductorv1.Semaphore{}, func() runtime.Object { return &konductorv1.SemaphoreList{} }
	case konductorv1.KindClaim:
		w.resource, w.object, w.list = "claims", &konductorv1.Claim{}, func() runtime.Object { return &konductorv1.ClaimList{} }
	case konductorv1.KindArrival:
		w.resource, w.object, w.list = "arrivals", &konductorv1.Arrival{}, func() runtime.Object { return &konductorv1.ArrivalList{} }
	case view.KindEvent:
		w.client, w.resource, w.object = a.clients[corev1.SchemeGroupVersion], "events", &corev1.Event{}
		w.list = func() runtime.Object { return &corev1.EventList{} }
	case view.KindPod:
		w.client, w.resource, w.object = a.clients[corev1.SchemeGroupVersion], "pods", &corev1.Pod{}
		w.list = func() runtime.Object { return &corev1.PodList{} }
	case view.KindJob:
		w.client, w.resource, w.object = a.clients[batchv1.SchemeGroupVersion], "jobs", &batchv1.Job{}
		w.list = func() runtime.Object { return &batchv1.JobList{} }
	}
	return w
}

// only returns the field selector for one object and what belongs to it.
func only(kind string, ref view.Ref) string {
	set := fields.Set{}
	if kind == view.KindEvent {
		set["involvedObject.apiVersion"] = konductorv1.GroupVersion().String()
	}
	switch {
	case ref == (view.Ref{}):
	case kind == view.KindEvent:
		set["involvedObject.kind"], set["involvedObject.name"] = ref.Kind, ref.Name
	case kind == konductorv1.KindClaim:
		set["spec.target.kind"], set["spec.target.name"] = ref.Kind, ref.Name
	case kind == konductorv1.KindArrival:
		set["spec.barrier"] = ref.Name
	case kind == ref.Kind:
		set["metadata.name"] = ref.Name
	}
	return set.AsSelector().String()
}

// run follows until ctx ends. A lost connection is looked for twice a second: people are looking on, and an API server
// that has just come back may refuse the first time.
func (w *watcher) run(ctx context.Context, into cache.ReflectorStore) {
	const firstPause, longestPause = 100 * time.Millisecond, 500 * time.Millisecond
	quiet := logr.Discard()
	r := cache.NewReflectorWithOptions(&cache.ListWatch{
		ListWithContextFunc:  w.listAll,
		WatchFuncWithContext: w.watch,
	}, w.object, into, cache.ReflectorOptions{
		Name: w.resource, Logger: &quiet,
		Backoff: &wait.Backoff{Duration: firstPause, Cap: longestPause, Factor: 2, Jitter: 0.2, Steps: 5},
	})
	r.RunWithContext(ctx)
}

func (w *watcher) request(o metav1.ListOptions) *rest.Request {
	o.LabelSelector, o.FieldSelector = w.labels, w.fields
	return w.client.Get().NamespaceIfScoped(w.namespace, w.namespace != "").Resource(w.resource).VersionedParams(&o, w.params)
}

func (w *watcher) listAll(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if err := w.waitOutDenial(ctx); err != nil {
		return nil, err
	}
	list := w.list()
	err := w.request(o).Do(ctx).Into(list)
	return list, w.note(ctx, err)
}

func (w *watcher) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if err := w.waitOutDenial(ctx); err != nil {
		return nil, err
	}
	o.Watch = true
	stream, err := w.request(o).Watch(ctx)
	return stream, w.note(ctx, err)
}

// note tells how a request went.
func (w *watcher) note(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil, apierrors.IsResourceExpired(err), apierrors.IsGone(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		// We are stopping, or the request only needs to be made in another way.
		return err
	case refusal(err):
		w.denials++
	default:
		w.denials = 0
	}
	w.outcome(err)
	return err
}

// waitOutDenial waits before a right that is missing is tried again: less and less often, since somebody may grant it,
// and an API server that has just started grants none for a moment.
func (w *watcher) waitOutDenial(ctx context.Context) error {
	if w.denials == 0 {
		return nil
	}
	const shortest, longest, doublings = 250 * time.Millisecond, 30 * time.Second, 8
	timer := time.NewTimer(min(shortest<<min(w.denials-1, doublings), longest))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// refusal reports whether the API server has answered that this can't be had.
func refusal(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err)
}

// explain says in a sentence why a kind may not be followed.
func explain(err error, kind, namespace string) error {
	what, foreign := map[string]string{view.KindEvent: "events", view.KindPod: "pods", view.KindJob: "jobs"}[kind]
	if !foreign {
		return konductor.Explain(err, "list,watch", kind, namespace)
	}
	if namespace == "" {
		return fmt.Errorf("%s can't be seen: you may not list and watch them in all namespaces", what)
	}
	return fmt.Errorf("%s can't be seen: you may not list and watch them in namespace %s", what, namespace)
}

// inShort returns the heart of an error, for a line that has little room.
func inShort(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	return err.Error()
}

// skew is how far the API server's clock is ahead of ours, read off its answers.
type skew struct{ ahead atomic.Int64 }

// now returns it. Below what the dates of answers can tell, which have whole seconds, it is zero.
func (s *skew) now() time.Duration {
	const noticeable = 2 * time.Second
	if d := time.Duration(s.ahead.Load()); d.Abs() > noticeable {
		return d
	}
	return 0
}

func (s *skew) read(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		sent := time.Now()
		resp, err := next.RoundTrip(req)
		if err != nil {
			return resp, err
		}
		if date, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
			half := time.Since(sent) / 2
			s.ahead.Store(int64(date.Add(time.Second / 2).Sub(sent.Add(half))))
		}
		return resp, nil
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }
