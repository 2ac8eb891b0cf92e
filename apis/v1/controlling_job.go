package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// IsA reports whether an apiVersion and a kind, as in an object or a reference to it, are those of a group and kind, in any
// version. A kind alone is ambiguous: other groups have Jobs, Leases and Gates of their own.
func IsA(apiVersion, kind string, of schema.GroupKind) bool {
	gv, err := schema.ParseGroupVersion(apiVersion)
	return err == nil && gv.WithKind(kind).GroupKind() == of
}

// ControllingJob returns the reference to the Job (batch) that controls a Pod, or nil. Jobs of other groups don't count:
// their controllers run Pods under other rules.
func ControllingJob(pod metav1.Object) *metav1.OwnerReference {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || !IsA(owner.APIVersion, owner.Kind, schema.GroupKind{Group: "batch", Kind: "Job"}) {
		return nil
	}
	return owner
}
