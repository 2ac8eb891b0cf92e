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

// Files in a campaign's directory.
const (
	historyFile   = "history.jsonl"
	faultsFile    = "faults.jsonl"
	revisionsFile = "revisions.jsonl" // only if a violation was found
	reportFile    = "report.json"
)

// Report is the result of a campaign.
type Report struct {
	Seed            uint64        `json:"seed"`
	StartTime       time.Time     `json:"began"`
	FaultDuration   time.Duration `json:"lasted"`
	QuiesceDuration time.Duration `json:"quietIn"` // from the end of the faults to quiescence
	// Operations are counted as "ACTION KIND: OUTCOME REASON".
	Operations map[string]int `json:"operations"`
	Faults     map[string]int `json:"faults"`
	// ProxyCounts counts requests and faults of the proxies.
	ProxyCounts map[string]int `json:"connection"`
	// OperatorStarts is the number of operator starts, and SkewedStarts how many of them had a wall clock that is an hour off.
	OperatorStarts int `json:"starts"`
	SkewedStarts   int `json:"skewed"`
	// Revisions and Grants are the numbers of recorded revisions and of grants in them.
	Revisions int `json:"revisions"`
	Grants    int `json:"grants"`
	// LeaseUpdates is the number of accepted writes to the registers that leases protect.
	LeaseUpdates int                `json:"updates"`
	Violations   []checks.Violation `json:"violations"`
}

// buildReport runs the checks.
func (c *campaign) buildReport(e *campaignResult) *Report {
	r := &Report{
		Seed: c.Seed, StartTime: c.startTime, FaultDuration: c.FaultDuration, QuiesceDuration: e.quiesceDuration, Operations: map[string]int{}, Faults: e.faultCounts, ProxyCounts: e.proxyCounts,
		OperatorStarts: e.operatorStarts, SkewedStarts: e.skewedStarts, Revisions: len(e.data.Revisions), Grants: len(revisions.FindGrants(e.data.Revisions)),
	}
	for _, op := range e.data.Ops {
		outcome := string(op.Outcome)
		if op.Reason != "" {
			outcome += " " + op.Reason
		}
		r.Operations[fmt.Sprintf("%s %s: %s", op.Action, op.Kind, outcome)]++
	}
	for _, register := range e.data.Registers {
		r.LeaseUpdates += register.Value
	}
	r.Violations = checks.RunAll(&e.data)
	for _, left := range e.unfinished {
		r.Violations = append(r.Violations, checks.Violation{Check: "stuck", Where: "the end", Message: left})
	}
	return r
}

// FailedChecks returns the names of the checks that found violations.
func (r *Report) FailedChecks() map[string]bool {
	names := map[string]bool{}
	for _, v := range r.Violations {
		names[v.Check] = true
	}
	return names
}

// Print writes the report as text.
func (r *Report) Print(w io.Writer) {
	total := 0
	for _, n := range r.Operations {
		total += n
	}
	fmt.Fprintf(w, "seed %d: %d operations, %d grants, %d updates under a lease, %d revisions read\n", r.Seed, total, r.Grants, r.LeaseUpdates, r.Revisions)
	fmt.Fprintf(w, "%d starts of operators, %d with a clock an hour off; quiet %s after %s of faults\n",
		r.OperatorStarts, r.SkewedStarts, r.QuiesceDuration.Round(10*time.Millisecond), r.FaultDuration)
	for _, part := range []struct {
		name   string
		counts map[string]int
	}{{"operations", r.Operations}, {"faults", r.Faults}, {"connections", r.ProxyCounts}} {
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

// write writes the report, and all revisions if a violation was found.
func (r *Report) write(dir string, run *checks.CampaignData) error {
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
