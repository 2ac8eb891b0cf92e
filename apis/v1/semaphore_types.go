package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// SemaphorePhase is the state of a Semaphore in one word.
// +kubebuilder:validation:Enum=Ready;Full
type SemaphorePhase string

const (
	// SemaphoreReady means that a permit is free. The condition Ready means something else: the operator has accepted the
	// object.
	SemaphoreReady SemaphorePhase = "Ready"
	// SemaphoreFull means that no permit is free, or that the semaphore is paused with permits 0.
	SemaphoreFull SemaphorePhase = "Full"
)

// MaxHolders is how many Claims can hold a Semaphore at the same time, whatever its permits: as many as fit into one
// object, and as the API server can validate on every write.
const MaxHolders = 1000

const (
	// MaxOvertaken is how many grants may go to smaller Claims behind a waiting one that asks for more permits than are
	// free (backfilling). After that, free permits are reserved for it.
	MaxOvertaken = 10
	// MaxOvertakenClaims is how many waiting Claims can be overtaken at the same time. No further ones are overtaken.
	MaxOvertakenClaims = 100
)

// SemaphoreSpec sets the number of permits, and the defaults of the holds on a Semaphore.
// +kubebuilder:validation:XValidation:rule="!has(self.appliesTo) || !has(self.appliesTo.jobs) || !has(self.appliesTo.jobs.permits) || self.permits == 0 || self.appliesTo.jobs.permits <= self.permits",message="appliesTo.jobs.permits must be at most permits: no Job could hold so many"
type SemaphoreSpec struct {
	// permits is how many permits can be held at the same time, from 0 to 1000000. 0 pauses the semaphore: no permit is
	// granted, and no holder loses one. Lowering it below the number in use takes no permit away. At most 1000 Claims hold
	// permits at a time.
	// +required
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	Permits int32 `json:"permits"`
	// ttl is how long a hold lasts without renewal if its Claim sets no ttl, at least 1s. If unset, a hold that is bound to
	// a Pod lasts as long as the Pod, and any other hold 10m.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,18}([.][0-9]+)?(h|m|s|ms|us|µs|ns))+$') || duration(self) >= duration('1s')",message="must be at least 1s: a shorter hold could expire before its holder learns of it"
	TTL *Duration `json:"ttl,omitempty"`
	// maxPriority is the highest priority that a Claim may ask for, from 0 to 1000000. Claims that ask for more are refused. If
	// unset, every priority is allowed.
	// +optional
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:Maximum=1000000
	MaxPriority *int32 `json:"maxPriority,omitempty"`
	// appliesTo selects Jobs of the same namespace, which then hold permits of the semaphore while they run, whether or not they have
	// annotations. Needs Kubernetes 1.36 or later.
	// +optional
	AppliesTo *AppliesTo `json:"appliesTo,omitempty"`
}

// OvertakenClaim is a waiting Claim that was overtaken: permits were granted to a Claim behind it in the queue that asks
// for fewer.
type OvertakenClaim struct {
	// claim is the name of the waiting Claim.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Claim string `json:"claim"`
	// claimUID is the UID of the waiting Claim.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MaxLength=64
	ClaimUID types.UID `json:"claimUID"`
	// times is how many grants have gone to Claims behind it since it began to wait, from 1 to 10. After 10, no further
	// ones do until it has been granted.
	// +required
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=10
	Times int32 `json:"times"`
}

// SemaphoreStatus is the observed state of a Semaphore.
// +kubebuilder:validation:XValidation:rule="!has(self.holders) || self.holders.all(h, has(self.fencingToken) && h.fencingToken <= self.fencingToken)",message="status.fencingToken must be the largest token of all grants"
type SemaphoreStatus struct {
	// phase is Ready or Full.
	// +optional
	Phase SemaphorePhase `json:"phase,omitempty"`
	// observedGeneration is the metadata.generation for which this status was written.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// inUse is how many permits are held.
	// +optional
	InUse int32 `json:"inUse"`
	// available is how many permits are free.
	// +optional
	Available int32 `json:"available"`
	// waiting is how many Claims wait for permits. It may lag by up to 100 ms.
	// +optional
	Waiting int32 `json:"waiting"`
	// holders are the current holds, at most 1000, in the order in which they were granted.
	// +optional
	// +listType=map
	// +listMapKey=claimUID
	// +kubebuilder:validation:MaxItems=1000
	Holders []Holder `json:"holders,omitempty"`
	// fencingToken is the number of the latest grant, larger than that of every earlier grant.
	// +optional
	FencingToken int64 `json:"fencingToken,omitempty"`
	// overtaken are the waiting Claims, at most 100, that ask for more permits than were free when smaller Claims behind
	// them were granted theirs, in the order in which they were first overtaken.
	// +optional
	// +listType=map
	// +listMapKey=claimUID
	// +kubebuilder:validation:MaxItems=100
	Overtaken []OvertakenClaim `json:"overtaken,omitempty"`
	// conditions are Ready and Available, and Deadlocked while the semaphore is in a wait cycle.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Semaphore limits how many permits can be held at the same time.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=ksem,categories=konductor
// +kubebuilder:selectablefield:JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Permits",type=integer,JSONPath=`.spec.permits`
// +kubebuilder:printcolumn:name="In-Use",type=integer,JSONPath=`.status.inUse`
// +kubebuilder:printcolumn:name="Waiting",type=integer,JSONPath=`.status.waiting`
// +kubebuilder:printcolumn:name="Available",type=integer,JSONPath=`.status.available`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(self.status) || !has(self.status.holders) || self.status.holders.map(h, h.permits).sum() <= self.spec.permits || (has(oldSelf.status) && has(oldSelf.status.holders) && self.status.holders.map(h, h.permits).sum() <= oldSelf.status.holders.map(h, h.permits).sum() && has(self.status.fencingToken) && has(oldSelf.status.fencingToken) && self.status.fencingToken == oldSelf.status.fencingToken)",message="the permits of all holders must add up to at most spec.permits; nothing can be granted while they exceed it"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.fencingToken) || (has(self.status) && has(self.status.fencingToken) && self.status.fencingToken >= oldSelf.status.fencingToken)",message="the fencing token never goes backwards"
// +kubebuilder:validation:XValidation:rule="!has(self.spec.appliesTo) || self.metadata.name.size() <= 220",message="the name of a semaphore with spec.appliesTo must have at most 220 characters"
type Semaphore struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the desired state.
	// +required
	Spec SemaphoreSpec `json:"spec"`
	// status is the observed state.
	// +optional
	Status SemaphoreStatus `json:"status,omitzero"`
}

// SemaphoreList is a list of Semaphores.
// +kubebuilder:object:root=true
type SemaphoreList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Semaphore `json:"items"`
}
