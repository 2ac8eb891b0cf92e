// Package checks compares what clients were told, and what every revision says,
// with what konductor promises. Each check is named and says what it proves; none
// asks the product's own code.
package checks

import (
	"fmt"
	"time"

	"github.com/LogicIQ/konductor/e2e/chaos/history"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// Run is all that is known of a campaign once it is over.
type Run struct {
	Ops       []history.Op
	Revisions []revisions.Revision
	// Began is the wall clock at the campaign's time 0.
	Began time.Time
	// Registers are the totals of what the leases protect.
	Registers []Register
	// Guarded are writes of operators that the API server refused because they would have broken a promise.
	Guarded []string
	// Crashes are signs of a crash, or a data race, in an operator's log.
	Crashes []string
	// Dir is where a check may leave more to look at.
	Dir string
}

// Register is what a lease protects.
type Register struct {
	Name            string
	Value, Accepted int
}

// Violation is a broken promise.
type Violation struct {
	Check   string `json:"check"`
	Where   string `json:"where"`
	Message string `json:"message"`
}

func (v Violation) String() string { return fmt.Sprintf("%s: %s: %s", v.Check, v.Where, v.Message) }

// Check is one promise.
type Check struct {
	// Name is one word.
	Name string
	// Proves says in a sentence what holds when the check finds nothing.
	Proves string
	find   func(*Run, *findings)
}

// findings collects what one check finds.
type findings struct {
	check string
	found []Violation
}

// most is how many findings of one check are reported: what follows the first few seldom tells more.
const most = 20

func (f *findings) add(where fmt.Stringer, format string, args ...any) {
	if len(f.found) < most {
		f.found = append(f.found, Violation{f.check, where.String(), fmt.Sprintf(format, args...)})
	}
}

// place is a where that is only a name.
type place string

func (p place) String() string { return string(p) }

// All returns the checks.
func All() []Check {
	return []Check{
		{"limit", "at every revision at most as many permits are held as there are, or their number shrinks and nothing is granted; a lease is held by one", checkLimit},
		{"token", "each grant of an object has a larger token than all before it, also when the object was deleted and created again, and keeps it", checkToken},
		{"told", "no claim is told that it is granted, or by which token, before its object's status says so", checkTold},
		{"cause", "a hold ends only after its claim was deleted or told that it has expired, or with its object; and no ended hold comes back while its claim is alive", checkCause},
		{"deadline", "no hold ends before its client's deadline, unless its client, or somebody who deleted its claim or its object, has ended it", checkDeadline},
		{"linearizable", "what clients were told of each lease is a history of a mutex with fencing, and of each semaphore one of a counting semaphore", checkLinearizable},
		{"register", "a value that is protected by nothing but the fencing token loses no update", checkRegister},
		{"answers", "what clients were told is on record: every token, every open barrier; a repeated acquire finds the same hold", checkAnswers},
		{"order", "nobody is served before one of the same or a higher priority who asked earlier and would have fitted", checkOrder},
		{"overtaking", "the first in the queue is passed by at most ten grants to smaller claims behind it", checkOvertaking},
		{"barrier", "a barrier opens, fails and times out exactly by its rule, never closes again, and counts each participant once", checkBarriers},
		{"leak", "once all is quiet nothing is held, and no claim waits or says that it holds", checkLeak},
		{"stuck", "once faults have stopped everybody who still wants is served", checkStuck},
		{"surprise", "no call ends in a way that its documentation doesn't know", checkSurprise},
		{"guard", "the API server never had to refuse a status that would have broken a promise", checkGuard},
		{"crash", "no operator panicked or raced", checkCrash},
	}
}

// Find runs all checks and returns what they find.
func Find(run *Run) []Violation {
	var all []Violation
	for _, c := range All() {
		f := &findings{check: c.Name}
		c.find(run, f)
		all = append(all, f.found...)
	}
	return all
}

func checkRegister(run *Run, f *findings) {
	for _, r := range run.Registers {
		if r.Value != r.Accepted {
			f.add(place(r.Name), "%d updates were accepted, and %d are left", r.Accepted, r.Value)
		}
	}
}

func checkGuard(run *Run, f *findings) {
	for _, g := range run.Guarded {
		f.add(place("API server"), "%s", g)
	}
}

func checkCrash(run *Run, f *findings) {
	for _, c := range run.Crashes {
		f.add(place("operator"), "%s", c)
	}
}

func checkStuck(run *Run, f *findings) {
	for _, op := range run.Ops {
		switch {
		case op.Outcome == "", op.Outcome == history.Unknown && op.Reason == history.CutOff:
			f.add(where(op), "%s of %s, asked at %s, is not answered", op.Action, op.Holder, op.Invoke)
		case op.Final && op.Action == history.Acquire && op.Outcome != history.OK:
			f.add(where(op), "%s of %s, asked at %s when all was well, ended with %s %s", op.Action, op.Holder, op.Invoke, op.Reason, op.Detail)
		}
	}
}

func checkSurprise(run *Run, f *findings) {
	for _, op := range run.Ops {
		if op.Outcome == history.Unknown && op.Reason == "" {
			f.add(where(op), "%s of %s at %s: %s", op.Action, op.Holder, op.Return, op.Detail)
		}
	}
}

func where(op history.Op) revisions.Key {
	return revisions.Key{Namespace: op.Namespace, Kind: op.Kind, Name: op.Object}
}
