package operator

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/operator/internal/controller"
)

// fakeClaimServer is an API server that lists claims in no order. Its next list has other claims.
type fakeClaimServer struct {
	mu    sync.Mutex
	lists [][]konductorv1.Claim
	watch *watch.FakeWatcher
}

func (l *fakeClaimServer) nextList() *konductorv1.ClaimList {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := &konductorv1.ClaimList{Items: l.lists[0]}
	list.ResourceVersion = "100"
	if len(l.lists) > 1 {
		l.lists = l.lists[1:]
	}
	return list
}

func (l *fakeClaimServer) startWatch() *watch.FakeWatcher {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watch = watch.NewFake()
	return l.watch
}

func claimsAtRevisions(revisions ...int) (claims []konductorv1.Claim) {
	for _, n := range revisions {
		claims = append(claims, konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("c%d", n), Namespace: "default", UID: "1", ResourceVersion: fmt.Sprint(n),
		}})
	}
	return claims
}

// newWatchListStream returns a streaming list.
func newWatchListStream(list *konductorv1.ClaimList) watch.Interface {
	w := watch.NewFakeWithChanSize(len(list.Items)+4, false)
	for i := range list.Items {
		w.Add(&list.Items[i])
	}
	// Changes made during the list arrive in between.
	w.Modify(&list.Items[0])
	passing := claimsAtRevisions(11)
	w.Add(&passing[0])
	w.Delete(&passing[0])
	w.Action(watch.Bookmark, &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{
		ResourceVersion: list.ResourceVersion, Annotations: map[string]string{metav1.InitialEventsAnnotationKey: "true"},
	}})
	return w
}

func TestInformerDeliversClaimsInRevisionOrder(t *testing.T) {
	for name, streams := range map[string]bool{"an API server that lists as a watch": true, "one that can't": false} {
		t.Run(name, func(t *testing.T) { testClaimDeliveryOrder(t, streams) })
	}
}

func testClaimDeliveryOrder(t *testing.T, supportsWatchList bool) {
	server := &fakeClaimServer{lists: [][]konductorv1.Claim{claimsAtRevisions(9, 7, 10, 8), claimsAtRevisions(31, 9, 15, 200, 22)}}
	lw := &toolscache.ListWatch{
		ListWithContextFunc: func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
			if supportsWatchList || o.Limit == 0 {
				t.Errorf("a list is asked for with %+v", o)
			}
			return server.nextList(), nil
		},
		WatchFuncWithContext: func(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
			switch {
			case o.SendInitialEvents == nil:
				return server.startWatch(), nil
			case supportsWatchList:
				return newWatchListStream(server.nextList()), nil
			default:
				return nil, apierrors.NewInvalid(schema.GroupKind{Kind: "ListOptions"}, "", nil)
			}
		},
	}
	informer := newInformer(lw, &konductorv1.Claim{}, 0, toolscache.Indexers{})
	delivered := make(chan string, 20)
	_, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { delivered <- obj.(*konductorv1.Claim).Name },
		DeleteFunc: func(obj any) {
			key, _ := toolscache.DeletionHandlingMetaNamespaceKeyFunc(obj)
			delivered <- "not " + key
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	defer running.Wait()
	defer cancel()

	next := func(n int) (names []string) {
		t.Helper()
		for range n {
			select {
			case name := <-delivered:
				names = append(names, name)
			case <-time.After(30 * time.Second):
				t.Fatalf("nothing came after %v", names)
			}
		}
		return names
	}
	if diff := cmp.Diff([]string{"c7", "c8", "c9", "c10"}, next(4)); diff != "" {
		t.Errorf("at first (-want +got):\n%s", diff)
	}
	expireWatch(server)
	gone := next(3)
	if diff := cmp.Diff(map[string]bool{"not default/c7": true, "not default/c8": true, "not default/c10": true}, toSet(gone)); diff != "" {
		t.Errorf("gone, before anything new (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"c15", "c22", "c31", "c200"}, next(4)); diff != "" {
		t.Errorf("new (-want +got):\n%s", diff)
	}
}

// expireWatch ends the watch with 410, as an API server does whose history no longer has the revision.
func expireWatch(l *fakeClaimServer) {
	for {
		l.mu.Lock()
		w := l.watch
		l.mu.Unlock()
		if w != nil {
			status := apierrors.NewResourceExpired("too old").Status()
			w.Error(&status)
			return
		}
		// The informer is between its list and its watch.
		<-time.After(time.Millisecond)
	}
}

func toSet(names []string) map[string]bool {
	s := map[string]bool{}
	for _, name := range names {
		s[name] = true
	}
	return s
}

func TestListPagedStripsPods(t *testing.T) {
	const pods, junk = 500, 10_000
	var largest, listed int
	lw := &toolscache.ListWatch{
		WatchFuncWithContext: func(context.Context, metav1.ListOptions) (watch.Interface, error) { return watch.NewFake(), nil },
		ListWithContextFunc: func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list := &corev1.PodList{ListMeta: metav1.ListMeta{ResourceVersion: "7"}}
			for len(list.Items) < int(o.Limit) && listed < pods {
				list.Items = append(list.Items, corev1.Pod{ObjectMeta: metav1.ObjectMeta{
					Name: fmt.Sprint(listed), Annotations: map[string]string{"junk": strings.Repeat("x", junk)},
				}})
				listed++
			}
			if listed < pods {
				list.Continue = fmt.Sprint(listed)
			}
			largest = max(largest, len(list.Items))
			return list, nil
		},
	}
	list, err := transformingLister{toolscache.ToListerWatcherWithContext(lw), stripPod}.listPaged(t.Context(), metav1.ListOptions{ResourceVersion: "0"})
	if err != nil {
		t.Fatal(err)
	}
	items, err := meta.ExtractList(list)
	if err != nil || len(items) != pods || largest != controller.PageSize {
		t.Fatalf("%d Pods in pages of %d: %v", len(items), largest, err)
	}
	for _, item := range items {
		if pod, ok := item.(*corev1.Pod); !ok || pod.Annotations != nil {
			t.Fatalf("kept whole: %+v", item)
		}
	}
}
