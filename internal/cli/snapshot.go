package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/waitgraph"
	konductor "github.com/LogicIQ/konductor/sdk/go"
)

// snapshotLister lists objects of the kinds in a snapshot.
type snapshotLister struct {
	scheme  *runtime.Scheme
	clients map[schema.GroupVersion]*rest.RESTClient
	// Ages are computed from the API server's time: that a claim has not been answered for long must be true.
	clock apiclient.ServerClock
}

func newSnapshotLister(config *rest.Config) (*snapshotLister, error) {
	l := &snapshotLister{scheme: runtime.NewScheme()}
	if err := errors.Join(konductorv1.AddToScheme(l.scheme), corev1.AddToScheme(l.scheme), batchv1.AddToScheme(l.scheme)); err != nil {
		return nil, err
	}
	config = rest.CopyConfig(config)
	config.Wrap(l.clock.WrapTransport)
	var err error
	l.clients, err = apiclient.NewRESTClients(config, l.scheme, l.scheme.PrioritizedVersionsAllGroups()...)
	return l, err
}

// snapshotKind is a kind of object in a snapshot.
type snapshotKind struct {
	kind, group, resource string
	newList               func() runtime.Object
	addItem               func(*waitgraph.Snapshot, runtime.Object)
}

// appendTo adds objects of one type to a slice of a snapshot.
func appendTo[T runtime.Object](to func(*waitgraph.Snapshot) *[]T) func(*waitgraph.Snapshot, runtime.Object) {
	return func(s *waitgraph.Snapshot, obj runtime.Object) {
		if typed, ok := obj.(T); ok {
			*to(s) = append(*to(s), typed)
		}
	}
}

func snapshotKinds() []snapshotKind {
	return []snapshotKind{
		{konductorv1.KindBarrier, konductorv1.GroupName, "barriers", func() runtime.Object { return &konductorv1.BarrierList{} },
			appendTo(func(s *waitgraph.Snapshot) *[]*konductorv1.Barrier { return &s.Barriers })},
		{konductorv1.KindArrival, konductorv1.GroupName, "arrivals", func() runtime.Object { return &konductorv1.ArrivalList{} },
			appendTo(func(s *waitgraph.Snapshot) *[]*konductorv1.Arrival { return &s.Arrivals })},
		{konductorv1.KindGate, konductorv1.GroupName, "gates", func() runtime.Object { return &konductorv1.GateList{} },
			appendTo(func(s *waitgraph.Snapshot) *[]*konductorv1.Gate { return &s.Gates })},
		{konductorv1.KindLease, konductorv1.GroupName, "leases", func() runtime.Object { return &konductorv1.LeaseList{} },
			appendTo(func(s *waitgraph.Snapshot) *[]*konductorv1.Lease { return &s.Leases })},
		{konductorv1.KindSemaphore, konductorv1.GroupName, "semaphores", func() runtime.Object { return &konductorv1.SemaphoreList{} },
			appendTo(func(s *waitgraph.Snapshot) *[]*konductorv1.Semaphore { return &s.Semaphores })},
		{konductorv1.KindClaim, konductorv1.GroupName, "claims", func() runtime.Object { return &konductorv1.ClaimList{} },
			appendTo(func(s *waitgraph.Snapshot) *[]*konductorv1.Claim { return &s.Claims })},
		{waitgraph.KindJob, batchv1.GroupName, "jobs", func() runtime.Object { return &batchv1.JobList{} },
			appendTo(func(s *waitgraph.Snapshot) *[]*batchv1.Job { return &s.Jobs })},
		{waitgraph.KindPod, corev1.GroupName, "pods", func() runtime.Object { return &corev1.PodList{} },
			appendTo(func(s *waitgraph.Snapshot) *[]*corev1.Pod { return &s.Pods })},
	}
}

// loadSnapshot lists the objects of a namespace, all kinds at the same time, and then those of the namespaces that its
// gates refer to. An empty namespace means all. Kinds that can't be read become gaps, except for mustRead, which is an
// error.
func (a *app) loadSnapshot(ctx context.Context, namespace, mustRead string) (*waitgraph.Snapshot, error) {
	config, err := a.connection.ReadRetryConfig(ctx)
	if err != nil {
		return nil, err
	}
	l, err := newSnapshotLister(config)
	if err != nil {
		return nil, err
	}
	s := &waitgraph.Snapshot{}
	if namespace == "" {
		err := l.listAll(ctx, s, []string{""}, mustRead)
		s.Now = l.clock.Now()
		return s, err
	}
	// Gates may refer to other namespaces, and gates there to further ones. Each round lists the namespaces that the
	// previous round has found; a few rounds are enough in practice.
	const rounds = 4
	next := []string{namespace}
	for range rounds {
		s.Namespaces = append(s.Namespaces, next...)
		if err := l.listAll(ctx, s, next, mustRead); err != nil {
			return nil, err
		}
		mustRead = ""
		if next = unlistedNamespaces(s); len(next) == 0 {
			break
		}
	}
	s.Now = l.clock.Now()
	return s, nil
}

// unlistedNamespaces returns the namespaces that gates refer to and that are not in the snapshot yet.
func unlistedNamespaces(s *waitgraph.Snapshot) (found []string) {
	known := map[string]bool{}
	for _, n := range s.Namespaces {
		known[n] = true
	}
	for _, g := range s.Gates {
		for _, n := range waitgraph.AllowedNamespaces(g) {
			if !known[n] {
				known[n] = true
				found = append(found, n)
			}
		}
	}
	return found
}

// listAll lists all kinds in the namespaces.
func (l *snapshotLister) listAll(ctx context.Context, s *waitgraph.Snapshot, namespaces []string, mustRead string) error {
	const atOnce = 16
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(atOnce)
	var mu sync.Mutex
	for _, namespace := range namespaces {
		for _, k := range snapshotKinds() {
			group.Go(func() error {
				items, err := l.listKind(ctx, k, namespace)
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					for _, item := range items {
						k.addItem(s, item)
					}
					return nil
				case apierrors.IsForbidden(err) && k.kind != mustRead:
					s.Gaps = append(s.Gaps, waitgraph.Gap{Kind: k.kind, Namespace: namespace, Message: forbiddenText(k, namespace)})
					return nil
				default:
					return konductor.Explain(err, "list", k.kind, namespace)
				}
			})
		}
	}
	err := group.Wait()
	slices.SortFunc(s.Gaps, func(x, y waitgraph.Gap) int {
		return slices.Compare([]string{x.Namespace, x.Kind}, []string{y.Namespace, y.Kind})
	})
	return err
}

func forbiddenText(k snapshotKind, namespace string) string {
	if namespace == "" {
		return fmt.Sprintf("can't list %s in all namespaces", k.resource)
	}
	return fmt.Sprintf("can't list %s in namespace %s", k.resource, namespace)
}

// listKind returns the objects of one kind.
func (l *snapshotLister) listKind(ctx context.Context, k snapshotKind, namespace string) ([]runtime.Object, error) {
	list := k.newList()
	err := l.clients[schema.GroupVersion{Group: k.group, Version: "v1"}].Get().NamespaceIfScoped(namespace, namespace != "").Resource(k.resource).
		VersionedParams(&metav1.ListOptions{}, metav1.ParameterCodec).Do(ctx).Into(list)
	if err != nil {
		return nil, err
	}
	return meta.ExtractList(list)
}
