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
	"k8s.io/client-go/discovery"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// State is the state of konductor in a cluster.
type State struct {
	// Record is the record of the installation in the namespace; nil if there is none.
	Record *Record
	// Operator is the operator's Deployment in the namespace; nil if there is none.
	Operator *unstructured.Unstructured
	// OtherRecords are the records of other namespaces, as far as they can be read.
	OtherRecords []*Record
	// OtherOperators are the operators in other namespaces, as far as they can be read.
	OtherOperators []*unstructured.Unstructured
	// CRDs are konductor's CRDs, as far as they can be read.
	CRDs []*unstructured.Unstructured
}

func deploymentGVR() schema.GroupVersionResource {
	return appsv1.SchemeGroupVersion.WithResource("deployments")
}

func crdGVR() schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
}

// ServedAPIVersions lists the served API versions and kinds, as chart.Release takes them. Those of an aggregated API server
// that is unavailable are left out: konductor needs none of them.
func ServedAPIVersions(d discovery.DiscoveryInterface) ([]string, error) {
	_, lists, err := d.ServerGroupsAndResources()
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, fmt.Errorf("reading the cluster's resource types: %w", err)
	}
	var served []string
	for _, list := range lists {
		served = append(served, list.GroupVersion)
		for i := range list.APIResources {
			served = append(served, list.GroupVersion+"/"+list.APIResources[i].Kind)
		}
	}
	return served, nil
}

// ReadState returns the state of konductor, for an installation in that namespace. A user with rights in that namespace
// only doesn't see other namespaces.
func (c *Cluster) ReadState(ctx context.Context, namespace string) (*State, error) {
	f := &State{}
	var err error
	if f.Record, err = c.readRecord(ctx, namespace); err != nil {
		return nil, err
	}
	f.Operator, err = c.Client.Resource(deploymentGVR()).Namespace(namespace).Get(ctx, DeploymentName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		f.Operator, err = nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading deployment/%s in namespace %s: %w", DeploymentName, namespace, err)
	}
	records, err := c.listAllNamespaces(ctx, configMapGVR(), labels.Set{nameLabel: "konductor", componentLabel: "installation"})
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
		f.OtherRecords = append(f.OtherRecords, record)
	}
	operators, err := c.listAllNamespaces(ctx, deploymentGVR(), labels.Set{nameLabel: "konductor", componentLabel: "operator"})
	if err != nil {
		return nil, err
	}
	for i := range operators {
		if operators[i].GetNamespace() != namespace {
			f.OtherOperators = append(f.OtherOperators, &operators[i])
		}
	}
	f.CRDs, err = c.listCRDs(ctx)
	return f, err
}

// listAllNamespaces lists the objects with some labels in all namespaces; none if that is forbidden.
func (c *Cluster) listAllNamespaces(ctx context.Context, resource schema.GroupVersionResource, with labels.Set) ([]unstructured.Unstructured, error) {
	list, err := c.Client.Resource(resource).List(ctx, metav1.ListOptions{LabelSelector: with.String()})
	if apierrors.IsForbidden(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", resource.Resource, err)
	}
	return list.Items, nil
}

// listCRDs returns konductor's CRDs; none if that is forbidden.
func (c *Cluster) listCRDs(ctx context.Context) (found []*unstructured.Unstructured, err error) {
	list, err := c.Client.Resource(crdGVR()).List(ctx, metav1.ListOptions{})
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

// OtherNamespaces returns the other namespaces that konductor is installed in, as far as they can be read.
func (f *State) OtherNamespaces() (all []string) {
	for _, other := range f.OtherRecords {
		all = append(all, other.Namespace)
	}
	for _, operator := range f.OtherOperators {
		all = append(all, operator.GetNamespace())
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// isForeignCRD reports whether a CRD of konductor's group isn't from the chart, which labels all its CRDs.
func isForeignCRD(t *unstructured.Unstructured) bool { return t.GetLabels()[nameLabel] != "konductor" }

// NewestVersion returns the newest installed version, of the operator or of CRDs that were left behind; empty if there is
// none. If versions can't be compared it returns the operator's.
func (f *State) NewestVersion() string {
	newest := ""
	if f.Operator != nil {
		newest = f.Operator.GetLabels()[versionLabel]
	}
	for _, t := range f.CRDs {
		if v := t.GetLabels()[versionLabel]; newest == "" || IsNewer(v, newest) {
			newest = v
		}
	}
	return newest
}

// managedByHelm is the value of the label managed-by for objects that Helm has installed.
const managedByHelm = "Helm"

// HelmRelease returns the Helm release that has installed the operator; empty if none has.
func (f *State) HelmRelease() string {
	if f.Operator == nil || f.Operator.GetLabels()[managedByLabel] != managedByHelm {
		return ""
	}
	return f.Operator.GetAnnotations()["meta.helm.sh/release-name"]
}

// Preflight returns an error if a manifest must not be installed: because of a newer version, an installation by Helm or of
// others, or CRDs of the same names that aren't from the chart. force takes such CRDs over.
func (f *State) Preflight(p *Manifest, force bool) error {
	if release := f.HelmRelease(); release != "" {
		return fmt.Errorf("konductor was installed in namespace %s by Helm: use helm upgrade %s -n %s", p.Namespace, release, p.Namespace)
	}
	if installed := f.NewestVersion(); IsNewer(installed, p.Version) {
		return fmt.Errorf("konductor %s is installed, which is newer than %s: use kubectl-konductor %s or newer, because an older operator may not understand what the newer one has written",
			installed, p.Version, installed)
	}
	for _, operator := range f.OtherOperators {
		if !hasWatchNamespaces(operator) || len(p.watchNamespaces()) == 0 {
			return fmt.Errorf("a konductor operator is running in namespace %s: upgrade it with -n %s, or give each operator its own namespaces with the value watchNamespaces",
				operator.GetNamespace(), operator.GetNamespace())
		}
	}
	for _, t := range f.CRDs {
		planned := slices.ContainsFunc(p.Objects, func(obj *unstructured.Unstructured) bool { return newObjectRef(obj).isSameObject(newObjectRef(t)) })
		if planned && isForeignCRD(t) && !force {
			return fmt.Errorf("%s already exists and isn't from konductor's chart, so its objects may have another meaning: delete it, or take it over with --force-conflicts", QualifiedName(t))
		}
	}
	for _, other := range f.OtherRecords {
		for _, obj := range p.Objects {
			if obj.GetKind() != crdKind && slices.ContainsFunc(other.Objects, newObjectRef(obj).isSameObject) {
				return fmt.Errorf("%s belongs to the installation in namespace %s: disable it in the values of this one", QualifiedName(obj), other.Namespace)
			}
		}
	}
	return nil
}

// watchNamespaces returns the namespaces that the manifest's operator works in; empty: all.
func (p *Manifest) watchNamespaces() []any {
	namespaces, _ := p.Values["watchNamespaces"].([]any)
	return namespaces
}

// hasWatchNamespaces reports whether an operator works in some namespaces only.
func hasWatchNamespaces(operator *unstructured.Unstructured) bool {
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
