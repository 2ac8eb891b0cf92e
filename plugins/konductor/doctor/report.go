// Package doctor finds out whether konductor works in a cluster, and for whom.
// Examine asks the API server and notes what it says as Facts; Diagnose, which is
// pure, turns these into a Report.
package doctor

import (
	"encoding/json"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/LogicIQ/konductor/apis/rights"
)

// Version of the form in which a Report is written as JSON. Fields and checks may be added to it.
const Version = "cli.konductor.io/v1"

// Status is how a check came out.
type Status string

const (
	// OK is as it should be.
	OK Status = "OK"
	// Warning works, but somebody should know.
	Warning Status = "Warning"
	// Failed doesn't work.
	Failed Status = "Failed"
	// Unknown couldn't be looked at, for want of a right that konductor itself doesn't need.
	Unknown Status = "Unknown"
)

// Names of the checks. They don't change.
const (
	CheckClient    = "Client"
	CheckServer    = "Server"
	CheckTypes     = "ResourceTypes"
	CheckOperator  = "Operator"
	CheckLeader    = "Leader"
	CheckLag       = "Lag"
	CheckAdmission = "Admission"
	CheckRights    = "Rights"
	CheckWorkload  = "Workload"
)

// Check is one thing that was looked at.
type Check struct {
	// Name is one of the constants.
	Name string `json:"name"`
	// Status is OK, Warning, Failed or Unknown.
	Status Status `json:"status"`
	// Subject is whom the check is about, for those that are about somebody: a user's name.
	Subject string `json:"subject,omitempty"`
	// Message says what was found, in a sentence.
	Message string `json:"message"`
	// Fix is what to do about it, most often a command; empty when nothing is to be done.
	Fix string `json:"fix,omitempty"`
}

// Right is a right that somebody lacks.
type Right struct {
	Subject   string `json:"subject"`
	Verb      string `json:"verb"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace"`
}

// Report is the result.
type Report struct {
	// APIVersion is Version, and Kind is Report.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Healthy says that no check has failed.
	Healthy bool `json:"healthy"`
	// Context is the kubeconfig's, by which the cluster was reached, if there is one.
	Context string `json:"context,omitempty"`
	// Namespace is where it was looked.
	Namespace string  `json:"namespace"`
	Checks    []Check `json:"checks"`
	// Missing are the rights that are needed and not there.
	Missing []Right `json:"missingRights,omitempty"`
	// Apply are the objects that give them, ready to be applied.
	Apply []json.RawMessage `json:"apply,omitempty"`

	grants []grant
}

// grant is a Role and its RoleBinding.
type grant struct {
	role    *rbacv1.Role
	binding *rbacv1.RoleBinding
}

// Objects returns the objects of Apply.
func (r *Report) Objects() []any { return objects(r.grants) }

// Grants returns what lets workloads take part: a Role in each of their namespaces, and a RoleBinding for each of them.
func Grants(workloads []Workload) []any {
	grants := make([]grant, len(workloads))
	for i, w := range workloads {
		grants[i].role, grants[i].binding = rights.Grant(w.Namespace, rights.Participant(), w.Subject)
	}
	return objects(grants)
}

// objects returns the objects of grants, of which what several share comes once.
func objects(grants []grant) []any {
	objects := []any{}
	given := map[string]bool{}
	add := func(key string, object any) {
		if !given[key] {
			given[key] = true
			objects = append(objects, object)
		}
	}
	for _, g := range grants {
		add("role "+g.role.Namespace, g.role)
		add("binding "+g.binding.Namespace+"/"+g.binding.Name, g.binding)
	}
	return objects
}

// OnlyRights reports whether nothing has failed but rights.
func (r *Report) OnlyRights() bool {
	only := false
	for _, c := range r.Checks {
		if c.Status == Failed {
			if c.Name != CheckRights {
				return false
			}
			only = true
		}
	}
	return only
}

func (r *Report) add(c Check) {
	r.Checks = append(r.Checks, c)
	if c.Status == Failed {
		r.Healthy = false
	}
}
