package waitgraph

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Kinds of objects besides those of the API group konductor.io.
const (
	KindJob = "Job"
	KindPod = "Pod"
	// KindHolder is a holder that isn't a Pod: a person, a pipeline, a program elsewhere.
	KindHolder = "Holder"
)

// Snapshot has the objects of one or several namespaces at one moment. It is never written to.
type Snapshot struct {
	// Now is the moment, on the API server's clock.
	Now        time.Time
	Barriers   []*konductorv1.Barrier
	Arrivals   []*konductorv1.Arrival
	Gates      []*konductorv1.Gate
	Leases     []*konductorv1.Lease
	Semaphores []*konductorv1.Semaphore
	Claims     []*konductorv1.Claim
	Jobs       []*batchv1.Job
	Pods       []*corev1.Pod
	// Namespaces are those whose objects are in the snapshot; empty: all.
	Namespaces []string
	// Gaps are the objects that could not be read.
	Gaps []Gap
}

// Gap says that the objects of one kind in one namespace could not be read.
type Gap struct {
	// Kind is that of the objects.
	Kind string `json:"kind"`
	// Namespace of the objects; empty: all namespaces.
	Namespace string `json:"namespace,omitempty"`
	// Message says why, for people.
	Message string `json:"message"`
}
