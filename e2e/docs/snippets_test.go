package docs

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/yuin/goldmark/ast"
	"k8s.io/cli-runtime/pkg/genericiooptions"

	"github.com/LogicIQ/konductor/e2e/install"
	"github.com/LogicIQ/konductor/plugins/konductor/chart"
	"github.com/LogicIQ/konductor/plugins/konductor/cli"
)

// TestManifestsOnPagesAreAccepted lets the API server judge each object that a page shows, as strictly as it can. What is
// a part of one must be a piece of an example, which is tested as a whole.
func TestManifestsOnPagesAreAccepted(t *testing.T) {
	examples := map[string]string{}
	for _, file := range files(t, "examples", ".yaml") {
		examples[file] = string(read(t, file))
	}
	api, shown := server(t), 0
	for _, p := range pages(t) {
		for _, b := range p.blocks() {
			if b.language != "yaml" {
				continue
			}
			shown++
			isPart := slices.ContainsFunc(files(t, "examples", ".yaml"), func(file string) bool { return excerpt(b.text, examples[file]) })
			if strings.HasPrefix(p.name, "docs/recipes/") && !isPart {
				t.Errorf("%s:%d: what recipes show must be in a file of examples/, word for word:\n%s", p.name, b.line, b.text)
			}
			if isPart {
				continue
			}
			if values, ok := strings.CutPrefix(b.text, "# values.yaml\n"); ok {
				if err := chartTakes(values); err != nil {
					t.Errorf("%s:%d: values that the chart doesn't take: %v", p.name, b.line, err)
				}
				continue
			}
			objects, err := parse(b.text)
			if err != nil {
				t.Errorf("%s:%d: neither a piece of a file in examples/ nor a manifest: %v\n%s", p.name, b.line, err, b.text)
				continue
			}
			for _, obj := range objects {
				if err := api.accepts(t.Context(), obj); err != nil {
					t.Errorf("%s:%d: %s: %v", p.name, b.line, obj.GetKind(), err)
				}
			}
		}
	}
	if shown < 8 {
		t.Errorf("only %d manifests found", shown)
	}
}

// chartTakes reports what is wrong with values of the chart.
func chartTakes(text string) error {
	values, err := chart.Parse([]byte(text))
	if err != nil {
		return err
	}
	_, err = chart.Render(chart.Release{Namespace: install.Namespace, KubeVersion: "v1.36.0"}, values)
	return err
}

func TestExamplesAreAccepted(t *testing.T) {
	api := server(t)
	for _, file := range files(t, "examples", ".yaml") {
		objects, err := parse(string(read(t, file)))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		for _, obj := range objects {
			if err := api.accepts(t.Context(), obj); err != nil {
				t.Errorf("%s: %s %s: %v", file, obj.GetKind(), obj.GetName(), err)
			}
			for _, argv := range commandsOf(obj.Object) {
				calls, err := callsOf(argv)
				if err != nil {
					t.Errorf("%s: %q: %v", file, argv, err)
				}
				for _, call := range calls {
					if err := known(call); err != nil {
						t.Errorf("%s: %q: %v", file, call, err)
					}
				}
			}
		}
	}
}

// TestExamplesAreRunWithRealPods holds what CONTRIBUTING.md says: what is in examples/ is run by the tests, unchanged.
func TestExamplesAreRunWithRealPods(t *testing.T) {
	var code strings.Builder
	for _, below := range []string{"e2e/pods", "e2e/cmd/demo"} {
		for _, file := range files(t, below, ".go") {
			code.Write(read(t, file))
		}
	}
	for _, file := range files(t, "examples", ".yaml") {
		if !strings.Contains(code.String(), file) {
			t.Errorf("%s is run by no test of e2e/pods", file)
		}
	}
}

// TestCommandLinesOnPagesAreKnown parses each line that calls konductor with the program's own commands, and runs what
// creates something against the API server, without keeping it.
func TestCommandLinesOnPagesAreKnown(t *testing.T) {
	lines := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks() {
			script, err := b.script()
			if err != nil {
				t.Errorf("%s:%d: %v", p.name, b.line, err)
			}
			for _, argv := range script {
				if err := repositoryHas(t, argv); err != nil {
					t.Errorf("%s:%d: %q: %v", p.name, b.line, argv, err)
				}
				calls, err := callsOf(argv)
				if err != nil {
					t.Errorf("%s:%d: %v", p.name, b.line, err)
				}
				for _, call := range calls {
					lines++
					err := known(call)
					if err == nil {
						err = creates(t, call)
					}
					if err != nil {
						t.Errorf("%s:%d: %q: %v", p.name, b.line, call, err)
					}
				}
			}
		}
		each(p, func(n *ast.CodeSpan) {
			if err := mentioned(p.plain(n)); err != nil {
				t.Errorf("%s: `%s`: %v", p.name, p.plain(n), err)
			}
		})
	}
	if lines < 60 {
		t.Errorf("only %d lines found that call konductor", lines)
	}
}

// TestGoOnPagesIsCodeThatCompiles looks for each piece of Go among the SDK's examples, which are compiled with its tests.
func TestGoOnPagesIsCodeThatCompiles(t *testing.T) {
	const where = "sdk/go/example_test.go"
	code := string(read(t, where))
	shown := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks() {
			if b.language != "go" {
				continue
			}
			shown++
			if !excerpt(b.text, code) {
				t.Errorf("%s:%d: this is not in %s, word for word:\n%s", p.name, b.line, where, b.text)
			}
		}
	}
	if shown < 4 {
		t.Errorf("only %d pieces of Go found", shown)
	}
}

// script returns the commands of a block for a shell, and of one that shows what is typed after a $.
func (b block) script() ([][]string, error) {
	switch b.language {
	case "sh", "bash":
		return scriptCommands(b.text)
	case "", "console":
		var all [][]string
		for _, line := range strings.Split(b.text, "\n") {
			typed, ok := strings.CutPrefix(line, "$ ")
			if !ok {
				continue
			}
			commands, err := scriptCommands(typed)
			if err != nil {
				return nil, err
			}
			all = append(all, commands...)
		}
		return all, nil
	default:
		return nil, nil
	}
}

// repositoryHas checks what a command takes from the repository: make's targets, and files that are applied.
func repositoryHas(t *testing.T, argv []string) error {
	t.Helper()
	switch argv[0] {
	case "make":
		makefile := "\n" + string(read(t, "Makefile"))
		for _, target := range argv[1:] {
			if !strings.Contains(target, "=") && !strings.Contains(makefile, "\n"+target+":") {
				return fmt.Errorf("the Makefile has no %s", target)
			}
		}
	case "kubectl":
		for i, word := range argv[:len(argv)-1] {
			if file := argv[i+1]; word == "-f" && strings.HasPrefix(file, "examples/") {
				if _, err := os.Stat(filepath.Join(root(t), file)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// creates runs a call that creates an object, without keeping it.
func creates(t *testing.T, call []string) error {
	t.Helper()
	if len(call) < 2 || call[1] != "create" || slices.ContainsFunc(call, func(word string) bool { return strings.HasPrefix(word, "--dry-run") }) {
		return nil
	}
	var out bytes.Buffer
	argv := slices.Concat([]string{"koncli"}, call, []string{"--dry-run=server", "--kubeconfig", server(t).kubeconfig})
	if code := cli.Run(t.Context(), argv, genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &out}); code != 0 {
		return fmt.Errorf("exit code %d: %s", code, out.String())
	}
	return nil
}
