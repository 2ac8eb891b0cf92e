package controller

import (
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// fairQueue is a work queue in which namespaces take turns: however many items one has, an item of another waits for as many
// turns as there are namespaces, not for all of them. itemsByNamespace must not be nil.
type fairQueue struct {
	itemsByNamespace map[string][]reconcile.Request
	namespaceOrder   []string // the namespaces with items; the first is next
	length           int
}

// newFairQueue returns the queue of a controller, for NewQueue of controller.Options.
func newFairQueue(name string, limiter workqueue.TypedRateLimiter[reconcile.Request]) workqueue.TypedRateLimitingInterface[reconcile.Request] {
	queue := workqueue.NewTypedWithConfig(workqueue.TypedQueueConfig[reconcile.Request]{Name: name, Queue: &fairQueue{itemsByNamespace: map[string][]reconcile.Request{}}})
	return workqueue.NewTypedRateLimitingQueueWithConfig(limiter, workqueue.TypedRateLimitingQueueConfig[reconcile.Request]{
		Name:          name,
		DelayingQueue: workqueue.NewTypedDelayingQueueWithConfig(workqueue.TypedDelayingQueueConfig[reconcile.Request]{Name: name, Queue: queue}),
	})
}

// Touch implements workqueue.Queue: an item that is queued already keeps its place.
func (f *fairQueue) Touch(reconcile.Request) {}

// Push implements workqueue.Queue.
func (f *fairQueue) Push(item reconcile.Request) {
	waiting := f.itemsByNamespace[item.Namespace]
	if len(waiting) == 0 {
		f.namespaceOrder = append(f.namespaceOrder, item.Namespace)
	}
	f.itemsByNamespace[item.Namespace] = append(waiting, item)
	f.length++
}

// Len implements workqueue.Queue.
func (f *fairQueue) Len() int { return f.length }

// Pop implements workqueue.Queue. It is called only when the queue is not empty.
func (f *fairQueue) Pop() reconcile.Request {
	namespace := f.namespaceOrder[0]
	f.namespaceOrder = f.namespaceOrder[1:]
	waiting := f.itemsByNamespace[namespace]
	item := waiting[0]
	if waiting = waiting[1:]; len(waiting) == 0 {
		delete(f.itemsByNamespace, namespace)
	} else {
		f.itemsByNamespace[namespace] = waiting
		f.namespaceOrder = append(f.namespaceOrder, namespace)
	}
	f.length--
	return item
}
