package install

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/version"

	"github.com/LogicIQ/konductor/plugins/konductor/chart"
)

// Plan is what is to be in the cluster.
type Plan struct {
	*chart.Rendered
	// Namespace is where the operator runs.
	Namespace string
	// Values are those that differ from the chart's own.
	Values map[string]any
}

// NewPlan renders the chart.
func NewPlan(namespace, konductor, kubernetes string, values map[string]any) (*Plan, error) {
	rendered, err := chart.Render(chart.Release{
		Namespace: namespace, Version: konductor, KubeVersion: kubernetes, Service: FieldManager,
	}, values)
	if err != nil {
		return nil, err
	}
	return &Plan{Rendered: rendered, Namespace: namespace, Values: values}, nil
}

// Objects returns what is applied, in the order in which one needs the other: the namespace first, the operator last.
func (p *Plan) Objects() []*unstructured.Unstructured {
	namespace := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": corev1.SchemeGroupVersion.String(), "kind": namespaceKind, "metadata": map[string]any{"name": p.Namespace},
	}}
	objects := append([]*unstructured.Unstructured{namespace}, p.Rendered.Objects...)
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return cmp.Compare(rank(a), rank(b)) })
	return objects
}

// rank orders kinds. What isn't named comes after what is, and before the operator.
func rank(obj *unstructured.Unstructured) int {
	order := []string{namespaceKind, crdKind, "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
	if i := slices.Index(order, obj.GetKind()); i >= 0 {
		return i
	}
	if obj.GetKind() == "Deployment" {
		return len(order) + 1
	}
	return len(order)
}

// Ref names an object.
type Ref struct {
	schema.GroupVersionKind
	Namespace, Name string
}

func refOf(obj *unstructured.Unstructured) Ref {
	return Ref{obj.GroupVersionKind(), obj.GetNamespace(), obj.GetName()}
}

// refs returns the names of objects, without the namespace: that may have been there before, and others live in it.
func refs(objects []*unstructured.Unstructured) (names []Ref) {
	for _, obj := range objects {
		if obj.GetKind() != namespaceKind {
			names = append(names, refOf(obj))
		}
	}
	return names
}

// same reports whether both name the same object, be it in different versions of its kind.
func (r Ref) same(other Ref) bool {
	return r.GroupKind() == other.GroupKind() && r.Namespace == other.Namespace && r.Name == other.Name
}

// Object returns an object that has the name and nothing else.
func (r Ref) Object() *unstructured.Unstructured {
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(r.GroupVersionKind)
	obj.SetNamespace(r.Namespace)
	obj.SetName(r.Name)
	return obj
}

// String is a line of the record.
func (r Ref) String() string {
	return strings.Join([]string{r.GroupVersion().String(), r.Kind, r.Namespace, r.Name}, " ")
}

// parseRef reads a line of the record.
func parseRef(line string) (Ref, error) {
	words := strings.Split(line, " ")
	const parts = 4
	if len(words) != parts {
		return Ref{}, fmt.Errorf("%q doesn't name an object", line)
	}
	gv, err := schema.ParseGroupVersion(words[0])
	return Ref{gv.WithKind(words[1]), words[2], words[3]}, err
}

// Newer reports whether version a is newer than b. What isn't a version, such as that of a working copy, is neither newer
// nor older than anything.
func Newer(a, b string) bool {
	va, errA := version.ParseSemantic(a)
	vb, errB := version.ParseSemantic(b)
	return errA == nil && errB == nil && vb.LessThan(va)
}
