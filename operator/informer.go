package operator

import (
	"context"
	"slices"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	toolscache "k8s.io/client-go/tools/cache"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// newInformer returns an informer, one that tells of Claims in the order in which they were created.
//
// A watch does so by itself, so that who knows of a claim knows of all that were there before it, and the queue is served
// in order. But when a watch can't go on and a new list takes its place, all that is new comes in the order of the list,
// and a decision that falls in between would see the younger claim first.
func newInformer(lw toolscache.ListerWatcher, obj runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	if _, ok := obj.(*konductorv1.Claim); ok {
		lw = inOrder(toolscache.ToListerWatcherWithContext(lw))
	}
	return toolscache.NewSharedIndexInformer(lw, obj, resync, indexers)
}

// lists is a ListWatch whose lists are lists: a list that comes as a watch is kept in a map on the way, and has lost its
// order when it arrives.
type lists struct{ *toolscache.ListWatch }

// IsWatchListSemanticsUnSupported is what client-go asks; the name is its.
func (lists) IsWatchListSemanticsUnSupported() bool { return true }

func inOrder(lw toolscache.ListerWatcherWithContext) toolscache.ListerWatcher {
	return lists{&toolscache.ListWatch{
		WatchFuncWithContext: lw.WatchWithContext,
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			// In one piece: what comes in several can only be put in order within each.
			options.Limit, options.Continue = 0, ""
			list, err := lw.ListWithContext(ctx, options)
			if err != nil {
				return nil, err
			}
			return list, sortByRevision(list)
		},
	}}
}

// sortByRevision puts the objects of a list into the order in which they were last written. Nobody writes to a claim that
// waits, so for these it is the order of their creation.
func sortByRevision(list runtime.Object) error {
	items, err := meta.ExtractList(list)
	if err != nil {
		return err
	}
	revision := func(obj runtime.Object) uint64 {
		m, err := meta.Accessor(obj)
		if err != nil {
			return 0
		}
		n, _ := strconv.ParseUint(m.GetResourceVersion(), 10, 64) // what is no number has no order either
		return n
	}
	slices.SortStableFunc(items, func(a, b runtime.Object) int {
		switch x, y := revision(a), revision(b); {
		case x < y:
			return -1
		case x > y:
			return 1
		default:
			return 0
		}
	})
	return meta.SetList(list, items)
}
