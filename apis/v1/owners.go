package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
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

// MadeFor returns the UID of the object of that konductor kind that a Claim or an Arrival was made for: that of its last
// owner of the kind; empty: it has none. Participants write the owners, as many and as long as they like, so a UID of more
// than 64 bytes is ignored.
func MadeFor(owners []metav1.OwnerReference, kind string) (uid types.UID) {
	const longestUID = 64
	for i := range owners {
		if o := &owners[i]; len(o.UID) <= longestUID && IsA(o.APIVersion, o.Kind, schema.GroupKind{Group: GroupName, Kind: kind}) {
			uid = o.UID
		}
	}
	return uid
}
