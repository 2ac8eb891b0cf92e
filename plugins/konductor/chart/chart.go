// Package chart renders konductor's Helm chart without Helm. It knows what the templates of this one chart use, and no
// more; that the objects are those that Helm renders is what the tests in e2e/chart show, for every value.
package chart

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/charts"
)

// ReleaseName is the name that the chart is rendered with.
const ReleaseName = "konductor"

// Release says for what the chart is rendered.
type Release struct {
	// Namespace is where the operator runs.
	Namespace string
	// Version is konductor's, as v1.2.3. The chart's own when empty.
	Version string
	// KubeVersion is that of the API server, as v1.36.3.
	KubeVersion string
	// Service is what manages the objects: the value of their label app.kubernetes.io/managed-by.
	Service string
}

// Rendered is what comes of the chart.
type Rendered struct {
	// Objects are in the order of the chart's files.
	Objects []*unstructured.Unstructured
	// Notes say what to do next.
	Notes string
	// Version is konductor's.
	Version string
}

// metadata is what templates see of Chart.yaml.
type metadata struct {
	Name, Version, AppVersion, KubeVersion string
}

// notesFile is the template that is for people.
const notesFile = "templates/NOTES.txt"

// Render renders the chart with values on top of its own, after it has checked them.
func Render(r Release, values map[string]any) (*Rendered, error) {
	all, err := read()
	if err != nil {
		return nil, err
	}
	merged, err := withDefaults(all, values)
	if err != nil {
		return nil, err
	}
	about, err := describe(all, r)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"Values":       merged,
		"Chart":        about,
		"Files":        all,
		"Release":      map[string]any{"Name": ReleaseName, "Namespace": r.Namespace, "Service": r.Service},
		"Capabilities": map[string]any{"KubeVersion": map[string]any{"Version": r.KubeVersion}},
	}
	tree, err := parse(all)
	if err != nil {
		return nil, err
	}
	out := &Rendered{Version: about.AppVersion}
	for _, name := range all.Glob("templates/*").names() {
		if strings.HasPrefix(path.Base(name), "_") {
			continue
		}
		var text strings.Builder
		if err := tree.ExecuteTemplate(&text, name, data); err != nil {
			return nil, fmt.Errorf("rendering the chart: %w", err)
		}
		// Helm, too, makes nothing of what has no value.
		rendered := strings.ReplaceAll(text.String(), "<no value>", "")
		if name == notesFile {
			out.Notes = rendered
			continue
		}
		objects, err := split(rendered)
		if err != nil {
			return nil, fmt.Errorf("rendering %s of the chart: %w", name, err)
		}
		out.Objects = append(out.Objects, objects...)
	}
	return out, nil
}

// read returns the files of the chart.
func read() (files, error) {
	root, err := fs.Sub(charts.Konductor, "konductor")
	if err != nil {
		return nil, err
	}
	all := files{}
	err = fs.WalkDir(root, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		all[name], err = fs.ReadFile(root, name)
		return err
	})
	return all, err
}

// describe returns what the chart says of itself, with the version of a release.
func describe(all files, r Release) (metadata, error) {
	var m metadata
	if err := sigsyaml.Unmarshal(all["Chart.yaml"], &m); err != nil {
		return m, fmt.Errorf("reading Chart.yaml: %w", err)
	}
	if ok, err := semverCompare(m.KubeVersion, r.KubeVersion); err != nil {
		return m, err
	} else if !ok {
		return m, fmt.Errorf("konductor needs Kubernetes %s, and this is %s", m.KubeVersion, r.KubeVersion)
	}
	if r.Version != "" {
		m.Version, m.AppVersion = strings.TrimPrefix(r.Version, "v"), r.Version
	}
	return m, nil
}

func parse(all files) (*template.Template, error) {
	tree := template.New("chart").Option("missingkey=zero")
	tree.Funcs(functions(tree))
	for _, name := range all.Glob("templates/*").names() {
		if _, err := tree.New(name).Parse(string(all[name])); err != nil {
			return nil, fmt.Errorf("reading the chart: %w", err)
		}
	}
	return tree, nil
}

// split returns the objects of a YAML stream.
func split(text string) (objects []*unstructured.Unstructured, err error) {
	const buffer = 4096
	decoder := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), buffer)
	for {
		obj := &unstructured.Unstructured{}
		if err := decoder.Decode(&obj.Object); errors.Is(err, io.EOF) {
			return objects, nil
		} else if err != nil {
			return nil, err
		}
		if len(obj.Object) > 0 {
			objects = append(objects, obj)
		}
	}
}
