package chart

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func newTestRelease() Release {
	return Release{Namespace: "konductor-system", KubeVersion: "v1.36.3", Service: "test", Version: "v1.2.3"}
}

func TestRender(t *testing.T) {
	rendered, err := Render(newTestRelease(), nil)
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]int{}
	for _, obj := range rendered.Objects {
		kinds[obj.GetKind()]++
		if obj.GetKind() == "Deployment" && obj.GetLabels()["app.kubernetes.io/version"] != "v1.2.3" {
			t.Errorf("the Deployment's labels are %v", obj.GetLabels())
		}
	}
	if kinds["CustomResourceDefinition"] != 6 || kinds["Deployment"] != 1 || kinds["ServiceAccount"] != 1 {
		t.Errorf("the chart has %v", kinds)
	}
	if n := strings.Count(rendered.Notes, "\n  kubectl "); n != 3 {
		t.Errorf("the notes have %d commands, want 3:\n%s", n, rendered.Notes)
	}
	if rendered.Version != "v1.2.3" {
		t.Errorf("the version is %s", rendered.Version)
	}
}

func TestRenderSkipsUnservedKinds(t *testing.T) {
	const group = "admissionregistration.k8s.io/"
	served := func(versions ...string) []string {
		all := []string{"apps/v1", "apps/v1/Deployment", group + "v1", group + "v1/ValidatingAdmissionPolicy"}
		for _, v := range versions {
			all = append(all, group+v, group+v+"/MutatingAdmissionPolicy", group+v+"/MutatingAdmissionPolicyBinding")
		}
		return all
	}
	for name, tc := range map[string]struct {
		version string
		served  []string
		want    string
	}{
		"1.36, by the version alone":               {version: "v1.36.3", want: group + "v1"},
		"1.34, by the version alone":               {version: "v1.34.9"},
		"1.36":                                     {version: "v1.36.3", served: served("v1", "v1beta1"), want: group + "v1"},
		"1.36 where it was turned off":             {version: "v1.36.3", served: served()},
		"1.34 where the beta version is turned on": {version: "v1.34.9+k3s1", served: served("v1beta1"), want: group + "v1beta1"},
		"1.34 as it comes":                         {version: "v1.34.9", served: served()},
		"1.32 with the alpha version":              {version: "v1.32.9", served: served("v1alpha1")},
	} {
		t.Run(name, func(t *testing.T) {
			r := newTestRelease()
			r.KubeVersion, r.APIVersions = tc.version, tc.served
			rendered, err := Render(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, obj := range rendered.Objects {
				if strings.HasPrefix(obj.GetKind(), "MutatingAdmissionPolicy") {
					got = append(got, obj.GetAPIVersion())
				}
			}
			var want []string
			if tc.want != "" {
				want = []string{tc.want}
			}
			if diff := cmp.Diff(want, slices.Compact(got)); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestRenderInvalidValues(t *testing.T) {
	for assignment, want := range map[string]string{
		"replica=3":               `value "replica" is not known to the chart`,
		"metrics.prot=1":          `value "metrics.prot" is not known to the chart`,
		"replicas=many":           "value replicas must be of type integer, not string",
		"image.tag=1.10":          "value image.tag must be of type string, not number: in YAML it needs double quotes",
		"replicas=-1":             "value replicas should be greater than or equal to 0",
		"replicas=1.5":            "value replicas must be of type integer",
		"log.level=loud":          "value log.level should be one of [debug info warn error]",
		"watchNamespaces=etl":     "value watchNamespaces must be of type array",
		"watchNamespaces=[A_b]":   "value watchNamespaces[0] should match",
		"watchNamespaces=[a, a]":  "value watchNamespaces shouldn't contain duplicates",
		"image.digest=sha256:abc": "value image.digest should match",
		"metrics.port=80":         "value metrics.port should be greater than or equal to 1024",
		"extraArgs=[log]":         "value extraArgs[0] should match",
	} {
		values, err := ParseSet(assignment)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Render(newTestRelease(), values); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %q in it", assignment, err, want)
		}
	}
}

func TestRenderReportsAnyOfErrorOnce(t *testing.T) {
	values, err := ParseSet("podDisruptionBudget.maxUnavailable=all")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Render(newTestRelease(), values); err == nil || strings.Count(err.Error(), "value ") != 1 {
		t.Errorf("the error is %v, want one sentence", err)
	}
}

func TestParseSet(t *testing.T) {
	for assignment, want := range map[string]map[string]any{
		"replicas=3":             {"replicas": 3.0},
		"image.tag=":             {"image": map[string]any{"tag": nil}},
		`image.tag=""`:           {"image": map[string]any{"tag": ""}},
		"watchNamespaces=[a, b]": {"watchNamespaces": []any{"a", "b"}},
		"extraEnv=[{name: A, value: b=c}]": {"extraEnv": []any{
			map[string]any{"name": "A", "value": "b=c"},
		}},
	} {
		got, err := ParseSet(assignment)
		if err != nil {
			t.Errorf("%s: %v", assignment, err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", assignment, diff)
		}
	}
	for assignment, want := range map[string]string{
		"replicas":    "write NAME=VALUE",
		"=3":          "write NAME=VALUE",
		"image..tag=": "empty name",
		"a=[":         "not YAML",
	} {
		if _, err := ParseSet(assignment); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: the error is %v, want %q in it", assignment, err, want)
		}
	}
}

func TestMergeValuesNullRemoves(t *testing.T) {
	base := map[string]any{"a": map[string]any{"x": 1, "y": 2}, "b": []any{1}, "c": 3}
	over := map[string]any{"a": map[string]any{"y": 5}, "b": []any{}, "c": nil}
	want := map[string]any{"a": map[string]any{"x": 1, "y": 5}, "b": []any{}}
	if diff := cmp.Diff(want, dropNulls(MergeValues(base, over))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if base["c"] != 3 {
		t.Error("what was merged into has changed")
	}
}
