package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ClaimPhase is the operator's answer to a Claim.
// +kubebuilder:validation:Enum=Pending;Granted;Expired;Refused
type ClaimPhase string

const (
	// ClaimPending means that the claim waits in the queue.
	ClaimPending ClaimPhase = "Pending"
	// ClaimGranted means that the claim holds.
	ClaimGranted ClaimPhase = "Granted"
	// ClaimExpired means that the hold has run out. It is final.
	ClaimExpired ClaimPhase = "Expired"
	// ClaimRefused means that the claim can't be, or was not to be kept waiting to be, granted. It is final.
	ClaimRefused ClaimPhase = "Refused"
)

// WhenBusy says what to do with a Claim that can't be granted at once.
// +kubebuilder:validation:Enum=Wait;Refuse
type WhenBusy string

const (
	// BusyWait puts the claim in the queue.
	BusyWait WhenBusy = "Wait"
	// BusyRefuse ends the claim with phase Refused.
	BusyRefuse WhenBusy = "Refuse"
)

// MessageBusy is the message of a claim that was refused because it could not be granted at once.
const MessageBusy = "busy"

// DefaultTTL is how long a hold lasts that is bound to no Pod and has no TTL from its Claim or its object.
const DefaultTTL = 10 * time.Minute

// AcknowledgeWithin is how soon the client of a claim that is bound to no Pod must acknowledge a grant, by its first
// renewal. Otherwise the grant lapses: a waiter that died must not block the queue for a whole TTL.
const AcknowledgeWithin = 15 * time.Second

// ClaimTarget names what a Claim wants to hold.
type ClaimTarget struct {
	// Kind is Lease or Semaphore.
	// +kubebuilder:validation:Enum=Lease;Semaphore
	Kind string `json:"kind"`
	// Name of the Lease or Semaphore, in the same namespace.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of an object: lower-case letters, digits, - and . only, for example db-migration"
	Name string `json:"name"`
}

// ClaimSpec says who wants to hold what. Only renewals can change.
// +kubebuilder:validation:XValidation:rule="self.target == oldSelf.target && self.holder == oldSelf.holder && self.permits == oldSelf.permits && self.priority == oldSelf.priority && self.whenBusy == oldSelf.whenBusy && has(self.ttl) == has(oldSelf.ttl) && (!has(self.ttl) || duration(self.ttl) == duration(oldSelf.ttl)) && has(self.boundTo) == has(oldSelf.boundTo) && (!has(self.boundTo) || self.boundTo == oldSelf.boundTo)",message="only renewals can change: delete this claim and create another one for other terms"
// +kubebuilder:validation:XValidation:rule="self.target.kind != 'Lease' || self.permits == 1",message="a lease has one permit: leave permits out"
type ClaimSpec struct {
	// Target is what to hold.
	Target ClaimTarget `json:"target"`
	// Holder is who wants to hold, as people should read it, in at most 320 bytes without control characters and without <,
	// > and &. Together with the UID of the Pod it is the claim's identity.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=320
	// +kubebuilder:validation:XValidation:rule="bytes(self).size() <= 320 && self.matches(r'^[^\\pC<>&]*$')",message="must be at most 320 bytes long, without control characters and without <, > and &"
	Holder string `json:"holder"`
	// Permits is how many permits of a Semaphore are wanted, all at the same time.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Permits int32 `json:"permits,omitempty"`
	// Priority puts the claim before all of lower priority. Claims of the same priority are served in order of creation.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	Priority int32 `json:"priority"`
	// TTL is how long the hold lasts without renewal. When left out: the target's spec.ttl; else, for a claim bound to a
	// Pod, the life of the Pod; else 10m.
	// +optional
	TTL *Duration `json:"ttl,omitempty"`
	// BoundTo is the Pod on whose behalf the claim is made: when it has finished or is gone, so is the hold.
	// +optional
	BoundTo *BoundObject `json:"boundTo,omitempty"`
	// WhenBusy is Wait (the default) or Refuse: whether to queue when the claim can't be granted at once.
	// +optional
	// +kubebuilder:default=Wait
	WhenBusy WhenBusy `json:"whenBusy,omitempty"`
	// Renewals is raised by the holder to prolong its hold by another TTL, and to acknowledge the grant.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || self == 0",optionalOldSelf=true,message="renewals start at 0: leave them out"
	Renewals int64 `json:"renewals"`
}

// ClaimStatus is the operator's answer. The truth about who holds is the status of the Lease or Semaphore.
// +kubebuilder:validation:XValidation:rule="!has(self.phase) || self.phase != 'Granted' || (has(self.fencingToken) && self.fencingToken > 0)",message="a granted claim needs a fencing token"
type ClaimStatus struct {
	// Phase is Pending, Granted, Expired or Refused.
	// +optional
	// +kubebuilder:default=Pending
	Phase ClaimPhase `json:"phase,omitempty"`
	// FencingToken is the number of the grant.
	// +optional
	FencingToken int64 `json:"fencingToken,omitempty"`
	// ExpiresAt is when the hold ends unless it is renewed, for people to read.
	// +optional
	ExpiresAt *metav1.MicroTime `json:"expiresAt,omitempty"`
	// Message says why the claim was refused or has expired.
	// +optional
	Message string `json:"message,omitempty"`
}

// Claim is one participant's wish to hold a Lease or permits of a Semaphore. Deleting it gives the hold back.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:shortName=kclaim
// +kubebuilder:selectablefield:JSONPath=`.spec.target.kind`
// +kubebuilder:selectablefield:JSONPath=`.spec.target.name`
// +kubebuilder:selectablefield:JSONPath=`.spec.holder`
// +kubebuilder:selectablefield:JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Phase",type=string,JSONPath=`.status.phase`
// +kubebuilder:printcolumn:name="Holder",type=string,JSONPath=`.spec.holder`
// +kubebuilder:printcolumn:name="Kind",type=string,JSONPath=`.spec.target.kind`,priority=1
// +kubebuilder:printcolumn:name="Target",type=string,JSONPath=`.spec.target.name`,priority=1
// +kubebuilder:printcolumn:name="Permits",type=integer,JSONPath=`.spec.permits`,priority=1
// +kubebuilder:printcolumn:name="Priority",type=integer,JSONPath=`.spec.priority`,priority=1
// +kubebuilder:printcolumn:name="Token",type=integer,JSONPath=`.status.fencingToken`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
// +kubebuilder:validation:XValidation:rule="self.spec.renewals == oldSelf.spec.renewals || (self.spec.renewals > oldSelf.spec.renewals && has(oldSelf.status) && has(oldSelf.status.phase) && oldSelf.status.phase == 'Granted')",message="renewals can only be raised, and only while the claim is Granted"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.phase) || oldSelf.status.phase == 'Pending' || (has(self.status) && has(self.status.phase) && (self.status.phase == oldSelf.status.phase || (oldSelf.status.phase == 'Granted' && self.status.phase == 'Expired')))",message="a claim goes from Pending to Granted or Refused, and from Granted to Expired, never back"
// +kubebuilder:validation:XValidation:rule="!has(oldSelf.status) || !has(oldSelf.status.fencingToken) || (has(self.status) && has(self.status.fencingToken) && self.status.fencingToken == oldSelf.status.fencingToken)",message="a hold keeps its fencing token"
type Claim struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec ClaimSpec `json:"spec"`
	// +optional
	// +kubebuilder:default={phase: Pending}
	Status ClaimStatus `json:"status,omitzero"`
}

// ClaimList is a list of Claims.
// +kubebuilder:object:root=true
type ClaimList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []Claim `json:"items"`
}
