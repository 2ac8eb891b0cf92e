package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// ClaimPhase is the operator's answer to a Claim.
// +kubebuilder:validation:Enum=Pending;Granted;Expired;Refused
type ClaimPhase string

const (
	// ClaimPending means that the claim is in the queue.
	ClaimPending ClaimPhase = "Pending"
	// ClaimGranted means that the claim holds.
	ClaimGranted ClaimPhase = "Granted"
	// ClaimExpired means that the hold has ended. It is final.
	ClaimExpired ClaimPhase = "Expired"
	// ClaimRefused means that the claim can't be granted, or not at once while whenBusy is Refuse. It is final.
	ClaimRefused ClaimPhase = "Refused"
)

// WhenBusy says what happens to a Claim that can't be granted at once.
// +kubebuilder:validation:Enum=Wait;Refuse
type WhenBusy string

const (
	// BusyWait puts the claim in the queue.
	BusyWait WhenBusy = "Wait"
	// BusyRefuse ends the claim with phase Refused.
	BusyRefuse WhenBusy = "Refuse"
)

// MessageBusy is the status.message of a claim that was refused because it could not be granted at once.
const MessageBusy = "busy"

// DefaultTTL is the TTL of a hold that is bound to no Pod and gets no TTL from its Claim or its object.
const DefaultTTL = 10 * time.Minute

// MinTTL is the shortest TTL of a hold: a shorter one ends before its holder has heard of it. A shorter TTL that an earlier
// version accepted counts as this long.
const MinTTL = time.Second

// AcknowledgeWithin is how soon the client of a claim that is bound to no Pod must acknowledge a grant, by its first
// renewal. Otherwise the grant lapses: a waiter that died must not block the queue for a whole TTL.
const AcknowledgeWithin = 15 * time.Second

// ClaimTarget names the object that a Claim wants to hold.
type ClaimTarget struct {
	// kind of the object: Lease or Semaphore.
	// +required
	// +kubebuilder:validation:Enum=Lease;Semaphore
	Kind string `json:"kind"`
	// name of the object, in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of an object: lower-case letters, digits, - and . only, for example db-migration"
	Name string `json:"name"`
	// uid of the object. If set, the claim ends when an object with another UID has that name. If unset, the claim is for
	// whatever object has the name. metadata.ownerReferences are for garbage collection only.
	// +optional
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid,omitempty"`
}

// QueuePosition is a place in the queue of a Lease or Semaphore: the one that a Claim of that creation has.
type QueuePosition struct {
	// createdAt is when that Claim was created.
	// +required
	CreatedAt metav1.Time `json:"createdAt"`
	// revision is the resourceVersion with which that Claim was created.
	// +required
	// +kubebuilder:validation:Minimum=1
	Revision int64 `json:"revision"`
}

