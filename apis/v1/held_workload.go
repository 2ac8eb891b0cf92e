package v1

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Annotations of a held Job or Pod: one that the operator keeps suspended, or behind a scheduling gate, until it may run. They have
// no effect on a Job that was created without suspend: true, or a Pod without HoldSchedulingGate, which the API server's policies
// prevent. A Pod has no PauseAnnotation.
const (
	// AfterAnnotation lists what must be open before the Job starts, separated by commas: gate/NAME or barrier/NAME.
	AfterAnnotation = "konductor.io/after"
	// HoldAnnotation lists what is held from before the Job's first Pod until after its last, separated by commas: lease/NAME,
	// semaphore/NAME or semaphore/NAME:PERMITS.
	HoldAnnotation = "konductor.io/hold"
	// ArriveAnnotation lists the barriers at which the Job arrives when it has completed, or as failed when it has failed,
	// separated by commas: barrier/NAME.
	ArriveAnnotation = "konductor.io/arrive"
	// WhenBusyAnnotation says what happens if the Job can't start at once: Wait (the default), Skip, Newest or Replace.
	WhenBusyAnnotation = "konductor.io/when-busy"
	// MaxWaitAnnotation is how long the Job waits at most, from its creation, as a Duration. After that it is skipped.
	MaxWaitAnnotation = "konductor.io/max-wait"
	// PriorityAnnotation is the priority of the Job's claims, as spec.priority of a Claim.
	PriorityAnnotation = "konductor.io/priority"
	// PauseAnnotation with the value "true" stops the Job: it is suspended, and its holds end after its last Pod. Without the
	// annotation the Job waits again.
	PauseAnnotation = "konductor.io/pause"
)

// Values of WhenBusyAnnotation.
const (
	// WhenBusyWait lets the Job wait.
	WhenBusyWait = "Wait"
	// WhenBusySkip skips the Job.
	WhenBusySkip = "Skip"
	// WhenBusyNewest lets the Job wait, and skips an older waiting Job of the same CronJob, whose place in the queue it takes.
	WhenBusyNewest = "Newest"
	// WhenBusyReplace deletes running Jobs of the same CronJob, and lets the Job wait until their last Pod has ended.
	WhenBusyReplace = "Replace"
)

// HoldSchedulingGate is the scheduling gate of a held Pod, which the operator removes to start it.
const HoldSchedulingGate = "konductor.io/hold"

// HeldLabel on a held Job or Pod is its state, one of the Held… values. Only the operator sets it. A Pod is never HeldStopping or
// HeldPaused.
const HeldLabel = "konductor.io/held"

// Values of HeldLabel.
const (
	// HeldWaiting means that the Job waits for gates, barriers, leases or semaphores.
	HeldWaiting = "waiting"
	// HeldStarted means that the operator has started the Job.
	HeldStarted = "started"
	// HeldStopping means that the operator has suspended the Job because a hold was broken or the Job was paused, and that Pods
	// may still run. Afterwards it waits again.
	HeldStopping = "stopping"
	// HeldPaused means that the Job has PauseAnnotation, and that no Pod of it runs.
	HeldPaused = "paused"
	// HeldSkipped means that the Job could not start in time and won't.
	HeldSkipped = "skipped"
	// HeldFinished means that the Job has completed or failed.
	HeldFinished = "finished"
)

const (
	// FencingTokenAnnotation on the Pods of a held Job is the fencing token of its first hold, in the order in which the holds
	// are acquired. That of each hold is in the annotation HoldTokenAnnotation.
	FencingTokenAnnotation = "konductor.io/fencing-token"
	// ReleasedTokensAnnotation on a held Job lists holds that have ended or are about to: KIND/NAME:TOKEN, separated by commas.
	// The Job can't be started with these tokens, or smaller ones of the same object. Only the operator sets it.
	ReleasedTokensAnnotation = "konductor.io/released-tokens"
)

