package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ArrivalSpec says who has arrived at which Barrier. It is immutable.
// +kubebuilder:validation:XValidation:rule="self == oldSelf",message="an Arrival is immutable: delete it to withdraw it"
// +kubebuilder:validation:XValidation:rule="!has(self.reason) || (has(self.failed) && self.failed)",message="reason is for failed arrivals only: set failed to true or leave reason out"
type ArrivalSpec struct {
	// barrier is the name of the Barrier, in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of an object: lower-case letters, digits, - and . only, for example db-migration"
	Barrier string `json:"barrier"`
	// barrierUID is the UID of the Barrier. If set, the arrival doesn't count at a Barrier with another UID. If unset, it
	// counts at whatever Barrier has the name. metadata.ownerReferences are for garbage collection only.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	BarrierUID types.UID `json:"barrierUID,omitempty"`
	// participant is the name of the participant that has arrived: at most 320 bytes, without control characters and
	// without <, > and &. A participant counts once, however many Arrivals have its name.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=320
	// +kubebuilder:validation:XValidation:rule="bytes(self).size() <= 320 && self.matches(r'^[^\\pC<>&]*$')",message="must be at most 320 bytes long, without control characters and without <, > and &"
	Participant string `json:"participant"`
	// failed says that the participant can't do its part. Failed participants are counted separately, so that a barrier
	// fails as soon as its quorum can't be reached. Defaults to false.
	// +optional
	Failed bool `json:"failed,omitempty"`
	// reason says why the participant failed, for people to read: at most 1024 characters, and only if failed is true.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Reason string `json:"reason,omitempty"`
	// boundTo is the Pod in which the participant ran. The Arrival outlives the Pod.
	// +optional
	BoundTo *BoundObject `json:"boundTo,omitempty"`
}

// Arrival records that one participant has arrived at a Barrier. It is immutable.
//
// +kubebuilder:object:root=true
// +kubebuilder:resource:shortName=karr
// +kubebuilder:selectablefield:JSONPath=`.spec.barrier`
// +kubebuilder:selectablefield:JSONPath=`.spec.participant`
// +kubebuilder:printcolumn:name="Participant",type=string,JSONPath=`.spec.participant`
// +kubebuilder:printcolumn:name="Failed",type=boolean,JSONPath=`.spec.failed`
// +kubebuilder:printcolumn:name="Barrier",type=string,JSONPath=`.spec.barrier`,priority=1
// +kubebuilder:printcolumn:name="Reason",type=string,JSONPath=`.spec.reason`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type Arrival struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the desired state.
	// +required
	Spec ArrivalSpec `json:"spec"`
}

// ArrivalList is a list of Arrivals.
// +kubebuilder:object:root=true
type ArrivalList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Arrival `json:"items"`
}
