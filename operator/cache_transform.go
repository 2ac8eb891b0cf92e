package operator

import (
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/waitgraph"
	"github.com/LogicIQ/konductor/operator/internal/controller"
)

// cacheOptions returns options for a cache that keeps only what the rules read.
func cacheOptions(namespaces []string) cache.Options {
	o := cache.Options{NewInformer: newInformer, ByObject: map[client.Object]cache.ByObject{}}
	for _, obj := range []client.Object{
		&konductorv1.Barrier{}, &konductorv1.Gate{}, &konductorv1.Lease{}, &konductorv1.Semaphore{}, &konductorv1.Claim{},
		&konductorv1.Arrival{}, &corev1.Pod{}, &batchv1.Job{}, &corev1.Namespace{},
	} {
		o.ByObject[obj] = cache.ByObject{Transform: transformFor(obj)}
	}
	if len(namespaces) > 0 {
		o.DefaultNamespaces = map[string]cache.Config{}
		for _, n := range namespaces {
			o.DefaultNamespaces[n] = cache.Config{}
		}
	}
	return o
}

// transformFor returns the function that strips objects of obj's type. Stripping an object twice changes nothing more.
func transformFor(obj any) toolscache.TransformFunc {
	switch obj.(type) {
	case *konductorv1.Claim:
		return stripClaim
	case *konductorv1.Arrival:
		return stripArrival
	case *corev1.Pod:
		return stripPod
	case *batchv1.Job:
		return stripJob
	case *corev1.Namespace:
		return stripNamespace
	default:
		return stripPrimitive
	}
}

// stripPrimitive removes from a Barrier, Gate, Lease or Semaphore the metadata that the rules don't read. Only the status is
// ever written back, and from such a write the API server takes nothing else.
func stripPrimitive(obj any) (any, error) {
	if o, ok := obj.(client.Object); ok {
		controller.StripMetadata(o)
	}
	return obj, nil
}

// stripClaim keeps of a Claim what the rules read. No claim is ever written back from the cache.
func stripClaim(obj any) (any, error) {
	claim, ok := obj.(*konductorv1.Claim)
	if !ok {
		return obj, nil
	}
	stripped := &konductorv1.Claim{ObjectMeta: stripMeta(claim.ObjectMeta), Spec: claim.Spec, Status: claim.Status}
	stripped.Status.Conditions = nil // the same as the phase
	if by, ok := claim.Annotations[konductorv1.BrokenByAnnotation]; ok {
		stripped.Annotations = map[string]string{konductorv1.BrokenByAnnotation: by}
	}
	return stripped, nil
}

// stripArrival keeps of an Arrival what the rules read.
func stripArrival(obj any) (any, error) {
	arrival, ok := obj.(*konductorv1.Arrival)
	if !ok {
		return obj, nil
	}
	return &konductorv1.Arrival{ObjectMeta: stripMeta(arrival.ObjectMeta), Spec: arrival.Spec}, nil
}

// stripPod keeps of a Pod its identity, whether it has finished, and its koncli commands.
func stripPod(obj any) (any, error) {
	if pod, ok := obj.(*corev1.Pod); ok {
		return waitgraph.StripPod(pod), nil
	}
	return obj, nil
}

// stripJob keeps of a Job its identity, its conditions, and the koncli commands of its Pods.
func stripJob(obj any) (any, error) {
	if job, ok := obj.(*batchv1.Job); ok {
		return waitgraph.StripJob(job), nil
	}
	return obj, nil
}

// stripNamespace keeps of a Namespace its identity and the annotation that allows gates.
func stripNamespace(obj any) (any, error) {
	namespace, ok := obj.(*corev1.Namespace)
	if !ok {
		return obj, nil
	}
	stripped := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace.Name, UID: namespace.UID, ResourceVersion: namespace.ResourceVersion}}
	if allowed, ok := namespace.Annotations[konductorv1.AllowGatesAnnotation]; ok {
		stripped.Annotations = map[string]string{konductorv1.AllowGatesAnnotation: allowed}
	}
	return stripped, nil
}

// stripMeta keeps the identity of an object and its creation and deletion times.
func stripMeta(m metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name: m.Name, Namespace: m.Namespace, UID: m.UID, ResourceVersion: m.ResourceVersion, DeletionTimestamp: m.DeletionTimestamp,
		CreationTimestamp: m.CreationTimestamp,
	}
}
