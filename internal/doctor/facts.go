package doctor

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
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
}

// OperatorFacts is a Deployment that runs the operator.
type OperatorFacts struct {
	Namespace, Name string
	Desired, Ready  int32
	// Version is the version in the Deployment's labels; empty if there is none.
	Version string
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
	// User is the user's name. Self says that it is the caller.
	User string
	Self bool
	// Workload is the workload that the account was found in, as KIND/NAME; empty: none.
	Workload string
	// RBACSubject is the subject for a RoleBinding.
	RBACSubject rbacv1.Subject
	Namespace   string
	// MissingRights are the participant's rights that the subject lacks; AdditionalRights are rights beyond those.
	MissingRights    []MissingRight
	AdditionalRights []string
	Err              error
	// AccountMissing says that the ServiceAccount doesn't exist. TokenDisabled says that the workload has turned off the
	// mounting of its token.
	AccountMissing, TokenDisabled bool
}
