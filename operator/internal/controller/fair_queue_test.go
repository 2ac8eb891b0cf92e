package controller

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

func newRequest(namespace, name string) reconcile.Request {
	return reconcile.Request{NamespacedName: types.NamespacedName{Namespace: namespace, Name: name}}
}

// TestFairQueueRoundRobin has a namespace with very many items, and two with few that come later.
func TestFairQueueRoundRobin(t *testing.T) {
	q := newFairQueue("test", workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](time.Millisecond, time.Second))
	defer q.ShutDown()
	const many = 1000
	for i := range many {
		q.Add(newRequest("crowded", fmt.Sprint(i)))
		q.Add(newRequest("crowded", fmt.Sprint(i)))
	}
	for _, name := range []string{"a", "b"} {
		q.Add(newRequest("first", name))
		q.Add(newRequest("second", name))
	}
	if q.Len() != many+4 {
		t.Errorf("%d items, want %d", q.Len(), many+4)
	}
	place := map[reconcile.Request]int{}
	last := -1
	for i := range many + 4 {
		item, _ := q.Get()
		place[item] = i
		q.Done(item)
		if item.Namespace == "crowded" {
			var n int
			if _, err := fmt.Sscan(item.Name, &n); err != nil || n != last+1 {
				t.Fatalf("%s comes after %d, %v", item, last, err)
			}
			last = n
		}
	}
	for item, most := range map[reconcile.Request]int{
		newRequest("first", "a"): 2, newRequest("second", "a"): 2, newRequest("first", "b"): 5, newRequest("second", "b"): 5,
	} {
		if place[item] > most {
			t.Errorf("%s is looked at as number %d, want %d at most", item, place[item], most)
		}
	}
}
