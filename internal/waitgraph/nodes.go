package waitgraph

import (
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/LogicIQ/konductor/internal/rules"
)

// Evidence says how it is known that a process waits.
type Evidence string

const (
	// EvidenceClaim means that a pending Claim shows it.
	EvidenceClaim Evidence = "Claim"
	// EvidenceCommand means that the running container does nothing but this wait.
	EvidenceCommand Evidence = "Command"
	// EvidenceScript means that the script of a running container contains the call among others: it may wait there now.
	EvidenceScript Evidence = "Script"
	// EvidenceAnnotation means that the operator doesn't start the Job or Pod before, as its annotations say.
	EvidenceAnnotation Evidence = "Annotation"
)

// isCertain reports whether the process waits there now, as far as can be known.
func (e Evidence) isCertain() bool {
	return e == EvidenceClaim || e == EvidenceCommand || e == EvidenceAnnotation
}

// node is anything that can block another: a process, a Job, a gate, a barrier, a lease or a semaphore.
type node struct {
	ref Ref
	// reducible says that nothing known keeps it from reaching the state that others wait for: see reduction.go.
	reducible bool
	// blockers are why it is not reducible.
	blockers []blocker
	// During the reduction: how many of its needs are not reducible yet, and what to do when the node becomes reducible.
	unmetNeeds  int
	onReducible []func()
}

// process is a participant that waits, holds and arrives: a Pod, a held Job, or a holder that is neither.
type process struct {
	node
	pod   *corev1.Pod // nil for others, and for a Pod that isn't in the snapshot
	uid   types.UID   // of the Pod or held Job
	calls []containerCalls
	waits []*wait
	holds []hold
	job   *job // that it belongs to, or nil
	// heldJob is the Job that it is; nil: it is none.
	heldJob *job
	// held is what the annotations of a held Job or Pod ask for; nil: it isn't held. invalidAnnotation says why if it should be.
	held              *rules.Workload
	invalidAnnotation error
	// participantName is the name under which it arrives unless its command sets another.
	participantName string
}

// wait is one wait of a process for an object.
type wait struct {
	process       *process
	target        Ref
	evidence      Evidence
	claim         *konductorv1.Claim // for a Lease or Semaphore; nil when there is no claim yet
	permits       int32
	container     string
	queuePosition int // from 1
	// For the reduction: whether its permits can be had, whether its process also waits for something else, and which waits ahead
	// block it.
	satisfiable, waitsElsewhere bool
	aheadInQueue                []*wait
}

// permitCondition is a gate's condition on the free permits of a semaphore.
type permitCondition struct {
	resource     *resource
	gate         *gate
	permits      int32
	satisfiable  bool
	aheadInQueue []*wait // as in wait
}

// hold is one hold of a process.
type hold struct {
	resource *resource
	process  *process
	holder   konductorv1.Holder
	claim    *konductorv1.Claim // nil when it isn't in the snapshot
	ending   bool               // its claim was deleted, or its object is being deleted: the operator is about to end it
}

// resource is a Lease or a Semaphore.
type resource struct {
	node
	permits          int32 // 1 for a Lease
	holds            []hold
	queue            []*wait            // in serving order
	permitConditions []*permitCondition // those not known to be satisfiable, smallest first
	queueState       *queueState
	reservedClaims   map[types.UID]bool // see isReservedFor
	dirty            bool
	lease            *konductorv1.Lease     // this
	sem              *konductorv1.Semaphore // or this; neither when there are claims on an object that does not exist
}

func (r *resource) exists() bool { return r.lease != nil || r.sem != nil }

// jobLimit returns spec.appliesTo.jobs; nil: there is none.
func (r *resource) jobLimit() *konductorv1.JobLimit {
	switch {
	case r.lease != nil:
		return r.lease.Spec.AppliesTo.JobLimit()
	case r.sem != nil:
		return r.sem.Spec.AppliesTo.JobLimit()
	default:
		return nil
	}
}

// freePermits returns the number of permits without a holder.
func (r *resource) freePermits() int32 {
	free := r.permits
	for i := range r.holds {
		free -= r.holds[i].holder.Permits
	}
	return max(free, 0)
}

// job is a Job with its Pods that have not ended.
type job struct {
	node
	obj        *batchv1.Job
	activePods []*process
	calls      []containerCalls
	// held is the process that waits, holds and arrives as the Job; nil: it isn't held, and invalidAnnotation says why if it should
	// be.
	held              *process
	invalidAnnotation error
}

func (j *job) isIndexed() bool {
	return j.obj.Spec.CompletionMode != nil && *j.obj.Spec.CompletionMode == batchv1.IndexedCompletion
}

func (j *job) isSuspended() bool { return j.obj.Spec.Suspend != nil && *j.obj.Spec.Suspend }

// terminalCondition returns the condition in which the Job has ended, or "".
func (j *job) terminalCondition() batchv1.JobConditionType {
	for _, c := range j.obj.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed) {
			return c.Type
		}
	}
	return ""
}

// gate is a Gate.
type gate struct {
	node
	obj              *konductorv1.Gate
	permitConditions []*permitCondition
}

// barrier is a Barrier with the participants that have arrived and those that could.
type barrier struct {
	node
	obj                 *konductorv1.Barrier
	arrivedParticipants map[string]bool    // failed ones included
	arrivedIndexes      map[string][]int32 // completion indexes that have arrived of Indexed Jobs, by the Job's KIND/NAME
	pendingParticipants []*pendingParticipant
}

// pendingParticipant is a participant that has not arrived and could: any of its processes may arrive for it.
type pendingParticipant struct {
	name      string
	count     int32 // how many participants this represents: the indexes of a Job that have no Pod yet
	job       *job  // nil for a Pod without a Job
	processes []*process
}
