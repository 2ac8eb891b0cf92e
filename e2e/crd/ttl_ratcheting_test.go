package crd

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

const minTTLMessage = "must be at least 1s"

// TestTTLValidationRatcheting has objects that were created when a TTL had no minimum: the operator must be able to write their
// status, and their holders to renew.
func TestTTLValidationRatcheting(t *testing.T) {
	const before = "before.example.com"
	crds, err := chartCRDs()
	if err != nil {
		t.Fatal(err)
	}
	anything, err := dynamic.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	for kind, test := range map[string]struct{ spec, status, further string }{
		"Lease":     {`{"ttl":"5ms"}`, `{"status":{"waiting":1}}`, `{"metadata":{"labels":{"a":"b"}}}`},
		"Semaphore": {`{"permits":1,"ttl":"5ms"}`, `{"status":{"waiting":1}}`, `{"spec":{"permits":2}}`},
		"Claim": {`{"target":{"kind":"Lease","name":"l"},"holder":"me","ttl":"5ms"}`, `{"status":{"phase":"Granted","fencingToken":7}}`,
			`{"spec":{"renewals":1}}`},
	} {
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			i := slices.IndexFunc(crds, func(c *apiextensionsv1.CustomResourceDefinition) bool { return c.Spec.Names.Kind == kind })
			crd := crds[i]
			crd.Spec.Group, crd.Name = before, crd.Spec.Names.Plural+"."+before
			crd.Spec.Names.ShortNames, crd.Spec.Names.Categories = nil, nil
			old := withoutMinTTLRule(t, crd)
			options := envtest.CRDInstallOptions{CRDs: []*apiextensionsv1.CustomResourceDefinition{old}, MaxTime: time.Minute}
			if _, err := envtest.InstallCRDs(config, options); err != nil {
				t.Fatal(err)
			}
			objects := anything.Resource(schema.GroupVersionResource{Group: before, Version: "v1", Resource: crd.Spec.Names.Plural}).Namespace("default")
			create := func(name string, options metav1.CreateOptions) error {
				obj := map[string]any{"apiVersion": before + "/v1", "kind": kind, "metadata": map[string]any{"name": name}}
				var spec map[string]any
				if err := json.Unmarshal([]byte(test.spec), &spec); err != nil {
					t.Fatal(err)
				}
				obj["spec"] = spec
				_, err := objects.Create(t.Context(), &unstructured.Unstructured{Object: obj}, options)
				return err
			}
			eventually(t, "an object with a short ttl", func() bool { return create("old", metav1.CreateOptions{}) == nil })
			upgraded := &apiextensionsv1.CustomResourceDefinition{}
			if err := apiClient.Get(t.Context(), client.ObjectKey{Name: crd.Name}, upgraded); err != nil {
				t.Fatal(err)
			}
			upgraded.Spec = crd.Spec
			if err := apiClient.Update(t.Context(), upgraded); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the rule", func() bool {
				err := create("new", metav1.CreateOptions{DryRun: []string{"All"}})
				return err != nil && strings.Contains(err.Error(), minTTLMessage)
			})
			if _, err := objects.Patch(t.Context(), "old", "application/merge-patch+json", []byte(test.status), metav1.PatchOptions{}, "status"); serverVersion.RatchetsStatus() != (err == nil) {
				t.Errorf("its status: %v", err)
			}
			if !serverVersion.RatchetsStatus() {
				return
			}
			if _, err := objects.Patch(t.Context(), "old", "application/merge-patch+json", []byte(test.further), metav1.PatchOptions{}); err != nil {
				t.Errorf("the rest: %v", err)
			}
		})
	}
}

// withoutMinTTLRule returns the CRD as it was before a TTL had to be at least a second.
func withoutMinTTLRule(t *testing.T, crd *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
	t.Helper()
	old := crd.DeepCopy()
	spec := old.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
	ttl := spec.Properties["ttl"]
	had := len(ttl.XValidations)
	ttl.XValidations = slices.DeleteFunc(slices.Clone(ttl.XValidations), func(r apiextensionsv1.ValidationRule) bool { return strings.Contains(r.Message, minTTLMessage) })
	if len(ttl.XValidations) != had-1 {
		t.Fatalf("the ttl of a %s has no such rule", crd.Spec.Names.Kind)
	}
	spec.Properties["ttl"] = ttl
	return old
}

// eventually polls until condition is true.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	look := time.NewTicker(50 * time.Millisecond)
	defer look.Stop()
	for !condition() {
		select {
		case <-look.C:
		case <-ctx.Done():
			t.Fatalf("waited in vain for %s", what)
		}
	}
}
