// Package install applies the objects of konductor's chart to a cluster, by server-side apply, and deletes them again.
//
// Before it installs anything it writes a record to a ConfigMap in the operator's namespace. From the record an upgrade
// knows which values were asked for and which objects are obsolete, and an uninstallation knows what to delete, even after
// an interrupted attempt.
package install

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/dynamic"
)

// FieldManager owns the applied fields.
const FieldManager = "kubectl-konductor"

// DeploymentName is the name of the operator's Deployment.
const DeploymentName = "konductor-operator"

// Labels of the objects of the chart.
const (
	nameLabel      = "app.kubernetes.io/name"
	componentLabel = "app.kubernetes.io/component"
	managedByLabel = "app.kubernetes.io/managed-by"
	versionLabel   = "app.kubernetes.io/version"
)

const (
	crdKind       = "CustomResourceDefinition"
	namespaceKind = "Namespace"
)

// Cluster is the cluster that konductor is installed in.
type Cluster struct {
	// Client reads and writes objects of any kind.
	Client dynamic.Interface
	// Mapper maps kinds to the cluster's resources.
	Mapper meta.RESTMapper
	// Notify shows progress messages to the user.
	Notify func(message string)
}

// Result is what was done to an object.
type Result struct {
	// Object is the object from the API server's response; without a request, the object that would be applied.
	Object *unstructured.Unstructured
	// Operation says what was done: created, configured, unchanged or deleted.
	Operation string
}

// ApplyOptions say how objects are applied.
type ApplyOptions struct {
	// DryRun has the API server check everything without storing it.
	DryRun bool
	// ForceConflicts takes over fields that another manager owns.
	ForceConflicts bool
	// OnResult is called for each object.
	OnResult func(Result) error
}

// Apply applies the objects of a manifest, and deletes those of the record that the manifest no longer has.
func (c *Cluster) Apply(ctx context.Context, p *Manifest, o ApplyOptions) error {
	before, err := c.readRecord(ctx, p.Namespace)
	if err != nil {
		return err
	}
	objects := p.ApplyOrder()
	obsolete, uids, err := c.filterOwned(ctx, before.obsoleteRefs(objects))
	if err != nil {
		return err
	}
	for i, obj := range objects {
		result, err := c.applyObject(ctx, obj, o)
		switch {
		case o.DryRun && obj.GetNamespace() != "" && isNamespaceNotFound(err):
			c.Notify(fmt.Sprintf("%s was not checked: namespace %s does not exist yet", QualifiedName(obj), obj.GetNamespace()))
			result = Result{obj, "created"}
		case err != nil:
			return err
		}
		if err := o.OnResult(result); err != nil {
			return err
		}
		// The first object is the namespace. The others are recorded before they are created.
		if i == 0 && !o.DryRun {
			if err := c.writeRecord(ctx, p, append(objectRefs(objects), obsolete...)); err != nil {
				return err
			}
		}
		if obj.GetKind() == crdKind && !o.DryRun {
			if err := c.waitCRDEstablished(ctx, obj.GetName()); err != nil {
				return err
			}
		}
	}
	if err := c.prune(ctx, obsolete, uids, o); err != nil || o.DryRun {
		return err
	}
	return c.writeRecord(ctx, p, objectRefs(objects))
}

// applyObject applies one object and returns what that has changed.
func (c *Cluster) applyObject(ctx context.Context, obj *unstructured.Unstructured, o ApplyOptions) (Result, error) {
	at, err := c.resourceForKind(obj.GroupVersionKind(), obj.GetNamespace())
	if err != nil {
		return Result{}, err
	}
	before, err := at.Get(ctx, obj.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		before = nil
	case err != nil:
		return Result{}, wrapAPIError(err, "reading", obj)
	case before.GetDeletionTimestamp() != nil:
		return Result{}, fmt.Errorf("%s is being deleted: try again when it is gone%s", QualifiedName(obj), finalizersText(before))
	case obj.GetKind() == namespaceKind:
		return Result{before, "unchanged"}, nil
	}
	options := metav1.ApplyOptions{FieldManager: FieldManager, Force: o.ForceConflicts || obj.GetKind() == crdKind}
	if o.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	after, err := at.Apply(ctx, obj.GetName(), obj, options)
	if err != nil {
		return Result{}, wrapAPIError(err, "applying", obj)
	}
	result := Result{after, "configured"}
	switch {
	case before == nil:
		result.Operation = "created"
	case equality.Semantic.DeepEqual(dropServerFields(before), dropServerFields(after)):
		result.Operation = "unchanged"
	}
	return result, nil
}

// dropServerFields returns an object without the fields that the API server and controllers write and that change by
// themselves.
func dropServerFields(obj *unstructured.Unstructured) map[string]any {
	out := obj.DeepCopy().Object
	delete(out, "status")
	for _, noted := range []string{"resourceVersion", "managedFields", "generation"} {
		unstructured.RemoveNestedField(out, "metadata", noted)
	}
	return out
}

