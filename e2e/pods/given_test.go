package pods

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/LogicIQ/konductor/e2e/manifest"
)

// given creates the objects of an example as it is, but for the edits, and returns their names.
func (s *scene) given(file string, edits ...edit) []string {
	s.Helper()
	done := make([]bool, len(edits))
	created, err := manifest.Create(s.ctx, s.config, s.namespace, file, func(obj *unstructured.Unstructured) error {
		for i, e := range edits {
			done[i] = e.do(obj) || done[i]
		}
		return nil
	})
	s.ok(err)
	for i, e := range edits {
		if !done[i] {
			s.Fatalf("%s has nothing where %s could be changed: the example is not what the test thinks", file, e.what)
		}
	}
	names := make([]string, len(created))
	for i, obj := range created {
		names[i] = obj.GetName()
	}
	return names
}

// givenMany does so n times.
func (s *scene) givenMany(n int, file string, edits ...edit) (names []string) {
	s.Helper()
	for range n {
		names = append(names, s.given(file, edits...)...)
	}
	return names
}

// edit is a change to an example: numbers, names and how long things take, never what is tested.
type edit struct {
	what string
	// do changes the object and reports whether there was something to change.
	do func(*unstructured.Unstructured) bool
}

// with sets a field, as in with(3, "spec", "permits"), of those objects of that kind.
func with(kind string, value any, path ...string) edit {
	return edit{what: kind + " " + strings.Join(path, "."), do: func(obj *unstructured.Unstructured) bool {
		return obj.GetKind() == kind && unstructured.SetNestedField(obj.Object, value, path...) == nil
	}}
}

// env sets a variable that the containers have.
func env(name, value string) edit {
	return edit{what: "variable " + name, do: func(obj *unstructured.Unstructured) bool {
		return eachContainer(obj, func(c map[string]any) (found bool) {
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

// script replaces a piece of the containers' commands, as in script("sleep 1", "sleep 5").
func script(piece, by string) edit {
	return edit{what: fmt.Sprintf("%q", piece), do: func(obj *unstructured.Unstructured) bool {
		return eachContainer(obj, func(c map[string]any) (found bool) {
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

// eachContainer lets change work on every container and initContainer of the object's Pod template, and reports
// whether it found something to do in any.
func eachContainer(obj *unstructured.Unstructured, change func(map[string]any) bool) (found bool) {
	path := append(template(obj), "spec")
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

// template returns where the object has its Pod template.
func template(obj *unstructured.Unstructured) []string {
	if obj.GetKind() == "CronJob" {
		return []string{"spec", "jobTemplate", "spec", "template"}
	}
	return []string{"spec", "template"}
}
