package cli

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/apis/waits"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// lister lists objects of the kinds that a snapshot is made of.
type lister struct {
	scheme  *runtime.Scheme
	clients map[string]*rest.RESTClient // by API group
	date    serverDate
}

// serverDate is the API server's time, as its latest response tells it. Ages are counted from it: this machine's clock may
// be wrong, and who says that an operator hasn't answered for long should be sure.
type serverDate struct {
	mu sync.Mutex
	at time.Time
}

// wrap returns a RoundTripper that notes the Date header of each response that passes.
func (d *serverDate) wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(req *http.Request) (*http.Response, error) {
		resp, err := next.RoundTrip(req)
		if err == nil {
			if at, err := http.ParseTime(resp.Header.Get("Date")); err == nil {
				d.mu.Lock()
				d.at = at
				d.mu.Unlock()
			}
		}
		return resp, err
	})
}

// now returns the server's time, to the second, or this machine's when the server has told none.
func (d *serverDate) now() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.at.IsZero() {
		return time.Now()
	}
	return d.at
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(req *http.Request) (*http.Response, error) { return f(req) }

func newLister(config *rest.Config) (*lister, error) {
	l := &lister{scheme: runtime.NewScheme(), clients: map[string]*rest.RESTClient{}}
	if err := errors.Join(konductorv1.AddToScheme(l.scheme), corev1.AddToScheme(l.scheme), batchv1.AddToScheme(l.scheme)); err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.Wrap(l.date.wrap)
	for _, gv := range l.scheme.PrioritizedVersionsAllGroups() {
		c := rest.CopyConfig(config)
		c.GroupVersion, c.APIPath = &gv, "/apis"
		if gv.Group == "" {
			c.APIPath = "/api"
		}
		c.NegotiatedSerializer = serializer.NewCodecFactory(l.scheme).WithoutConversion()
		client, err := rest.RESTClientFor(c)
		if err != nil {
			return nil, fmt.Errorf("connecting to %s: %w", config.Host, err)
		}
		l.clients[gv.Group] = client
	}
	return l, nil
}

// listed is a kind of object that a snapshot has.
type listed struct {
	kind, group, resource string
	list                  func() runtime.Object
	add                   func(*waits.Snapshot, runtime.Object)
}

// take adds objects of one type to a slice of a snapshot.
func take[T runtime.Object](to func(*waits.Snapshot) *[]T) func(*waits.Snapshot, runtime.Object) {
	return func(s *waits.Snapshot, obj runtime.Object) {
		if typed, ok := obj.(T); ok {
			*to(s) = append(*to(s), typed)
		}
	}
}

func listedKinds() []listed {
	return []listed{
		{konductorv1.KindBarrier, konductorv1.GroupName, "barriers", func() runtime.Object { return &konductorv1.BarrierList{} },
			take(func(s *waits.Snapshot) *[]*konductorv1.Barrier { return &s.Barriers })},
		{konductorv1.KindArrival, konductorv1.GroupName, "arrivals", func() runtime.Object { return &konductorv1.ArrivalList{} },
			take(func(s *waits.Snapshot) *[]*konductorv1.Arrival { return &s.Arrivals })},
		{konductorv1.KindGate, konductorv1.GroupName, "gates", func() runtime.Object { return &konductorv1.GateList{} },
			take(func(s *waits.Snapshot) *[]*konductorv1.Gate { return &s.Gates })},
		{konductorv1.KindLease, konductorv1.GroupName, "leases", func() runtime.Object { return &konductorv1.LeaseList{} },
			take(func(s *waits.Snapshot) *[]*konductorv1.Lease { return &s.Leases })},
		{konductorv1.KindSemaphore, konductorv1.GroupName, "semaphores", func() runtime.Object { return &konductorv1.SemaphoreList{} },
			take(func(s *waits.Snapshot) *[]*konductorv1.Semaphore { return &s.Semaphores })},
		{konductorv1.KindClaim, konductorv1.GroupName, "claims", func() runtime.Object { return &konductorv1.ClaimList{} },
			take(func(s *waits.Snapshot) *[]*konductorv1.Claim { return &s.Claims })},
		{waits.KindJob, batchv1.GroupName, "jobs", func() runtime.Object { return &batchv1.JobList{} },
			take(func(s *waits.Snapshot) *[]*batchv1.Job { return &s.Jobs })},
		{waits.KindPod, corev1.GroupName, "pods", func() runtime.Object { return &corev1.PodList{} },
			take(func(s *waits.Snapshot) *[]*corev1.Pod { return &s.Pods })},
	}
}

