// Package install puts the objects of konductor's chart into a cluster, by server-side apply, and takes them away again.
//
// What it has installed it notes in a ConfigMap beside the operator, the record, before it does so: with it, an upgrade
// knows which values were asked for and what is no longer needed, and an uninstallation what there is to delete, also
// where an earlier attempt was cut short.
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
	"k8s.io/client-go/dynamic"
)

// FieldManager is the owner of the fields that are applied.
const FieldManager = "kubectl-konductor"

// Deployment is the name of the operator's.
const Deployment = "konductor-operator"

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

// Cluster is where konductor is installed.
type Cluster struct {
	// Objects reads and writes objects of any kind.
	Objects dynamic.Interface
	// Mapper knows the cluster's resource types.
	Mapper meta.RESTMapper
	// Say tells people how far things are.
	Say func(message string)
}

// Result is what became of an object.
type Result struct {
	// Object is as the API server has it; as it was asked for when the API server was not asked.
	Object *unstructured.Unstructured
	// Verb says what was done: created, configured, unchanged or deleted.
	Verb string
}

// ApplyOptions say how objects are applied.
type ApplyOptions struct {
	// DryRun lets the API server check everything, without keeping it.
	DryRun bool
	// Force takes over fields that somebody else has set.
	Force bool
	// Done is told of each object.
	Done func(Result) error
}

// Apply makes the cluster have the objects of a plan, and no longer what an earlier one had and this one hasn't.
func (c *Cluster) Apply(ctx context.Context, p *Plan, o ApplyOptions) error {
	before, err := c.record(ctx, p.Namespace)
	if err != nil {
		return err
	}
	objects := p.Objects()
	obsolete := before.obsolete(objects)
	for i, obj := range objects {
		result, err := c.apply(ctx, obj, o)
		switch {
		case o.DryRun && obj.GetNamespace() != "" && missingNamespace(err):
			c.Say(fmt.Sprintf("%s was not checked: namespace %s does not exist yet", Title(obj), obj.GetNamespace()))
			result = Result{obj, "created"}
		case err != nil:
			return err
		}
		if err := o.Done(result); err != nil {
			return err
		}
		// The first is the namespace. What comes next is noted before it is there.
		if i == 0 && !o.DryRun {
			if err := c.note(ctx, p, append(refs(objects), obsolete...)); err != nil {
				return err
			}
		}
		if obj.GetKind() == crdKind && !o.DryRun {
			if err := c.awaitServed(ctx, obj.GetName()); err != nil {
				return err
			}
		}
	}
	if err := c.prune(ctx, obsolete, o); err != nil || o.DryRun {
		return err
	}
	return c.note(ctx, p, refs(objects))
}

// apply applies one object and says what that has changed.
func (c *Cluster) apply(ctx context.Context, obj *unstructured.Unstructured, o ApplyOptions) (Result, error) {
	at, err := c.at(obj.GroupVersionKind(), obj.GetNamespace())
	if err != nil {
		return Result{}, err
	}
	before, err := at.Get(ctx, obj.GetName(), metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		before = nil
	case err != nil:
		return Result{}, explain(err, "reading", obj)
	case before.GetDeletionTimestamp() != nil:
		return Result{}, fmt.Errorf("%s is being deleted: try again when it is gone%s", Title(obj), keptBy(before))
	case obj.GetKind() == namespaceKind:
		return Result{before, "unchanged"}, nil
	}
	options := metav1.ApplyOptions{FieldManager: FieldManager, Force: o.Force || obj.GetKind() == crdKind}
	if o.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	after, err := at.Apply(ctx, obj.GetName(), obj, options)
	if err != nil {
		return Result{}, explain(err, "applying", obj)
	}
	result := Result{after, "configured"}
	switch {
	case before == nil:
		result.Verb = "created"
	case equality.Semantic.DeepEqual(asked(before), asked(after)):
		result.Verb = "unchanged"
	}
	return result, nil
}

// asked returns of an object what was asked for, without what the API server and controllers note, which changes by itself.
func asked(obj *unstructured.Unstructured) map[string]any {
	out := obj.DeepCopy().Object
	delete(out, "status")
	for _, noted := range []string{"resourceVersion", "managedFields", "generation"} {
		unstructured.RemoveNestedField(out, "metadata", noted)
	}
	return out
}

// prune deletes what is no longer needed.
func (c *Cluster) prune(ctx context.Context, obsolete []Ref, o ApplyOptions) error {
	for _, ref := range obsolete {
		deleted, err := c.delete(ctx, ref, o.DryRun)
		if err != nil {
			return err
		}
		if deleted == nil {
			continue
		}
		if err := o.Done(Result{deleted, "deleted"}); err != nil {
			return err
		}
	}
	return nil
}

// delete deletes an object and returns it as it was; nil when there is none.
func (c *Cluster) delete(ctx context.Context, ref Ref, dryRun bool) (*unstructured.Unstructured, error) {
	obj, err := c.get(ctx, ref)
	if err != nil || obj == nil {
		return nil, err
	}
	at, err := c.at(ref.GroupVersionKind, ref.Namespace)
	if err != nil {
		return nil, err
	}
	background, uid := metav1.DeletePropagationBackground, obj.GetUID()
	options := metav1.DeleteOptions{PropagationPolicy: &background, Preconditions: &metav1.Preconditions{UID: &uid}}
	if dryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	if err := at.Delete(ctx, ref.Name, options); err != nil && !apierrors.IsNotFound(err) {
		return nil, explain(err, "deleting", obj)
	}
	return obj, nil
}

// at returns where the objects of a kind are.
func (c *Cluster) at(kind schema.GroupVersionKind, namespace string) (dynamic.ResourceInterface, error) {
	mapping, err := c.Mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if noSuchKind(err) {
		return nil, fmt.Errorf("this cluster doesn't know %s of %s, install that first or turn it off in the values: %w", kind.Kind, kind.GroupVersion(), err)
	}
	if err != nil {
		return nil, fmt.Errorf("asking for the cluster's resource types: %w", err)
	}
	if mapping.Scope.Name() == meta.RESTScopeNameRoot {
		return c.Objects.Resource(mapping.Resource), nil
	}
	return c.Objects.Resource(mapping.Resource).Namespace(namespace), nil
}

// explain says what an error is about, and of a conflict what to do.
func explain(err error, doing string, obj *unstructured.Unstructured) error {
	if apierrors.IsConflict(err) {
		return fmt.Errorf("%s has fields that somebody else has set (%w): take them over with --force-conflicts, or set the values to what they are", Title(obj), err)
	}
	return fmt.Errorf("%s %s: %w", doing, Title(obj), err)
}

// missingNamespace reports whether the API server can't look at an object since its namespace isn't there.
func missingNamespace(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsNotFound(err) {
		return false
	}
	details := status.Status().Details
	return details != nil && details.Kind == "namespaces"
}

// keptBy says what keeps an object from being gone; nothing when that is not known.
func keptBy(obj *unstructured.Unstructured) string {
	if f := obj.GetFinalizers(); len(f) > 0 {
		return " (what is left to do: " + strings.Join(f, ", ") + ")"
	}
	return ""
}

// Title is how people are told of an object, as deployment.apps/konductor-operator.
func Title(obj *unstructured.Unstructured) string {
	kind := obj.GroupVersionKind()
	title := strings.ToLower(kind.Kind)
	if kind.Group != "" {
		title += "." + kind.Group
	}
	return title + "/" + obj.GetName()
}

// pause is how long nothing is asked when the API server tells of nothing by itself.
const pause = 200 * time.Millisecond

// podsResource is the resource type of Pods.
func podsResource() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("pods")
}
