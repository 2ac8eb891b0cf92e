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
	"github.com/LogicIQ/konductor/internal/chart"
	"github.com/LogicIQ/konductor/internal/cli"
)

// TestDocumentedManifests lets the API server validate each object on a page, as strictly as it can. A part of an object must be
// an excerpt of an example, which is tested as a whole.
func TestDocumentedManifests(t *testing.T) {
	examples := map[string]string{}
	for _, file := range repoFiles(t, "examples", ".yaml") {
		examples[file] = string(readRepoFile(t, file))
	}
	api, shown := sharedAPIServer(t), 0
	for _, p := range readPages(t) {
		for _, b := range p.codeBlocks() {
			if b.language != "yaml" {
				continue
			}
			shown++
			isPart := slices.ContainsFunc(repoFiles(t, "examples", ".yaml"), func(file string) bool { return isExcerpt(b.text, examples[file]) })
			if strings.HasPrefix(p.name, "docs/recipes/") && !isPart {
				t.Errorf("%s:%d: what recipes show must be in a file of examples/, word for word:\n%s", p.name, b.line, b.text)
			}
			if isPart {
				continue
			}
			if values, ok := strings.CutPrefix(b.text, "# values.yaml\n"); ok {
				if err := checkChartValues(values); err != nil {
					t.Errorf("%s:%d: values that the chart doesn't take: %v", p.name, b.line, err)
				}
				continue
			}
			objects, err := parseStrict(b.text)
			if err != nil {
				t.Errorf("%s:%d: neither a piece of a file in examples/ nor a manifest: %v\n%s", p.name, b.line, err, b.text)
				continue
			}
			for _, obj := range objects {
				if err := api.dryRunCreate(t.Context(), obj); err != nil {
					t.Errorf("%s:%d: %s: %v", p.name, b.line, obj.GetKind(), err)
				}
			}
		}
	}
	if shown < 8 {
		t.Errorf("only %d manifests found", shown)
	}
}

// checkChartValues returns the error of values of the chart.
func checkChartValues(text string) error {
	values, err := chart.ParseValues([]byte(text))
	if err != nil {
		return err
	}
	_, err = chart.Render(chart.Release{Namespace: install.Namespace, KubeVersion: "v1.36.0"}, values)
	return err
}

func TestExampleManifests(t *testing.T) {
	api := sharedAPIServer(t)
	for _, file := range repoFiles(t, "examples", ".yaml") {
		objects, err := parseStrict(string(readRepoFile(t, file)))
		if err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		for _, obj := range objects {
			if err := api.dryRunCreate(t.Context(), obj); err != nil {
				t.Errorf("%s: %s %s: %v", file, obj.GetKind(), obj.GetName(), err)
			}
			for _, argv := range containerCommands(obj.Object) {
				calls, err := konductorCalls(argv)
				if err != nil {
					t.Errorf("%s: %q: %v", file, argv, err)
				}
				for _, call := range calls {
					if err := validateCall(call); err != nil {
						t.Errorf("%s: %q: %v", file, call, err)
					}
				}
			}
		}
	}
}

// TestEveryExampleIsRunByPodTests checks a rule of CONTRIBUTING.md: the tests run everything in examples/ unchanged.
func TestEveryExampleIsRunByPodTests(t *testing.T) {
	var code strings.Builder
	for _, below := range []string{"e2e/pods", "e2e/cmd/demo"} {
		for _, file := range repoFiles(t, below, ".go") {
			code.Write(readRepoFile(t, file))
		}
	}
	for _, file := range repoFiles(t, "examples", ".yaml") {
		if !strings.Contains(code.String(), file) {
			t.Errorf("%s is run by no test of e2e/pods", file)
		}
	}
}

// TestDocumentedCommandLines parses each line that calls konductor with the program's own commands, and runs those that create an
// object against the API server, without storing it.
func TestDocumentedCommandLines(t *testing.T) {
	lines := 0
	for _, p := range readPages(t) {
		for _, b := range p.codeBlocks() {
			script, err := b.commands()
			if err != nil {
				t.Errorf("%s:%d: %v", p.name, b.line, err)
			}
			for _, argv := range script {
				if err := checkRepositoryReferences(t, argv); err != nil {
					t.Errorf("%s:%d: %q: %v", p.name, b.line, argv, err)
				}
				calls, err := konductorCalls(argv)
				if err != nil {
					t.Errorf("%s:%d: %v", p.name, b.line, err)
				}
				for _, call := range calls {
					lines++
					err := validateCall(call)
					if err == nil {
						err = dryRunCreateCommand(t, call)
					}
					if err != nil {
						t.Errorf("%s:%d: %q: %v", p.name, b.line, call, err)
					}
				}
			}
		}
		forEachNode(p, func(n *ast.CodeSpan) {
			if err := validateMention(p.plainText(n)); err != nil {
				t.Errorf("%s: `%s`: %v", p.name, p.plainText(n), err)
			}
		})
	}
	if lines < 60 {
		t.Errorf("only %d lines found that call konductor", lines)
	}
}

// TestDocumentedGoIsExcerptOfExamples looks for each piece of Go among the SDK's examples, which are compiled with its tests.
func TestDocumentedGoIsExcerptOfExamples(t *testing.T) {
	const where = "sdk/go/**/example_test.go"
	code := ""
	for _, file := range repoFiles(t, "sdk/go", "example_test.go") {
		code += string(readRepoFile(t, file))
	}
	shown := 0
	for _, p := range readPages(t) {
		for _, b := range p.codeBlocks() {
			if b.language != "go" {
				continue
			}
			shown++
			if !isExcerpt(b.text, code) {
				t.Errorf("%s:%d: this is not in %s, word for word:\n%s", p.name, b.line, where, b.text)
			}
		}
	}
	if shown < 4 {
		t.Errorf("only %d pieces of Go found", shown)
	}
}

// commands returns the commands of a shell block, and those after a $ in a block that shows a terminal.
func (b codeBlock) commands() ([][]string, error) {
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

// checkRepositoryReferences checks references of a command to the repository: make's targets, and files that are applied.
func checkRepositoryReferences(t *testing.T, argv []string) error {
	t.Helper()
	switch argv[0] {
	case "make":
		makefile := "\n" + string(readRepoFile(t, "Makefile"))
		for _, target := range argv[1:] {
			if !strings.Contains(target, "=") && !strings.Contains(makefile, "\n"+target+":") {
				return fmt.Errorf("the Makefile has no %s", target)
			}
		}
	case "kubectl":
		for i, word := range argv[:len(argv)-1] {
			if file := argv[i+1]; word == "-f" && strings.HasPrefix(file, "examples/") {
				if _, err := os.Stat(filepath.Join(repoRoot(t), file)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// dryRunCreateCommand runs a call that creates an object, without storing it.
func dryRunCreateCommand(t *testing.T, call []string) error {
	t.Helper()
	if len(call) < 2 || call[1] != "create" || slices.ContainsFunc(call, func(word string) bool { return strings.HasPrefix(word, "--dry-run") }) {
		return nil
	}
	var out bytes.Buffer
	argv := slices.Concat([]string{"koncli"}, call, []string{"--dry-run=server", "--kubeconfig", sharedAPIServer(t).kubeconfig})
	if code := cli.Run(t.Context(), argv, genericiooptions.IOStreams{In: &bytes.Buffer{}, Out: &out, ErrOut: &out}); code != 0 {
		return fmt.Errorf("exit code %d: %s", code, out.String())
	}
	return nil
}
