package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// guaranteeText is the guarantee for users, the same words wherever it is documented.
const guaranteeText = "at any revision of the API, at most `permits` grants (one, for a Lease) are current; each grant carries a " +
	"larger token than every grant before it; a holder that obeys its deadline has stopped before its grant is given to another. " +
	"A paused process can still act on a lock it has lost: only a check of the token at the resource stops that."

func TestGuaranteeStatedOnce(t *testing.T) {
	const where = "README.md"
	for _, p := range readPages(t) {
		text := strings.Join(strings.Fields(string(p.text)), " ")
		want := 0
		if p.name == where {
			want = 1
		}
		if got := strings.Count(text, guaranteeText); got != want {
			t.Errorf("%s makes the promise %d times, want %d", p.name, got, want)
		}
		if p.name != where && strings.Contains(text, guaranteeText[:60]) {
			t.Errorf("%s makes a promise in other words: link to %s", p.name, where)
		}
	}
}

// TestDocsNameEveryField looks for every field of the schemas on the page of its kind, including those of the items of lists.
// Fields of all objects and all conditions are documented once, in semantics.md.
func TestDocsNameEveryField(t *testing.T) {
	for resource, pages := range map[string][]string{
		"barriers": {"docs/barrier.md"}, "gates": {"docs/gate.md"}, "leases": {"docs/lease.md"}, "semaphores": {"docs/semaphore.md"},
		"claims": {"docs/holds.md"}, "arrivals": {"docs/barrier.md"},
	} {
		var text strings.Builder
		for _, page := range pages {
			text.Write(readRepoFile(t, page))
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(readRepoFile(t, "charts/konductor/files/crds/konductor.io_"+resource+".yaml"), crd); err != nil {
			t.Fatal(err)
		}
		schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		for _, part := range []string{"spec", "status"} {
			fields := schemaFieldNames(schema.Properties[part])
			if part == "spec" && len(fields) == 0 {
				t.Errorf("%s have no field", resource)
			}
			for _, field := range fields {
				if !strings.Contains(text.String(), "`"+field+"`") {
					t.Errorf("%s don't name field %s of the %s of %s", strings.Join(pages, " and "), field, part, resource)
				}
			}
		}
	}
}

// schemaFieldNames returns the names of the fields below a schema.
func schemaFieldNames(schema apiextensionsv1.JSONSchemaProps) (names []string) {
	for name, field := range schema.Properties {
		names = append(names, name)
		if name == "conditions" && field.XListType != nil && *field.XListType == "map" {
			continue // metav1.Condition
		}
		names = append(names, schemaFieldNames(field)...)
		if field.Items != nil && field.Items.Schema != nil {
			names = append(names, schemaFieldNames(*field.Items.Schema)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestDocumentedLimitsMatchConstants has each number in the pages with the words around it.
func TestDocumentedLimitsMatchConstants(t *testing.T) {
	for words, page := range map[string]string{
		fmt.Sprintf("| claims that hold at the same time | %d,", konductorv1.MaxHolders):           "docs/semaphore.md",
		fmt.Sprintf("**at most %d times**", konductorv1.MaxOvertaken):                              "docs/semaphore.md",
		fmt.Sprintf("[passed by smaller claims, %d times]", konductorv1.MaxOvertaken):              "docs/holds.md",
		fmt.Sprintf("within **%d s**", int(konductorv1.AcknowledgeWithin.Seconds())):               "docs/holds.md",
		fmt.Sprintf("else **%d minutes**", int(konductorv1.DefaultTTL.Minutes())):                  "docs/holds.md",
		fmt.Sprintf("in order of arrival: the first %d.", konductorv1.MaxListedArrivals):           "docs/barrier.md",
		fmt.Sprintf("\"the grant was not acknowledged within %s\"", konductorv1.AcknowledgeWithin): "docs/troubleshooting.md",
		konductorv1.AllowGatesAnnotation + ": reports, dashboards":                                 "docs/gate.md",
	} {
		text := strings.Join(strings.Fields(string(readRepoFile(t, page))), " ")
		if !strings.Contains(text, words) {
			t.Errorf("%s doesn't say %q", page, words)
		}
	}
}

// TestDocsNameEveryReason looks for the reasons of the API that the operator and the rules use, on the pages of the kinds; and
// the other way round, for reasons on pages that are never used.
func TestDocsNameEveryReason(t *testing.T) {
	used := map[string]bool{}
	use := regexp.MustCompile(`konductorv1\.((?:Event|Reason)[A-Z][A-Za-z]*)`)
	for _, below := range []string{"operator", "internal/rules", "internal/waitgraph"} {
		for _, file := range repoFiles(t, below, ".go") {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, m := range use.FindAllStringSubmatch(string(readRepoFile(t, file)), -1) {
				used[m[1]] = true
			}
		}
	}
	var text strings.Builder
	for _, page := range []string{"barrier", "gate", "lease", "semaphore", "holds", "why"} {
		text.Write(readRepoFile(t, "docs/"+page+".md"))
	}
	events := 0
	for name, value := range apiReasons(t) {
		isEvent := strings.HasPrefix(name, "Event")
		said := strings.Contains(text.String(), "`"+value+"`") || (!isEvent && strings.Contains(text.String(), value))
		if isEvent && used[name] {
			events++
		}
		if used[name] && !said {
			t.Errorf("no page tells of %s (%s)", value, name)
		}
		if isEvent && !used[name] && regexp.MustCompile("(?m)^\\| `"+value+"`").MatchString(text.String()) {
			t.Errorf("a page tells of event %s, which nobody records", value)
		}
	}
	if events < 8 {
		t.Errorf("only %d events found", events)
	}
}

// apiReasons returns the API's constants for reasons, by name.
func apiReasons(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(repoRoot(t), "apis/v1/common_types.go"), nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if name := spec.Names[0].Name; ok && literal.Kind == token.STRING && (strings.HasPrefix(name, "Event") || strings.HasPrefix(name, "Reason")) {
			if value, err := strconv.Unquote(literal.Value); err == nil {
				all[name] = value
			}
		}
		return true
	})
	if len(all) < 15 {
		t.Fatalf("only %d reasons found", len(all))
	}
	return all
}

// TestReadme checks that the README is short, leads from what konductor does to make demo and make test, and shows the dashboard.
func TestReadme(t *testing.T) {
	text := string(readRepoFile(t, "README.md"))
	const most = 150
	if lines := strings.Count(text, "\n"); lines > most {
		t.Errorf("README.md has %d lines: keep it below %d and link", lines, most)
	}
	what, demo, test := strings.Index(text, "Coordination for Kubernetes"), strings.Index(text, "\nmake demo\n"), strings.Index(text, "\nmake test\n")
	if what < 0 || demo < what || test < demo {
		t.Error("README.md doesn't lead with what it does, then make demo, then make test")
	}
	picture := regexp.MustCompile(`!\[[^]]*\]\((docs/images/[^)]+)\)`).FindStringSubmatch(text)
	if picture == nil {
		t.Fatal("README.md shows no picture of the dashboard")
	}
	if info, err := os.Stat(filepath.Join(repoRoot(t), picture[1])); err != nil || info.Size() == 0 {
		t.Errorf("%s: %v", picture[1], err)
	}
}