// filterOwned returns the recorded objects that exist and are ours, with their UIDs: Helm may have created others of the
// same names since.
func (c *Cluster) filterOwned(ctx context.Context, recorded []ObjectRef) (ours []ObjectRef, uids map[ObjectRef]types.UID, err error) {
	uids = map[ObjectRef]types.UID{}
	for _, ref := range recorded {
		uid, err := c.ownedUID(ctx, ref, true)
		if err != nil {
			return nil, nil, err
		}
		if uid != "" {
			ours, uids[ref] = append(ours, ref), uid
		}
	}
	return ours, uids, nil
}

// prune deletes obsolete objects, if they still have the UIDs that were read.
func (c *Cluster) prune(ctx context.Context, obsolete []ObjectRef, uids map[ObjectRef]types.UID, o ApplyOptions) error {
	for _, ref := range obsolete {
		deleted, err := c.deleteObject(ctx, ref, uids[ref], o.DryRun)
		if err != nil {
			return err
		}
		if deleted == nil {
			continue
		}
		if err := o.OnResult(Result{deleted, "deleted"}); err != nil {
			return err
		}
	}
	return nil
}

// deleteObject deletes an object and returns its last state; nil if there is none. If only is set and the object has
// another UID, it is not deleted and the error is a *ReplacedError.
func (c *Cluster) deleteObject(ctx context.Context, ref ObjectRef, only types.UID, dryRun bool) (*unstructured.Unstructured, error) {
	obj, err := c.getObject(ctx, ref)
	if err != nil || obj == nil {
		return nil, err
	}
	if only != "" && obj.GetUID() != only {
		return nil, &ReplacedError{QualifiedName(obj)}
	}
	at, err := c.resourceForRef(ref)
	if err != nil {
		return nil, err
	}
	background, uid := metav1.DeletePropagationBackground, obj.GetUID()
	options := metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid}}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	switch err := at.Delete(ctx, ref.Name, options); {
	case apierrors.IsConflict(err):
		return nil, &ReplacedError{QualifiedName(obj)}
	case err != nil && !apierrors.IsNotFound(err):
		return nil, wrapAPIError(err, "deleting", obj)
	}
	return obj, nil
}

// resourceForRef returns the resource of an object that was recorded earlier. If the cluster no longer serves the recorded
// version, it uses another one.
func (c *Cluster) resourceForRef(ref ObjectRef) (dynamic.ResourceInterface, error) {
	at, err := c.resourceForKind(ref.GroupVersionKind, ref.Namespace)
	if isNoKindMatch(err) {
		return c.resourceForKind(ref.GroupKind().WithVersion(""), ref.Namespace)
	}
	return at, err
}

// resourceForKind returns the resource of a kind in its version, or without a version in the cluster's preferred one.
func (c *Cluster) resourceForKind(kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	var versions []string
	if kind.Version != "" {
		versions = []string{kind.Version}
	}
	mapping, err := c.Mapper.RESTMapping(kind.GroupKind(), versions...)
	if isNoKindMatch(err) {
		return nil, fmt.Errorf("this cluster doesn't serve %s of %s (install it first, or disable it in the values): %w", kind.Kind, kind.GroupVersion(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's resource types: %w", err)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.Client.Resource(mapping.Resource), nil
	}
	return c.Client.Resource(mapping.Resource).Namespace(namespace), nil
}

// wrapAPIError adds to an error the object it is about, and to a conflict what to do.
func wrapAPIError(err error, doing string, obj *unstructured.Unstructured) error {
	if apierrors.IsConflict(err) {
		return fmt.Errorf("%s has fields set by another field manager (%w): take them over with --force-conflicts, or set the values to match", QualifiedName(obj), err)
	}
	return fmt.Errorf("%s %s: %w", doing, QualifiedName(obj), err)
}

// isNamespaceNotFound reports whether an error says that the object's namespace doesn't exist.
func isNamespaceNotFound(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsNotFound(err) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == "namespaces"
}

// finalizersText names the finalizers of an object; empty if there are none.
func finalizersText(obj *unstructured.Unstructured) string {
	if f := obj.GetFinalizers(); len(f) > 0 {
		return " (finalizers: " + strings.Join(f, ", ") + ")"
	}
	return ""
}

// QualifiedName returns an object's name for users, such as deployment.apps/konductor-operator.
func QualifiedName(obj *unstructured.Unstructured) string {
	kind := obj.GroupVersionKind()
	title := strings.ToLower(kind.Kind)
	if kind.Group != "" {
		title += "." + kind.Group
	}
	return title + "/" + obj.GetName()
}

// pollInterval is the interval of polls, where a watch isn't used.
const pollInterval = 200 * time.Millisecond

// podGVR returns the resource of Pods.
func podGVR() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("pods")
}
