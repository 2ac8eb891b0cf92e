package v1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// LeasePhase is the state of a Lease in one word.
// +kubebuilder:validation:Enum=Available;Held
type LeasePhase string

const (
	// LeaseAvailable means that nobody holds the lease.
	LeaseAvailable LeasePhase = "Available"
	// LeaseHeld means that status.holder holds the lease.
	LeaseHeld LeasePhase = "Held"
)

// LeaseSpec sets the defaults and limits of the holds on a Lease.
type LeaseSpec struct {
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
	// appliesTo selects Jobs of the same namespace, which then hold the lease, one at a time, while they run, whether or not they have
	// annotations. Needs Kubernetes 1.36 or later.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!has(self.jobs) || !has(self.jobs.permits) || self.jobs.permits == 1",message="a lease has one permit: leave jobs.permits out"
	AppliesTo *AppliesTo `json:"appliesTo,omitempty"`
}

// LeaseStatus is the observed state of a Lease.
// +kubebuilder:validation:XValidation:rule="!has(self.claimUID) || self.claimUID.size() == 0 || (has(self.fencingToken) && self.fencingToken > 0)",message="a held lease needs a fencing token"
type LeaseStatus struct {
	// phase is Available or Held.
	// +optional
	Phase LeasePhase `json:"phase,omitempty"`
	// observedGeneration is the metadata.generation for which this status was written.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// holder is the name of the holder. Unset if nobody holds the lease.
	// +optional
	// +kubebuilder:validation:MaxLength=320
	Holder string `json:"holder,omitempty"`
	// claim is the name of the holder's Claim.
	// +optional
	// +kubebuilder:validation:MaxLength=253
	Claim string `json:"claim,omitempty"`
	// claimUID is the UID of the holder's Claim.
	// +kubebuilder:validation:Type=string
	// +optional
	// +kubebuilder:validation:MaxLength=64
	ClaimUID types.UID `json:"claimUID,omitempty"`
	// acquiredAt is when the lease was granted to the holder.
	// +optional
	AcquiredAt *metav1.MicroTime `json:"acquiredAt,omitempty"`
	// expiresAt is when the hold ends unless it is renewed. It is for people to read: the operator judges expiry by its own
	// clock, and never earlier. Unset if the hold lasts as long as its Pod.
	// +optional
	ExpiresAt *metav1.MicroTime `json:"expiresAt,omitempty"`
	// renewals is how many times the hold has been renewed.
	// +optional
	Renewals int64 `json:"renewals,omitempty"`
	// job is the Job whose Pods the hold covers: it lasts, even without its Claim, until no Pod of the Job may still run. Unset
	// if nobody holds the lease, or the hold is not a Job's.
	// +optional
	Job *JobReference `json:"job,omitempty"`
	// fencingToken is the number of the latest grant. It is larger than that of every earlier grant, even across deletion
	// and re-creation of the lease. The resource that the lease protects should reject smaller ones.
	// +optional
	FencingToken int64 `json:"fencingToken,omitempty"`
	// waiting is how many Claims wait for the lease. It may lag by up to 100 ms.
	// +optional
	Waiting int32 `json:"waiting"`
	// conditions are Ready and Held, and Deadlocked while the lease is in a wait cycle.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Lease is a lock with at most one holder at a time, with expiry, renewal and fencing tokens.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=klease,categories=konductor
// +kubebuilder:selectablefield:JSONPath=`.status.phase`
// +kubebuilder:selectablefield:JSONPath=`.status.holder`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Holder",type=string,JSONPath=`.status.holder`
// +kubebuilder:printcolumn:name="Waiting",type=integer,JSONPath=`.status.waiting`
// +kubebuilder:printcolumn:name="Token",type=integer,JSONPath=`.status.fencingToken`,priority=1
// +kubebuilder:printcolumn:name="Acquired",type=date,JSONPath=`.status.acquiredAt`,priority=1
// +kubebuilder:printcolumn:name="Expires",type=string,JSONPath=`.status.expiresAt`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.fencingToken) || (has(self.status) && has(self.status.fencingToken) && self.status.fencingToken >= oldSelf.status.fencingToken)",message="the fencing token never goes backwards"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.fencingToken) || !has(self.status) || !has(self.status.claimUID) || (has(oldSelf.status.claimUID) && self.status.claimUID == oldSelf.status.claimUID) || self.status.claimUID.size() == 0 || self.status.fencingToken > oldSelf.status.fencingToken",message="a new holder needs a larger fencing token than any before it"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.claimUID) || !has(self.status) || !has(self.status.claimUID) || self.status.claimUID != oldSelf.status.claimUID || self.status.fencingToken == oldSelf.status.fencingToken",message="a hold keeps its fencing token"
// +kubebuilder:validation:XValidation:rule="!has(self.spec) || !has(self.spec.appliesTo) || self.metadata.name.size() <= 220",message="the name of a lease with spec.appliesTo must have at most 220 characters"
type Lease struct {
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the desired state.
	// +optional
	Spec LeaseSpec `json:"spec,omitempty"`
	// status is the observed state.
	// +optional
	Status LeaseStatus `json:"status,omitzero"`
}

// LeaseList is a list of Leases.
// +kubebuilder:object:root=true
type LeaseList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Lease `json:"items"`
}

// Holders returns the current hold in the form in which a Semaphore lists its holders: a list of at most one.
func (s *LeaseStatus) Holders() []Holder {
	if s.ClaimUID == "" {
		return nil
	}
	h := Holder{
		Name: s.Holder, Claim: s.Claim, ClaimUID: s.ClaimUID, Permits: 1,
		FencingToken: s.FencingToken, ExpiresAt: s.ExpiresAt, Renewals: s.Renewals, Job: s.Job,
	}
	if s.AcquiredAt != nil {
		h.AcquiredAt = *s.AcquiredAt
	}
	return []Holder{h}
}

// SetHolder sets the fields of the current hold; nil: nobody holds the lease. The token of the latest grant stays.
func (s *LeaseStatus) SetHolder(h *Holder) {
	if h == nil {
		h = &Holder{FencingToken: s.FencingToken}
	}
	s.Holder, s.Claim, s.ClaimUID, s.FencingToken = h.Name, h.Claim, h.ClaimUID, h.FencingToken
	s.AcquiredAt, s.ExpiresAt, s.Renewals, s.Job = nil, h.ExpiresAt, h.Renewals, h.Job
	if !h.AcquiredAt.IsZero() {
		s.AcquiredAt = &h.AcquiredAt
	}
}
