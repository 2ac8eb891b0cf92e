package doctor

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/LogicIQ/konductor/apis/rights"
)

// Workload is somebody whose rights are asked for: a ServiceAccount, by itself or as that of a Job, or a user.
type Workload struct {
	// Subject is who it is, and Namespace where it takes part.
	Subject   rbacv1.Subject
	Namespace string
	// Of says what the account was found in, as KIND/NAME, or is empty.
	Of string
	// NoToken says that its Pods are given no token.
	NoToken bool
}

// ParseSubject reads serviceaccount/NAME, serviceaccount/NAMESPACE:NAME or user/NAME. ok is false when it is none of them.
func ParseSubject(s, namespace string) (w Workload, ok bool) {
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
		return Workload{Subject: rights.Account(in, account), Namespace: namespace}, account != "" && in != ""
	case "user":
		return Workload{Subject: rights.User(name), Namespace: namespace}, true
	default:
		return w, false
	}
}

// WorkloadOf returns the account of an object that has Pods: a Pod, or what has a template of one. ok is false for what has
// none.
func WorkloadOf(obj *unstructured.Unstructured, namespace string) (w Workload, ok bool, err error) {
	if in := obj.GetNamespace(); in != "" {
		namespace = in
	}
	path := []string{"spec", "template", "spec"}
	switch obj.GetKind() {
	case "Pod":
		path = []string{"spec"}
	case "CronJob":
		path = []string{"spec", "jobTemplate", "spec", "template", "spec"}
	case "ServiceAccount":
		return Workload{Subject: rights.Account(namespace, obj.GetName()), Namespace: namespace}, true, nil
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
	return Workload{
		Subject: rights.Account(namespace, account), Namespace: namespace, Of: strings.ToLower(obj.GetKind()) + "/" + name,
		NoToken: spec.AutomountServiceAccountToken != nil && !*spec.AutomountServiceAccountToken,
	}, true, nil
}

// user returns the name by which the API server knows the workload.
func (w Workload) user() string {
	if w.Subject.Kind == rbacv1.ServiceAccountKind {
		return "system:serviceaccount:" + w.Subject.Namespace + ":" + w.Subject.Name
	}
	return w.Subject.Name
}

// groups returns the groups that the API server puts the workload into.
func (w Workload) groups() []string {
	if w.Subject.Kind == rbacv1.ServiceAccountKind {
		return []string{"system:serviceaccounts", "system:serviceaccounts:" + w.Subject.Namespace, "system:authenticated"}
	}
	return []string{"system:authenticated"}
}
