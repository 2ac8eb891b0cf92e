package v1

import metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

// BarrierPhase is the state of a Barrier in one word.
// +kubebuilder:validation:Enum=Waiting;Open;Failed;Timeout
type BarrierPhase string

const (
	// BarrierWaiting means that participants are still missing.
	BarrierWaiting BarrierPhase = "Waiting"
	// BarrierOpen means that enough participants have arrived. It is final.
	BarrierOpen BarrierPhase = "Open"
	// BarrierFailed means that so many participants have failed that the quorum can't be reached.
	BarrierFailed BarrierPhase = "Failed"
	// BarrierTimeout means that spec.timeout passed before the barrier opened. A longer timeout makes the barrier wait again.
	BarrierTimeout BarrierPhase = "Timeout"
)

// MaxListedArrivals is how many participants status.arrivals lists at most; status.arrived counts all.
const MaxListedArrivals = 100

// BarrierSpec says how many participants a Barrier waits for.
// +kubebuilder:validation:XValidation:rule="!has(self.quorum) || self.quorum <= self.expected",message="quorum must not be larger than expected: set quorum between 1 and expected, or leave it out to wait for all"
type BarrierSpec struct {
	// expected is how many participants there are, from 1 to 1000000.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Expected int32 `json:"expected"`
	// quorum is how many participants must arrive before the barrier opens, from 1 to expected. Defaults to expected.
	// +optional
	// +kubebuilder:validation:Minimum=1
	Quorum *int32 `json:"quorum,omitempty"`
	// timeout is how long after its creation the barrier stops waiting, for example 30m. If unset, it waits forever.
	// Raising it on a barrier that has timed out makes the barrier wait again.
	// +optional
	Timeout *Duration `json:"timeout,omitempty"`
	// ttlAfterFinished is how long after the barrier opened, failed or timed out it is deleted, with its Arrivals. If unset,
	// it is kept.
	// +optional
	TTLAfterFinished *Duration `json:"ttlAfterFinished,omitempty"`
}

// BarrierStatus is the observed state of a Barrier.
type BarrierStatus struct {
	// phase is Waiting, Open, Failed or Timeout.
	// +optional
	Phase BarrierPhase `json:"phase,omitempty"`
	// observedGeneration is the metadata.generation for which this status was written.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// arrived is how many participants have arrived and not failed, each counted once. While participants arrive it may lag
	// by up to 100 ms.
	// +optional
	Arrived int32 `json:"arrived"`
	// failed is how many participants have arrived as failed.
	// +optional
	Failed int32 `json:"failed"`
	// arrivals lists the participants that have arrived, in order of arrival; the first 100 only.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	// +kubebuilder:validation:items:MinLength=1
	// +kubebuilder:validation:items:MaxLength=320
	Arrivals []string `json:"arrivals,omitempty"`
	// openedAt is when the barrier opened.
	// +optional
	OpenedAt *metav1.Time `json:"openedAt,omitempty"`
	// endedAt is when the barrier failed or timed out.
	// +optional
	EndedAt *metav1.Time `json:"endedAt,omitempty"`
	// conditions are Ready and Open, and Deadlocked while the barrier is in a wait cycle.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Barrier is a meeting point of several processes: none goes on before all of them, or a quorum, have arrived.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=kbar,categories=konductor
// +kubebuilder:selectablefield:JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Arrived",type=integer,JSONPath=`.status.arrived`
// +kubebuilder:printcolumn:name="Expected",type=integer,JSONPath=`.spec.expected`
// +kubebuilder:printcolumn:name="Quorum",type=integer,JSONPath=`.spec.quorum`
// +kubebuilder:printcolumn:name="Failed",type=integer,JSONPath=`.status.failed`,priority=1
// +kubebuilder:printcolumn:name="Opened",type=date,JSONPath=`.status.openedAt`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase != 'Open' || (has(self.status) && has(self.status.phase) && self.status.phase == 'Open')",message="an open barrier stays open: delete it and create it again to start anew"
type Barrier struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the desired state.
	// +required
	Spec BarrierSpec `json:"spec"`
	// status is the observed state.
	// +optional
	Status BarrierStatus `json:"status,omitzero"`
}

// BarrierList is a list of Barriers.
// +kubebuilder:object:root=true
type BarrierList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Barrier `json:"items"`
}

// Quorum returns how many participants must arrive before the barrier opens.
func (b *Barrier) Quorum() int32 {
	if b.Spec.Quorum == nil {
		return b.Spec.Expected
	}
	return *b.Spec.Quorum
}
