package install

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/LogicIQ/konductor/internal/chart"
)

func newTestManifest(t *testing.T, values map[string]any) *Manifest {
	t.Helper()
	p, err := NewManifest(chart.Release{Namespace: "konductor-system", Version: "v1.2.3", KubeVersion: "v1.36.3"}, values)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestApplyOrder(t *testing.T) {
	objects := newTestManifest(t, AllFeatureValues()).ApplyOrder()
	if first := objects[0]; first.GetKind() != namespaceKind || first.GetName() != "konductor-system" {
		t.Errorf("the first object is %s", QualifiedName(first))
	}
	if last := objects[len(objects)-1]; last.GetKind() != "Deployment" {
		t.Errorf("the last object is %s", QualifiedName(last))
	}
	ranks := map[string]int{}
	for i, obj := range objects {
		ranks[obj.GetKind()] = i
	}
	for before, after := range map[string]string{crdKind: "ServiceAccount", "ClusterRole": "ClusterRoleBinding", "Role": "RoleBinding"} {
		if ranks[before] > ranks[after] {
			t.Errorf("%s comes after %s", before, after)
		}
	}
}

func TestParseObjectRef(t *testing.T) {
	for _, want := range objectRefs(newTestManifest(t, AllFeatureValues()).ApplyOrder()) {
		got, err := parseObjectRef(want.String())
		if err != nil || got != want {
			t.Errorf("%q is read as %v: %v", want, got, err)
		}
	}
	if _, err := parseObjectRef("v1 ConfigMap x"); err == nil {
		t.Error("a line with three words names an object")
	}
}

func TestObsoleteRefs(t *testing.T) {
	record := &Record{Objects: objectRefs(newTestManifest(t, map[string]any{"networkPolicy": map[string]any{"enabled": true}}).ApplyOrder())}
	now := newTestManifest(t, map[string]any{"crds": map[string]any{"install": false}}).ApplyOrder()
	var names []string
	for _, ref := range record.obsoleteRefs(now) {
		names = append(names, ref.Kind)
	}
	if diff := cmp.Diff([]string{"NetworkPolicy"}, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	var none *Record
	if got := none.obsoleteRefs(now); got != nil {
		t.Errorf("without a record %v is obsolete", got)
	}
}

func TestIsNewer(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{"v1.2.0", "v1.1.9", true},
		{"v1.2.0", "v1.2.0", false},
		{"v1.2.0", "v1.2.0-rc.1", true},
		{"v1.10.0", "v1.9.0", true},
		{"dev", "v1.0.0", false},
		{"v1.0.0", "dev", false},
		{"v1.0.0", "", false},
	} {
		if got := IsNewer(c.a, c.b); got != c.want {
			t.Errorf("%q is newer than %q: %t", c.a, c.b, got)
		}
	}
}

func TestNewestVersion(t *testing.T) {
	labelled := func(version string) *unstructured.Unstructured {
		obj := &unstructured.Unstructured{}
		obj.SetLabels(map[string]string{versionLabel: version})
		return obj
	}
	for want, f := range map[string]*State{
		"":       {},
		"v1.1.0": {Operator: labelled("v1.1.0"), CRDs: []*unstructured.Unstructured{labelled("v1.0.0")}},
		"v1.3.0": {Operator: labelled("v1.1.0"), CRDs: []*unstructured.Unstructured{labelled("v1.0.0"), labelled("v1.3.0")}},
		"v1.2.0": {CRDs: []*unstructured.Unstructured{labelled("v1.2.0")}},
		"dev":    {Operator: labelled("dev"), CRDs: []*unstructured.Unstructured{labelled("v1.0.0")}},
	} {
		if got := f.NewestVersion(); got != want {
			t.Errorf("the version is %q, want %q", got, want)
		}
	}
}
