package live

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"

	"github.com/go-logr/logr"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/view"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// apiClient has the REST clients for the API server. They share one connection.
type apiClient struct {
	restClients map[schema.GroupVersion]*rest.RESTClient
	paramCodec  runtime.ParameterCodec
	clock       *apiclient.ServerClock
}

// newAPIClient returns an apiClient whose requests go through wrap, if that isn't nil.
func newAPIClient(config *rest.Config, wrap func(http.RoundTripper) http.RoundTripper) (*apiClient, error) {
	s := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{konductorv1.AddToScheme, corev1.AddToScheme, batchv1.AddToScheme} {
		if err := add(s); err != nil {
			return nil, err
		}
	}
	a := &apiClient{paramCodec: runtime.NewParameterCodec(s), clock: &apiclient.ServerClock{}}
	config = rest.CopyConfig(config)
	config.QPS = -1
	config.Wrap(a.clock.WrapTransport)
	if wrap != nil {
		config.Wrap(reportWatchFailures)
		config.Wrap(wrap)
	}
	var err error
	a.restClients, err = apiclient.NewRESTClients(config, s, konductorv1.GroupVersion(), corev1.SchemeGroupVersion, batchv1.SchemeGroupVersion)
	return a, err
}

// kindWatcher lists and watches the objects of one kind.
type kindWatcher struct {
	client             *rest.RESTClient
	paramCodec         runtime.ParameterCodec
	resource           string
	namespace          string
	labelSelector      string
	fieldSelector      string
	expectedType       runtime.Object
	newList            func() runtime.Object
	onResult           func(error)
	consecutiveDenials int // reset by any other result
}

func (a *apiClient) newWatcher(kind string, o Options, namespace string) *kindWatcher {
	w := &kindWatcher{client: a.restClients[konductorv1.GroupVersion()], paramCodec: a.paramCodec, namespace: namespace, fieldSelector: fieldSelectorFor(kind, o.OnlyObject), onResult: func(error) {}}
	if slices.Contains(view.PrimitiveKinds(), kind) {
		w.labelSelector = o.LabelSelector
		if o.FieldSelector != "" {
			w.fieldSelector = o.FieldSelector
		}
	}
	switch kind {
	case konductorv1.KindBarrier:
		w.resource, w.expectedType, w.newList = "barriers", &konductorv1.Barrier{}, func() runtime.Object { return &konductorv1.BarrierList{} }
	case konductorv1.KindGate:
		w.resource, w.expectedType, w.newList = "gates", &konductorv1.Gate{}, func() runtime.Object { return &konductorv1.GateList{} }
	case konductorv1.KindLease:
		w.resource, w.expectedType, w.newList = "leases", &konductorv1.Lease{}, func() runtime.Object { return &konductorv1.LeaseList{} }
	case konductorv1.KindSemaphore:
		w.resource, w.expectedType, w.newList = "semaphores", &konductorv1.Semaphore{}, func() runtime.Object { return &konductorv1.SemaphoreList{} }
	case konductorv1.KindClaim:
		w.resource, w.expectedType, w.newList = "claims", &konductorv1.Claim{}, func() runtime.Object { return &konductorv1.ClaimList{} }
	case konductorv1.KindArrival:
		w.resource, w.expectedType, w.newList = "arrivals", &konductorv1.Arrival{}, func() runtime.Object { return &konductorv1.ArrivalList{} }
	case view.KindEvent:
		w.client, w.resource, w.expectedType = a.restClients[corev1.SchemeGroupVersion], "events", &corev1.Event{}
		w.newList = func() runtime.Object { return &corev1.EventList{} }
	case view.KindPod:
		w.client, w.resource, w.expectedType = a.restClients[corev1.SchemeGroupVersion], "pods", &corev1.Pod{}
		w.newList = func() runtime.Object { return &corev1.PodList{} }
	case view.KindJob:
		w.client, w.resource, w.expectedType = a.restClients[batchv1.SchemeGroupVersion], "jobs", &batchv1.Job{}
		w.newList = func() runtime.Object { return &batchv1.JobList{} }
	}
	return w
}

