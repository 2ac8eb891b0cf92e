package chaos

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/LogicIQ/konductor/e2e/chaos/checks"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// What a campaign leaves in its folder.
const (
	historyFile   = "history.jsonl"
	faultsFile    = "faults.jsonl"
	revisionsFile = "revisions.jsonl" // only of a campaign in which something was found
	reportFile    = "report.json"
)

// Report is what a campaign did and what was found.
type Report struct {
	Seed    uint64        `json:"seed"`
	Began   time.Time     `json:"began"`
	Lasted  time.Duration `json:"lasted"`
	QuietIn time.Duration `json:"quietIn"` // from the end of the faults until all was quiet
	// Operations are counted as "ACTION KIND: OUTCOME REASON".
	Operations map[string]int `json:"operations"`
	Faults     map[string]int `json:"faults"`
	// Connection counts what proxies did.
	Connection map[string]int `json:"connection"`
	// Starts of operators, and how many of them with a wall clock that is an hour off.
	Starts int `json:"starts"`
	Skewed int `json:"skewed"`
	// Revisions that were read, and Grants in them.
	Revisions int `json:"revisions"`
	Grants    int `json:"grants"`
	// Updates of what leases protect.
	Updates    int                `json:"updates"`
	Violations []checks.Violation `json:"violations"`
}

// report runs the checks.
func (c *campaign) report(e *ending) *Report {
	r := &Report{
		Seed: c.Seed, Began: c.began, Lasted: c.Lasts, QuietIn: e.quietIn, Operations: map[string]int{}, Faults: e.faultsBy, Connection: e.proxied,
		Starts: e.starts, Skewed: e.skewed, Revisions: len(e.run.Revisions), Grants: len(revisions.Grants(e.run.Revisions)),
	}
	for _, op := range e.run.Ops {
		outcome := string(op.Outcome)
		if op.Reason != "" {
			outcome += " " + op.Reason
		}
		r.Operations[fmt.Sprintf("%s %s: %s", op.Action, op.Kind, outcome)]++
	}
	for _, register := range e.run.Registers {
		r.Updates += register.Value
	}
	r.Violations = checks.Find(&e.run)
	for _, left := range e.unquiet {
		r.Violations = append(r.Violations, checks.Violation{Check: "stuck", Where: "the end", Message: left})
	}
	return r
}

// Caught returns the names of the checks that found something.
func (r *Report) Caught() map[string]bool {
	names := map[string]bool{}
	for _, v := range r.Violations {
		names[v.Check] = true
	}
	return names
}

// Print tells people.
func (r *Report) Print(w io.Writer) {
	total := 0
	for _, n := range r.Operations {
		total += n
	}
	fmt.Fprintf(w, "seed %d: %d operations, %d grants, %d updates under a lease, %d revisions read\n", r.Seed, total, r.Grants, r.Updates, r.Revisions)
	fmt.Fprintf(w, "%d starts of operators, %d with a clock an hour off; quiet %s after %s of faults\n",
		r.Starts, r.Skewed, r.QuietIn.Round(10*time.Millisecond), r.Lasted)
	for _, part := range []struct {
		name   string
		counts map[string]int
	}{{"operations", r.Operations}, {"faults", r.Faults}, {"connections", r.Connection}} {
		fmt.Fprintf(w, "%s:\n", part.name)
		for _, key := range slices.Sorted(maps.Keys(part.counts)) {
			fmt.Fprintf(w, "  %6d  %s\n", part.counts[key], key)
		}
	}
	for _, v := range r.Violations {
		fmt.Fprintf(w, "VIOLATION %s\n", v)
	}
	fmt.Fprintf(w, "%d checks, %d violations\n", len(checks.All()), len(r.Violations))
}

// write leaves the report, and all revisions if something was found.
func (r *Report) write(dir string, run *checks.Run) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, reportFile), text, 0o644); err != nil || len(r.Violations) == 0 {
		return err
	}
	file, err := os.Create(filepath.Join(dir, revisionsFile))
	if err != nil {
		return err
	}
	lines := bufio.NewWriter(file)
	encoder := json.NewEncoder(lines)
	for _, revision := range run.Revisions {
		err = errors.Join(err, encoder.Encode(revision))
	}
	return errors.Join(err, lines.Flush(), file.Close())
}
