package v1

import (
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Duration is a length of time in Go's notation: a number with a unit (h, m, s, ms, us, ns), several of which may follow
// each other from the largest to the smallest, for example 30s, 5m or 1h30m. It must be longer than zero and at most
// 999999h.
//
// The rule limits the numbers of digits so that no sum overflows, for then the API server would report a type conversion
// error.
//
// +kubebuilder:validation:Type=string
// +kubebuilder:validation:MaxLength=32
// +kubebuilder:validation:XValidation:rule="self.size() > 0 && self.matches('^([0-9]{1,6}([.][0-9]+)?h)?([0-9]{1,7}([.][0-9]+)?m)?([0-9]{1,9}([.][0-9]+)?s)?([0-9]{1,12}([.][0-9]+)?ms)?([0-9]{1,15}([.][0-9]+)?(us|µs))?([0-9]{1,18}([.][0-9]+)?ns)?$') && duration(self) > duration('0s')",message="must be a duration longer than zero and at most 999999h, for example 30s, 5m or 1h30m"
type Duration struct {
	metav1.Duration `json:",inline"`
}

// NewDuration returns d as an API field.
func NewDuration(d time.Duration) *Duration {
	return &Duration{metav1.Duration{Duration: d}}
}

// Or returns the duration, or other when the field is not set.
func (d *Duration) Or(other time.Duration) time.Duration {
	if d == nil {
		return other
	}
	return d.Duration.Duration
}

// Condition types. All four primitives have Ready: the operator has accepted the object and acts on it. The others are what
// people wait for.
const (
	// ConditionReady is True if the operator has accepted the object and acts on it, also while the object is waiting.
	ConditionReady = "Ready"
	// ConditionOpen is True on a Barrier or a Gate that has opened.
	ConditionOpen = "Open"
	// ConditionHeld is True on a Lease that is held.
	ConditionHeld = "Held"
	// ConditionAvailable is True on a Semaphore that has a free permit.
	ConditionAvailable = "Available"
	// ConditionGranted is True on a Claim that holds, and False on one whose hold has ended or that was refused.
	ConditionGranted = "Granted"
	// ConditionDeadlocked is True on an object in a wait cycle: no waiter in the cycle goes on unless one gives up. It is
	// absent otherwise.
	ConditionDeadlocked = "Deadlocked"
)

// Reasons of conditions. They are stable: scripts may compare them.
const (
	ReasonAccepted = "Accepted"
	ReasonWaiting  = "Waiting"
	ReasonOpened   = "Opened"
	ReasonFailed   = "Failed"
	ReasonTimeout  = "Timeout"
	// ReasonCycle is the reason of Deadlocked if the wait cycle has only gates: no process can break it, only a change of
	// the gates. Such a gate isn't Ready either.
	ReasonCycle = "Cycle"
	// ReasonHoldAndWait is the reason of Deadlocked if processes are in the wait cycle.
	ReasonHoldAndWait = "HoldAndWait"
	ReasonHeld        = "Held"
	ReasonAvailable   = "Available"
	ReasonFull        = "Full"
	ReasonPaused      = "Paused"
	ReasonGranted     = "Granted"
	ReasonExpired     = "Expired"
	ReasonRefused     = "Refused"
	// ReasonTerminating is the reason of Ready on an object that is being deleted: it counts as deleted, even while a
	// finalizer keeps it.
	ReasonTerminating = "Terminating"
)

// Reasons of the Events that the operator records. They are stable.
const (
	EventOpened   = "Opened"
	EventFailed   = "Failed"
	EventTimeout  = "Timeout"
	EventResumed  = "Resumed"
	EventGranted  = "Granted"
	EventReleased = "Released"
	EventExpired  = "Expired"
	EventPodEnded = "PodEnded"
	EventBroken   = "Broken"
	EventTTL      = "TTLReached"
	// EventDeadlocked is recorded on everything in a wait cycle: barriers, gates, leases, semaphores, Jobs and Pods.
	EventDeadlocked = "Deadlocked"
	// EventDeadlockGone is recorded on a barrier, gate, lease or semaphore that is no longer in a wait cycle.
	EventDeadlockGone = "DeadlockGone"
)

// BoundObject is the Pod or the Job whose lifetime limits a hold. The hold of a Pod ends when the Pod has finished or is gone.
// The hold of a Job ends when the Job has finished, or is gone or suspended and no Pod of it may still run.
type BoundObject struct {
	// kind of the object: Pod or Job. Only the operator binds Claims to a Job.
	// +required
	// +kubebuilder:validation:Enum=Pod;Job
	Kind string `json:"kind"`
	// name of the object, in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	// +kubebuilder:validation:XValidation:rule="self.matches('^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$')",message="must be the name of an object: lower-case letters, digits, - and . only, for example db-migration"
	Name string `json:"name"`
	// uid of the object, which distinguishes it from other objects of the same name.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid"`
}

// Holder is one hold on a Lease or a Semaphore. A Semaphore lists its holders; a Lease has the fields of its only one in
// its status, see LeaseStatus.Holders.
// +kubebuilder:validation:XValidation:rule="self.fencingToken == oldSelf.fencingToken && self.permits == oldSelf.permits",message="a hold keeps its fencing token and its permits"
type Holder struct {
	// holder is the name of the holder.
	// +required
	// +kubebuilder:validation:MaxLength=320
	Name string `json:"holder"`
	// claim is the name of the holder's Claim.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Claim string `json:"claim"`
	// claimUID is the UID of the holder's Claim.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	ClaimUID types.UID `json:"claimUID"`
	// permits is how many permits this hold uses, at least 1.
	// +required
	// +kubebuilder:validation:Minimum=1
	Permits int32 `json:"permits"`
	// fencingToken is the number of this grant, larger than that of every earlier grant. The resource that is protected
	// should reject smaller ones.
	// +required
	// +kubebuilder:validation:Minimum=1
	FencingToken int64 `json:"fencingToken"`
	// acquiredAt is when the hold was granted.
	// +required
	AcquiredAt metav1.MicroTime `json:"acquiredAt"`
	// expiresAt is when the hold ends unless it is renewed. It is for people to read: the operator judges expiry by its own
	// clock, and never earlier. Unset if the hold lasts as long as its Pod.
	// +optional
	ExpiresAt *metav1.MicroTime `json:"expiresAt,omitempty"`
	// renewals is how many times the hold has been renewed.
	// +optional
	Renewals int64 `json:"renewals,omitempty"`
	// job is the Job whose Pods the hold covers: it lasts, even without its Claim, until no Pod of the Job may still run. Unset
	// if the hold is not a Job's.
	// +optional
	Job *JobReference `json:"job,omitempty"`
}

// Kinds of objects that a Claim or an Arrival can be bound to.
const (
	KindPod = "Pod"
	KindJob = "Job"
)

// AllowGatesAnnotation on a Namespace names the namespaces, separated by commas, whose Gates may observe objects in it; "*"
// means all. Without it only Gates of the namespace itself may.
const AllowGatesAnnotation = "konductor.io/allow-gates-from"

// BrokenByAnnotation on a Claim names the user who breaks the hold of another. That user sets it just before deleting the
// Claim. The API server ensures that nobody sets the name of another user, so that the Event names the right one.
const BrokenByAnnotation = "konductor.io/broken-by"

// CreatedByAnnotation on a Claim or Arrival that is bound to no Pod names the user who created, and so owns, it. From
// Kubernetes 1.36 on the API server sets it. Before, the client that creates the object does, and the API server ensures
// that it names no other user.
const CreatedByAnnotation = "konductor.io/created-by"
