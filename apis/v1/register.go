package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupName is the API group of all konductor kinds.
const GroupName = "konductor.io"

// Kinds of the group, as they appear in manifests.
const (
	KindBarrier   = "Barrier"
	KindGate      = "Gate"
	KindLease     = "Lease"
	KindSemaphore = "Semaphore"
	KindArrival   = "Arrival"
	KindClaim     = "Claim"
)

// GroupVersion returns konductor.io/v1.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: GroupName, Version: "v1"}
}

// AddToScheme registers all konductor kinds with s.
func AddToScheme(s *runtime.Scheme) error {
	gv := GroupVersion()
	s.AddKnownTypes(gv,
		&Barrier{}, &BarrierList{},
		&Gate{}, &GateList{},
		&Lease{}, &LeaseList{},
		&Semaphore{}, &SemaphoreList{},
		&Arrival{}, &ArrivalList{},
		&Claim{}, &ClaimList{},
	)
	metav1.AddToGroupVersion(s, gv)
	return nil
}
