package cli

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestRBACOfHeldJobs(t *testing.T) {
	const held = `apiVersion: batch/v1
kind: Job
metadata: {name: report, annotations: {konductor.io/hold: lease/db, konductor.io/arrive: barrier/done}}
---
apiVersion: batch/v1
kind: CronJob
metadata: {name: nightly}
spec: {jobTemplate: {metadata: {annotations: {konductor.io/hold: lease/db}}, spec: {}}}
`
	const after = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: load, annotations: {konductor.io/after: gate/ready}}\n"
	const plain = "apiVersion: batch/v1\nkind: Job\nmetadata: {name: plain}\nspec: {template: {spec: {serviceAccountName: worker}}}\n"
	file := filepath.Join(t.TempDir(), "jobs.yaml")
	for what, test := range map[string]struct {
		manifest, forValue string
		code               int
		out, err           []string // what stdout and stderr contain; stdout has no more Roles than named here
	}{
		"a user who creates held Jobs": {held, "user/jane", 0, []string{
			"name: konductor-create-claims-create-arrivals\n", "name: konductor-create-claims\n", "name: konductor-create-claims-jane\n",
		}, nil},
		"a pipeline that creates one of several": {held + "---\n" + plain, "serviceaccount/ci:deployer", 0, []string{
			"name: konductor-create-claims-create-arrivals\n", "name: konductor-create-claims\n", "name: konductor-create-claims-ci-deployer\n",
		}, nil},
		"accounts, of which those of held Jobs need nothing": {held + "---\n" + plain, "", 0, []string{"name: konductor-participant\n", "name: konductor-participant-worker\n"},
			[]string{"cronjob/nightly needs no rights, but the user who creates it does: for those, pass --for user/NAME or --for serviceaccount/NAMESPACE:NAME, and -f FILE"}},
		"nobody is named":             {held, "", 1, nil, []string{"job/report needs no rights, but the user who creates it does: for those, pass --for user/NAME"}},
		"a number without quotes":     {strings.Replace(after, "gate/ready", "gate/ready, konductor.io/priority: 10", 1), "", 1, nil, []string{"write the values of annotations in quotes"}},
		"no right is needed":          {after, "user/jane", 1, nil, []string{"creating job/load needs no rights of konductor: only annotations konductor.io/hold and konductor.io/arrive require some"}},
		"no Job is held":              {plain, "user/jane", 1, nil, []string{"has no Job or CronJob with annotations of konductor, and creating others needs no rights: leave --for out to check their own accounts"}},
		"a workload is not a creator": {held, "job/x", 1, nil, []string{`with -f, --for must be user/NAME or serviceaccount/NAME, not "job/x"`}},
	} {
		if err := os.WriteFile(file, []byte(test.manifest), 0o600); err != nil {
			t.Fatal(err)
		}
		args := []string{"koncli", "rbac", "--server=https://none.example", "--namespace=etl", "--filename=" + file}
		if test.forValue != "" {
			args = append(args, "--for="+test.forValue)
		}
		got := runCLI(t, args...)
		for _, part := range test.out {
			if !strings.Contains(got.Out, part) {
				t.Errorf("%s: no %q in %s", what, part, got.Out)
			}
		}
		for _, part := range test.err {
			if !strings.Contains(got.Err, part) {
				t.Errorf("%s: no %q in %s", what, part, got.Err)
			}
		}
		roles := 0
		for _, part := range test.out {
			if strings.Contains(got.Out, "kind: Role\nmetadata:\n  "+part) {
				roles++
			}
		}
		if got.Code != test.code || strings.Count(got.Out, "kind: Role\nmetadata") != roles || len(test.err) == 0 && got.Err != "" {
			t.Errorf("%s: %+v", what, got)
		}
	}
}
