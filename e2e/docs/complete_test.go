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

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// promise is what users rely on, word for word and never more.
const promise = "at any revision of the API, at most `permits` grants (one, for a Lease) are current; each grant carries a " +
	"larger token than every grant before it; a holder that obeys its deadline has stopped before its grant is given to another. " +
	"A paused process can still act on a lock it has lost: only a check of the token at the resource stops that."

func TestThePromiseIsMadeOnceWordForWord(t *testing.T) {
	const where = "README.md"
	for _, p := range pages(t) {
		text := strings.Join(strings.Fields(string(p.text)), " ")
		want := 0
		if p.name == where {
			want = 1
		}
		if got := strings.Count(text, promise); got != want {
			t.Errorf("%s makes the promise %d times, want %d", p.name, got, want)
		}
		if p.name != where && strings.Contains(text, promise[:60]) {
			t.Errorf("%s makes a promise in other words: link to %s", p.name, where)
		}
	}
}

// TestPagesNameEachField looks for every field that the API server knows on the page of its kind, down to those of the
// items of lists. What all objects and all conditions have is told once, in semantics.md.
func TestPagesNameEachField(t *testing.T) {
	for resource, pages := range map[string][]string{
		"barriers": {"docs/barrier.md"}, "gates": {"docs/gate.md"}, "leases": {"docs/lease.md"}, "semaphores": {"docs/semaphore.md"},
		"claims": {"docs/holds.md"}, "arrivals": {"docs/barrier.md"},
	} {
		var text strings.Builder
		for _, page := range pages {
			text.Write(read(t, page))
		}
		crd := &apiextensionsv1.CustomResourceDefinition{}
		if err := yaml.UnmarshalStrict(read(t, "charts/konductor/files/crds/konductor.io_"+resource+".yaml"), crd); err != nil {
			t.Fatal(err)
		}
		schema := crd.Spec.Versions[0].Schema.OpenAPIV3Schema
		for _, part := range []string{"spec", "status"} {
			fields := fieldsOf(schema.Properties[part])
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

// fieldsOf returns the names of the fields below a schema.
func fieldsOf(schema apiextensionsv1.JSONSchemaProps) (names []string) {
	for name, field := range schema.Properties {
		names = append(names, name)
		if name == "conditions" && field.XListType != nil && *field.XListType == "map" {
			continue // metav1.Condition
		}
		names = append(names, fieldsOf(field)...)
		if field.Items != nil && field.Items.Schema != nil {
			names = append(names, fieldsOf(*field.Items.Schema)...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestLimitsOnPagesAreThoseOfTheCode has each number that pages give with the words around it.
func TestLimitsOnPagesAreThoseOfTheCode(t *testing.T) {
	for words, page := range map[string]string{
		fmt.Sprintf("| claims that hold at the same time | %d,", konductorv1.MaxHolders):           "docs/semaphore.md",
		fmt.Sprintf("**at most %d times**", rules.MaxOvertaken):                                    "docs/semaphore.md",
		fmt.Sprintf("[passed by smaller claims, %d times]", rules.MaxOvertaken):                    "docs/holds.md",
		fmt.Sprintf("within **%d s**", int(konductorv1.AcknowledgeWithin.Seconds())):               "docs/holds.md",
		fmt.Sprintf("else **%d minutes**", int(konductorv1.DefaultTTL.Minutes())):                  "docs/holds.md",
		fmt.Sprintf("in order of arrival: the first %d.", konductorv1.MaxListedArrivals):           "docs/barrier.md",
		fmt.Sprintf("\"the grant was not acknowledged within %s\"", konductorv1.AcknowledgeWithin): "docs/troubleshooting.md",
		konductorv1.AllowGatesAnnotation + ": reports, dashboards":                                 "docs/gate.md",
	} {
		text := strings.Join(strings.Fields(string(read(t, page))), " ")
		if !strings.Contains(text, words) {
			t.Errorf("%s doesn't say %q", page, words)
		}
	}
}

// TestPagesNameEachEventAndConditionReason looks for what the operator and the rules use of the API's reasons, on the
// pages of the kinds; and the other way round, for reasons on pages that nothing uses.
func TestPagesNameEachEventAndConditionReason(t *testing.T) {
	used := map[string]bool{}
	use := regexp.MustCompile(`konductorv1\.((?:Event|Reason)[A-Z][A-Za-z]*)`)
	for _, below := range []string{"operator", "apis/rules", "apis/waits"} {
		for _, file := range files(t, below, ".go") {
			if strings.HasSuffix(file, "_test.go") {
				continue
			}
			for _, m := range use.FindAllStringSubmatch(string(read(t, file)), -1) {
				used[m[1]] = true
			}
		}
	}
	var text strings.Builder
	for _, page := range []string{"barrier", "gate", "lease", "semaphore", "holds", "why"} {
		text.Write(read(t, "docs/"+page+".md"))
	}
	events := 0
	for name, value := range reasons(t) {
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

// reasons returns the API's constants for reasons, by name.
func reasons(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root(t), "apis/v1/common_types.go"), nil, 0)
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

// TestTheReadmeIsShort keeps it a page that is read: what it is, how to try it, and where to go on.
func TestTheReadmeIsShort(t *testing.T) {
	text := string(read(t, "README.md"))
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
	if info, err := os.Stat(filepath.Join(root(t), picture[1])); err != nil || info.Size() == 0 {
		t.Errorf("%s: %v", picture[1], err)
	}
}
