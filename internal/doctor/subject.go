package doctor

import (
	"cmp"
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rbac"
)

// Subject is a user whose rights are checked: a ServiceAccount, given by itself or by its workload, or a user.
type Subject struct {
	// Self says that it is the caller, whose name the API server knows.
	Self bool
	// RBACSubject is the subject of a RoleBinding, and Namespace the namespace that it participates in.
	RBACSubject rbacv1.Subject
	Namespace   string
	// Creates is the held workload that it creates, as KIND/NAME, and CreatorRights are the rights that this needs; empty: it
	// participates itself.
	Creates       string
	CreatorRights rbac.JobCreatorRights
	// Workload is the workload that the account was found in, as KIND/NAME; empty: none.
	Workload string
	// TokenDisabled says that its Pods have no token mounted.
	TokenDisabled bool
}

// ParseSubject parses serviceaccount/NAME, serviceaccount/NAMESPACE:NAME or user/NAME. ok is false for anything else.
func ParseSubject(s, namespace string) (w Subject, ok bool) {
	kind, name, found := strings.Cut(s, "/")
	if !found || name == "" {
		return w, false
	}
	switch strings.ToLower(kind) {
	case "serviceaccount", "serviceaccounts", "sa":
		in, account, qualified := strings.Cut(name, ":")
		if !qualified {
			in, account = namespace, name
		}
		return Subject{RBACSubject: rbac.ServiceAccountSubject(in, account), Namespace: namespace}, account != "" && in != ""
	case "user":
		return Subject{RBACSubject: rbac.UserSubject(name), Namespace: namespace}, true
	default:
		return w, false
	}
}

// Targets are what is to be checked.
type Targets struct {
	// Subjects are the subjects whose rights are checked.
	Subjects []Subject
	// Workloads are the held workloads.
	Workloads []*HeldWorkload
	// Manifest has the objects of the file that the workloads are in.
	Manifest []*unstructured.Unstructured
}

// FindTargets returns the held workloads among objects, and whose rights they need: creator's, who is the caller if nil. Without
// a creator it returns also the accounts of other workloads. fromManifest says that the objects are those of a file, and perhaps
// not in the cluster.
func FindTargets(objects []*unstructured.Unstructured, namespace string, creator *Subject, fromManifest bool) (t Targets, err error) {
	if fromManifest {
		t.Manifest = objects
	}
	for _, obj := range objects {
		if w := readHeldWorkload(obj, namespace); w != nil {
			w.FromManifest = fromManifest
			t.Workloads = append(t.Workloads, w)
			// Those of an object that exists were checked when it was created.
			if rights := w.creatorRights(); fromManifest && rights != (rbac.JobCreatorRights{}) {
				s := Subject{Self: true}
				if creator != nil {
					s = *creator
				}
				s.Namespace, s.Creates, s.CreatorRights = w.Namespace, w.Name, rights
				t.Subjects = append(t.Subjects, s)
			}
			continue
		}
		if creator != nil {
			continue
		}
		s, ok, err := SubjectOf(obj, namespace)
		if err != nil {
			return t, err
		}
		if ok {
			t.Subjects = append(t.Subjects, s)
		}
	}
	return t, nil
}

// SubjectOf returns the account of a Pod, or of an object with a Pod template. ok is false for any other object.
func SubjectOf(obj *unstructured.Unstructured, namespace string) (w Subject, ok bool, err error) {
	if in := obj.GetNamespace(); in != "" {
		namespace = in
	}
	path := []string{"spec", "template", "spec"}
	switch {
	case isKind(obj, corev1.GroupName, konductorv1.KindPod):
		path = []string{"spec"}
	case isKind(obj, batchv1.GroupName, "CronJob"):
		path = []string{"spec", "jobTemplate", "spec", "template", "spec"}
	case isKind(obj, corev1.GroupName, rbacv1.ServiceAccountKind):
		return Subject{RBACSubject: rbac.ServiceAccountSubject(namespace, obj.GetName()), Namespace: namespace}, true, nil
	}
	fields, found, err := unstructured.NestedMap(obj.Object, path...)
	if err != nil || !found {
		return w, false, err
	}
	spec := &corev1.PodSpec{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(fields, spec); err != nil {
		return w, false, fmt.Errorf("%s of %s/%s: %w", strings.Join(path, "."), strings.ToLower(obj.GetKind()), obj.GetName(), err)
	}
	account := spec.ServiceAccountName
	if account == "" {
		account = spec.DeprecatedServiceAccount
	}
	if account == "" {
		account = "default"
	}
	return Subject{
		RBACSubject: rbac.ServiceAccountSubject(namespace, account), Namespace: namespace, Workload: objectName(obj),
		TokenDisabled: spec.AutomountServiceAccountToken != nil && !*spec.AutomountServiceAccountToken,
	}, true, nil
}

// objectName returns the KIND/NAME of an object.
func objectName(obj *unstructured.Unstructured) string {
	return strings.ToLower(obj.GetKind()) + "/" + cmp.Or(obj.GetName(), obj.GetGenerateName())
}

// role returns the name and the rules of the Role that the subject needs.
func (w Subject) role() (string, []rbacv1.PolicyRule) {
	if w.Creates != "" {
		return w.CreatorRights.RoleName(), w.CreatorRights.Rules()
	}
	return rbac.ParticipantRoleName, rbac.ParticipantRules()
}

// grant returns the Role and its RoleBinding.
func (w Subject) grant() roleAndBinding {
	name, rules := w.role()
	role, binding := rbac.NewRoleAndBinding(name, w.Namespace, rules, w.RBACSubject)
	return roleAndBinding{role, binding}
}

// userName returns the API server's user name for the subject.
func (w Subject) userName() string {
	if w.RBACSubject.Kind == rbacv1.ServiceAccountKind {
		return "system:serviceaccount:" + w.RBACSubject.Namespace + ":" + w.RBACSubject.Name
	}
	return w.RBACSubject.Name
}

// userGroups returns the API server's groups of the subject.
func (w Subject) userGroups() []string {
	if w.RBACSubject.Kind == rbacv1.ServiceAccountKind {
		return []string{"system:serviceaccounts", "system:serviceaccounts:" + w.RBACSubject.Namespace, "system:authenticated"}
	}
	return []string{"system:authenticated"}
}
