package release

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/e2e/cluster/toolchain/toolchaintest"
)

// workflow has the fields of a GitHub workflow that are tested.
type workflow struct {
	Permissions map[string]string `json:"permissions"`
	Jobs        map[string]struct {
		Permissions map[string]string `json:"permissions"`
		Steps       []struct {
			Uses string         `json:"uses"`
			Run  string         `json:"run"`
			With map[string]any `json:"with"`
		} `json:"steps"`
	} `json:"jobs"`
}

func TestActionlint(t *testing.T) {
	// shellcheck is off: the result must not depend on the programs of this machine.
	mustRun(t, repoRoot(t), nil, toolchaintest.ProgramPath(t, "actionlint"), "-shellcheck=", "-pyflakes=")
}

func TestWorkflowPermissionsAndTargets(t *testing.T) {
	files, err := filepath.Glob(filepath.Join(repoRoot(t), ".github/workflows/*.yaml"))
	if err != nil || len(files) != 2 {
		t.Fatalf("workflows: %v, %v, want test and release", files, err)
	}
	targets := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?m)^([a-z-]+):`).FindAllStringSubmatch(string(readFile(t, filepath.Join(repoRoot(t), "Makefile"))), -1) {
		targets[m[1]] = true
	}
	allowed := map[string]map[string]string{"release": {"contents": "write"}}
	for _, file := range files {
		var w workflow
		if err := yaml.Unmarshal(readFile(t, file), &w); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		if len(w.Permissions) != 1 || w.Permissions["contents"] != "read" {
			t.Errorf("%s has the rights %v, want to read contents", name, w.Permissions)
		}
		for id, job := range w.Jobs {
			for right, level := range job.Permissions {
				if allowed[name][right] != level {
					t.Errorf("%s, job %s has the right %s: %s", name, id, right, level)
				}
			}
			for _, step := range job.Steps {
				if step.Uses != "" && !regexp.MustCompile(`^[\w-]+/[\w-]+@v\d+\.\d+\.\d+$`).MatchString(step.Uses) {
					t.Errorf("%s, job %s uses %s, want an exact version", name, id, step.Uses)
				}
				if strings.HasPrefix(step.Uses, "actions/checkout@") && step.With["persist-credentials"] != false {
					t.Errorf("%s, job %s leaves its credentials in the checkout", name, id)
				}
				for _, m := range regexp.MustCompile(`\bmake ([a-z-]+)`).FindAllStringSubmatch(step.Run, -1) {
					if !targets[m[1]] {
						t.Errorf("%s, job %s runs make %s, which there is not", name, id, m[1])
					}
				}
			}
		}
	}
}
