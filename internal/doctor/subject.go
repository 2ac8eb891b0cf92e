package doctor

import (
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rbac"
)

// Subject is a user whose rights are checked: a ServiceAccount, given by itself or by its workload, or a user.
type Subject struct {
	// RBACSubject is the subject of a RoleBinding, and Namespace the namespace that it participates in.
	RBACSubject rbacv1.Subject
	Namespace   string
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

// SubjectOf returns the account of a Pod, or of an object with a Pod template. ok is false for any other object.
func SubjectOf(obj *unstructured.Unstructured, namespace string) (w Subject, ok bool, err error) {
	if in := obj.GetNamespace(); in != "" {
		namespace = in
	}
	path := []string{"spec", "template", "spec"}
	is := func(group, kind string) bool {
		return konductorv1.IsA(obj.GetAPIVersion(), obj.GetKind(), schema.GroupKind{Group: group, Kind: kind})
	}
	switch {
	case is(corev1.GroupName, konductorv1.KindPod):
		path = []string{"spec"}
	case is(batchv1.GroupName, "CronJob"):
		path = []string{"spec", "jobTemplate", "spec", "template", "spec"}
	case is(corev1.GroupName, rbacv1.ServiceAccountKind):
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
	name := obj.GetName()
	if name == "" {
		name = obj.GetGenerateName()
	}
	return Subject{
		RBACSubject: rbac.ServiceAccountSubject(namespace, account), Namespace: namespace, Workload: strings.ToLower(obj.GetKind()) + "/" + name,
		TokenDisabled: spec.AutomountServiceAccountToken != nil && !*spec.AutomountServiceAccountToken,
	}, true, nil
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