// HoldTokenAnnotation returns the name of the annotation that has the fencing token of the hold of a held Job on the Lease or
// Semaphore of that name: NAME.lease.konductor.io/fencing-token.
func HoldTokenAnnotation(kind, name string) string {
	return name + "." + strings.ToLower(kind) + ".konductor.io/fencing-token"
}

// MaxHeldNameLength is the maximum length of the name of a Lease or Semaphore in HoldAnnotation, or with spec.appliesTo: the
// name of HoldTokenAnnotation must fit into the 253 characters of an annotation's prefix.
const MaxHeldNameLength = 220

// AppliesTo selects workloads that hold a Lease or Semaphore without an annotation of their own.
type AppliesTo struct {
	// jobs selects Jobs.
	// +optional
	Jobs *JobLimit `json:"jobs,omitempty"`
}

// JobLimit returns the limit of Jobs; nil: there is none.
func (a *AppliesTo) JobLimit() *JobLimit {
	if a == nil {
		return nil
	}
	return a.Jobs
}

// JobLimit makes the Jobs that it selects hold a Lease or Semaphore while they run. It is decided when a Job is created: neither a
// Job that exists already, nor a later change of the selector or of a Job's labels changes what the Job holds. A Job that waits
// starts without the hold if the object is deleted, or spec.appliesTo removed from it.
type JobLimit struct {
	// selector selects Jobs of the same namespace by their labels. An empty selector selects all.
	// +required
	// +kubebuilder:validation:XValidation:rule="!has(self.matchExpressions) || self.matchExpressions.all(e, e.operator in ['In', 'NotIn'] ? has(e.values) && e.values.size() > 0 : e.operator in ['Exists', 'DoesNotExist'] && (!has(e.values) || e.values.size() == 0))",message="matchExpressions must have operator In or NotIn with values, or Exists or DoesNotExist without values"
	Selector metav1.LabelSelector `json:"selector"`
	// permits is how many permits of a Semaphore each Job holds, from 1 to 1000000. Defaults to 1. Must be 1 for a Lease.
	// +optional
	// +kubebuilder:default=1
	// +kubebuilder:validation:Minimum=1
	// +kubebuilder:validation:Maximum=1000000
	Permits int32 `json:"permits,omitempty"`
	// whenBusy says what happens to a Job that can't hold at once: Wait lets it wait, and Skip skips it. Defaults to Wait. The
	// annotation konductor.io/when-busy of the Job takes precedence.
	// +optional
	// +kubebuilder:default=Wait
	// +kubebuilder:validation:Enum=Wait;Skip
	WhenBusy string `json:"whenBusy,omitempty"`
}

// AppliesAnnotation returns the name of the annotation by which the API server marks a Job, when it is created, to which
// spec.appliesTo of the Lease or Semaphore of that name applies: NAME.semaphore.konductor.io/applies.
func AppliesAnnotation(kind, name string) string {
	return name + "." + strings.ToLower(kind) + AppliesAnnotationSuffix
}

// AppliesAnnotationSuffix ends the name of every AppliesAnnotation.
const AppliesAnnotationSuffix = ".konductor.io/applies"

// JobReference names the Job whose Pods a hold covers.
type JobReference struct {
	// name of the Job, in the same namespace.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=253
	Name string `json:"name"`
	// uid of the Job.
	// +required
	// +kubebuilder:validation:Type=string
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UID types.UID `json:"uid"`
}

// Reasons of the Events on a held Job or Pod.
const (
	// EventWaiting says what the Job waits for.
	EventWaiting = "Waiting"
	// EventStarted says that the Job was started, and what it holds.
	EventStarted = "Started"
	// EventStopped says why a started Job was suspended.
	EventStopped = "Stopped"
	// EventSkipped says why the Job won't start.
	EventSkipped = "Skipped"
	// EventNotHeld says why an annotated Job isn't held.
	EventNotHeld = "NotHeld"
)