// ClaimSpec says who wants to hold what. Only renewals can be changed.
// +kubebuilder:validation:XValidation:rule="self.target == oldSelf.target && self.holder == oldSelf.holder && self.permits == oldSelf.permits && self.priority == oldSelf.priority && self.whenBusy == oldSelf.whenBusy && has(self.queuePosition) == has(oldSelf.queuePosition) && (!has(self.queuePosition) || self.queuePosition == oldSelf.queuePosition) && has(self.ttl) == has(oldSelf.ttl) && (!has(self.ttl) || duration(self.ttl) == duration(oldSelf.ttl)) && has(self.boundTo) == has(oldSelf.boundTo) && (!has(self.boundTo) || self.boundTo == oldSelf.boundTo) && (has(self.noTTL) && self.noTTL) == (has(oldSelf.noTTL) && oldSelf.noTTL)",message="only renewals can change: delete this claim and create another one for other terms"
// +kubebuilder:validation:XValidation:rule="self.target.kind != 'Lease' || self.permits == 1",message="a lease has one permit: leave permits out"
// +kubebuilder:validation:XValidation:rule="!has(self.boundTo) || self.boundTo.kind != 'Job' || !has(self.ttl)",message="the hold of a Job has no ttl: leave ttl out"
// +kubebuilder:validation:XValidation:rule="!has(self.noTTL) || !self.noTTL || (has(self.boundTo) && !has(self.ttl))",message="noTTL needs boundTo, and no ttl"
type ClaimSpec struct {
	// target is the object to hold.
	// +required
	Target ClaimTarget `json:"target"`
	// holder is the name of the holder, for people to read: at most 320 bytes, without control characters and without <, >
	// and &. Together with the UID of the Pod it is the claim's identity.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=320
	// +kubebuilder:validation:XValidation:rule="bytes(self).size() <= 320 && self.matches(r'^[^\\pC<>&]*$')",message="must be at most 320 bytes long, without control characters and without <, > and &"
	Holder string `json:"holder"`
	// permits is how many permits of a Semaphore to hold, all at the same time, from 1 to 1000000. Defaults to 1. Must be 1
	// for a Lease.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Permits int32 `json:"permits,omitempty"`
	// priority is the claim's priority in the queue, from -1000000 to 1000000. Defaults to 0. Claims of higher priority are
	// served first, and claims of the same priority in order of creation. A claim above the target's spec.maxPriority is
	// refused.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=-1000000
	// +kubebuilder:validation:Maximum=1000000
	Priority int32 `json:"priority"`
	// ttl is how long the hold lasts without renewal, at least 1s. Defaults to the target's spec.ttl. If that is unset too,
	// a claim that is bound to a Pod lasts as long as the Pod, and any other claim 10m.
	// +optional
	// +kubebuilder:validation:XValidation:rule="!self.matches('^([0-9]{1,18}([.][0-9]+)?(h|m|s|ms|us|µs|ns))+$') || duration(self) >= duration('1s')",message="must be at least 1s: a shorter hold could expire before its holder learns of it"
	TTL *Duration `json:"ttl,omitempty"`
	// noTTL says that the hold has no ttl, not even the target's: it lasts until the Pod in boundTo has ended. The operator sets it
	// for held Pods. A hold of a Job never has a ttl.
	// +optional
	NoTTL bool `json:"noTTL,omitempty"`
	// boundTo is the Pod or Job for which the claim is made. The hold ends with it. A hold of a Job is not renewed and has no
	// ttl.
	// +optional
	BoundTo *BoundObject `json:"boundTo,omitempty"`
	// whenBusy says what happens if the claim can't be granted at once: Wait queues it, Refuse refuses it. Defaults to
	// Wait.
	// +optional
	// +kubebuilder:default=Wait
	WhenBusy WhenBusy `json:"whenBusy,omitempty"`
	// queuePosition is the place in the queue that the claim takes over from another, among claims of the same priority. Only the
	// operator sets it, for a held Job that takes the place of an older one. If unset, the claim's own creation counts.
	// +optional
	QueuePosition *QueuePosition `json:"queuePosition,omitempty"`
	// renewals is how many times the holder has renewed its hold. The holder raises it to prolong the hold by another TTL,
	// and to acknowledge the grant. It starts at 0 and can only be raised while the claim is Granted.
	// +optional
	// +kubebuilder:default=0
	// +kubebuilder:validation:Minimum=0
	// +kubebuilder:validation:XValidation:rule="oldSelf.hasValue() || self == 0",optionalOldSelf=true,message="renewals start at 0: leave them out"
	Renewals int64 `json:"renewals"`
}

// ClaimStatus is the operator's answer. The authority on who holds is the status of the Lease or Semaphore.
// +kubebuilder:validation:XValidation:rule="!has(self.phase) || self.phase != 'Granted' || (has(self.fencingToken) && self.fencingToken > 0)",message="a granted claim needs a fencing token"
type ClaimStatus struct {
	// phase is Pending, Granted, Expired or Refused. Defaults to Pending.
	// +optional
	// +kubebuilder:default=Pending
	Phase ClaimPhase `json:"phase,omitempty"`
	// fencingToken is the number of the grant, larger than that of every earlier grant. Unset before the grant.
	// +optional
	FencingToken int64 `json:"fencingToken,omitempty"`
	// expiresAt is when the hold ends unless it is renewed. It is for people to read: the operator judges expiry by its own
	// clock, and never earlier. Unset if the hold lasts as long as its Pod.
	// +optional
	ExpiresAt *metav1.MicroTime `json:"expiresAt,omitempty"`
	// message says why the claim was refused or has expired.
	// +optional
	// +kubebuilder:validation:MaxLength=1024
	Message string `json:"message,omitempty"`
	// conditions has Granted once the claim has been granted or refused. It is True while the claim holds.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=32
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// Claim is the request of one participant to hold a Lease or permits of a Semaphore. Deleting it releases the hold.
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
	metav1.TypeMeta `json:",inline"`
	// metadata is the standard metadata of an object.
	// +optional
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// spec is the desired state.
	// +required
	Spec ClaimSpec `json:"spec"`
	// status is the observed state.
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
