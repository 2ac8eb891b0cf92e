package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPagesAreReproducible(t *testing.T) {
	generate := func() (all pages) {
		all = pages{}
		for _, make := range []func() (pages, error){markdownPages, manPages} {
			p, err := make()
			if err != nil {
				t.Fatal(err)
			}
			for name, text := range p {
				all[name] = text
			}
		}
		return all
	}
	here := generate()
	for _, variable := range []string{"HOME", "TMPDIR", "KUBECACHEDIR", "KUBECONFIG", "HOSTNAME", "TZ", "SOURCE_DATE_EPOCH"} {
		t.Setenv(variable, "/somewhere/else")
	}
	if diff := cmp.Diff(here, generate()); diff != "" {
		t.Errorf("pages of another machine differ (-here +there):\n%s", diff)
	}
	for name, text := range here {
		if strings.Contains(text, "Auto generated") {
			t.Errorf("%s says when it was generated", name)
		}
	}
}

func TestPagePerVisibleCommand(t *testing.T) {
	root, err := commandTree()
	if err != nil {
		t.Fatal(err)
	}
	markdown, err := markdownPages()
	if err != nil {
		t.Fatal(err)
	}
	man, err := manPages()
	if err != nil {
		t.Fatal(err)
	}
	commands := visibleCommands(root)
	if len(markdown) != len(commands) || len(man) != 2*len(commands) {
		t.Errorf("%d commands have %d Markdown pages and %d man pages", len(commands), len(markdown), len(man))
	}
	for _, page := range []string{"README.md", "barrier_wait.md", "run.md"} {
		if !strings.HasPrefix(markdown[page], "# ") {
			t.Errorf("%s has no title:\n%s", page, markdown[page])
		}
	}
	if _, ok := markdown["keep.md"]; ok {
		t.Error("a command that is hidden has a page")
	}
	// The page of the program's other name refers to that of the same command.
	const want = ".so man1/kubectl-konductor-barrier-wait.1\n"
	if man["koncli-barrier-wait.1"] != want || !strings.Contains(man["kubectl-konductor-barrier-wait.1"], ".SH NAME") {
		t.Errorf("koncli-barrier-wait.1 is %q, want %q", man["koncli-barrier-wait.1"], want)
	}
}

func TestReplaceFilesRemovesStalePages(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "cli")
	if err := (pages{"gone.md": "x", "stays.md": "old"}).replaceFiles(dir, "*.md"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "picture.svg"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (pages{"stays.md": "new", "more.md": "x"}).replaceFiles(dir, "*.md"); err != nil {
		t.Fatal(err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if diff := cmp.Diff([]string{"more.md", "picture.svg", "stays.md"}, names); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "stays.md")); err != nil || string(text) != "new" {
		t.Errorf("stays.md is %q, %v", text, err)
	}
}
