package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
)

// Removal is what an uninstallation deletes.
type Removal struct {
	// Objects are deleted in this order.
	Objects []Ref
	// Data says how many objects of konductor's kinds go with their resource types, as "3 barriers"; nothing when they stay.
	Data []string
	// Kept says that resource types, and with them all objects, stay.
	Kept bool
}

// PlanRemoval returns what uninstalling from a namespace deletes: with data also the resource types, and with them all
// objects of konductor's in the cluster. p, which says what a new installation would make, stands in for a record that is
// not there any more.
func (c *Cluster) PlanRemoval(ctx context.Context, f *Found, p *Plan, data bool) (*Removal, error) {
	if release := f.Helm(); release != "" {
		return nil, fmt.Errorf("konductor was installed in namespace %s by Helm: use helm uninstall %s -n %s", p.Namespace, release, p.Namespace)
	}
	if data && len(f.Elsewhere) > 0 {
		return nil, fmt.Errorf("the operator in namespace %s works with the same resource types: uninstall it first, or leave out --delete-data", f.Elsewhere[0].GetNamespace())
	}
	known := refs(p.Objects())
	if f.Record != nil {
		known = append(slices.Clone(f.Record.Objects), Ref{Namespace: p.Namespace, Name: recordName, GroupVersionKind: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}})
	} else if len(f.Namespaces()) > 0 {
		// What is cluster-wide, and so has the same name for every installation, is another's then.
		known = slices.DeleteFunc(known, func(ref Ref) bool { return ref.Namespace != p.Namespace })
	}
	types := slices.DeleteFunc(slices.Clone(f.Types), foreign)
	r := &Removal{Kept: !data && len(types) > 0}
	for _, ref := range known {
		ours, err := c.ours(ctx, ref, f.Record != nil)
		if err != nil {
			return nil, err
		}
		if ours && ref.Kind != crdKind {
			r.Objects = append(r.Objects, ref)
		}
	}
	// The operator first, so that nothing is left half done by one that has lost its rights; the record last.
	slices.SortStableFunc(r.Objects, func(a, b Ref) int { return cmp.Compare(removalRank(a), removalRank(b)) })
	if !data {
		return r, nil
	}
	for _, t := range types {
		n, plural, err := c.count(ctx, t)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			r.Data = append(r.Data, fmt.Sprintf("%d %s", n, plural))
		}
		at := slices.IndexFunc(r.Objects, func(ref Ref) bool { return ref.Name == recordName })
		if at < 0 {
			at = len(r.Objects)
		}
		r.Objects = slices.Insert(r.Objects, at, refOf(t))
	}
	return r, nil
}

func removalRank(ref Ref) int {
	switch {
	case ref.Kind == "Deployment":
		return 0
	case ref.Name == recordName:
		return 2
	default:
		return 1
	}
}

// ours reports whether there is such an object, and, when it isn't recorded, whether it says that we made it.
func (c *Cluster) ours(ctx context.Context, ref Ref, recorded bool) (bool, error) {
	obj, err := c.get(ctx, ref)
	if err != nil || obj == nil {
		return false, err
	}
	by := obj.GetLabels()[managedByLabel]
	return by == FieldManager || recorded && by != helm, nil
}

