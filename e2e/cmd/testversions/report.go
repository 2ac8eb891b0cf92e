package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// testEvent is a line of the output of go test -json; see go doc test2json.
type testEvent struct {
	Action, Package, ImportPath, Test, Output string
	Elapsed                                   float64 // seconds
}

// versionReport is the result of the tests on one version.
type versionReport struct {
	version, release string
	out              io.Writer
	packages         []*packageResult
	testOutput       map[[2]string]*strings.Builder // by package and test, until the test has ended
}

// packageResult is the result of a package.
type packageResult struct {
	name           string
	passed, failed int
	skipped        []string
	// result is "pass", "fail" or "skip"; the last means that there are no tests.
	result string
	took   time.Duration
}

func newVersionReport(version, release string, out io.Writer) *versionReport {
	return &versionReport{version: version, release: release, out: out, testOutput: map[[2]string]*strings.Builder{}}
}

// readEvents reads the output of go test to its end.
func (r *versionReport) readEvents(events io.Reader) error {
	lines := bufio.NewReader(events)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e testEvent
			if wrong := json.Unmarshal(line, &e); wrong != nil {
				fmt.Fprintf(r.out, "%s", line) // output of a test that bypasses go test
			} else {
				r.recordEvent(e)
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *versionReport) recordEvent(e testEvent) {
	if e.Action == "build-output" {
		fmt.Fprint(r.out, e.Output)
		return
	}
	if e.Package == "" {
		return
	}
	key := [2]string{e.Package, e.Test}
	switch e.Action {
	case "output":
		if r.testOutput[key] == nil {
			r.testOutput[key] = &strings.Builder{}
		}
		r.testOutput[key].WriteString(e.Output)
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	said := r.testOutput[key]
	delete(r.testOutput, key)
	p := r.packageResult(e.Package)
	if e.Test == "" {
		p.result, p.took = e.Action, time.Duration(e.Elapsed*float64(time.Second))
		fmt.Fprintf(r.out, "%s on %s: %s (%s)\n", p.name, r.release, p.verdict(), p.took.Round(time.Second))
	} else {
		switch e.Action {
		case "pass":
			p.passed++
		case "fail":
			p.failed++
		case "skip":
			p.skipped = append(p.skipped, e.Test)
		}
	}
	if e.Action == "fail" && said != nil {
		fmt.Fprint(r.out, said.String())
	}
}

func (r *versionReport) packageResult(name string) *packageResult {
	for _, p := range r.packages {
		if p.name == name {
			return p
		}
	}
	p := &packageResult{name: name}
	r.packages = append(r.packages, p)
	return p
}

// verdict returns the result of a package as one word. A package with a skipped test has not passed.
func (p *packageResult) verdict() string {
	switch {
	case p.result == "skip" || p.result == "pass" && p.passed == 0 && len(p.skipped) == 0:
		return "NO TESTS"
	case p.result != "pass":
		return "FAIL"
	case len(p.skipped) > 0:
		return "SKIPPED"
	default:
		return "ok"
	}
}

// printSummary prints what was run, and returns how many packages did not pass.
func (r *versionReport) printSummary() (bad int) {
	fmt.Fprintf(r.out, "Kubernetes %s (%s)\n", r.version, r.release)
	for _, p := range r.packages {
		verdict := p.verdict()
		if verdict != "ok" {
			bad++
		}
		fmt.Fprintf(r.out, "  %-9s %-60s %4d passed", verdict, p.name, p.passed)
		if p.failed > 0 {
			fmt.Fprintf(r.out, ", %d failed", p.failed)
		}
		if len(p.skipped) > 0 {
			fmt.Fprintf(r.out, ", skipped: %s", strings.Join(p.skipped, ", "))
		}
		fmt.Fprintf(r.out, " in %s\n", p.took.Round(time.Second))
	}
	return bad
}
