// Package chart renders konductor's Helm chart without Helm. It implements what the templates of this chart use, and no
// more. The tests in e2e/chart check for every value that Helm renders the same objects.
package chart

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"text/template"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	sigsyaml "sigs.k8s.io/yaml"

	"github.com/LogicIQ/konductor/charts"
)

// ReleaseName is the Helm release name that the chart is rendered with.
const ReleaseName = "konductor"

// Release is what the chart is rendered for.
type Release struct {
	// Namespace is the operator's namespace.
	Namespace string
	// Version is konductor's version, such as v1.2.3; empty: the chart's own.
	Version string
	// KubeVersion is the API server's version, such as v1.36.3.
	KubeVersion string
	// APIVersions are the API versions and kinds that the API server serves, such as "apps/v1" and "apps/v1/Deployment".
	// Empty if it wasn't asked: as in Helm without a cluster, the templates then find no kinds.
	APIVersions []string
	// Service is the manager of the objects: the value of their label app.kubernetes.io/managed-by.
	Service string
}

// Rendered is the rendered chart.
type Rendered struct {
	// Objects are in the order of the chart's files.
	Objects []*unstructured.Unstructured
	// Notes say what to do next.
	Notes string
	// Version is konductor's version.
	Version string
}

// apiVersions is Capabilities.APIVersions of the templates: Release.APIVersions.
type apiVersions []string

// Has reports whether the API server serves a group version, or a kind of it.
func (served apiVersions) Has(name string) bool { return slices.Contains(served, name) }

// chartMetadata is Chart of the templates: Chart.yaml.
type chartMetadata struct {
	Name, Version, AppVersion, KubeVersion string
}

// notesFile is the template of the notes for the user.
const notesFile = "templates/NOTES.txt"

// Render validates values, and renders the chart with them on top of the chart's own.
func Render(r Release, values map[string]any) (*Rendered, error) {
	all, err := readFiles()
	if err != nil {
		return nil, err
	}
	merged, err := mergeAndValidate(all, values)
	if err != nil {
		return nil, err
	}
	about, err := loadMetadata(all, r)
	if err != nil {
		return nil, err
	}
	data := map[string]any{
		"Values":       merged,
		"Chart":        about,
		"Files":        all,
		"Release":      map[string]any{"Name": ReleaseName, "Namespace": r.Namespace, "Service": r.Service},
		"Capabilities": map[string]any{"KubeVersion": map[string]any{"Version": r.KubeVersion}, "APIVersions": apiVersions(r.APIVersions)},
	}
	tree, err := parseTemplates(all)
	if err != nil {
		return nil, err
	}
	out := &Rendered{Version: about.AppVersion}
	for _, name := range all.Glob("templates/*").sortedPaths() {
		if strings.HasPrefix(path.Base(name), "_") {
			continue
		}
		var text strings.Builder
		if err := tree.ExecuteTemplate(&text, name, data); err != nil {
			return nil, fmt.Errorf("rendering the chart: %w", err)
		}
		// Helm replaces this as well.
		rendered := strings.ReplaceAll(text.String(), "<no value>", "")
		if name == notesFile {
			out.Notes = rendered
			continue
		}
		objects, err := decodeYAMLStream(rendered)
		if err != nil {
			return nil, fmt.Errorf("rendering %s of the chart: %w", name, err)
		}
		out.Objects = append(out.Objects, objects...)
	}
	return out, nil
}

// readFiles returns the chart's files.
func readFiles() (files, error) {
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

// loadMetadata returns the metadata of Chart.yaml, with the version of a release.
func loadMetadata(all files, r Release) (chartMetadata, error) {
	var m chartMetadata
	if err := sigsyaml.Unmarshal(all["Chart.yaml"], &m); err != nil {
		return m, fmt.Errorf("reading Chart.yaml: %w", err)
	}
	if ok, err := semverCompare(m.KubeVersion, r.KubeVersion); err != nil {
		return m, err
	} else if !ok {
		return m, fmt.Errorf("konductor needs Kubernetes %s, not %s", m.KubeVersion, r.KubeVersion)
	}
	if r.Version != "" {
		m.Version, m.AppVersion = strings.TrimPrefix(r.Version, "v"), r.Version
	}
	return m, nil
}

func parseTemplates(all files) (*template.Template, error) {
	tree := template.New("chart").Option("missingkey=zero")
	tree.Funcs(newFuncMap(tree))
	for _, name := range all.Glob("templates/*").sortedPaths() {
		if _, err := tree.New(name).Parse(string(all[name])); err != nil {
			return nil, fmt.Errorf("reading the chart: %w", err)
		}
	}
	return tree, nil
}

// decodeYAMLStream returns the objects of a YAML stream.
func decodeYAMLStream(text string) (objects []*unstructured.Unstructured, err error) {
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
