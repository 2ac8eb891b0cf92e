package operator

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	toolscache "k8s.io/client-go/tools/cache"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// lapse is an API server that lists claims in no order, and lists others when it is asked anew.
type lapse struct {
	mu    sync.Mutex
	lists [][]konductorv1.Claim
	watch *watch.FakeWatcher
}

func (l *lapse) list() *konductorv1.ClaimList {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := &konductorv1.ClaimList{Items: l.lists[0]}
	list.ResourceVersion = "100"
	if len(l.lists) > 1 {
		l.lists = l.lists[1:]
	}
	return list
}

func (l *lapse) watching() *watch.FakeWatcher {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.watch = watch.NewFake()
	return l.watch
}

func claimsAt(revisions ...int) (claims []konductorv1.Claim) {
	for _, n := range revisions {
		claims = append(claims, konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("c%d", n), Namespace: "default", UID: "1", ResourceVersion: fmt.Sprint(n),
		}})
	}
	return claims
}

func TestClaimsAreToldOfInOrderOfCreationAlsoWhenAListTakesThePlaceOfAWatch(t *testing.T) {
	server := &lapse{lists: [][]konductorv1.Claim{claimsAt(9, 7, 10, 8), claimsAt(31, 9, 15, 200, 22)}}
	lw := &toolscache.ListWatch{
		ListWithContextFunc: func(context.Context, metav1.ListOptions) (runtime.Object, error) { return server.list(), nil },
		WatchFuncWithContext: func(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
			if o.SendInitialEvents != nil {
				t.Error("a list is asked for as a watch")
			}
			return server.watching(), nil
		},
	}
	informer := newInformer(lw, &konductorv1.Claim{}, 0, toolscache.Indexers{})
	told := make(chan string, 20)
	_, err := informer.AddEventHandler(toolscache.ResourceEventHandlerFuncs{
		AddFunc: func(obj any) { told <- obj.(*konductorv1.Claim).Name },
		DeleteFunc: func(obj any) {
			key, _ := toolscache.DeletionHandlingMetaNamespaceKeyFunc(obj)
			told <- "not " + key
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
			case name := <-told:
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
	expire(server)
	gone := next(3)
	if diff := cmp.Diff(map[string]bool{"not default/c7": true, "not default/c8": true, "not default/c10": true}, set(gone)); diff != "" {
		t.Errorf("gone, before anything new (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"c15", "c22", "c31", "c200"}, next(4)); diff != "" {
		t.Errorf("new (-want +got):\n%s", diff)
	}
}

// expire ends the watch as an API server does that has forgotten what came next.
func expire(l *lapse) {
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

func set(names []string) map[string]bool {
	s := map[string]bool{}
	for _, name := range names {
		s[name] = true
	}
	return s
}
