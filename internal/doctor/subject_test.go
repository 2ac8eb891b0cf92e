package doctor

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/internal/rbac"
)

func TestSubjectOf(t *testing.T) {
	tests := map[string]struct {
		manifest string
		want     Subject
		none     bool
	}{
		"a Job": {
			manifest: "{kind: Job, metadata: {name: load}, spec: {template: {spec: {serviceAccountName: worker}}}}",
			want:     Subject{RBACSubject: rbac.ServiceAccountSubject("etl", "worker"), Namespace: "etl", Workload: "job/load"},
		},
		"a Job of another namespace, without an account": {
			manifest: "{kind: Job, metadata: {generateName: load-, namespace: dwh}, spec: {template: {spec: {}}}}",
			want:     Subject{RBACSubject: rbac.ServiceAccountSubject("dwh", "default"), Namespace: "dwh", Workload: "job/load-"},
		},
		"a CronJob": {
			manifest: "{apiVersion: batch/v1, kind: CronJob, metadata: {name: nightly}, spec: {jobTemplate: {spec: {template: {spec: {serviceAccountName: worker, automountServiceAccountToken: false}}}}}}",
			want:     Subject{RBACSubject: rbac.ServiceAccountSubject("etl", "worker"), Namespace: "etl", Workload: "cronjob/nightly", TokenDisabled: true},
		},
		"a Pod": {
			manifest: "{apiVersion: v1, kind: Pod, metadata: {name: one}, spec: {serviceAccount: old-style}}",
			want:     Subject{RBACSubject: rbac.ServiceAccountSubject("etl", "old-style"), Namespace: "etl", Workload: "pod/one"},
		},
		"a ServiceAccount": {
			manifest: "{apiVersion: v1, kind: ServiceAccount, metadata: {name: worker}}",
			want:     Subject{RBACSubject: rbac.ServiceAccountSubject("etl", "worker"), Namespace: "etl"},
		},
		"a CronJob of another group, whose Pods are elsewhere": {
			manifest: "{apiVersion: other.io/v1, kind: CronJob, metadata: {name: nightly}, spec: {jobTemplate: {spec: {template: {spec: {serviceAccountName: another}}}}, template: {spec: {serviceAccountName: worker}}}}",
			want:     Subject{RBACSubject: rbac.ServiceAccountSubject("etl", "worker"), Namespace: "etl", Workload: "cronjob/nightly"},
		},
		"what has no Pods": {manifest: "{kind: ConfigMap, metadata: {name: c}, data: {}}", none: true},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			obj := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(test.manifest), &obj.Object); err != nil {
				t.Fatal(err)
			}
			got, ok, err := SubjectOf(obj, "etl")
			if err != nil || ok == test.none {
				t.Fatalf("found: %v, %v", ok, err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestParseSubject(t *testing.T) {
	for in, want := range map[string]Subject{
		"serviceaccount/worker": {RBACSubject: rbac.ServiceAccountSubject("etl", "worker"), Namespace: "etl"},
		"sa/ci:deployer":        {RBACSubject: rbac.ServiceAccountSubject("ci", "deployer"), Namespace: "etl"},
		"user/jane@example.com": {RBACSubject: rbac.UserSubject("jane@example.com"), Namespace: "etl"},
	} {
		if got, ok := ParseSubject(in, "etl"); !ok || got != want {
			t.Errorf("%s is read as %v", in, got)
		}
	}
	for _, in := range []string{"", "worker", "sa/", "sa/ci:", "job/load"} {
		if got, ok := ParseSubject(in, "etl"); ok {
			t.Errorf("%q is read as %v", in, got)
		}
	}
}