// snapshot lists what there is in a namespace, all kinds at the same time, and then in those that its gates look into; in
// all namespaces when namespace is empty. What may not be read becomes a gap, unless it is of the kind that must be read.
func (a *app) snapshot(ctx context.Context, namespace, mustRead string) (*waits.Snapshot, error) {
	config, err := a.restConfig()
	if err != nil {
		return nil, err
	}
	l, err := newLister(config)
	if err != nil {
		return nil, err
	}
	s := &waits.Snapshot{}
	if namespace == "" {
		err := l.fill(ctx, s, []string{""}, mustRead)
		s.Now = l.date.now()
		return s, err
	}
	// Gates of a namespace may look into others, and gates there into further ones. Each round reads those that the one
	// before has found; a few rounds see all that people build.
	const rounds = 4
	next := []string{namespace}
	for range rounds {
		s.Namespaces = append(s.Namespaces, next...)
		if err := l.fill(ctx, s, next, mustRead); err != nil {
			return nil, err
		}
		mustRead = ""
		if next = elsewhere(s); len(next) == 0 {
			break
		}
	}
	s.Now = l.date.now()
	return s, nil
}

// elsewhere returns the namespaces that gates look into and that are not in the snapshot yet.
func elsewhere(s *waits.Snapshot) (found []string) {
	for _, g := range s.Gates {
		for i := range g.Spec.Conditions {
			if n := g.Spec.Conditions[i].Namespace; n != "" && !slices.Contains(s.Namespaces, n) && !slices.Contains(found, n) {
				found = append(found, n)
			}
		}
	}
	return found
}

// fill lists all kinds in those namespaces.
func (l *lister) fill(ctx context.Context, s *waits.Snapshot, namespaces []string, mustRead string) error {
	const atOnce = 16
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	var mu sync.Mutex
	for _, namespace := range namespaces {
		for _, k := range listedKinds() {
			group.Go(func() error {
				items, err := l.list(ctx, k, namespace)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					for _, item := range items {
						k.add(s, item)
					}
					return nil
				case apierrors.IsForbidden(err) && k.kind != mustRead:
					s.Gaps = append(s.Gaps, waits.Gap{Kind: k.kind, Namespace: namespace, Message: lacks(k, namespace)})
					return nil
				default:
					return konductor.Explain(err, "list", k.kind, namespace)
				}
			})
		}
	}
	err := group.Wait()
	slices.SortFunc(s.Gaps, func(x, y waits.Gap) int {
		return slices.Compare([]string{x.Namespace, x.Kind}, []string{y.Namespace, y.Kind})
	})
	return err
}

func lacks(k listed, namespace string) string {
	if namespace == "" {
		return fmt.Sprintf("you may not list %s in all namespaces", k.resource)
	}
	return fmt.Sprintf("you may not list %s in namespace %s", k.resource, namespace)
}

// list returns the objects of one kind.
func (l *lister) list(ctx context.Context, k listed, namespace string) ([]runtime.Object, error) {
	list := k.list()
	err := l.clients[k.group].Get().NamespaceIfScoped(namespace, namespace != "").Resource(k.resource).
		VersionedParams(&metav1.ListOptions{}, metav1.ParameterCodec).Do(ctx).Into(list)
	if err != nil {
		return nil, err
	}
	return meta.ExtractList(list)
}