// fieldSelectorFor returns the field selector for one object and its claims, arrivals and events.
func fieldSelectorFor(kind string, ref view.Ref) string {
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

// run watches until ctx is done. It retries twice a second: people are watching, and an API server that has just come back
// may refuse the first time.
func (w *kindWatcher) run(ctx context.Context, into cache.ReflectorStore) {
	const firstPause, longestPause = 100 * time.Millisecond, 500 * time.Millisecond
	quiet := logr.Discard()
	r := cache.NewReflectorWithOptions(&cache.ListWatch{
		ListWithContextFunc:  w.listAll,
		WatchFuncWithContext: w.watch,
	}, w.expectedType, into, cache.ReflectorOptions{
		Name: w.resource, Logger: &quiet,
		Backoff: &wait.Backoff{Duration: firstPause, Cap: longestPause, Factor: 2, Jitter: 0.2, Steps: 5},
	})
	r.RunWithContext(ctx)
}

func (w *kindWatcher) newRequest(o metav1.ListOptions) *rest.Request {
	o.LabelSelector, o.FieldSelector = w.labelSelector, w.fieldSelector
	return w.client.Get().NamespaceIfScoped(w.namespace, w.namespace != "").Resource(w.resource).VersionedParams(&o, w.paramCodec)
}

func (w *kindWatcher) listAll(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	if err := w.backOffAfterDenial(ctx); err != nil {
		return nil, err
	}
	list := w.newList()
	err := w.newRequest(o).Do(ctx).Into(list)
	return list, w.recordResult(ctx, err)
}

func (w *kindWatcher) watch(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	if err := w.backOffAfterDenial(ctx); err != nil {
		return nil, err
	}
	o.Watch = true
	onFailure := func(err error) { _ = w.recordResult(ctx, err) }
	stream, err := w.newRequest(o).Watch(context.WithValue(ctx, watchFailureKey{}, onFailure))
	return stream, w.recordResult(ctx, err)
}

// recordResult passes the result of a request to onResult.
func (w *kindWatcher) recordResult(ctx context.Context, err error) error {
	switch {
	case ctx.Err() != nil, apierrors.IsResourceExpired(err), apierrors.IsGone(err), apierrors.IsInvalid(err), apierrors.IsBadRequest(err):
		// The watcher is stopping, or client-go will only make the request in another way.
		return err
	case isDenied(err):
		w.consecutiveDenials++
	default:
		w.consecutiveDenials = 0
	}
	w.onResult(err)
	return err
}

// watchFailureKey is the context key of a watch's failure callback, a func(error).
type watchFailureKey struct{}

// reportWatchFailures calls the failure callback of a watch that can't connect. The transport above it (watchretry) waits
// until the API server is back, and people should know meanwhile that what they see is outdated.
func reportWatchFailures(next http.RoundTripper) http.RoundTripper {
	return apiclient.RoundTripperFunc(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if note, ok := req.Context().Value(watchFailureKey{}).(func(error)); ok && err != nil {
			note(&url.Error{Op: "Get", URL: req.URL.String(), Err: err})
		}
		return resp, err
	})
}

// backOffAfterDenial waits before a denied request is tried again, longer each time. The right may be granted later, and an
// API server that has just started denies everything for a moment.
func (w *kindWatcher) backOffAfterDenial(ctx context.Context) error {
	if w.consecutiveDenials == 0 {
		return nil
	}
	const shortest, longest, doublings = 250 * time.Millisecond, 30 * time.Second, 8
	timer := time.NewTimer(min(shortest<<min(w.consecutiveDenials-1, doublings), longest))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// isDenied reports whether the API server responded that the objects can't be read: 401, 403 or 404.
func isDenied(err error) bool {
	return apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err) || apierrors.IsNotFound(err)
}

// newDeniedError returns an error that says in a sentence why a kind may not be watched.
func newDeniedError(err error, kind, namespace string) error {
	what, foreign := map[string]string{view.KindEvent: "events", view.KindPod: "pods", view.KindJob: "jobs"}[kind]
	if !foreign {
		return konductor.Explain(err, "list,watch", kind, namespace)
	}
	if namespace == "" {
		return fmt.Errorf("can't list and watch %s in all namespaces", what)
	}
	return fmt.Errorf("can't list and watch %s in namespace %s", what, namespace)
}

// rootCauseText returns an error's text without the request's URL, for a line with little room.
func rootCauseText(err error) string {
	var request *url.Error
	if errors.As(err, &request) {
		err = request.Err
	}
	return err.Error()
}
