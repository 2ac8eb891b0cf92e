package waits

import (
	"cmp"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Kinds of objects besides konductor's own.
const (
	KindJob = "Job"
	KindPod = "Pod"
	// KindHolder is a holder that isn't a Pod: a person, a pipeline, a program elsewhere.
	KindHolder = "Holder"
)

// Snapshot is what there is at one moment, in one namespace or several. Nothing in it is written to.
type Snapshot struct {
	// Now is the moment, on the API server's clock.
	Now        time.Time
	Barriers   []*konductorv1.Barrier
	Arrivals   []*konductorv1.Arrival
	Gates      []*konductorv1.Gate
	Leases     []*konductorv1.Lease
	Semaphores []*konductorv1.Semaphore
	Claims     []*konductorv1.Claim
	Jobs       []*batchv1.Job
	Pods       []*corev1.Pod
	// Namespaces are those whose objects are in the snapshot; all when empty.
	Namespaces []string
	// Gaps are what could not be read of them.
	Gaps []Gap
}

// Gap says that the objects of one kind in one namespace could not be read.
type Gap struct {
	// Kind is that of the objects.
	Kind string `json:"kind"`
	// Namespace they are in; empty: all namespaces.
	Namespace string `json:"namespace,omitempty"`
	// Message says why, for people.
	Message string `json:"message"`
}

// Ref names an object.
type Ref struct {
	// Kind is Barrier, Gate, Lease, Semaphore, Job, Pod or Holder.
	Kind string `json:"kind"`
	// Namespace the object is in.
	Namespace string `json:"namespace,omitempty"`
	// Name of the object; of a Holder, the name it holds under.
	Name string `json:"name"`
}

// String returns KIND/NAME as people type it.
func (r Ref) String() string { return strings.ToLower(r.Kind) + "/" + r.Name }

// In returns KIND/NAME, with the namespace before it when that is not the given one.
func (r Ref) In(namespace string) string {
	if r.Namespace == namespace {
		return r.String()
	}
	return r.Namespace + "/" + r.String()
}

// ParseRef reads KIND/NAME or, of two words, KIND NAME, with the kinds as kubectl takes them: lease/x, klease/x,
// leases.konductor.io/x, job/x, jobs.batch/x, po/x. ok is false when there is no such kind; without a name it is empty.
//
// It is no resource.Builder of cli-runtime: that would take lease/x for a lease of Kubernetes' own, and ask the API server
// for all the resource types there are to find out what the six words mean that are known here.
func ParseRef(words ...string) (ref Ref, ok bool) {
	kind, name := "", ""
	switch len(words) {
	case 1:
		kind, name, _ = strings.Cut(words[0], "/")
	case 2:
		kind, name = words[0], words[1]
	}
	kind = kindNamed(kind)
	return Ref{Kind: kind, Name: name}, kind != ""
}

// CompareRefs puts objects in the order of namespace, kind and name.
func CompareRefs(a, b Ref) int {
	return cmp.Or(strings.Compare(a.Namespace, b.Namespace), strings.Compare(a.Kind, b.Kind), strings.Compare(a.Name, b.Name))
}

// readable reports whether the snapshot has the objects of that kind in that namespace.
func (s *Snapshot) readable(kind, namespace string) bool {
	if len(s.Namespaces) > 0 && !slices.Contains(s.Namespaces, namespace) {
		return false
	}
	return !slices.ContainsFunc(s.Gaps, func(g Gap) bool {
		return g.Kind == kind && (g.Namespace == "" || g.Namespace == namespace)
	})
}

// Evidence says how it is known that a process waits.
type Evidence string

const (
	// ByClaim means that a pending Claim shows it.
	ByClaim Evidence = "Claim"
	// ByCommand means that the container which runs does nothing but wait there.
	ByCommand Evidence = "Command"
	// ByScript means that the script of a container which runs mentions the call, among others: it may wait there now.
	ByScript Evidence = "Script"
	// ByAnnotation means that an annotation of the Pod says so: it may wait there now.
	ByAnnotation Evidence = "Annotation"
)

// certain reports whether the process waits there at this moment, as far as can be known.
func (e Evidence) certain() bool { return e == ByClaim || e == ByCommand }

// node is what can stand in the way of another: a process, a Job, a gate or a barrier.
type node struct {
	ref Ref
	// live says that nothing known keeps it from getting where others wait for it to be: see deadlock.go.
	live bool
	// blockers are why it is not live.
	blockers []edge
}

// process is somebody who waits, holds and arrives: a Pod, or a holder that isn't one.
type process struct {
	node
	pod   *corev1.Pod // nil for others, and for a Pod that isn't in the snapshot
	uid   types.UID   // of the Pod
	calls []containerCalls
	waits []*wait
	holds []hold
	job   *job // that it belongs to
}

// wait is one thing that a process waits for.
type wait struct {
	process   *process
	target    Ref
	evidence  Evidence
	claim     *konductorv1.Claim // for a Lease or Semaphore; nil when it has not claimed yet
	permits   int32
	container string
	place     int // in the queue, from 1
}

// hold is one thing that a process holds.
type hold struct {
	on      *resource
	process *process
	holder  konductorv1.SemaphoreHolder
	claim   *konductorv1.Claim // nil when it isn't in the snapshot
	ending  bool               // its claim is gone: the operator is about to end it
}

// resource is a Lease or a Semaphore.
type resource struct {
	ref     Ref
	permits int32 // 1 of a Lease
	holds   []hold
	queue   []*wait // in the order in which they are served
	rivals  []*wait // see findRivals
	head    *konductorv1.QueueHead
	lease   *konductorv1.Lease     // or
	sem     *konductorv1.Semaphore // or neither, when there are claims on what does not exist
}

func (r *resource) exists() bool { return r.lease != nil || r.sem != nil }

// free returns how many permits nobody holds.
func (r *resource) free() int32 {
	free := r.permits
	for i := range r.holds {
		free -= r.holds[i].holder.Permits
	}
	return max(free, 0)
}

// job is a Job with its Pods that have not ended.
type job struct {
	node
	obj   *batchv1.Job
	pods  []*process
	calls []containerCalls
}

func (j *job) indexed() bool {
	return j.obj.Spec.CompletionMode != nil && *j.obj.Spec.CompletionMode == batchv1.IndexedCompletion
}

func (j *job) suspended() bool { return j.obj.Spec.Suspend != nil && *j.obj.Spec.Suspend }

// state returns the condition in which the Job has ended, or "".
func (j *job) ended() batchv1.JobConditionType {
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
	obj *konductorv1.Gate
}

// barrier is a Barrier with those who have arrived and those who could.
type barrier struct {
	node
	obj      *konductorv1.Barrier
	arrived  map[string]bool // participants, failed ones included
	arrivers []*arriver
}

// arriver is a participant that has not arrived and could: one of its processes will, when it gets there.
type arriver struct {
	participant string
	count       int32 // how many participants this stands for: the indexes of a Job that have no Pod yet
	job         *job  // nil for a Pod without one
	processes   []*process
}

// Analysis is a snapshot put in order, as a graph of who waits for whom.
type Analysis struct {
	*Snapshot
	processes  []*process
	byUID      map[types.UID]*process
	byRef      map[Ref]*process // Pods by name, and holders
	endedPods  map[Ref]*corev1.Pod
	resources  map[Ref]*resource
	jobs       map[Ref]*job
	gates      map[Ref]*gate
	barriers   map[Ref]*barrier
	deadlocks  []*Deadlock
	deadlocked map[Ref]*Deadlock
}

// Analyze puts a snapshot in order and looks for circles of waits.
func Analyze(s *Snapshot) *Analysis {
	a := &Analysis{
		Snapshot: s, byUID: map[types.UID]*process{}, byRef: map[Ref]*process{}, endedPods: map[Ref]*corev1.Pod{}, resources: map[Ref]*resource{},
		jobs: map[Ref]*job{}, gates: map[Ref]*gate{}, barriers: map[Ref]*barrier{}, deadlocked: map[Ref]*Deadlock{},
	}
	a.addJobs()
	a.addPods()
	a.addObjects()
	a.addClaims()
	a.addCalls()
	a.addArrivers()
	a.reduce()
	a.findCycles()
	return a
}
