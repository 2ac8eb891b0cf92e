package crd

import (
	"context"
	"encoding/json"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// parse reads a manifest without apiVersion, namespace and, if it has none, name: those are filled in.
func parse(t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	obj := &unstructured.Unstructured{}
	if err := yaml.UnmarshalStrict([]byte(manifest), &obj.Object); err != nil {
		t.Fatalf("%v in\n%s", err, manifest)
	}
	obj.SetAPIVersion(konductorv1.GroupVersion().String())
	obj.SetNamespace(metav1.NamespaceDefault)
	if obj.GetName() == "" {
		obj.SetGenerateName("test-")
	}
	return obj
}

// create creates the object of a manifest, as kubectl does: a field that the type doesn't have is an error.
func create(ctx context.Context, t *testing.T, manifest string) (*unstructured.Unstructured, error) {
	t.Helper()
	obj := parse(t, manifest)
	err := api.Create(ctx, obj, client.FieldValidation(metav1.FieldValidationStrict))
	return obj, err
}

// mustCreate creates an object that the API server has to accept, and deletes it at the end.
func mustCreate(ctx context.Context, t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	obj, err := create(ctx, t, manifest)
	if err != nil {
		t.Fatalf("refused, and it is as it should be: %v\n%s", err, manifest)
	}
	t.Cleanup(func() { _ = api.Delete(context.WithoutCancel(ctx), obj) })
	return obj
}

// write merges a change into an object: into its status if that is what it changes, as the operator does it, else into
// the rest, as users and participants do it.
func write(ctx context.Context, t *testing.T, obj *unstructured.Unstructured, change string) error {
	t.Helper()
	patch, err := yaml.YAMLToJSON([]byte(change))
	if err != nil {
		t.Fatalf("%v in\n%s", err, change)
	}
	var parts map[string]any
	if err := json.Unmarshal(patch, &parts); err != nil {
		t.Fatal(err)
	}
	target := obj.DeepCopy()
	if _, ok := parts["status"]; ok {
		err = api.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, patch))
	} else {
		err = api.Patch(ctx, target, client.RawPatch(types.MergePatchType, patch))
	}
	if err == nil {
		*obj = *target
	}
	return err
}

// mustWrite makes a change that the API server has to accept.
func mustWrite(ctx context.Context, t *testing.T, obj *unstructured.Unstructured, change string) {
	t.Helper()
	if err := write(ctx, t, obj, change); err != nil {
		t.Fatalf("refused, and it is as it should be: %v\n%s", err, change)
	}
}

// refused checks that the API server refused, and said so in these words.
func refused(t *testing.T, err error, words string) {
	t.Helper()
	switch {
	case err == nil:
		t.Errorf("accepted, want: %s", words)
	case !strings.Contains(err.Error(), words) || words == "":
		t.Errorf("refused with\n  %v\nwant\n  %s", err, words)
	}
}
