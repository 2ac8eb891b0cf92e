package printer

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
	"sigs.k8s.io/yaml"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/cli/render"
	"github.com/LogicIQ/konductor/internal/cli/terminal"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

var update = flag.Bool("update", false, "write the golden files anew")

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newTestSymbols returns the symbols that the locale allows, without colors.
func newTestSymbols(t *testing.T) Symbols {
	t.Helper()
	r, err := terminal.NewRenderer(io.Discard, "never", true, os.Getenv)
	if err != nil {
		t.Fatal(err)
	}
	ascii := terminal.IsASCIIOnly(os.Getenv)
	theme := render.NewTheme(r, ascii)
	return NewSymbols(&theme, ascii)
}

// checkGolden compares text with a golden file, which a person has checked.
func checkGolden(t *testing.T, name, got string) {
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

// readSnapshotFile reads a namespace from a file of manifests.
func readSnapshotFile(t *testing.T, file string) *waitgraph.Snapshot {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", file))
	if err != nil {
		t.Fatal(err)
	}
	s := &waitgraph.Snapshot{Now: noon, Namespaces: []string{"shop"}}
	for _, document := range strings.Split(string(content), "\n---\n") {
		var meta struct {
			Kind string `json:"kind"`
		}
		if err := yaml.Unmarshal([]byte(document), &meta); err != nil {
			t.Fatal(err)
		}
		switch meta.Kind {
		case "Barrier":
			s.Barriers = append(s.Barriers, parseManifest[konductorv1.Barrier](t, document))
		case "Arrival":
			s.Arrivals = append(s.Arrivals, parseManifest[konductorv1.Arrival](t, document))
		case "Gate":
			s.Gates = append(s.Gates, parseManifest[konductorv1.Gate](t, document))
		case "Lease":
			s.Leases = append(s.Leases, parseManifest[konductorv1.Lease](t, document))
		case "Semaphore":
			s.Semaphores = append(s.Semaphores, parseManifest[konductorv1.Semaphore](t, document))
		case "Claim":
			s.Claims = append(s.Claims, parseManifest[konductorv1.Claim](t, document))
		case "Job":
			s.Jobs = append(s.Jobs, parseManifest[batchv1.Job](t, document))
		case "Pod":
			s.Pods = append(s.Pods, parseManifest[corev1.Pod](t, document))
		default:
			t.Fatalf("%s has a document of kind %q", file, meta.Kind)
		}
	}
	return s
}

func parseManifest[T any](t *testing.T, document string) *T {
	t.Helper()
	obj := new(T)
	if err := yaml.UnmarshalStrict([]byte(document), obj); err != nil {
		t.Fatal(err)
	}
	return obj
}

func TestWhyText(t *testing.T) {
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
			s := readSnapshotFile(t, test.file)
			s.Gaps = gapsFor(name)
			ref, _ := waitgraph.ParseRef(test.ask)
			ref.Namespace = "shop"
			d, err := waitgraph.Analyze(s).Why(ref)
			if err != nil {
				t.Fatal(err)
			}
			RewriteCommands(d, "kubectl konductor", nil)
			text := WhyText(d, s.Now, newTestSymbols(t))
			checkGolden(t, name+".txt", text)
			for _, line := range strings.Split(text, "\n") {
				if n := utf8.RuneCountInString(line); n > textWidth && !strings.Contains(line, "try:") {
					t.Errorf("a line of %d characters: %s", n, line)
				}
				if test.locale == "C" && !isASCII(line) {
					t.Errorf("not ASCII: %s", line)
				}
			}
		})
	}
}

func gapsFor(name string) []waitgraph.Gap {
	if name != "why-semaphore" {
		return nil
	}
	return []waitgraph.Gap{{Kind: "Job", Namespace: "shop", Message: "can't list jobs in namespace shop"}}
}

func isASCII(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r > 127 })
}

func TestGraphText(t *testing.T) {
	for name, test := range map[string]struct {
		file, locale string
		draw         func(*waitgraph.Graph, Symbols) string
	}{
		"graph-chain.txt":      {"chain.yaml", "C.UTF-8", GraphTreeText},
		"graph-deadlock.txt":   {"deadlock.yaml", "C.UTF-8", GraphTreeText},
		"graph-ascii.txt":      {"deadlock.yaml", "C", GraphTreeText},
		"graph-deadlock.dot":   {"deadlock.yaml", "C", func(g *waitgraph.Graph, _ Symbols) string { return GraphDOTText(g) }},
		"graph-deadlock.mmd":   {"deadlock.yaml", "C", func(g *waitgraph.Graph, _ Symbols) string { return GraphMermaidText(g) }},
		"graph-many-alike.txt": {"many", "C.UTF-8", GraphTreeText},
		"graph-gate-cycle.txt": {"cycle.yaml", "C.UTF-8", GraphTreeText},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("LC_ALL", test.locale)
			var s *waitgraph.Snapshot
			if test.file == "many" {
				s = snapshotWithManyWaiters(t)
			} else {
				s = readSnapshotFile(t, test.file)
			}
			g := waitgraph.Analyze(s).Graph("shop")
			checkGolden(t, name, test.draw(&g, newTestSymbols(t)))
		})
	}
}

// snapshotWithManyWaiters has a thousand Pods that wait for one lease.
func snapshotWithManyWaiters(t *testing.T) *waitgraph.Snapshot {
	t.Helper()
	s := readSnapshotFile(t, "chain.yaml")
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

func TestGapNotes(t *testing.T) {
	var gaps []waitgraph.Gap
	for i := range 100 {
		for _, kind := range []string{"Barrier", "Arrival", "Gate", "Lease", "Semaphore", "Claim", "Job", "Pod"} {
			namespace := fmt.Sprintf("n%02d", i)
			gaps = append(gaps, waitgraph.Gap{Kind: kind, Namespace: namespace, Message: fmt.Sprintf("can't list %ss in namespace %s", strings.ToLower(kind), namespace)})
		}
	}
	want := []string{"can't list barriers in namespace n00", "can't list arrivals in namespace n00"}
	if diff := cmp.Diff(want, GapNotes(gaps[:2])); diff != "" {
		t.Errorf("few (-want +got):\n%s", diff)
	}
	want = []string{"can't list some objects (arrivals, barriers, claims, gates, jobs, leases, pods, semaphores) in namespaces n00, n01, n02 and 97 more"}
	if diff := cmp.Diff(want, GapNotes(gaps)); diff != "" {
		t.Errorf("many (-want +got):\n%s", diff)
	}
}

func TestDocsShowGoldenFiles(t *testing.T) {
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
