// Package checks compares the responses that clients got, and every recorded revision, with what konductor guarantees. Each check
// has a name and says what it proves. None calls the product's own code.
package checks

import (
	"fmt"
	"time"

	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// CampaignData is what was recorded of a campaign.
type CampaignData struct {
	Ops       []history.Op
	Revisions []revisions.Revision
	// StartTime is the wall clock at the campaign's time 0.
	StartTime time.Time
	// Registers are the totals of the registers that the leases protect.
	Registers []Register
	// RejectedStatusWrites are status writes of operators that the API server rejected as invalid.
	RejectedStatusWrites []string
	// CrashLogLines are the lines of operators' logs that report a crash or a data race.
	CrashLogLines []string
	// OutputDir is the directory in which a check may leave details.
	OutputDir string
}

// Register is the final state of a resource that a lease protects.
type Register struct {
	Name                  string
	Value, AcceptedWrites int
}

// Violation is a guarantee that was not kept.
type Violation struct {
	Check   string `json:"check"`
	Where   string `json:"where"`
	Message string `json:"message"`
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Check, v.Where, v.Message) }

// Check is the check of one guarantee.
type Check struct {
	// Name is one word.
	Name string
	// Guarantee says in a sentence what holds when the check finds nothing.
	Guarantee string
	run       func(*CampaignData, *findings)
}

// findings collects the violations that one check finds.
type findings struct {
	check      string
	violations []Violation
}

// maxFindings is how many findings of one check are reported: those after the first few seldom add anything.
const maxFindings = 20

func (f *findings) add(where fmt.Stringer, format string, args ...any) {
	if len(f.violations) < maxFindings {
		f.violations = append(f.violations, Violation{f.check, where.String(), fmt.Sprintf(format, args...)})
	}
}

// location is where a violation was found, when that is only a name.
type location string

func (p location) String() string { return string(p) }

// All returns the checks.
func All() []Check {
	return []Check{
		{"limit", "at every revision at most as many permits are held as there are, or their number shrinks and nothing is granted; a lease is held by one", checkPermitLimit},
		{"token", "each grant of an object has a larger token than all before it, also when the object was deleted and created again, and keeps it", checkFencingTokens},
		{"told", "no claim is told that it is granted, or by which token, before its object's status says so", checkGrantNotifications},
		{"cause", "a hold ends only after its claim was deleted or told that it has expired, or its held Pod has finished, or with its object; and no ended hold comes back while its claim is alive", checkHoldEndCauses},
		{"pods", "at every revision each held Pod that may run, and each held Job with a Pod that may run, holds what it is to hold", checkRunningPods},
		{"deadline", "no hold ends before its client's deadline, unless its client, or somebody who deleted its claim or its object, has ended it", checkHoldDeadlines},
		{"linearizable", "what clients were told of each lease is a history of a mutex with fencing, and of each semaphore one of a counting semaphore", checkLinearizable},
		{"register", "a value that is protected by nothing but the fencing token loses no update", checkRegisters},
		{"answers", "what clients were told is on record: every token, every open barrier; a repeated acquire finds the same hold", checkResponses},
		{"order", "nobody is served before one of the same or a higher priority who asked earlier and would have fitted", checkQueueOrder},
		{"overtaking", "the first in the queue is passed by at most ten grants to smaller claims behind it", checkOvertaking},
		{"barrier", "a barrier opens, fails and times out exactly by its rule, never closes again, and counts each participant once", checkBarriers},
		{"arrivals", "a held Job or Pod arrives once, after it has finished and with its outcome, and before its label says that it is settled", checkWorkloadArrivals},
		{"leak", "once all is quiet nothing is held, and no claim waits or says that it holds", checkLeaks},
		{"stuck", "once faults have stopped everybody who still wants is served", checkLiveness},
		{"surprise", "no call ends in a way that its documentation doesn't know", checkUnclassifiedOutcomes},
		{"guard", "the API server never had to refuse a status that would have broken a promise", checkRejectedStatusWrites},
		{"crash", "no operator panicked or raced", checkCrashes},
	}
}

// RunAll runs all checks and returns the violations that they find.
func RunAll(run *CampaignData) []Violation {
	var all []Violation
	for _, c := range All() {
		f := &findings{check: c.Name}
		c.run(run, f)
		all = append(all, f.violations...)
	}
	return all
}

func checkRegisters(run *CampaignData, f *findings) {
	for _, r := range run.Registers {
		if r.Value != r.AcceptedWrites {
			f.add(location(r.Name), "%d updates were accepted, and %d are left", r.AcceptedWrites, r.Value)
		}
	}
}

func checkRejectedStatusWrites(run *CampaignData, f *findings) {
	for _, g := range run.RejectedStatusWrites {
		f.add(location("API server"), "%s", g)
	}
}

func checkCrashes(run *CampaignData, f *findings) {
	for _, c := range run.CrashLogLines {
		f.add(location("operator"), "%s", c)
	}
}

func checkLiveness(run *CampaignData, f *findings) {
	for _, op := range run.Ops {
		switch {
		case op.Outcome == "", op.Outcome == history.Unknown && op.Reason == history.Interrupted:
			f.add(objectKey(op), "%s of %s, asked at %s, is not answered", op.Action, op.Holder, op.Invoke)
		case op.Final && op.Action == history.Acquire && op.Outcome != history.OK:
			f.add(objectKey(op), "%s of %s, asked at %s when all was well, ended with %s %s", op.Action, op.Holder, op.Invoke, op.Reason, op.Detail)
		}
	}
}

func checkUnclassifiedOutcomes(run *CampaignData, f *findings) {
	for _, op := range run.Ops {
		if op.Outcome == history.Unknown && op.Reason == "" {
			f.add(objectKey(op), "%s of %s at %s: %s", op.Action, op.Holder, op.Return, op.Detail)
		}
	}
}

func objectKey(op history.Op) revisions.ObjectKey {
	return revisions.ObjectKey{Namespace: op.Namespace, Kind: op.Kind, Name: op.Object}
}
