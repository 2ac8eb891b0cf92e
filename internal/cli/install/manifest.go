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

	"github.com/LogicIQ/konductor/internal/chart"
)

// Manifest is the desired state of an installation.
type Manifest struct {
	*chart.Rendered
	// Namespace is the operator's namespace.
	Namespace string
	// Values are the values that differ from the chart's own.
	Values map[string]any
}

// NewManifest renders the chart for a release that this program manages.
func NewManifest(r chart.Release, values map[string]any) (*Manifest, error) {
	r.Service = FieldManager
	rendered, err := chart.Render(r, values)
	if err != nil {
		return nil, err
	}
	return &Manifest{Rendered: rendered, Namespace: r.Namespace, Values: values}, nil
}

// ApplyOrder returns the objects in the order of their dependencies: the namespace first, the operator last.
func (p *Manifest) ApplyOrder() []*unstructured.Unstructured {
	namespace := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": corev1.SchemeGroupVersion.String(), "kind": namespaceKind, "metadata": map[string]any{"name": p.Namespace},
	}}
	objects := append([]*unstructured.Unstructured{namespace}, p.Objects...)
	slices.SortStableFunc(objects, func(a, b *unstructured.Unstructured) int { return cmp.Compare(applyRank(a), applyRank(b)) })
	return objects
}

// applyRank orders kinds. Kinds that aren't listed come after those listed, and before the operator.
func applyRank(obj *unstructured.Unstructured) int {
	order := []string{namespaceKind, crdKind, "ServiceAccount", "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}
	if i := slices.Index(order, obj.GetKind()); i >= 0 {
		return i
	}
	if obj.GetKind() == "Deployment" {
		return len(order) + 1
	}
	return len(order)
}

// ObjectRef identifies an object.
type ObjectRef struct {
	schema.GroupVersionKind
	Namespace, Name string
}

func newObjectRef(obj *unstructured.Unstructured) ObjectRef {
	return ObjectRef{obj.GroupVersionKind(), obj.GetNamespace(), obj.GetName()}
}

// objectRefs returns references to objects, without the namespace: it may have existed before, and others may use it.
func objectRefs(objects []*unstructured.Unstructured) (names []ObjectRef) {
	for _, obj := range objects {
		if obj.GetKind() != namespaceKind {
			names = append(names, newObjectRef(obj))
		}
	}
	return names
}

// isSameObject reports whether both refer to the same object, possibly in different versions of its kind.
func (r ObjectRef) isSameObject(other ObjectRef) bool {
	return r.GroupKind() == other.GroupKind() && r.Namespace == other.Namespace && r.Name == other.Name
}

// Unstructured returns an object with only its kind, namespace and name.
func (r ObjectRef) Unstructured() *unstructured.Unstructured {
	obj := &unstructured.Unstructured{}
	obj.SetGroupVersionKind(r.GroupVersionKind)
	obj.SetNamespace(r.Namespace)
	obj.SetName(r.Name)
	return obj
}

// String returns a line of the record.
func (r ObjectRef) String() string {
	return strings.Join([]string{r.GroupVersion().String(), r.Kind, r.Namespace, r.Name}, " ")
}

// parseObjectRef parses a line of the record.
func parseObjectRef(line string) (ObjectRef, error) {
	words := strings.Split(line, " ")
	const parts = 4
	if len(words) != parts {
		return ObjectRef{}, fmt.Errorf("%q doesn't name an object", line)
	}
	gv, err := schema.ParseGroupVersion(words[0])
	return ObjectRef{gv.WithKind(words[1]), words[2], words[3]}, err
}

// IsNewer reports whether version a is newer than b. A string that isn't a version, such as that of a working copy, is
// neither newer nor older than any other.
func IsNewer(a, b string) bool {
	va, errA := version.ParseSemantic(a)
	vb, errB := version.ParseSemantic(b)
	return errA == nil && errB == nil && vb.LessThan(va)
}
