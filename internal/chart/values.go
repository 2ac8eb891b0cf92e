package chart

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	openapierrors "k8s.io/kube-openapi/pkg/validation/errors"
	"k8s.io/kube-openapi/pkg/validation/spec"
	"k8s.io/kube-openapi/pkg/validation/strfmt"
	"k8s.io/kube-openapi/pkg/validation/validate"
	sigsyaml "sigs.k8s.io/yaml"
)

// ParseValues parses the values of a YAML file.
func ParseValues(text []byte) (map[string]any, error) {
	values := map[string]any{}
	if err := sigsyaml.Unmarshal(text, &values); err != nil {
		return nil, fmt.Errorf("not a map of values in YAML: %w", err)
	}
	return values, nil
}

// ParseSet returns the values for an assignment such as image.tag=v1. The right side is YAML, so watchNamespaces=[a, b] is
// a list.
func ParseSet(assignment string) (map[string]any, error) {
	name, text, ok := strings.Cut(assignment, "=")
	if !ok || name == "" {
		return nil, fmt.Errorf("%q sets nothing: write NAME=VALUE, for example replicas=3 or image.tag=v1.2.3", assignment)
	}
	var value any
	if err := sigsyaml.Unmarshal([]byte(text), &value); err != nil {
		return nil, fmt.Errorf("the value of %s is not YAML: %w", name, err)
	}
	keys := strings.Split(name, ".")
	for _, key := range slices.Backward(keys) {
		if key == "" {
			return nil, fmt.Errorf("%q has an empty name between its dots: write, for example, image.tag=v1.2.3", assignment)
		}
		value = map[string]any{key: value}
	}
	values, _ := value.(map[string]any)
	return values, nil
}

// MergeValues merges over into base, key by key, and returns the result. A null stays: it removes the chart's value.
func MergeValues(base, over map[string]any) map[string]any {
	out := maps.Clone(base)
	if out == nil {
		out = map[string]any{}
	}
	for key, value := range over {
		inner, isMap := value.(map[string]any)
		before, wasMap := out[key].(map[string]any)
		if isMap && wasMap {
			value = MergeValues(before, inner)
		}
		out[key] = value
	}
	return out
}

// dropNulls returns values without nulls.
func dropNulls(values map[string]any) map[string]any {
	out := map[string]any{}
	for key, value := range values {
		if inner, ok := value.(map[string]any); ok {
			value = dropNulls(inner)
		}
		if value != nil {
			out[key] = value
		}
	}
	return out
}

// mergeAndValidate merges values into the chart's own, validates and returns them.
func mergeAndValidate(all files, values map[string]any) (map[string]any, error) {
	defaults, err := ParseValues(all["values.yaml"])
	if err != nil {
		return nil, fmt.Errorf("reading values.yaml of the chart: %w", err)
	}
	merged := dropNulls(MergeValues(defaults, values))
	schema := &spec.Schema{}
	if err := json.Unmarshal(all["values.schema.json"], schema); err != nil {
		return nil, fmt.Errorf("reading values.schema.json of the chart: %w", err)
	}
	result := validate.NewSchemaValidator(schema, nil, "", strfmt.Default).Validate(merged)
	var wrong []error
	for _, err := range result.Errors {
		// Another of the errors is more specific.
		if len(result.Errors) > 1 && strings.HasSuffix(err.Error(), "(anyOf)") {
			continue
		}
		wrong = append(wrong, fmt.Errorf("value %s", validationMessage(err)))
	}
	return merged, errors.Join(wrong...)
}

// validationMessage returns the message of a validation error without the words that are about web requests.
func validationMessage(err error) string {
	message := strings.TrimPrefix(strings.ReplaceAll(err.Error(), " in body ", " "), ".")
	var coded *openapierrors.Validation
	if errors.As(err, &coded) && coded.Code() == openapierrors.UnallowedPropertyCode || strings.HasSuffix(message, "is a forbidden property") {
		name, _, _ := strings.Cut(message, " ")
		return fmt.Sprintf("%q is not known to the chart: see charts/konductor/README.md for the chart's values", name)
	}
	wrong := regexp.MustCompile(`^(.* must be of type (\w+)): "(\w+)"$`).FindStringSubmatch(message)
	if wrong == nil {
		return message
	}
	message = wrong[1] + ", not " + wrong[3]
	if wrong[2] == "string" {
		message += ": in YAML it needs double quotes"
	}
	return message
}
