package rbac

import (
	batchv1 "k8s.io/api/batch/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// JobCreatorRights are the rights that the annotations of a held Job require of the user who creates it.
type JobCreatorRights struct{ CreateClaims, CreateArrivals, DeleteJobs bool }

// RoleName returns the name of a Role with these rights. Different rights have different names, so that applying the Role for
// one Job doesn't take away what another needs.
func (r JobCreatorRights) RoleName() string {
	name := "konductor"
	for _, rule := range r.Rules() {
		name += "-" + rule.Verbs[0] + "-" + rule.Resources[0]
	}
	return name
}

// Rules returns the rights as rules of a Role, each with one verb on one resource.
func (r JobCreatorRights) Rules() (rules []rbacv1.PolicyRule) {
	add := func(needed bool, group, resource, verb string) {
		if needed {
			rules = append(rules, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: []string{resource}, Verbs: []string{verb}})
		}
	}
	add(r.CreateClaims, konductorv1.GroupName, "claims", "create")
	add(r.CreateArrivals, konductorv1.GroupName, "arrivals", "create")
	add(r.DeleteJobs, batchv1.GroupName, "jobs", "delete")
	return rules
}
