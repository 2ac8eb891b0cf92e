package doctor

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/apis/rights"
)

func TestWorkloadOf(t *testing.T) {
	tests := map[string]struct {
		manifest string
		want     Workload
		none     bool
	}{
		"a Job": {
			manifest: "{kind: Job, metadata: {name: load}, spec: {template: {spec: {serviceAccountName: worker}}}}",
			want:     Workload{Subject: rights.Account("etl", "worker"), Namespace: "etl", Of: "job/load"},
		},
		"a Job of another namespace, without an account": {
			manifest: "{kind: Job, metadata: {generateName: load-, namespace: dwh}, spec: {template: {spec: {}}}}",
			want:     Workload{Subject: rights.Account("dwh", "default"), Namespace: "dwh", Of: "job/load-"},
		},
		"a CronJob": {
			manifest: "{kind: CronJob, metadata: {name: nightly}, spec: {jobTemplate: {spec: {template: {spec: {serviceAccountName: worker, automountServiceAccountToken: false}}}}}}",
			want:     Workload{Subject: rights.Account("etl", "worker"), Namespace: "etl", Of: "cronjob/nightly", NoToken: true},
		},
		"a Pod": {
			manifest: "{kind: Pod, metadata: {name: one}, spec: {serviceAccount: old-style}}",
			want:     Workload{Subject: rights.Account("etl", "old-style"), Namespace: "etl", Of: "pod/one"},
		},
		"a ServiceAccount": {
			manifest: "{kind: ServiceAccount, metadata: {name: worker}}",
			want:     Workload{Subject: rights.Account("etl", "worker"), Namespace: "etl"},
		},
		"what has no Pods": {manifest: "{kind: ConfigMap, metadata: {name: c}, data: {}}", none: true},
	}
	for what, test := range tests {
		t.Run(what, func(t *testing.T) {
			obj := &unstructured.Unstructured{}
			if err := yaml.Unmarshal([]byte(test.manifest), &obj.Object); err != nil {
				t.Fatal(err)
			}
			got, ok, err := WorkloadOf(obj, "etl")
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
	for in, want := range map[string]Workload{
		"serviceaccount/worker": {Subject: rights.Account("etl", "worker"), Namespace: "etl"},
		"sa/ci:deployer":        {Subject: rights.Account("ci", "deployer"), Namespace: "etl"},
		"user/jane@example.com": {Subject: rights.User("jane@example.com"), Namespace: "etl"},
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
