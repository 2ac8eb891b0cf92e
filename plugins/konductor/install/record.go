package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/plugins/konductor/chart"
)

// recordName is the name of the ConfigMap that is the record of an installation.
const recordName = "konductor-installation"

// Record is what an installation says of itself.
type Record struct {
	// Namespace is where it is.
	Namespace string
	// Version is konductor's.
	Version string
	// Values are those that differ from the chart's own.
	Values map[string]any
	// Objects are what it has made, or was about to make when it was cut short.
	Objects []Ref
}

// configMaps is where records are.
func configMaps() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("configmaps")
}

// record returns the record of the installation in a namespace; nil when there is none.
func (c *Cluster) record(ctx context.Context, namespace string) (*Record, error) {
	obj, err := c.Objects.Resource(configMaps()).Namespace(namespace).Get(ctx, recordName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading configmap/%s in namespace %s: %w", recordName, namespace, err)
	}
	return parseRecord(obj)
}

func parseRecord(obj *unstructured.Unstructured) (*Record, error) {
	data, _, err := unstructured.NestedStringMap(obj.Object, "data")
	r := &Record{Namespace: obj.GetNamespace(), Version: data["version"]}
	if err == nil {
		r.Values, err = chart.Parse([]byte(data["values.yaml"]))
	}
	for line := range strings.Lines(data["objects"]) {
		ref, wrong := parseRef(strings.TrimSuffix(line, "\n"))
		err = errors.Join(err, wrong)
		r.Objects = append(r.Objects, ref)
	}
	if err != nil {
		return nil, fmt.Errorf("configmap/%s in namespace %s is not as konductor wrote it: %w", recordName, r.Namespace, err)
	}
	return r, nil
}

// note writes the record.
func (c *Cluster) note(ctx context.Context, p *Plan, objects []Ref) error {
	values, err := yaml.Marshal(p.Values)
	if err != nil {
		return err
	}
	var lines strings.Builder
	for _, ref := range objects {
		lines.WriteString(ref.String() + "\n")
	}
	record := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": corev1.SchemeGroupVersion.String(), "kind": "ConfigMap",
		"metadata": map[string]any{
			"name": recordName, "namespace": p.Namespace,
			"labels": map[string]any{nameLabel: "konductor", componentLabel: "installation", managedByLabel: FieldManager},
		},
		"data": map[string]any{"version": p.Version, "values.yaml": string(values), "objects": lines.String()},
	}}
	_, err = c.Objects.Resource(configMaps()).Namespace(p.Namespace).Apply(ctx, recordName, record, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("writing configmap/%s in namespace %s: %w", recordName, p.Namespace, err)
	}
	return nil
}

// obsolete returns what the record has and objects don't. Resource types are never obsolete: with them, all objects would go.
func (r *Record) obsolete(objects []*unstructured.Unstructured) (gone []Ref) {
	if r == nil {
		return nil
	}
	for _, ref := range r.Objects {
		kept := slices.ContainsFunc(objects, func(obj *unstructured.Unstructured) bool { return refOf(obj).same(ref) })
		if !kept && ref.Kind != crdKind {
			gone = append(gone, ref)
		}
	}
	return gone
}
