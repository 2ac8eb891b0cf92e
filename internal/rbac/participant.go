// Package rbac has the RBAC rules that people and workloads need. The chart's roles have the same rules; tests compare
// them.
package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// ParticipantRoleName is the name of the role for workloads: a ClusterRole of the chart.
const ParticipantRoleName = "konductor-participant"

// ParticipantRules returns what a workload needs to arrive, wait, acquire, renew and release.
func ParticipantRules() []rbacv1.PolicyRule {
	return []rbacv1.PolicyRule{
		{APIGroups: []string{konductorv1.GroupName}, Resources: []string{"barriers", "gates", "leases", "semaphores"}, Verbs: []string{"get", "list", "watch"}},
		{APIGroups: []string{konductorv1.GroupName}, Resources: []string{"arrivals"}, Verbs: []string{"create", "get"}},
		{APIGroups: []string{konductorv1.GroupName}, Resources: []string{"claims"}, Verbs: []string{"create", "get", "list", "watch", "patch", "delete"}},
		// A participant finds the Job that its Pod belongs to.
		{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{"get"}},
	}
}

// NewRoleAndBinding returns a Role with that name and those rules and a RoleBinding that grants it to subject, both in the
// namespace and ready to apply. The binding is named after the subject, so that several can exist side by side.
func NewRoleAndBinding(name, namespace string, rules []rbacv1.PolicyRule, subject rbacv1.Subject) (*rbacv1.Role, *rbacv1.RoleBinding) {
	version := rbacv1.SchemeGroupVersion.String()
	role := &rbacv1.Role{
		TypeMeta:   metav1.TypeMeta{APIVersion: version, Kind: "Role"},
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: namespace},
		Rules:      rules,
	}
	binding := &rbacv1.RoleBinding{
		TypeMeta:   metav1.TypeMeta{APIVersion: version, Kind: "RoleBinding"},
		ObjectMeta: metav1.ObjectMeta{Name: name + "-" + bindingSuffix(subject, namespace), Namespace: namespace},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: name},
		Subjects:   []rbacv1.Subject{subject},
	}
	return role, binding
}

// bindingSuffix returns the subject's name in a form that is valid in a binding's name: only slashes and percent signs
// are not.
func bindingSuffix(subject rbacv1.Subject, namespace string) string {
	name := []byte(subject.Name)
	for i, c := range name {
		if c == '/' || c == '%' {
			name[i] = '-'
		}
	}
	if subject.Namespace != "" && subject.Namespace != namespace {
		return subject.Namespace + "-" + string(name)
	}
	return string(name)
}

// ServiceAccountSubject returns the subject that stands for a ServiceAccount.
func ServiceAccountSubject(namespace, name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}
}

// UserSubject returns the subject that stands for a user.
func UserSubject(name string) rbacv1.Subject {
	return rbacv1.Subject{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}
}
