package controller

import (
	"time"

	"k8s.io/client-go/tools/record"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// Deps are the dependencies that all controllers share.
type Deps struct {
	// Client reads from the cache and writes to the API server.
	Client client.Client
	// APIReader reads from the API server.
	APIReader client.Reader
	// Recorder records Events.
	Recorder record.EventRecorder
	// Clock reads the API server's time and the monotonic clock.
	Clock Clock
	// Metrics counts grants, ends of holds, arrivals, conflicts and the like.
	Metrics *Metrics
	// Traces makes a span of each reconciliation that sends a request; nil: no traces.
	Traces *Traces
	// Elected is closed when this replica becomes the leader; nil: there is no leader election, it always is.
	Elected <-chan struct{}
}

// instrument returns r with its reconciliations measured and traced.
func (d *Deps) instrument(controller string, r reconcile.Reconciler) reconcile.Reconciler {
	return d.Metrics.measureReconcile(controller, d.Traces.traceReconcile(controller, r))
}

// controllerOptions returns the options of every controller. A standby replica follows all watches too (warm-up), so that it
// can take over at once. All namespaces share the workers and take turns. The retry delay stays short, however long an
// object has been failing: by the default it would grow to the length of the API server's outage, up to a quarter of an
// hour, and everyone in the object's queue would wait that long again.
func controllerOptions() controller.Options {
	const firstPause, longestPause = 5 * time.Millisecond, 5 * time.Second
	warm := true
	return controller.Options{
		MaxConcurrentReconciles: 8,
		EnableWarmup:            &warm,
		NewQueue:                newFairQueue,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstPause, longestPause),
	}
}
