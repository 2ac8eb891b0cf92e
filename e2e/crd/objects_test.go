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

// parseManifest parses a manifest without apiVersion, namespace and, possibly, name: those are filled in.
func parseManifest(t *testing.T, manifest string) *unstructured.Unstructured {
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

// createFromManifest creates the object of a manifest, as kubectl does: an unknown field is an error.
func createFromManifest(ctx context.Context, t *testing.T, manifest string) (*unstructured.Unstructured, error) {
	t.Helper()
	obj := parseManifest(t, manifest)
	err := apiClient.Create(ctx, obj, client.FieldValidation(metav1.FieldValidationStrict))
	return obj, err
}

// mustCreate creates an object that the API server has to accept, and deletes it at the end.
func mustCreate(ctx context.Context, t *testing.T, manifest string) *unstructured.Unstructured {
	t.Helper()
	obj, err := createFromManifest(ctx, t, manifest)
	if err != nil {
		t.Fatalf("refused, and it is as it should be: %v\n%s", err, manifest)
	}
	t.Cleanup(func() { _ = apiClient.Delete(context.WithoutCancel(ctx), obj) })
	return obj
}

// patchFromYAML merges a change into an object: into its status if that is what it changes, as the operator does, else into the
// rest, as users and participants do.
func patchFromYAML(ctx context.Context, t *testing.T, obj *unstructured.Unstructured, change string) error {
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
		err = apiClient.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, patch))
	} else {
		err = apiClient.Patch(ctx, target, client.RawPatch(types.MergePatchType, patch))
	}
	if err == nil {
		*obj = *target
	}
	return err
}

// mustPatch makes a change that the API server has to accept.
func mustPatch(ctx context.Context, t *testing.T, obj *unstructured.Unstructured, change string) {
	t.Helper()
	if err := patchFromYAML(ctx, t, obj, change); err != nil {
		t.Fatalf("refused, and it is as it should be: %v\n%s", err, change)
	}
}

// checkRejected checks that the API server rejected the request with these words, which are those of Kubernetes 1.36.
func checkRejected(t *testing.T, err error, words string) {
	t.Helper()
	words = serverVersion.ExpectedError(words)
	switch {
	case err == nil:
		t.Errorf("accepted, want: %s", words)
	case !strings.Contains(err.Error(), words) || words == "":
		t.Errorf("refused with\n  %v\nwant\n  %s", err, words)
	}
}
