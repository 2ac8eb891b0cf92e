package report

import (
	"fmt"
	"os"
	"runtime"
	"strings"
)

// The measured part of the page is between these lines; the rest is written by hand.
const (
	rowsBeginMarker = "<!-- measured: written by BENCH_DOCS=docs/benchmarks.md make bench -->"
	rowsEndMarker   = "<!-- end of measured -->"
)

// Machine describes the machine of a run, in general terms.
type Machine struct {
	Cores      int
	OS         string
	Go         string
	Kubernetes string
	Etcd       string
	Preset     string
}

// ThisMachine describes the machine that the program runs on.
func ThisMachine(kubernetes, etcd, effort string) Machine {
	return Machine{
		Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH, Go: strings.TrimPrefix(runtime.Version(), "go"),
		Kubernetes: kubernetes, Etcd: etcd, Preset: effort,
	}
}

// UpdateDocsPage replaces the rows in the page of the documentation.
func UpdateDocsPage(file string, rows []Row, m Machine) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), rowsBeginMarker)
	_, after, ended := strings.Cut(rest, rowsEndMarker)
	if !ok || !ended {
		return fmt.Errorf("%s has no place for what was measured: add the lines %q and %q", file, rowsBeginMarker, rowsEndMarker)
	}
	page := before + rowsBeginMarker + "\n\n" + formatMarkdown(rows, m) + "\n" + rowsEndMarker + after
	return os.WriteFile(file, []byte(page), 0o644)
}

func formatMarkdown(rows []Row, m Machine) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Measured on %d cores (%s) with Go %s, Kubernetes %s and etcd %s, all on that machine: API server, etcd, operator and\nclients share the cores. Effort: %s.\n",
		m.Cores, m.OS, m.Go, m.Kubernetes, m.Etcd, m.Preset)
	section := ""
	for i := range rows {
		r := &rows[i]
		if r.section != section {
			section = r.section
			fmt.Fprintf(&b, "\n### %s\n\n| %s | how |\n|---|--:|--:|--:|--:|---|---|\n", section, strings.Join(tableHeader(), " | "))
		}
		fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(rowCells(r), " | "), r.note)
	}
	if missed := MissedBudgets(rows); len(missed) > 0 {
		fmt.Fprintf(&b, "\n%d budgets are missed.\n", len(missed))
	} else {
		b.WriteString("\nAll budgets are met.\n")
	}
	return b.String()
}
