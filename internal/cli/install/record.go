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

	"github.com/LogicIQ/konductor/internal/chart"
)

// recordName is the name of the ConfigMap with the record of an installation.
const recordName = "konductor-installation"

// Record is the record of an installation.
type Record struct {
	// Namespace is the operator's namespace.
	Namespace string
	// Version is konductor's version.
	Version string
	// Values are the values that differ from the chart's own.
	Values map[string]any
	// Objects are those that it has created, or was about to create when it was interrupted.
	Objects []ObjectRef
}

// configMapGVR returns the resource of ConfigMaps, which hold the records.
func configMapGVR() schema.GroupVersionResource {
	return corev1.SchemeGroupVersion.WithResource("configmaps")
}

// readRecord returns the record of the installation in a namespace; nil if there is none.
func (c *Cluster) readRecord(ctx context.Context, namespace string) (*Record, error) {
	obj, err := c.Client.Resource(configMapGVR()).Namespace(namespace).Get(ctx, recordName, metav1.GetOptions{})
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
		r.Values, err = chart.ParseValues([]byte(data["values.yaml"]))
	}
	for line := range strings.Lines(data["objects"]) {
		ref, wrong := parseObjectRef(strings.TrimSuffix(line, "\n"))
		err = errors.Join(err, wrong)
		r.Objects = append(r.Objects, ref)
	}
	if err != nil {
		return nil, fmt.Errorf("configmap/%s in namespace %s is not a valid installation record: %w", recordName, r.Namespace, err)
	}
	return r, nil
}

// writeRecord writes the record.
func (c *Cluster) writeRecord(ctx context.Context, p *Manifest, objects []ObjectRef) error {
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
	_, err = c.Client.Resource(configMapGVR()).Namespace(p.Namespace).Apply(ctx, recordName, record, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err != nil {
		return fmt.Errorf("writing configmap/%s in namespace %s: %w", recordName, p.Namespace, err)
	}
	return nil
}

// obsoleteRefs returns the recorded objects that are not among objects. CRDs are never obsolete: deleting them would delete
// all their objects.
func (r *Record) obsoleteRefs(objects []*unstructured.Unstructured) (gone []ObjectRef) {
	if r == nil {
		return nil
	}
	for _, ref := range r.Objects {
		kept := slices.ContainsFunc(objects, func(obj *unstructured.Unstructured) bool { return newObjectRef(obj).isSameObject(ref) })
		if !kept && ref.Kind != crdKind {
			gone = append(gone, ref)
		}
	}
	return gone
}
