package doctor

import (
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
)

// Facts are what was found out. Where a question was not answered, the error says why.
type Facts struct {
	// Now is the API server's time.
	Now       time.Time
	Namespace string
	// Context is the kubeconfig's, by which the cluster was reached; empty when there is none.
	Context string
	// Program is how this program is called: kubectl konductor or koncli.
	Program string
	// Client is the version of this program, with its platform.
	Client, Platform string
	// Server is the version of Kubernetes.
	Server string
	// Types are the fields that the API server knows of konductor's kinds, by kind.
	Types    map[string]map[string]bool
	TypesErr error
	// Operators are the Deployments that run konductor's operator.
	Operators    []OperatorFacts
	OperatorsErr error
	// Leader is who leads; nil when nobody ever did.
	Leader    *LeaderFacts
	LeaderErr error
	// Objects is how many objects there are to be answered, and Unanswered those that the operator hasn't yet.
	Objects    int
	Unanswered []Unanswered
	ObjectsErr error
	// Admission says whether the API server refused what is done in another's name: nil for yes.
	Admission AdmissionFacts
	// Subjects are those whose rights were looked at.
	Subjects []SubjectFacts
}

// OperatorFacts is what is known of a Deployment that runs the operator.
type OperatorFacts struct {
	Namespace, Name string
	Wanted, Ready   int32
	// Version is what the Deployment says of itself, or empty.
	Version string
}

// LeaderFacts is what is known of the leader.
type LeaderFacts struct {
	Namespace, Holder string
	RenewedAt         time.Time
	// Lasts is how long after a renewal another may take over.
	Lasts time.Duration
}

// Unanswered is an object whose status speaks of an older spec, or of none.
type Unanswered struct {
	// Object is KIND/NAME, with the namespace.
	Object string
	// Since is when the spec was written.
	Since time.Time
}

// AdmissionFacts is what became of an attempt, without effect, to make a Claim in the name of a Pod.
type AdmissionFacts struct {
	Tried, Refused bool
	Err            error
}

// SubjectFacts is what is known of somebody's rights.
type SubjectFacts struct {
	// Name is the user's name, and Self that it is who asks.
	Name string
	Self bool
	// Of says of which workload it is the account, or is empty.
	Of string
	// Who is the subject of a binding.
	Who       rbacv1.Subject
	Namespace string
	// Missing are the rights that are needed and not there; More are rights beyond, of which it is good to know.
	Missing []Right
	More    []string
	Err     error
	// NoAccount says that there is no such ServiceAccount, and NoToken that the workload asks not to be given a token.
	NoAccount, NoToken bool
}
