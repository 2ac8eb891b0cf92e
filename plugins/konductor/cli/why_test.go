package cli

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/apis/waits"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// signs returns the signs that the locale allows, without colours.
func signs(t *testing.T) glyphs {
	t.Helper()
	g, err := (&app{streams: genericiooptions.IOStreams{Out: io.Discard}, color: "never"}).glyphs(&drawing{})
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// golden compares text with a file, by which people have looked.
func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", name, diff)
	}
}

// snapshotOf reads a namespace from a file of manifests.
func snapshotOf(t *testing.T, file string) *waits.Snapshot {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	s := &waits.Snapshot{Now: noon, Namespaces: []string{"shop"}}
	for _, document := range strings.Split(string(content), "\n---\n") {
		var meta struct {
			Kind string `json:"kind"`
		}
		if err := yaml.Unmarshal([]byte(document), &meta); err != nil {
			t.Fatal(err)
		}
		switch meta.Kind {
		case "Barrier":
			s.Barriers = append(s.Barriers, read[konductorv1.Barrier](t, document))
		case "Arrival":
			s.Arrivals = append(s.Arrivals, read[konductorv1.Arrival](t, document))
		case "Gate":
			s.Gates = append(s.Gates, read[konductorv1.Gate](t, document))
		case "Lease":
			s.Leases = append(s.Leases, read[konductorv1.Lease](t, document))
		case "Semaphore":
			s.Semaphores = append(s.Semaphores, read[konductorv1.Semaphore](t, document))
		case "Claim":
			s.Claims = append(s.Claims, read[konductorv1.Claim](t, document))
		case "Job":
			s.Jobs = append(s.Jobs, read[batchv1.Job](t, document))
		case "Pod":
			s.Pods = append(s.Pods, read[corev1.Pod](t, document))
		default:
			t.Fatalf("%s has a document of kind %q", file, meta.Kind)
		}
	}
	return s
}

func read[T any](t *testing.T, document string) *T {
	t.Helper()
	obj := new(T)
	if err := yaml.UnmarshalStrict([]byte(document), obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

func TestWhyAsPeopleSeeIt(t *testing.T) {
	for name, test := range map[string]struct {
		file, ask, locale string
	}{
		"why-chain":           {"chain.yaml", "job/deploy", "en_US.UTF-8"},
		"why-chain-ascii":     {"chain.yaml", "job/deploy", "C"},
		"why-lease":           {"chain.yaml", "lease/db-migration", "C.UTF-8"},
		"why-barrier":         {"chain.yaml", "barrier/approved", "C.UTF-8"},
		"why-deadlock":        {"deadlock.yaml", "pod/importer", "C.UTF-8"},
		"why-semaphore":       {"deadlock.yaml", "semaphore/db-connections", "C.UTF-8"},
		"why-nothing-blocked": {"deadlock.yaml", "lease/reports", "C.UTF-8"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LC_ALL", test.locale)
			s := snapshotOf(t, test.file)
			s.Gaps = gapsFor(name)
			ref, _ := waits.ParseRef(test.ask)
			ref.Namespace = "shop"
			d, err := waits.Analyze(s).Why(ref)
			if err != nil {
				t.Fatal(err)
			}
			a := &app{name: "kubectl konductor"}
			a.nameCommands(d.Chain, d.Roots)
			text := whyText(d, s.Now, signs(t))
			golden(t, name+".txt", text)
			for _, line := range strings.Split(text, "\n") {
				if n := utf8.RuneCountInString(line); n > textWidth && !strings.Contains(line, "look or do:") {
					t.Errorf("a line of %d characters: %s", n, line)
				}
				if test.locale == "C" && !isASCII(line) {
					t.Errorf("not ASCII: %s", line)
				}
			}
		})
	}
}

func gapsFor(name string) []waits.Gap {
	if name != "why-semaphore" {
		return nil
	}
	return []waits.Gap{{Kind: "Job", Namespace: "shop", Message: "you may not list jobs in namespace shop"}}
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 127 })
}

