package install

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
)

// RemovalPlan is what an uninstallation deletes.
type RemovalPlan struct {
	// Objects are deleted in this order.
	Objects []ObjectRef
	// DataCounts are the numbers of konductor's objects that are deleted with their CRDs, such as "3 barriers"; empty if
	// the CRDs stay.
	DataCounts []string
	// CRDsKept says that the CRDs, and with them all their objects, stay.
	CRDsKept bool
	// uids distinguish the objects from later ones of the same names.
	uids map[ObjectRef]types.UID
}

// ReplacedError means that an object is no longer the one that was read before.
type ReplacedError struct{ Object string }

func (e *ReplacedError) Error() string {
	return e.Object + " was deleted and recreated in the meantime: it was not changed; run the command again"
}

// AddedIn returns what later has and r doesn't: objects, and kinds of data of which there were none.
func (r *RemovalPlan) AddedIn(later *RemovalPlan) (more []string) {
	for _, ref := range later.Objects {
		if uid, known := r.uids[ref]; !known || uid != later.uids[ref] {
			more = append(more, QualifiedName(ref.Unstructured()))
		}
	}
	for _, data := range later.DataCounts {
		_, plural, _ := strings.Cut(data, " ")
		if !slices.ContainsFunc(r.DataCounts, func(known string) bool { return strings.HasSuffix(known, " "+plural) }) {
			more = append(more, data)
		}
	}
	return more
}

// PlanRemoval returns what uninstalling from a namespace deletes. With data it includes the CRDs, and with them all of
// konductor's objects in the cluster. p, the manifest of a new installation, replaces a record that doesn't exist.
func (c *Cluster) PlanRemoval(ctx context.Context, f *State, p *Manifest, data bool) (*RemovalPlan, error) {
	if release := f.HelmRelease(); release != "" {
		return nil, fmt.Errorf("konductor was installed in namespace %s by Helm: use helm uninstall %s -n %s", p.Namespace, release, p.Namespace)
	}
	if data && len(f.OtherOperators) > 0 {
		return nil, fmt.Errorf("the operator in namespace %s uses the same resource types: uninstall it first, or omit --delete-data", f.OtherOperators[0].GetNamespace())
	}
	known := objectRefs(p.ApplyOrder())
	if f.Record != nil {
		known = append(slices.Clone(f.Record.Objects), ObjectRef{Namespace: p.Namespace, Name: recordName, GroupVersionKind: schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}})
	} else if len(f.OtherNamespaces()) > 0 {
		// Cluster-wide objects have the same names in every installation, so they belong to another one then.
		known = slices.DeleteFunc(known, func(ref ObjectRef) bool { return ref.Namespace != p.Namespace })
	}
	resourceTypes := slices.DeleteFunc(slices.Clone(f.CRDs), isForeignCRD)
	r := &RemovalPlan{CRDsKept: !data && len(resourceTypes) > 0, uids: map[ObjectRef]types.UID{}}
	for _, ref := range known {
		uid, err := c.ownedUID(ctx, ref, f.Record != nil)
		if err != nil {
			return nil, err
		}
		if uid != "" && ref.Kind != crdKind {
			r.Objects = append(r.Objects, ref)
			r.uids[ref] = uid
		}
	}
	// The operator is first, so that none runs without its rights; the record is last.
	slices.SortStableFunc(r.Objects, func(a, b ObjectRef) int { return cmp.Compare(removalRank(a), removalRank(b)) })
	if !data {
		return r, nil
	}
	for _, t := range resourceTypes {
		n, plural, err := c.countCustomResources(ctx, t)
		if err != nil {
			return nil, err
		}
		if n > 0 {
			r.DataCounts = append(r.DataCounts, fmt.Sprintf("%d %s", n, plural))
		}
		at := slices.IndexFunc(r.Objects, func(ref ObjectRef) bool { return ref.Name == recordName })
		if at < 0 {
			at = len(r.Objects)
		}
		r.Objects = slices.Insert(r.Objects, at, newObjectRef(t))
		r.uids[newObjectRef(t)] = t.GetUID()
	}
	return r, nil
}

func removalRank(ref ObjectRef) int {
	switch {
	case ref.Kind == "Deployment":
		return 0
	case ref.Name == recordName:
		return 2
	default:
		return 1
	}
}

// ownedUID returns the UID of an object that is ours. Unless it is recorded, its label must say that we created it. The UID
// is empty if the object doesn't exist or isn't ours.
func (c *Cluster) ownedUID(ctx context.Context, ref ObjectRef, recorded bool) (types.UID, error) {
	obj, err := c.getObject(ctx, ref)
	if err != nil || obj == nil {
		return "", err
	}
	if by := obj.GetLabels()[managedByLabel]; by != FieldManager && (!recorded || by == managedByHelm) {
		return "", nil
	}
	return obj.GetUID(), nil
}

