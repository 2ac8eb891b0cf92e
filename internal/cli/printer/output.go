package printer

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// WriteOperation writes that something was done to an object, without output flags.
func WriteOperation(w io.Writer, kind, name, what string) {
	fmt.Fprintf(w, "%s/%s %s\n", QualifiedKind(kind), name, what)
}

// QualifiedKind returns a kind as kubectl prints it before an object's name.
func QualifiedKind(kind string) string { return strings.ToLower(kind) + "." + konductorv1.GroupName }

// NoneFoundText says that there are none of a resource. An empty namespace means all.
func NoneFoundText(resource, namespace string) string {
	if namespace == "" {
		return "no " + resource + " found in any namespace"
	}
	return fmt.Sprintf("no %s found in namespace %s", resource, namespace)
}

// WriteLines writes lines.
func WriteLines(w io.Writer, lines []string) error {
	_, err := fmt.Fprintln(w, strings.Join(lines, "\n"))
	return err
}

// WriteJSON writes a value as JSON.
func WriteJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "    ")
	return e.Encode(v)
}

// WriteJSONOrYAML writes a value as JSON or YAML.
func WriteJSONOrYAML(w io.Writer, format string, v any) error {
	b, err := json.MarshalIndent(v, "", "    ")
	if err != nil {
		return err
	}
	if format == "yaml" {
		if b, err = yaml.JSONToYAML(b); err != nil {
			return err
		}
	} else {
		b = append(b, '\n')
	}
	_, err = w.Write(b)
	return err
}
