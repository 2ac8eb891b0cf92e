package operator

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metainternalversion "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
	"github.com/LogicIQ/konductor/operator/internal/controller"
)

// newInformer returns an informer that never holds more than a page of unstripped objects in memory, and that delivers
// Claims in the order in which they were created.
//
// Clients that may create Pods can write more into a cluster than an operator has memory for. client-go uses a streaming
// list (WatchList), object by object, if the API server supports it. Otherwise it would decode the list in one piece before
// the first object could be stripped.
//
// A watch delivers claims in order, so that the cache which has a claim has all earlier ones, and the queue is served in
// order. But when a watch breaks and a new list takes its place, all new claims come in the order of the list, and a
// decision in between would see a younger claim first.
func newInformer(lw toolscache.ListerWatcher, obj runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	lister := transformingLister{toolscache.ToListerWatcherWithContext(lw), transformFor(obj)}
	if _, ok := obj.(*konductorv1.Claim); ok {
		lw = withoutWatchList{&toolscache.ListWatch{WatchFuncWithContext: lister.WatchWithContext, ListWithContextFunc: lister.listInRevisionOrder}}
	} else {
		lw = &toolscache.ListWatch{WatchFuncWithContext: lister.WatchWithContext, ListWithContextFunc: lister.listPaged}
	}
	return toolscache.NewSharedIndexInformer(lw, obj, resync, indexers)
}

// withoutWatchList is a ListWatch that hides streaming lists from client-go: it collects them in a map, which loses the
// order.
type withoutWatchList struct{ *toolscache.ListWatch }

// IsWatchListSemanticsUnSupported is the method that client-go looks for.
func (withoutWatchList) IsWatchListSemanticsUnSupported() bool { return true }

// transformingLister lists objects a few at a time, and strips each as it arrives.
type transformingLister struct {
	toolscache.ListerWatcherWithContext
	transform toolscache.TransformFunc
}

// listInRevisionOrder lists objects in the order of their last writes. Nothing writes to a waiting claim, so for waiting
// claims this is the order of their creation.
func (p transformingLister) listInRevisionOrder(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
	list, err := p.watchList(ctx, options)
	if apierrors.IsInvalid(err) {
		// The API server doesn't support streaming lists.
		list, err = p.listAllPages(ctx)
	}
	if err != nil {
		return nil, err
	}
	sortByRevision(list.Items)
	return list, nil
}

// listPaged lists objects page by page. client-go calls it if the API server doesn't support streaming lists.
func (p transformingLister) listPaged(ctx context.Context, _ metav1.ListOptions) (runtime.Object, error) {
	return p.listAllPages(ctx)
}

func (p transformingLister) listAllPages(ctx context.Context) (*metainternalversion.List, error) {
	all := &metainternalversion.List{}
	// Without a resourceVersion the list is the latest, so at least as new as any revision asked for.
	for options := (metav1.ListOptions{Limit: controller.PageSize}); ; {
		page, err := p.ListWithContext(ctx, options)
		if err != nil {
			return nil, err
		}
		list, err := meta.ListAccessor(page)
		if err != nil {
			return nil, err
		}
		err = meta.EachListItem(page, func(obj runtime.Object) error {
			cut, err := p.transform(obj)
			if kept, ok := cut.(runtime.Object); ok {
				all.Items = append(all.Items, kept)
			}
			return err
		})
		if err != nil {
			return nil, err
		}
		all.ResourceVersion = list.GetResourceVersion()
		if options.Continue = list.GetContinue(); options.Continue == "" {
			return all, nil
		}
	}
}

// errWatchListIncomplete is the error of a streaming list that ended before it was complete.
var errWatchListIncomplete = errors.New("the API server ended a streaming list before it was complete")

// watchList lists objects by a streaming list. Changes made during the list arrive in between.
func (p transformingLister) watchList(ctx context.Context, options metav1.ListOptions) (*metainternalversion.List, error) {
	if options.ResourceVersion == "0" {
		options.ResourceVersion = ""
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := p.WatchWithContext(ctx, metav1.ListOptions{
		ResourceVersion: options.ResourceVersion, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
		SendInitialEvents: ptr(true), AllowWatchBookmarks: true,
	})
	if err != nil {
		return nil, err
	}
	defer events.Stop()
	objects := map[string]runtime.Object{}
	for event := range events.ResultChan() {
		if event.Type == watch.Error {
			return nil, apierrors.FromObject(event.Object)
		}
		m, err := meta.Accessor(event.Object)
		if err != nil {
			return nil, err
		}
		key := m.GetNamespace() + "/" + m.GetName()
		switch event.Type {
		case watch.Added, watch.Modified:
			cut, err := p.transform(event.Object)
			if err != nil {
				return nil, err
			}
			if kept, ok := cut.(runtime.Object); ok {
				objects[key] = kept
			}
		case watch.Deleted:
			delete(objects, key)
		case watch.Bookmark:
			if m.GetAnnotations()[metav1.InitialEventsAnnotationKey] == "true" {
				list := &metainternalversion.List{Items: slices.Collect(maps.Values(objects))}
				list.ResourceVersion = m.GetResourceVersion()
				return list, nil
			}
		case watch.Error: // handled above
		}
	}
	return nil, errWatchListIncomplete
}

func sortByRevision(items []runtime.Object) {
	revision := func(obj runtime.Object) uint64 {
		m, err := meta.Accessor(obj)
		if err != nil {
			return 0
		}
		return rules.RevisionOrZero(m)
	}
	slices.SortStableFunc(items, func(a, b runtime.Object) int { return cmp.Compare(revision(a), revision(b)) })
}