// getObject returns an object; nil if there is none.
func (c *Cluster) getObject(ctx context.Context, ref ObjectRef) (*unstructured.Unstructured, error) {
	at, err := c.resourceForRef(ref)
	if isNoKindMatch(err) {
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
		return nil, wrapAPIError(err, "reading", ref.Unstructured())
	}
	return obj, nil
}

// isNoKindMatch reports whether the cluster doesn't know a kind, so that no object of it can exist.
func isNoKindMatch(err error) bool {
	var group *meta.NoResourceMatchError
	var kind *meta.NoKindMatchError
	return errors.As(err, &group) || errors.As(err, &kind)
}

// countCustomResources returns the number of objects of a CRD, and its plural name.
func (c *Cluster) countCustomResources(ctx context.Context, t *unstructured.Unstructured) (n int64, plural string, err error) {
	resource := customResourceGVR(t)
	list, err := c.Client.Resource(resource).List(ctx, metav1.ListOptions{Limit: 1})
	if apierrors.IsNotFound(err) {
		// The CRD is being deleted already, or isn't served yet.
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

// customResourceGVR returns the resource that a CRD serves.
func customResourceGVR(t *unstructured.Unstructured) schema.GroupVersionResource {
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

// Remove deletes the objects of a plan and waits until they are gone. If ctx ends before, the error is a *TimeoutError that
// names the remaining objects and what blocks them.
func (c *Cluster) Remove(ctx context.Context, r *RemovalPlan, dryRun bool, done func(Result) error) error {
	for _, ref := range r.Objects {
		obj, err := c.deleteObject(ctx, ref, r.uids[ref], dryRun)
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
	err := wait.PollUntilContextCancel(ctx, pollInterval, true, func(ctx context.Context) (bool, error) {
		var err error
		if left, err = c.remainingRefs(ctx, left); isTransient(err) {
			err = nil
		}
		return len(left) == 0, err
	})
	if len(left) == 0 || !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return err
	}
	return c.newLeftoversError(context.WithoutCancel(ctx), left)
}

// remainingRefs returns the objects that still exist.
func (c *Cluster) remainingRefs(ctx context.Context, of []ObjectRef) (left []ObjectRef, err error) {
	for i, ref := range of {
		obj, err := c.getObject(ctx, ref)
		if err != nil {
			return append(left, of[i:]...), err
		}
		if obj != nil {
			left = append(left, ref)
		}
	}
	return left, nil
}

// isTransient reports whether an error means that no answer came, or one that may differ the next time.
func isTransient(err error) bool {
	var answered apierrors.APIStatus
	if err == nil || !errors.As(err, &answered) {
		return err != nil
	}
	switch code := answered.Status().Code; code {
	case http.StatusRequestTimeout, http.StatusGone, http.StatusTooManyRequests:
		return true
	default:
		return code >= http.StatusInternalServerError
	}
}

// newLeftoversError returns the error that names the remaining objects and what blocks them.
func (c *Cluster) newLeftoversError(ctx context.Context, left []ObjectRef) error {
	var names, why []string
	for _, ref := range left {
		obj, err := c.getObject(ctx, ref)
		if err != nil {
			names, why = append(names, QualifiedName(ref.Unstructured())), append(why, err.Error())
			continue
		}
		if obj == nil {
			continue
		}
		names = append(names, QualifiedName(obj))
		kept := c.blockingFinalizerText(ctx, obj)
		if kept == "" {
			kept = QualifiedName(obj) + finalizersText(obj)
		}
		why = append(why, kept)
	}
	return &TimeoutError{"the deletion of " + strings.Join(names, ", "), strings.Join(why, "; ")}
}

// blockingFinalizerText names the objects whose finalizers block the deletion of a CRD, with the command that removes a
// finalizer; empty if there are none.
func (c *Cluster) blockingFinalizerText(ctx context.Context, obj *unstructured.Unstructured) string {
	if obj.GetKind() != crdKind {
		return ""
	}
	resource := customResourceGVR(obj)
	const some = 500
	list, err := c.Client.Resource(resource).List(ctx, metav1.ListOptions{Limit: some})
	if err != nil {
		return ""
	}
	for i := range list.Items {
		if item := &list.Items[i]; len(item.GetFinalizers()) > 0 {
			return fmt.Sprintf("%s in namespace %s is blocked by finalizers (%s); if nothing removes them: kubectl patch %s %s -n %s --type=merge -p '{\"metadata\":{\"finalizers\":null}}'",
				QualifiedName(item), item.GetNamespace(), strings.Join(item.GetFinalizers(), ", "), resource.GroupResource(), item.GetName(), item.GetNamespace())
		}
	}
	return ""
}

// AllFeatureValues are the values with which the chart renders every object that it can have in the release's own namespace
// and cluster-wide: those that may be left of an installation without a record.
func AllFeatureValues() map[string]any {
	on := map[string]any{"enabled": true}
	return map[string]any{
		"networkPolicy": on,
		"flowControl":   on,
		"metrics":       map[string]any{"serve": "always", "serviceMonitor": on, "prometheusRule": on, "dashboard": on},
	}
}
