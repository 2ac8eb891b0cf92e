package pods

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/LogicIQ/konductor/e2e/manifest"
)

// createExample creates the objects of an example unchanged, except for the edits, and returns their names.
func (s *testEnv) createExample(file string, edits ...exampleEdit) []string {
	s.Helper()
	done := make([]bool, len(edits))
	created, err := manifest.Create(s.ctx, s.config, s.namespace, file, func(obj *unstructured.Unstructured) error {
		for i, e := range edits {
			done[i] = e.apply(obj) || done[i]
		}
		return nil
	})
	s.must(err)
	for i, e := range edits {
		if !done[i] {
			s.Fatalf("%s has nothing where %s could be changed: the example is not what the test thinks", file, e.description)
		}
	}
	names := make([]string, len(created))
	for i, obj := range created {
		names[i] = obj.GetName()
	}
	return names
}

// createExampleTimes does so n times.
func (s *testEnv) createExampleTimes(n int, file string, edits ...exampleEdit) (names []string) {
	s.Helper()
	for range n {
		names = append(names, s.createExample(file, edits...)...)
	}
	return names
}

// exampleEdit is a change to an example: numbers, names and durations, never what is tested.
type exampleEdit struct {
	description string
	// apply changes the object and reports whether there was something to change.
	apply func(*unstructured.Unstructured) bool
}

// setField sets a field, as in setField("Semaphore", 3, "spec", "permits"), of all objects of that kind.
func setField(kind string, value any, path ...string) exampleEdit {
	return exampleEdit{description: kind + " " + strings.Join(path, "."), apply: func(obj *unstructured.Unstructured) bool {
		return obj.GetKind() == kind && unstructured.SetNestedField(obj.Object, value, path...) == nil
	}}
}

// setEnvVar sets a variable in the containers that have it.
func setEnvVar(name, value string) exampleEdit {
	return exampleEdit{description: "variable " + name, apply: func(obj *unstructured.Unstructured) bool {
		return forEachContainer(obj, func(c map[string]any) (found bool) {
			variables, _, _ := unstructured.NestedSlice(c, "env")
			for _, v := range variables {
				if v, ok := v.(map[string]any); ok && v["name"] == name {
					v["value"], found = value, true
				}
			}
			return found && unstructured.SetNestedSlice(c, variables, "env") == nil
		})
	}}
}

// replaceInCommand replaces a part of the containers' commands, as in replaceInCommand("sleep 1", "sleep 5").
func replaceInCommand(piece, by string) exampleEdit {
	return exampleEdit{description: fmt.Sprintf("%q", piece), apply: func(obj *unstructured.Unstructured) bool {
		return forEachContainer(obj, func(c map[string]any) (found bool) {
			words, _, _ := unstructured.NestedStringSlice(c, "command")
			for i, word := range words {
				if strings.Contains(word, piece) {
					words[i], found = strings.ReplaceAll(word, piece, by), true
				}
			}
			return found && unstructured.SetNestedStringSlice(c, words, "command") == nil
		})
	}}
}

// forEachContainer calls change with every container and initContainer of the object's Pod template, and reports whether it
// returned true for any.
func forEachContainer(obj *unstructured.Unstructured, change func(map[string]any) bool) (found bool) {
	path := append(podTemplatePath(obj), "spec")
	for _, list := range []string{"initContainers", "containers"} {
		path := append(path, list)
		containers, _, _ := unstructured.NestedSlice(obj.Object, path...)
		for _, c := range containers {
			if c, ok := c.(map[string]any); ok && change(c) {
				found = unstructured.SetNestedSlice(obj.Object, containers, path...) == nil
			}
		}
	}
	return found
}

// podTemplatePath returns the path of the object's Pod template.
func podTemplatePath(obj *unstructured.Unstructured) []string {
	if obj.GetKind() == "CronJob" {
		return []string{"spec", "jobTemplate", "spec", "template"}
	}
	return []string{"spec", "template"}
}
