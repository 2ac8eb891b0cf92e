package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The table is between these lines of the README.
const (
	tableBeginMarker = "<!-- values: written by make generate -->\n"
	tableEndMarker   = "<!-- end of values -->"
)

// updateReadme replaces the table in the README of a chart.
func updateReadme(chart string) error {
	values, err := os.ReadFile(filepath.Join(chart, "values.yaml"))
	if err != nil {
		return err
	}
	rows, err := valuesTable(values)
	if err != nil {
		return err
	}
	file := filepath.Join(chart, "README.md")
	readme, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, found := strings.Cut(string(readme), tableBeginMarker)
	_, after, closed := strings.Cut(rest, tableEndMarker)
	if !found || !closed {
		return fmt.Errorf("%s lacks the lines %q and %q", file, strings.TrimSpace(tableBeginMarker), tableEndMarker)
	}
	const readable = 0o644
	return os.WriteFile(file, []byte(before+tableBeginMarker+rows+tableEndMarker+after), readable)
}

// valuesTable returns the values with their defaults and comments. A value without a comment is an error.
func valuesTable(values []byte) (string, error) {
	var document yaml.Node
	if err := yaml.Unmarshal(values, &document); err != nil {
		return "", fmt.Errorf("values.yaml: %w", err)
	}
	if len(document.Content) != 1 || document.Content[0].Kind != yaml.MappingNode {
		return "", errors.New("values.yaml has no map of values")
	}
	rows, err := valueRows("", document.Content[0])
	return "| value | default | what it is for |\n|---|---|---|\n" + rows, err
}

// valueRows returns the rows of the values in a map.
func valueRows(prefix string, values *yaml.Node) (rows string, err error) {
	for i := 0; i+1 < len(values.Content); i += 2 {
		name, value := values.Content[i], values.Content[i+1]
		path, comment := prefix+name.Value, lastParagraph(name.HeadComment)
		if comment == "" {
			if value.Kind != yaml.MappingNode || len(value.Content) == 0 {
				return "", fmt.Errorf("values.yaml line %d: %s has no comment that says what it is for", name.Line, path)
			}
			inner, err := valueRows(path+".", value)
			if err != nil {
				return "", err
			}
			rows += inner
			continue
		}
		flow, err := flowStyleYAML(value)
		if err != nil {
			return "", err
		}
		rows += fmt.Sprintf("| `%s` | `%s` | %s |\n", path, flow, strings.ReplaceAll(comment, "|", `\|`))
	}
	return rows, nil
}

// lastParagraph returns the last paragraph of a comment, in one line.
func lastParagraph(comment string) string {
	paragraphs := strings.Split(strings.TrimSpace(comment), "\n\n")
	var all []string
	for line := range strings.Lines(paragraphs[len(paragraphs)-1]) {
		all = append(all, strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), "#")))
	}
	return strings.Join(all, " ")
}

// flowStyleYAML returns a value as YAML in one line, without the comments in it.
func flowStyleYAML(value *yaml.Node) (string, error) {
	plain := *value
	plain.Style, plain.HeadComment, plain.LineComment, plain.FootComment = yaml.FlowStyle, "", "", ""
	if value.Kind == yaml.ScalarNode {
		plain.Style = value.Style
	}
	text, err := yaml.Marshal(&plain)
	return strings.Join(strings.Fields(string(text)), " "), err
}
