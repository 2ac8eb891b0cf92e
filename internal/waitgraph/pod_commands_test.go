package waitgraph

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

func readCalls(c *corev1.Container) []Call {
	calls, _ := newCallReader().readContainer(c)
	return calls
}

func (c *Call) String() string {
	s := strings.Join(c.commandLine(), " ")
	if c.OnlyCommand {
		s += " (alone)"
	}
	return s
}

func TestReadContainer(t *testing.T) {
	for name, test := range map[string]struct {
		container corev1.Container
		want      string
	}{
		"a command":                               {corev1.Container{Command: []string{"koncli", "gate", "wait", "g", "--timeout=30m"}}, "koncli Gate wait g (alone)"},
		"a path":                                  {corev1.Container{Command: []string{"/konductor/koncli", "kbar", "arrive", "b", "--wait"}}, "koncli Barrier arrive b --wait (alone)"},
		"command and args":                        {corev1.Container{Command: []string{"koncli"}, Args: []string{"sem", "acquire", "--permits", "3", "s"}}, "koncli Semaphore acquire s --permits=3 (alone)"},
		"the image's own entrypoint":              {corev1.Container{Image: "registry:5000/logiciq/koncli:v1@sha256:0", Args: []string{"lease", "acquire", "l"}}, "koncli Lease acquire l (alone)"},
		"as a plugin":                             {corev1.Container{Command: []string{"kubectl", "konductor", "lease", "release", "l"}}, "koncli Lease release l (alone)"},
		"one that doesn't wait":                   {corev1.Container{Command: []string{"koncli", "lease", "acquire", "l", "--timeout", "0"}}, "koncli Lease acquire l --timeout=0 (alone)"},
		"under a name of its own":                 {corev1.Container{Command: []string{"koncli", "barrier", "arrive", "b", "--holder", "me"}}, "koncli Barrier arrive b --holder=other (alone)"},
		"a variable of the manifest":              {corev1.Container{Command: []string{"koncli", "barrier", "wait", "$(B)"}, Env: []corev1.EnvVar{{Name: "B", Value: "x"}}}, "koncli Barrier wait x (alone)"},
		"a variable from elsewhere":               {corev1.Container{Command: []string{"koncli", "barrier", "wait", "$(B)"}}, ""},
		"a variable of one before it":             {corev1.Container{Command: []string{"koncli", "barrier", "wait", "$(C)"}, Env: []corev1.EnvVar{{Name: "B", Value: "x"}, {Name: "C", Value: "$(B)-$(D)"}, {Name: "D", Value: "y"}, {Name: "C", Value: "$(B)-$(D)"}}}, "koncli Barrier wait x-y (alone)"},
		"a variable of one after it":              {corev1.Container{Command: []string{"koncli", "barrier", "wait", "$(C)"}, Env: []corev1.EnvVar{{Name: "C", Value: "$(B)"}, {Name: "B", Value: "x"}}}, ""},
		"a value that looks like one":             {corev1.Container{Command: []string{"koncli", "barrier", "wait", "$(B)"}, Env: []corev1.EnvVar{{Name: "C", Value: "x"}, {Name: "B", Value: "$$(C)"}}}, ""},
		"a reference that is none":                {corev1.Container{Command: []string{"koncli", "barrier", "wait", "$$(B)"}, Env: []corev1.EnvVar{{Name: "B", Value: "x"}}}, ""},
		"a value that comes from elsewhere later": {corev1.Container{Command: []string{"koncli", "barrier", "wait", "$(B)"}, Env: []corev1.EnvVar{{Name: "B", Value: "x"}, {Name: "B", ValueFrom: &corev1.EnvVarSource{}}}}, ""},
		"a variable that isn't set in a script":   {corev1.Container{Command: []string{"sh", "-c", "koncli gate wait g$N"}}, ""},
		"a script of one call":                    {corev1.Container{Command: []string{"sh", "-ec", "exec koncli gate wait g"}}, "koncli Gate wait g (alone)"},
		"a script with quotes":                    {corev1.Container{Command: []string{"bash", "-c", `N=1; koncli gate wait "g" 'more' && run`}}, "koncli Gate wait g"},
		"a script with what it computes":          {corev1.Container{Command: []string{"sh", "-c", "koncli gate wait $(name); koncli barrier arrive ${B}-done"}, Env: []corev1.EnvVar{{Name: "B", Value: "x"}}}, "koncli Barrier arrive x-done"},
		"a condition and a loop":                  {corev1.Container{Command: []string{"sh", "-c", "if koncli lease acquire l --timeout 0; then while true; do koncli lease renew l; done; fi"}}, "koncli Lease acquire l --timeout=0"},
		"what isn't a script":                     {corev1.Container{Command: []string{"sh", "-c", "koncli gate wait 'g"}}, ""},
		"talk of it":                              {corev1.Container{Command: []string{"echo", "koncli gate wait g"}}, ""},
		"another namespace":                       {corev1.Container{Command: []string{"koncli", "gate", "wait", "g", "-n", "other"}}, ""},
		"while a command runs":                    {corev1.Container{Command: []string{"koncli", "run", "--semaphore", "s:2", "--lease=l", "--arrive", "b", "--", "koncli", "gate", "wait", "g"}}, "koncli Lease acquire l; koncli Semaphore acquire s --permits=2; koncli Barrier arrive b; koncli Lease release l; koncli Semaphore release s"},
		"while one thing is held":                 {corev1.Container{Command: []string{"sh", "-c", "exec koncli run --lease l ./migrate --lease other"}}, "koncli Lease acquire l; koncli Lease release l"},
		"a sidecar":                               {corev1.Container{Command: []string{"koncli", "hold", "--lease", "a", "--lease", "b", "--listen", ":8470"}}, "koncli Lease acquire a; koncli Lease acquire b"},
		"nothing":                                 {corev1.Container{Image: "koncli"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, formatCalls(readCalls(&test.container))); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func formatCalls(calls []Call) string {
	var all []string
	for i := range calls {
		all = append(all, calls[i].String())
	}
	return strings.Join(all, "; ")
}

func TestPodCallsOfExamples(t *testing.T) {
	want := map[string]string{
		"cronjob/report.yaml":             "koncli Lease acquire nightly-report --timeout=0; koncli Lease release nightly-report",
		"etl/extract.yaml":                "koncli Barrier arrive extracts-done",
		"etl/transform.yaml":              "koncli Barrier wait extracts-done (alone); koncli Barrier arrive transforms-done",
		"etl/load.yaml":                   "koncli Gate wait ready-to-load (alone)",
		"fan-in/fan-in.yaml":              "koncli Barrier arrive parts-made; koncli Barrier wait parts-made (alone)",
		"gate/approve.yaml":               "koncli Barrier arrive approved (alone)",
		"gate/deploy.yaml":                "koncli Gate wait dependencies-ready (alone)",
		"leader-election/controller.yaml": "koncli Lease acquire controller-leader; koncli Lease release controller-leader",
		"migration/migration.yaml":        "koncli Lease acquire db-migration (alone); koncli Lease release db-migration (alone)",
		"once/once.yaml":                  "koncli Lease acquire init; koncli Lease release init",
		"quorum/consumer.yaml":            "koncli Barrier wait shards-ready (alone)",
		"quorum/failing-worker.yaml":      "koncli Barrier arrive shards-ready",
		"quorum/worker.yaml":              "koncli Barrier arrive shards-ready (alone)",
		"retry/crashing-job.yaml":         "koncli Barrier arrive parts-done; koncli Barrier wait crashed --timeout=0; koncli Barrier arrive crashed",
		"retry/indexed-job.yaml":          "koncli Barrier arrive parts-done (alone)",
		"run/migrate.yaml":                "koncli Lease acquire db-migration; koncli Barrier arrive migrated; koncli Lease release db-migration",
		"sidecar/job.yaml":                "koncli Semaphore acquire licenses",
		"semaphore/job.yaml":              "koncli Semaphore acquire db-connections (alone)",
	}
	got := map[string]string{}
	files, err := filepath.Glob("../../examples/*/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var calls []Call
		for _, document := range strings.Split(string(content), "\n---\n") {
			// A CronJob has its Job's spec one level deeper. A Deployment's spec is like a Job's.
			var obj struct {
				Spec struct {
					batchv1.JobSpec `json:",inline"`
					JobTemplate     batchv1.JobTemplateSpec `json:"jobTemplate"`
				} `json:"spec"`
			}
			if err := yaml.Unmarshal([]byte(document), &obj); err != nil {
				t.Fatalf("%s: %v", file, err)
			}
			for _, spec := range []*corev1.PodSpec{&obj.Spec.Template.Spec, &obj.Spec.JobTemplate.Spec.Template.Spec} {
				for _, c := range podCalls(spec, nil) {
					calls = append(calls, c.calls...)
				}
			}
		}
		if len(calls) > 0 {
			got[filepath.Base(filepath.Dir(file))+"/"+filepath.Base(file)] = formatCalls(calls)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStripContainersKeepsCalls(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		word := rapid.SampledFrom([]string{"koncli", "gate", "wait", "acquire", "semaphore", "arrive", "barrier", "--permits", "3", "x", ";", "&&", "'", "$X", "$(", "\n", "--wait", "-n", "sh", "-c"})
		words := rapid.SliceOfN(word, 0, 12).Draw(t, "words")
		c := corev1.Container{Name: "c", Command: words}
		if rapid.Bool().Draw(t, "script") {
			c.Command = []string{"sh", "-c", strings.Join(words, " ")}
		}
		before := readCalls(&c)
		after := podCalls(&corev1.PodSpec{Containers: newCallReader().stripContainers([]corev1.Container{c})}, nil)
		var kept []Call
		for _, one := range after {
			kept = append(kept, one.calls...)
		}
		if diff := cmp.Diff(formatCalls(before), formatCalls(kept)); diff != "" {
			t.Fatalf("%q (-before +after):\n%s", fmt.Sprint(c.Command), diff)
		}
	})
}