func TestTheGraphAsPeopleSeeIt(t *testing.T) {
	for name, test := range map[string]struct {
		file, locale string
		draw         func(*waits.Graph, glyphs) string
	}{
		"graph-chain.txt":       {"chain.yaml", "C.UTF-8", graphTree},
		"graph-deadlock.txt":    {"deadlock.yaml", "C.UTF-8", graphTree},
		"graph-ascii.txt":       {"deadlock.yaml", "C", graphTree},
		"graph-deadlock.dot":    {"deadlock.yaml", "C", func(g *waits.Graph, _ glyphs) string { return graphDot(g) }},
		"graph-deadlock.mmd":    {"deadlock.yaml", "C", func(g *waits.Graph, _ glyphs) string { return graphMermaid(g) }},
		"graph-many-alike.txt":  {"many", "C.UTF-8", graphTree},
		"graph-gate-circle.txt": {"circle.yaml", "C.UTF-8", graphTree},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LC_ALL", test.locale)
			var s *waits.Snapshot
			if test.file == "many" {
				s = manyWaiting(t)
			} else {
				s = snapshotOf(t, test.file)
			}
			g := waits.Analyze(s).Graph("shop")
			golden(t, name, test.draw(&g, signs(t)))
		})
	}
}

// manyWaiting has a thousand Pods that wait for one lease.
func manyWaiting(t *testing.T) *waits.Snapshot {
	t.Helper()
	s := snapshotOf(t, "chain.yaml")
	claim, pod := s.Claims[len(s.Claims)-1], s.Pods[1]
	for i := range 1000 {
		c, p := claim.DeepCopy(), pod.DeepCopy()
		p.Name, p.OwnerReferences = fmt.Sprintf("many-%04d", i), nil
		p.UID, c.UID = types.UID("uid-of-"+p.Name), types.UID("claim-of-"+p.Name)
		c.Name, c.Spec.Holder, c.Spec.BoundTo.Name, c.Spec.BoundTo.UID = p.Name, p.Name, p.Name, p.UID
		c.ResourceVersion = fmt.Sprint(82000 + i)
		s.Claims, s.Pods = append(s.Claims, c), append(s.Pods, p)
	}
	return s
}

func TestMistakesInWhyAndGraphGetOneSentence(t *testing.T) {
	for mistake, c := range map[string]struct {
		args string
		want string
	}{
		"nothing to ask about":               {"koncli why", "say of what: koncli why KIND/NAME, for example koncli why job/deploy"},
		"a name alone":                       {"koncli why deploy", `"deploy" has no kind: write KIND/NAME with barrier, gate, lease, semaphore, job or pod as KIND`},
		"a kind that does not exist":         {"koncli why mutex/x", `there is no kind "mutex": use barrier, gate, lease, semaphore, job or pod`},
		"another's lease":                    {"koncli why leases.coordination.k8s.io/x", `there is no kind "leases.coordination.k8s.io": use barrier, gate, lease, semaphore, job or pod`},
		"a kind without a name":              {"koncli why job/", "the name is missing: koncli why job/NAME"},
		"two objects":                        {"koncli why job/a job/b", `one object at a time, not ["job/a" "job/b"]: koncli why KIND/NAME`},
		"why in a format there is not":       {"koncli why job/a -o table", `-o must be json or yaml, not "table"`},
		"a graph in a format there is not":   {"koncli graph -o svg", `-o must be dot, mermaid, json or yaml, not "svg"`},
		"a graph of something in particular": {"koncli graph job/a", `unknown command "job/a" for "koncli graph"`},
	} {
		t.Run(mistake, func(t *testing.T) {
			got := call(t, strings.Fields(c.args)...)
			if diff := cmp.Diff(result{Err: "error: " + c.want + "\n", Code: exitError}, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestTheDocumentationShowsWhatPeopleSee(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/why.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"why-chain.txt", "why-deadlock.txt", "graph-deadlock.txt"} {
		text, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(doc), string(text)+"```") {
			t.Errorf("docs/why.md doesn't show %s as it is", name)
		}
	}
}
