// Package rights says which rights people and workloads need. The chart's roles
// have the same rules, which tests hold against these.
package rights

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// ParticipantRole is the name of the role for workloads: a ClusterRole of the chart's.
const ParticipantRole = "konductor-participant"

// Participant returns what a workload needs to arrive, wait, acquire, renew and release.
func Participant() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{konductorv1.GroupName}, Resources: []string{"barriers", "gates", "leases", "semaphores"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{konductorv1.GroupName}, Resources: []string{"arrivals"}, Verbs: []string{"create", "get"}},
		{APIGroups: []string{konductorv1.GroupName}, Resources: []string{"claims"}, Verbs: []string{"create", "get", "list", "watch", "patch", "delete"}},
		// A participant finds the Job that its Pod belongs to.
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}},
	}
}

// Grant returns a Role with those rules and a RoleBinding that gives it to who, both in the namespace and ready to apply.
// The binding is named for who has it, so that several can stand side by side.
func Grant(namespace string, rules []rbacv1.PolicyRule, who rbacv1.Subject) (*rbacv1.Role, *rbacv1.RoleBinding) {
	version := rbacv1.SchemeGroupVersion.String()
	role := &rbacv1.Role{
		TypeMeta:   metav1.TypeMeta{APIVersion: version, Kind: "Role"},
		ObjectMeta: metav1.ObjectMeta{Name: ParticipantRole, Namespace: namespace},
		Rules:      rules,
	}
	binding := &rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: version, Kind: "RoleBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: ParticipantRole + "-" + bindingSuffix(who, namespace), Namespace: namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: ParticipantRole},
		Subjects:   []rbacv1.Subject{who},
	}
	return role, binding
}

// bindingSuffix returns who, as it can be part of a binding's name: of those, only slashes and percent signs can't.
func bindingSuffix(who rbacv1.Subject, namespace string) string {
	name := []byte(who.Name)
	for i, c := range name {
		if c == '/' || c == '%' {
			name[i] = '-'
		}
	}
	if who.Namespace != "" && who.Namespace != namespace {
		return who.Namespace + "-" + string(name)
	}
	return string(name)
}

// Account returns the subject that stands for a ServiceAccount.
func Account(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
}

// User returns the subject that stands for a user.
func User(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}
