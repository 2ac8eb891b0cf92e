// Package doctor finds out whether konductor works in a cluster, and for which subjects. Collect asks the API server and
// returns its answers as Facts. Diagnose, which is pure, turns these into a Report.
package doctor

import (
	"encoding/json"

	rbacv1 "k8s.io/api/rbac/v1"
)

// APIVersion is the version of a Report's JSON form. Fields and checks may be added to it.
const APIVersion = "cli.konductor.io/v1"

// Status is the result of a check.
type Status string

const (
	// OK means that everything is as it should be.
	OK Status = "OK"
	// Warning means that it works, but an administrator should know.
	Warning Status = "Warning"
	// Failed means that it doesn't work.
	Failed Status = "Failed"
	// Unknown means that it couldn't be checked, because of a missing right that konductor itself doesn't need.
	Unknown Status = "Unknown"
)

// Names of the checks. They are part of the API.
const (
	CheckClient        = "Client"
	CheckServer        = "Server"
	CheckResourceTypes = "ResourceTypes"
	CheckOperator      = "Operator"
	CheckLeader        = "Leader"
	CheckLag           = "Lag"
	CheckAdmission     = "Admission"
	CheckCreators      = "Creators"
	CheckRights        = "Rights"
	CheckWorkload      = "Workload"
	CheckHeldJobs      = "HeldJobs"
)

// Check is the result of one check.
type Check struct {
	// Name is one of the constants.
	Name string `json:"name"`
	// Status is OK, Warning, Failed or Unknown.
	Status Status `json:"status"`
	// Subject is the user that the check is about; empty: none.
	Subject string `json:"subject,omitempty"`
	// Message says what was found, in a sentence.
	Message string `json:"message"`
	// Fix is what to do about it, most often a command; empty: nothing.
	Fix string `json:"fix,omitempty"`
}

// MissingRight is a right that a subject lacks.
type MissingRight struct {
	Subject   string `json:"subject"`
	Verb      string `json:"verb"`
	Resource  string `json:"resource"`
	Namespace string `json:"namespace"`
}

// Report is the result.
type Report struct {
	// APIVersion is the constant of that name, and Kind is Report.
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	// Healthy says that no check has failed.
	Healthy bool `json:"healthy"`
	// Context is the kubeconfig context; empty if there is none.
	Context string `json:"context,omitempty"`
	// Namespace is the examined namespace.
	Namespace string  `json:"namespace"`
	Checks    []Check `json:"checks"`
	// MissingRights are the required rights that subjects lack.
	MissingRights []MissingRight `json:"missingRights,omitempty"`
	// ApplyObjects are the objects that grant them, ready to be applied.
	ApplyObjects []json.RawMessage `json:"apply,omitempty"`

	rbacObjects []roleAndBinding
}

// roleAndBinding is a Role and its RoleBinding.
type roleAndBinding struct {
	role    *rbacv1.Role
	binding *rbacv1.RoleBinding
}

// RBACObjects returns the Roles and RoleBindings in ApplyObjects.
func (r *Report) RBACObjects() []any { return uniqueObjects(r.rbacObjects) }

// SubjectRBAC returns the objects that give subjects the rights that they need: a Role for each of their namespaces, and a
// RoleBinding for each subject.
func SubjectRBAC(subjects []Subject) []any {
	grants := make([]roleAndBinding, len(subjects))
	for i, w := range subjects {
		grants[i] = w.grant()
	}
	return uniqueObjects(grants)
}

// uniqueObjects returns the objects of grants, without duplicates.
func uniqueObjects(grants []roleAndBinding) []any {
	objects := []any{}
	given := map[string]bool{}
	add := func(key string, object any) {
		if !given[key] {
			given[key] = true
			objects = append(objects, object)
		}
	}
	for _, g := range grants {
		add("role "+g.role.Namespace+"/"+g.role.Name, g.role)
		add("binding "+g.binding.Namespace+"/"+g.binding.Name, g.binding)
	}
	return objects
}

// OnlyRightsFailed reports whether checks have failed, and all of them are about rights.
func (r *Report) OnlyRightsFailed() bool {
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

func (r *Report) addCheck(c Check) {
	r.Checks = append(r.Checks, c)
	if c.Status == Failed {
		r.Healthy = false
	}
}
