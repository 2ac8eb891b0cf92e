package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestValuesTable(t *testing.T) {
	got, err := valuesTable([]byte("# How many.\nreplicas: 2\n\nimage:\n  # Which,\n  # a|b.\n  tag: \"\"\n# All\nresources:\n  requests:\n    cpu: 1\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := "| value | default | what it is for |\n|---|---|---|\n" +
		"| `replicas` | `2` | How many. |\n" +
		"| `image.tag` | `\"\"` | Which, a\\|b. |\n" +
		"| `resources` | `{requests: {cpu: 1}}` | All |\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for text, part := range map[string]string{
		"a:\n  b: 1\n": "a.b has no comment",
		"a: {}\n":      "a has no comment",
		"- a\n":        "no map",
	} {
		if _, err := valuesTable([]byte(text)); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("%q: the error is %v, want %q in it", text, err, part)
		}
	}
}

func TestUpdateReadme(t *testing.T) {
	dir := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put("values.yaml", "# How many.\nreplicas: 2\n")
	put("README.md", "before\n"+tableBeginMarker+"old\n"+tableEndMarker+"\nafter\n")
	if err := updateReadme(dir); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(filepath.Join(dir, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	want := "before\n" + tableBeginMarker + "| value | default | what it is for |\n|---|---|---|\n| `replicas` | `2` | How many. |\n" + tableEndMarker + "\nafter\n"
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	put("README.md", "nothing")
	if err := updateReadme(dir); err == nil {
		t.Error("a README without a place for the table is accepted")
	}
}