// get returns an object; nil when there is none.
func (c *Cluster) get(ctx context.Context, ref Ref) (*unstructured.Unstructured, error) {
	at, err := c.at(ref.GroupVersionKind, ref.Namespace)
	if noSuchKind(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	obj, err := at.Get(ctx, ref.Name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, explain(err, "reading", ref.Object())
	}
	return obj, nil
}

// noSuchKind reports whether the cluster doesn't know a kind, so that there can be no object of it.
func noSuchKind(err error) bool {
	var group *meta.NoResourceMatchError
	var kind *meta.NoKindMatchError
	return errors.As(err, &group) || errors.As(err, &kind)
}

// count returns how many objects there are of a resource type, and what they are called.
func (c *Cluster) count(ctx context.Context, t *unstructured.Unstructured) (n int64, plural string, err error) {
	resource := instances(t)
	list, err := c.Objects.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
	if apierrors.IsNotFound(err) {
		// It is being deleted already, or not served yet.
		return 0, resource.Resource, nil
	}
	if err != nil {
		return 0, "", fmt.Errorf("counting %s: %w", resource.GroupResource(), err)
	}
	n = int64(len(list.Items))
	if more := list.GetRemainingItemCount(); more != nil {
		n += *more
	}
	return n, resource.Resource, nil
}

// instances is the resource of which a resource type's objects are.
func instances(t *unstructured.Unstructured) schema.GroupVersionResource {
	group, _, _ := unstructured.NestedString(t.Object, "spec", "group")
	plural, _, _ := unstructured.NestedString(t.Object, "spec", "names", "plural")
	resource := schema.GroupVersionResource{Group: group, Resource: plural}
	versions, _, _ := unstructured.NestedSlice(t.Object, "spec", "versions")
	for _, v := range versions {
		if v, ok := v.(map[string]any); ok && v["storage"] == true {
			resource.Version, _ = v["name"].(string)
		}
	}
	return resource
}

// Remove deletes what a removal names and waits until it is gone, or ctx is done: the error is then a *TimeoutError that
// names what is left and what keeps it.
func (c *Cluster) Remove(ctx context.Context, r *Removal, dryRun bool, done func(Result) error) error {
	for _, ref := range r.Objects {
		obj, err := c.delete(ctx, ref, dryRun)
		if err != nil {
			return err
		}
		if obj == nil {
			continue
		}
		if err := done(Result{obj, "deleted"}); err != nil {
			return err
		}
	}
	if dryRun {
		return nil
	}
	left := r.Objects
	err := wait.PollUntilContextCancel(ctx, pause, true, func(ctx context.Context) (bool, error) {
		var err error
		left, err = c.remaining(ctx, left)
		return len(left) == 0, err
	})
	if len(left) == 0 || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	return c.leftovers(context.WithoutCancel(ctx), left)
}

// remaining returns those that are still there.
func (c *Cluster) remaining(ctx context.Context, of []Ref) (left []Ref, err error) {
	for i, ref := range of {
		obj, err := c.get(ctx, ref)
		if err != nil {
			return of[i:], err
		}
		if obj != nil {
			left = append(left, ref)
		}
	}
	return left, nil
}

// leftovers says what is left and what keeps it.
func (c *Cluster) leftovers(ctx context.Context, left []Ref) error {
	var names, why []string
	for _, ref := range left {
		obj, err := c.get(ctx, ref)
		if err != nil {
			return err
		}
		if obj == nil {
			continue
		}
		names = append(names, Title(obj))
		kept := c.kept(ctx, obj)
		if kept == "" {
			kept = Title(obj) + keptBy(obj)
		}
		why = append(why, kept)
	}
	return &TimeoutError{"the end of " + strings.Join(names, ", "), strings.Join(why, "; ")}
}

// kept names the objects whose finalizers keep a resource type, with the command that frees one; nothing when there are none.
func (c *Cluster) kept(ctx context.Context, obj *unstructured.Unstructured) string {
	if obj.GetKind() != crdKind {
		return ""
	}
	resource := instances(obj)
	const some = 500
	list, err := c.Objects.Resource(resource).List(ctx, metav1.ListOptions{Limit: some})
	if err != nil {
		return ""
	}
	for i := range list.Items {
		if item := &list.Items[i]; len(item.GetFinalizers()) > 0 {
			return fmt.Sprintf("%s in namespace %s waits for its finalizers %s; if nobody takes them away any more: kubectl patch %s %s -n %s --type=merge -p '{\"metadata\":{\"finalizers\":null}}'",
				Title(item), item.GetNamespace(), strings.Join(item.GetFinalizers(), ", "), resource.GroupResource(), item.GetName(), item.GetNamespace())
		}
	}
	return ""
}

// Everything are the values with which the chart has all that it can have in the release's own namespace and for the whole
// cluster: what may be left of an installation that is not recorded any more.
func Everything() map[string]any {
	on := map[string]any{"enabled": true}
	return map[string]any{
		"networkPolicy": on,
		"flowControl":   on,
		"metrics":       map[string]any{"serve": "always", "serviceMonitor": on, "prometheusRule": on, "dashboard": on},
	}
}
