package install

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Found is what there is of konductor in a cluster.
type Found struct {
	// Record is that of the installation in the namespace; nil when there is none.
	Record *Record
	// Operator is the operator's Deployment in the namespace; nil when there is none.
	Operator *unstructured.Unstructured
	// Others are the installations in other namespaces, as far as they may be seen.
	Others []*Record
	// Elsewhere are operators in other namespaces, as far as they may be seen.
	Elsewhere []*unstructured.Unstructured
	// Types are konductor's resource types, as far as they may be seen.
	Types []*unstructured.Unstructured
}

func deployments() schema.GroupVersionResource {
	return appsv1.SchemeGroupVersion.WithResource("deployments")
}

func crds() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

// Look returns what there is of konductor, for an installation in that namespace. Who has rights in that namespace only
// doesn't see what is elsewhere.
func (c *Cluster) Look(ctx context.Context, namespace string) (*Found, error) {
	f := &Found{}
	var err error
	if f.Record, err = c.record(ctx, namespace); err != nil {
		return nil, err
	}
	f.Operator, err = c.Objects.Resource(deployments()).Namespace(namespace).Get(ctx, Deployment, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		f.Operator, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading deployment/%s in namespace %s: %w", Deployment, namespace, err)
	}
	records, err := c.everywhere(ctx, configMaps(), labels.Set{nameLabel: "konductor", componentLabel: "installation"})
	if err != nil {
		return nil, err
	}
	for i := range records {
		if records[i].GetNamespace() == namespace {
			continue
		}
		record, err := parseRecord(&records[i])
		if err != nil {
			return nil, err
		}
		f.Others = append(f.Others, record)
	}
	operators, err := c.everywhere(ctx, deployments(), labels.Set{nameLabel: "konductor", componentLabel: "operator"})
	if err != nil {
		return nil, err
	}
	for i := range operators {
		if operators[i].GetNamespace() != namespace {
			f.Elsewhere = append(f.Elsewhere, &operators[i])
		}
	}
	f.Types, err = c.types(ctx)
	return f, err
}

// everywhere lists the objects with some labels in all namespaces; none when we may not.
func (c *Cluster) everywhere(ctx context.Context, resource schema.GroupVersionResource, with labels.Set) ([]unstructured.Unstructured, error) {
	list, err := c.Objects.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: with.String()})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", resource.Resource, err)
	}
	return list.Items, nil
}

// types returns konductor's resource types; none when we may not see them.
func (c *Cluster) types(ctx context.Context) (found []*unstructured.Unstructured, err error) {
	list, err := c.Objects.Resource(crds()).List(ctx, metav1.ListOptions{})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing customresourcedefinitions: %w", err)
	}
	for i := range list.Items {
		if group, _, _ := unstructured.NestedString(list.Items[i].Object, "spec", "group"); group == konductorv1.GroupName {
			found = append(found, &list.Items[i])
		}
	}
	return found, nil
}

// Namespaces returns the other namespaces that konductor is installed in, as far as they may be seen.
func (f *Found) Namespaces() (all []string) {
	for _, other := range f.Others {
		all = append(all, other.Namespace)
	}
	for _, operator := range f.Elsewhere {
		all = append(all, operator.GetNamespace())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// foreign reports whether a resource type of konductor's group is another's: all that the chart makes say that they are
// konductor's.
func foreign(t *unstructured.Unstructured) bool { return t.GetLabels()[nameLabel] != "konductor" }

// Version returns the newest version that is installed, of the operator or of resource types that were left; empty when
// there is none. Where versions can't be compared it is the operator's.
func (f *Found) Version() string {
	newest := ""
	if f.Operator != nil {
		newest = f.Operator.GetLabels()[versionLabel]
	}
	for _, t := range f.Types {
		if v := t.GetLabels()[versionLabel]; newest == "" || Newer(v, newest) {
			newest = v
		}
	}
	return newest
}

// helm is what the label managed-by says of what Helm has installed.
const helm = "Helm"

// Helm returns the Helm release that has installed the operator; empty when none has.
func (f *Found) Helm() string {
	if f.Operator == nil || f.Operator.GetLabels()[managedByLabel] != helm {
		return ""
	}
	return f.Operator.GetAnnotations()["meta.helm.sh/release-name"]
}

// Check says what is against installing a plan: a newer version, an installation by Helm or by others, or, unless force
// says to take them over, resource types of the same names that somebody else has made.
func (f *Found) Check(p *Plan, force bool) error {
	if release := f.Helm(); release != "" {
		return fmt.Errorf("konductor was installed in namespace %s by Helm: use helm upgrade %s -n %s", p.Namespace, release, p.Namespace)
	}
	if installed := f.Version(); Newer(installed, p.Version) {
		return fmt.Errorf("konductor %s is installed, which is newer than %s: an older operator may not understand what the newer one has written, so use kubectl-konductor %s or newer",
			installed, p.Version, installed)
	}
	for _, operator := range f.Elsewhere {
		if !narrow(operator) || len(p.watched()) == 0 {
			return fmt.Errorf("an operator of konductor runs in namespace %s: upgrade it there with -n %s, or let each have namespaces of its own with the value watchNamespaces",
				operator.GetNamespace(), operator.GetNamespace())
		}
	}
	for _, t := range f.Types {
		planned := slices.ContainsFunc(p.Rendered.Objects, func(obj *unstructured.Unstructured) bool { return refOf(obj).same(refOf(t)) })
		if planned && foreign(t) && !force {
			return fmt.Errorf("%s is there already and not from konductor's chart: its objects may mean something else. Delete it, or take it over with --force-conflicts", Title(t))
		}
	}
	for _, other := range f.Others {
		for _, obj := range p.Rendered.Objects {
			if obj.GetKind() != crdKind && slices.ContainsFunc(other.Objects, refOf(obj).same) {
				return fmt.Errorf("%s belongs to the installation in namespace %s: turn it off here in the values", Title(obj), other.Namespace)
			}
		}
	}
	return nil
}

// watched returns the namespaces that the operator of a plan works in; none for all.
func (p *Plan) watched() []any {
	namespaces, _ := p.Values["watchNamespaces"].([]any)
	return namespaces
}

// narrow reports whether an operator works in some namespaces only.
func narrow(operator *unstructured.Unstructured) bool {
	containers, _, _ := unstructured.NestedSlice(operator.Object, "spec", "template", "spec", "containers")
	for _, container := range containers {
		container, _ := container.(map[string]any)
		args, _, _ := unstructured.NestedStringSlice(container, "args")
		for _, arg := range args {
			if strings.HasPrefix(arg, "--watch-namespaces=") {
				return true
			}
		}
	}
	return false
}
