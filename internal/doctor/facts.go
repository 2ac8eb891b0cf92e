package doctor

import (
	"time"

	"github.com/LogicIQ/konductor/internal/rules"
)

// Facts are what Collect has found out. If a request failed, the error of that fact says why.
type Facts struct {
	// Now is the API server's time.
	Now       time.Time
	Namespace string
	// Context is the kubeconfig context; empty if there is none.
	Context string
	// Kubeconfig is the file given for it; empty: the default.
	Kubeconfig string
	// Program is the name that this program is called by: kubectl konductor or koncli.
	Program string
	// ClientVersion is the version of this program, and Platform what it runs on.
	ClientVersion, Platform string
	// ServerVersion is the Kubernetes version.
	ServerVersion string
	// ServedFields are the fields of konductor's kinds that the API server serves, by kind.
	ServedFields    map[string]map[string]bool
	ServedFieldsErr error
	// Operators are the Deployments that run konductor's operator.
	Operators    []OperatorFacts
	OperatorsErr error
	// Leader is the current leader; nil if there never was one.
	Leader    *LeaderFacts
	LeaderErr error
	// ObjectCount is the number of objects, and Unreconciled those that the operator has not reconciled.
	ObjectCount  int
	Unreconciled []UnreconciledObject
	ObjectsErr   error
	// Admission is whether the API server denies claims in another's name.
	Admission AdmissionFacts
	// Creators is whether the API server records the creator of objects that are bound to no Pod.
	Creators CreatorFacts
	// Subjects are the subjects whose rights were checked.
	Subjects []SubjectFacts
	// Workloads are the held workloads that were checked, and Filename is the file that they are in; empty: none.
	Workloads []WorkloadFacts
	Filename  string
}

// OperatorFacts is a Deployment that runs the operator.
type OperatorFacts struct {
	Namespace, Name string
	Desired, Ready  int32
	// Version is the version in the Deployment's labels; empty if there is none.
	Version string
	// HoldsJobs says that it is started with --hold-workloads.
	HoldsJobs bool
}

// LeaderFacts is the operator's leader election lease.
type LeaderFacts struct {
	Namespace, Holder string
	RenewedAt         time.Time
	// LeaseDuration is how long after a renewal another process may take over.
	LeaseDuration time.Duration
}

// UnreconciledObject is an object whose status is about an older spec, or about none.
type UnreconciledObject struct {
	// Object is KIND/NAME, with the namespace.
	Object string
	// Since is when the spec was written.
	Since time.Time
}

// AdmissionFacts is the result of a dry run that creates a Claim bound to another's Pod.
type AdmissionFacts struct {
	Probed, Denied bool
	Err            error
}

// CreatorFacts is the result of a dry run that creates a Claim that is bound to no Pod and names no creator.
type CreatorFacts struct {
	// Probed says that it was accepted. Recorded says that the API server has added the creator.
	Probed, Recorded bool
	// Supported says that the API server has the policies for that, whether or not konductor's is installed.
	Supported bool
}

// SubjectFacts is what is known of a subject's rights.
type SubjectFacts struct {
	Subject
	// User is the user's name.
	User string
	// MissingRights are the rights that the subject needs and lacks; AdditionalRights are rights beyond those.
	MissingRights    []MissingRight
	AdditionalRights []string
	Err              error
	// AccountMissing says that the ServiceAccount doesn't exist.
	AccountMissing bool
}

// WorkloadFacts is what is known of a held workload.
type WorkloadFacts struct {
	*HeldWorkload
	// Objects are the objects that its annotations name.
	Objects map[rules.WorkloadRef]ObjectFacts
	// AddsSuspend says that the API server can set spec.suspend itself.
	AddsSuspend bool
	// Probe is the result of a dry run that creates a Job with a wrong annotation in its namespace.
	Probe HeldJobsProbe
	// Refusal is why the API server refuses the manifest; empty: it doesn't, or nobody asked.
	Refusal string
}

// HeldJobsProbe says whether the API server refuses a wrong annotation, and so whether the policies for held Jobs are in force.
type HeldJobsProbe struct {
	Refused bool
	// Err is why that isn't known.
	Err error
}

// ObjectFacts is what is known of an object that an annotation names.
type ObjectFacts struct {
	// Missing says that it is neither in the cluster nor in the manifest.
	Missing bool
	Err     error
	// Permits and MaxPriority are as in its spec, and Phase as in its status.
	Permits, MaxPriority *int32
	Phase                string
}
