package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"

	"github.com/LogicIQ/konductor/internal/rules"
)

// Observations of objects in various states.
func missingObject() rules.Observation { return rules.Observation{Description: "missing"} }
func deletedObject(last rules.Observation) rules.Observation {
	return rules.Observation{DeletedState: &last}
}
func namespaceDenied() rules.Observation { return rules.Observation{NamespaceDenied: true} }
func runningObject() rules.Observation {
	return rules.Observation{Found: true, UID: "first", Description: "running"}
}
func objectInState(state konductorv1.GateState) rules.Observation {
	return rules.Observation{Found: true, UID: "first", State: state, Description: strings.ToLower(string(state))}
}
func recreated(o rules.Observation) rules.Observation { o.UID = "second"; return o }
func semaphoreWithFreePermits(permits int32) rules.Observation {
	o := objectInState(konductorv1.StateAvailable)
	if permits == 0 {
		o = objectInState(konductorv1.StateFull)
	}
	o.FreePermits = permits
	return o
}

// terminatingObject is an object in that state that is being deleted.
func terminatingObject(o rules.Observation) rules.Observation {
	return rules.Observation{Terminating: true, DeletedState: &o}
}

func TestDecideGateConditionTypesAndStates(t *testing.T) {
	type result struct {
		Phase konductorv1.GatePhase
		Open  string
	}
	waits := func(why string) result {
		return result{"Waiting", "Open=False Waiting: 0 of 1 conditions are met; " + why}
	}
	opens := result{"Open", "Open=True Opened: 1 of 1 conditions are met"}
	fails := func(why string) result { return result{"Failed", "Open=False Failed: " + why} }
	elsewhere := conditionOn("Job", "x")
	elsewhere.Namespace = "other"

	tests := map[string]struct {
		condition konductorv1.GateCondition
		seen      rules.Observation
		want      result
	}{
		"a missing job is waited for":                                {conditionOn("Job", "x"), missingObject(), waits("job/x not found")},
		"a job that was complete when it was deleted will do":        {conditionOn("Job", "x"), deletedObject(objectInState("Complete")), opens},
		"a job that was deleted before it was complete is missing":   {conditionOn("Job", "x"), deletedObject(runningObject()), waits("job/x not found")},
		"a job that had failed when it was deleted may be made anew": {conditionOn("Job", "x"), deletedObject(objectInState("Failed")), waits("job/x not found")},
		"a lease that was free when it was deleted is missing":       {conditionOn("Lease", "x"), deletedObject(objectInState("Available")), waits("lease/x not found")},
		"a job that is being deleted counts as deleted":              {conditionOn("Job", "x"), terminatingObject(runningObject()), waits("job/x is being deleted")},
		"a job that is deleted once it was complete will do":         {conditionOn("Job", "x"), terminatingObject(objectInState("Complete")), opens},
		"a failed job that is being deleted may be made anew":        {conditionOn("Job", "x"), terminatingObject(objectInState("Failed")), waits("job/x is being deleted")},
		"a free lease that is being deleted is not to be had":        {conditionOn("Lease", "x"), terminatingObject(objectInState("Available")), waits("lease/x is being deleted")},
		"permits of a semaphore that is being deleted are not free":  {conditionOn("Semaphore", "x"), terminatingObject(rules.Observation{Found: true, State: "Available", FreePermits: 3}), waits("semaphore/x is being deleted")},
		"a running job is waited for":                                {conditionOn("Job", "x"), runningObject(), waits("job/x is running")},
		"a complete job is what a job should be":                     {conditionOn("Job", "x"), objectInState("Complete"), opens},
		"a failed job ends the gate at once":                         {conditionOn("Job", "x"), objectInState("Failed"), fails("job/x is failed")},
		"a failed job is what was asked for":                         {conditionOnState("Job", "x", "Failed"), objectInState("Failed"), opens},
		"a complete job will not fail any more":                      {conditionOnState("Job", "x", "Failed"), objectInState("Complete"), fails("job/x is complete")},
		"a running job may still fail":                               {conditionOnState("Job", "x", "Failed"), runningObject(), waits("job/x is running")},
		"a missing barrier is waited for":                            {conditionOn("Barrier", "x"), missingObject(), waits("barrier/x not found")},
		"a barrier that waits is waited for":                         {conditionOn("Barrier", "x"), runningObject(), waits("barrier/x is running")},
		"an open barrier is what a barrier should be":                {conditionOn("Barrier", "x"), objectInState("Open"), opens},
		"a failed barrier ends the gate":                             {conditionOn("Barrier", "x"), objectInState("Failed"), fails("barrier/x is failed")},
		"a barrier that timed out ends the gate":                     {conditionOn("Barrier", "x"), objectInState("Timeout"), fails("barrier/x is timeout")},
		"a barrier's failure can be asked for":                       {conditionOnState("Barrier", "x", "Failed"), objectInState("Failed"), opens},
		"a barrier's timeout can be asked for":                       {conditionOnState("Barrier", "x", "Timeout"), objectInState("Timeout"), opens},
		"an open barrier won't time out":                             {conditionOnState("Barrier", "x", "Timeout"), objectInState("Open"), fails("barrier/x is open")},
		"a missing gate is waited for":                               {conditionOn("Gate", "x"), missingObject(), waits("gate/x not found")},
		"a gate that waits is waited for":                            {conditionOn("Gate", "x"), runningObject(), waits("gate/x is running")},
		"an open gate is what a gate should be":                      {conditionOn("Gate", "x"), objectInState("Open"), opens},
		"a failed gate ends the gate":                                {conditionOn("Gate", "x"), objectInState("Failed"), fails("gate/x is failed")},
		"a gate's failure can be asked for":                          {conditionOnState("Gate", "x", "Failed"), objectInState("Failed"), opens},
		"a gate's timeout can be asked for":                          {conditionOnState("Gate", "x", "Timeout"), objectInState("Timeout"), opens},
		"a missing lease is waited for":                              {conditionOn("Lease", "x"), missingObject(), waits("lease/x not found")},
		"a free lease is what a lease should be":                     {conditionOn("Lease", "x"), objectInState("Available"), opens},
		"a held lease is waited for, as it comes free":               {conditionOn("Lease", "x"), objectInState("Held"), waits("lease/x is held")},
		"a held lease is what was asked for":                         {conditionOnState("Lease", "x", "Held"), objectInState("Held"), opens},
		"a free lease may still be taken":                            {conditionOnState("Lease", "x", "Held"), objectInState("Available"), waits("lease/x is available")},
		"a missing semaphore is waited for":                          {conditionOn("Semaphore", "x"), missingObject(), waits("semaphore/x not found")},
		"one free permit is what a semaphore should have":            {conditionOn("Semaphore", "x"), semaphoreWithFreePermits(1), opens},
		"a full semaphore is waited for":                             {conditionOn("Semaphore", "x"), semaphoreWithFreePermits(0), waits("semaphore/x has 0 permits free, 1 wanted")},
		"as many free permits as asked for open it":                  {conditionOnFreePermits("x", 3), semaphoreWithFreePermits(3), opens},
		"one free permit less than asked for doesn't":                {conditionOnFreePermits("x", 3), semaphoreWithFreePermits(2), waits("semaphore/x has 2 permits free, 3 wanted")},
		"a full semaphore can be asked for":                          {conditionOnState("Semaphore", "x", "Full"), semaphoreWithFreePermits(0), opens},
		"a semaphore may still fill":                                 {conditionOnState("Semaphore", "x", "Full"), semaphoreWithFreePermits(1), waits("semaphore/x is available")},
		"another namespace is not looked at without a word":          {elsewhere, namespaceDenied(), waits("namespace other doesn't allow this gate: its annotation konductor.io/allow-gates-from must name the gate's namespace")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := rules.DecideGate(newGate(test.condition).build(), []rules.Observation{test.seen}, instantAt(0))
			assertEqual(t, "the verdict", test.want, result{d.Status.Phase, formatCondition(d.Status.Conditions, konductorv1.ConditionOpen)})
		})
	}
}

// gateStep is one reconcile of a gate: what has happened since the one before, and the expected outcome.
type gateStep struct {
	at                time.Duration
	changeSpec        func(*konductorv1.Gate) // by the user; raises metadata.generation
	observations      []rules.Observation
	deadlockedMessage string // of the condition Deadlocked with the reason Cycle
	want              gateOutcome
}

// gateOutcome is what people and clients can see of a gate.
type gateOutcome struct {
	Phase          konductorv1.GatePhase
	ConditionsMet  string
	OpenCondition  string
	ReadyCondition string // "" when it is True
	Events         []string
	RequeueAfter   time.Duration
	Unchanged      bool
	Delete         bool
}

func newGateOutcome(d rules.GateDecision) gateOutcome {
	s := gateOutcome{
		Phase: d.Status.Phase, ConditionsMet: fmt.Sprintf("%d/%d", d.Status.ConditionsMet, d.Status.ConditionsTotal),
		OpenCondition:  formatCondition(d.Status.Conditions, konductorv1.ConditionOpen),
		ReadyCondition: formatCondition(d.Status.Conditions, konductorv1.ConditionReady),
		Events:         formatEvents(d.Events), RequeueAfter: d.RequeueAfter, Unchanged: !d.Changed, Delete: d.Delete,
	}
	if s.ReadyCondition == "Ready=True Accepted: the gate is in operation" {
		s.ReadyCondition = ""
	}
	return s
}

func TestDecideGate(t *testing.T) {
	jobAndLease := newGate(conditionOn("Job", "a"), conditionOn("Lease", "l"))
	openMessage := func(n int) string { return fmt.Sprintf("Open=True Opened: %d of %d conditions are met", n, n) }
	const cycleMessage = "these gates wait for each other and can never open: a -> b -> a"

	tests := map[string]struct {
		gate  *gateBuilder
		story []gateStep
	}{
		"opens when the last condition is met, and says which is missing": {newGate(conditionOn("Job", "a"), conditionOn("Job", "b")), []gateStep{
			{observations: []rules.Observation{objectInState("Complete"), runningObject()}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "1/2", OpenCondition: "Open=False Waiting: 1 of 2 conditions are met; job/b is running",
			}},
			{observations: []rules.Observation{objectInState("Complete"), objectInState("Complete")}, want: gateOutcome{
				Phase: "Open", ConditionsMet: "2/2", OpenCondition: openMessage(2), Events: []string{"Opened: 2 of 2 conditions are met"},
			}},
		}},
		"stays open whatever happens to what it waited for": {newGate(conditionOn("Lease", "l")), []gateStep{
			{observations: []rules.Observation{objectInState("Available")}, want: gateOutcome{
				Phase: "Open", ConditionsMet: "1/1", OpenCondition: openMessage(1), Events: []string{"Opened: 1 of 1 conditions are met"},
			}},
			{at: time.Hour, observations: []rules.Observation{objectInState("Held")}, want: gateOutcome{Phase: "Open", ConditionsMet: "1/1", OpenCondition: openMessage(1), Unchanged: true}},
			{at: time.Hour, observations: []rules.Observation{missingObject()}, want: gateOutcome{Phase: "Open", ConditionsMet: "1/1", OpenCondition: openMessage(1), Unchanged: true}},
			{changeSpec: func(g *konductorv1.Gate) { g.Spec.Conditions = append(g.Spec.Conditions, conditionOn("Job", "never")) },
				observations: []rules.Observation{missingObject(), missingObject()}, want: gateOutcome{Phase: "Open", ConditionsMet: "1/1", OpenCondition: openMessage(1)}},
		}},
		"all conditions must hold at the same time": {jobAndLease, []gateStep{
			{observations: []rules.Observation{runningObject(), objectInState("Available")}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "1/2", OpenCondition: "Open=False Waiting: 1 of 2 conditions are met; job/a is running",
			}},
			{observations: []rules.Observation{objectInState("Complete"), objectInState("Held")}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "1/2", OpenCondition: "Open=False Waiting: 1 of 2 conditions are met; lease/l is held",
			}},
			{observations: []rules.Observation{objectInState("Complete"), objectInState("Available")}, want: gateOutcome{
				Phase: "Open", ConditionsMet: "2/2", OpenCondition: openMessage(2), Events: []string{"Opened: 2 of 2 conditions are met"},
			}},
		}},
		"a job that was complete and is then deleted stays complete": {jobAndLease, []gateStep{
			{observations: []rules.Observation{objectInState("Complete"), objectInState("Held")}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "1/2", OpenCondition: "Open=False Waiting: 1 of 2 conditions are met; lease/l is held",
			}},
			{observations: []rules.Observation{missingObject(), objectInState("Held")}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "1/2", OpenCondition: "Open=False Waiting: 1 of 2 conditions are met; lease/l is held", Unchanged: true,
			}},
			{observations: []rules.Observation{missingObject(), objectInState("Available")}, want: gateOutcome{
				Phase: "Open", ConditionsMet: "2/2", OpenCondition: openMessage(2), Events: []string{"Opened: 2 of 2 conditions are met"},
			}},
		}},
		"a job that was complete and is then created again is looked at anew": {jobAndLease, []gateStep{
			{observations: []rules.Observation{objectInState("Complete"), objectInState("Held")}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "1/2", OpenCondition: "Open=False Waiting: 1 of 2 conditions are met; lease/l is held",
			}},
			{observations: []rules.Observation{recreated(runningObject()), objectInState("Available")}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "1/2", OpenCondition: "Open=False Waiting: 1 of 2 conditions are met; job/a is running",
			}},
			{observations: []rules.Observation{recreated(missingObject()), objectInState("Available")}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "1/2", OpenCondition: "Open=False Waiting: 1 of 2 conditions are met; job/a not found",
			}},
		}},
		"a lease that is deleted is not free any more": {newGate(conditionOn("Lease", "l"), conditionOn("Job", "a")), []gateStep{
			{observations: []rules.Observation{objectInState("Available"), runningObject()}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "1/2", OpenCondition: "Open=False Waiting: 1 of 2 conditions are met; job/a is running",
			}},
			{observations: []rules.Observation{missingObject(), runningObject()}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "0/2", OpenCondition: "Open=False Waiting: 0 of 2 conditions are met; lease/l not found",
			}},
		}},
		"what was met counts for another state only when it is met again": {newGate(conditionOn("Job", "a"), conditionOn("Job", "b")), []gateStep{
			{observations: []rules.Observation{objectInState("Complete"), runningObject()}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "1/2", OpenCondition: "Open=False Waiting: 1 of 2 conditions are met; job/b is running",
			}},
			{changeSpec: func(g *konductorv1.Gate) { g.Spec.Conditions[0].State = konductorv1.StateFailed },
				observations: []rules.Observation{missingObject(), runningObject()}, want: gateOutcome{
					Phase: "Waiting", ConditionsMet: "0/2", OpenCondition: "Open=False Waiting: 0 of 2 conditions are met; job/a not found",
				}},
		}},
		"a namespace that takes its permission back takes the condition back": {
			newGate(konductorv1.GateCondition{Type: "Job", Name: "a", Namespace: "other"}, conditionOn("Job", "b")), []gateStep{
				{observations: []rules.Observation{objectInState("Complete"), runningObject()}, want: gateOutcome{
					Phase: "Waiting", ConditionsMet: "1/2", OpenCondition: "Open=False Waiting: 1 of 2 conditions are met; job/b is running",
				}},
				{observations: []rules.Observation{namespaceDenied(), runningObject()}, want: gateOutcome{
					Phase: "Waiting", ConditionsMet: "0/2",
					OpenCondition: "Open=False Waiting: 0 of 2 conditions are met; namespace other doesn't allow this gate: its annotation konductor.io/allow-gates-from must name the gate's namespace",
				}},
			}},
		"a failed job fails the gate though others still run, and its replacement makes it wait again": {newGate(conditionOn("Job", "a"), conditionOn("Job", "b")), []gateStep{
			{observations: []rules.Observation{runningObject(), objectInState("Failed")}, want: gateOutcome{
				Phase: "Failed", ConditionsMet: "0/2", OpenCondition: "Open=False Failed: job/b is failed", Events: []string{"! Failed: job/b is failed"},
			}},
			{observations: []rules.Observation{runningObject(), recreated(runningObject())}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "0/2", OpenCondition: "Open=False Waiting: 0 of 2 conditions are met; job/a is running",
				Events: []string{"Resumed: the gate waits again: 0 of 2 conditions are met; job/a is running"},
			}},
			{observations: []rules.Observation{objectInState("Complete"), recreated(objectInState("Complete"))}, want: gateOutcome{
				Phase: "Open", ConditionsMet: "2/2", OpenCondition: openMessage(2), Events: []string{"Opened: 2 of 2 conditions are met"},
			}},
		}},
		"the first of several failures is told": {newGate(conditionOn("Job", "a"), conditionOn("Job", "b")), []gateStep{
			{observations: []rules.Observation{objectInState("Failed"), objectInState("Failed")}, want: gateOutcome{
				Phase: "Failed", ConditionsMet: "0/2", OpenCondition: "Open=False Failed: job/a is failed", Events: []string{"! Failed: job/a is failed"},
			}},
		}},
		"times out, and looks again no sooner than that": {newGate(conditionOn("Job", "a")).timeout(30 * time.Second), []gateStep{
			{at: 10 * time.Second, observations: []rules.Observation{runningObject()}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "0/1", OpenCondition: "Open=False Waiting: 0 of 1 conditions are met; job/a is running", RequeueAfter: 21 * time.Second,
			}},
			{at: 31 * time.Second, observations: []rules.Observation{runningObject()}, want: gateOutcome{
				Phase: "Timeout", ConditionsMet: "0/1", OpenCondition: "Open=False Timeout: 0 of 1 conditions are met; job/a is running",
				Events: []string{"! Timeout: timed out after 30s: 0 of 1 conditions are met; job/a is running"},
			}},
			// Waiters have been notified, so it doesn't open any more.
			{at: 32 * time.Second, observations: []rules.Observation{objectInState("Complete")}, want: gateOutcome{
				Phase: "Timeout", ConditionsMet: "1/1", OpenCondition: "Open=False Timeout: 1 of 1 conditions are met",
			}},
		}},
		"a longer timeout makes it wait again": {newGate(conditionOn("Job", "a")).timeout(30 * time.Second), []gateStep{
			{at: time.Minute, observations: []rules.Observation{runningObject()}, want: gateOutcome{
				Phase: "Timeout", ConditionsMet: "0/1", OpenCondition: "Open=False Timeout: 0 of 1 conditions are met; job/a is running",
				Events: []string{"! Timeout: timed out after 30s: 0 of 1 conditions are met; job/a is running"},
			}},
			{at: time.Minute, changeSpec: func(g *konductorv1.Gate) { g.Spec.Timeout = konductorv1.NewDuration(2 * time.Minute) }, observations: []rules.Observation{runningObject()}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "0/1", OpenCondition: "Open=False Waiting: 0 of 1 conditions are met; job/a is running", RequeueAfter: 61 * time.Second,
				Events: []string{"Resumed: the gate waits again: 0 of 1 conditions are met; job/a is running"},
			}},
		}},
		"a timeout that passes after it opened changes nothing": {newGate(conditionOn("Job", "a")).timeout(30 * time.Second), []gateStep{
			{observations: []rules.Observation{objectInState("Complete")}, want: gateOutcome{
				Phase: "Open", ConditionsMet: "1/1", OpenCondition: openMessage(1), Events: []string{"Opened: 1 of 1 conditions are met"},
			}},
			{at: time.Hour, observations: []rules.Observation{objectInState("Complete")}, want: gateOutcome{Phase: "Open", ConditionsMet: "1/1", OpenCondition: openMessage(1), Unchanged: true}},
		}},
		"is deleted when its TTL has passed since it opened": {newGate(conditionOn("Job", "a")).ttlAfterFinished(time.Minute), []gateStep{
			{observations: []rules.Observation{objectInState("Complete")}, want: gateOutcome{
				Phase: "Open", ConditionsMet: "1/1", OpenCondition: openMessage(1), Events: []string{"Opened: 1 of 1 conditions are met"}, RequeueAfter: 61 * time.Second,
			}},
			{at: 61 * time.Second, observations: []rules.Observation{missingObject()}, want: gateOutcome{Phase: "Open", ConditionsMet: "1/1", OpenCondition: openMessage(1), Unchanged: true, Delete: true}},
		}},
		"is deleted when its TTL has passed since it failed": {newGate(conditionOn("Job", "a")).ttlAfterFinished(time.Minute), []gateStep{
			{observations: []rules.Observation{objectInState("Failed")}, want: gateOutcome{
				Phase: "Failed", ConditionsMet: "0/1", OpenCondition: "Open=False Failed: job/a is failed", Events: []string{"! Failed: job/a is failed"}, RequeueAfter: 61 * time.Second,
			}},
			{at: 2 * time.Minute, observations: []rules.Observation{objectInState("Failed")}, want: gateOutcome{
				Phase: "Failed", ConditionsMet: "0/1", OpenCondition: "Open=False Failed: job/a is failed", Unchanged: true, Delete: true,
			}},
		}},
		"a gate that waits again is not deleted for having failed before": {newGate(conditionOn("Job", "a")).ttlAfterFinished(time.Minute), []gateStep{
			{observations: []rules.Observation{objectInState("Failed")}, want: gateOutcome{
				Phase: "Failed", ConditionsMet: "0/1", OpenCondition: "Open=False Failed: job/a is failed", Events: []string{"! Failed: job/a is failed"}, RequeueAfter: 61 * time.Second,
			}},
			{at: 10 * time.Second, observations: []rules.Observation{recreated(runningObject())}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "0/1", OpenCondition: "Open=False Waiting: 0 of 1 conditions are met; job/a is running",
				Events: []string{"Resumed: the gate waits again: 0 of 1 conditions are met; job/a is running"},
			}},
			{at: time.Hour, observations: []rules.Observation{recreated(runningObject())}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "0/1", OpenCondition: "Open=False Waiting: 0 of 1 conditions are met; job/a is running", Unchanged: true,
			}},
		}},
		"a gate isn't ready while it is known to wait for itself by way of other gates": {newGate(conditionOn("Gate", "b")), []gateStep{
			{observations: []rules.Observation{runningObject()}, deadlockedMessage: cycleMessage, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "0/1", OpenCondition: "Open=False Waiting: 0 of 1 conditions are met; gate/b is running",
				ReadyCondition: "Ready=False Cycle: " + cycleMessage,
			}},
			{at: time.Hour, observations: []rules.Observation{runningObject()}, deadlockedMessage: cycleMessage, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "0/1", OpenCondition: "Open=False Waiting: 0 of 1 conditions are met; gate/b is running",
				ReadyCondition: "Ready=False Cycle: " + cycleMessage, Unchanged: true,
			}},
			{at: time.Hour, observations: []rules.Observation{runningObject()}, want: gateOutcome{
				Phase: "Waiting", ConditionsMet: "0/1", OpenCondition: "Open=False Waiting: 0 of 1 conditions are met; gate/b is running",
			}},
		}},
		"a cycle that has timed out needs no report": {newGate(conditionOn("Gate", "b")).timeout(30 * time.Second), []gateStep{
			{at: time.Minute, observations: []rules.Observation{runningObject()}, deadlockedMessage: cycleMessage, want: gateOutcome{
				Phase: "Timeout", ConditionsMet: "0/1", OpenCondition: "Open=False Timeout: 0 of 1 conditions are met; gate/b is running",
				Events: []string{"! Timeout: timed out after 30s: 0 of 1 conditions are met; gate/b is running"},
			}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := test.gate.build()
			for i, m := range test.story {
				if m.changeSpec != nil {
					m.changeSpec(g)
					g.Generation++
				}
				if meta.RemoveStatusCondition(&g.Status.Conditions, konductorv1.ConditionDeadlocked); m.deadlockedMessage != "" {
					meta.SetStatusCondition(&g.Status.Conditions, metav1.Condition{
						Type: konductorv1.ConditionDeadlocked, Status: metav1.ConditionTrue, Reason: konductorv1.ReasonCycle, Message: m.deadlockedMessage,
					})
				}
				d := rules.DecideGate(g, m.observations, instantAt(m.at))
				assertEqual(t, fmt.Sprintf("moment %d", i+1), m.want, newGateOutcome(d))
				assertEqual(t, "observedGeneration", g.Generation, d.Status.ObservedGeneration)
				g.Status = d.Status
				if again := rules.DecideGate(g, m.observations, instantAt(m.at)); again.Changed || len(again.Events) > 0 {
					t.Errorf("moment %d: the gate is not at rest after its status was written: %v", i+1, again)
				}
			}
		})
	}
}

func TestDecideGateConditionStatusOrder(t *testing.T) {
	elsewhere := conditionOn("Barrier", "c")
	elsewhere.Namespace = "other"
	g := newGate(conditionOn("Job", "a"), conditionOnFreePermits("s", 2), elsewhere).build()
	d := rules.DecideGate(g, []rules.Observation{objectInState("Complete"), semaphoreWithFreePermits(1), objectInState("Open")}, instantAt(0))
	assertEqual(t, "conditionStatuses", []konductorv1.GateConditionStatus{
		{Type: "Job", Name: "a", State: "Complete", Met: true, Message: "job/a is complete", UID: "first"},
		{Type: "Semaphore", Name: "s", State: "Available", Message: "semaphore/s has 1 permit free, 2 wanted"},
		{Type: "Barrier", Name: "c", Namespace: "other", State: "Open", Met: true, Message: "barrier/c is open", UID: "first"},
	}, d.Status.ConditionStatuses)
}

func TestDecideGateDoesNotMutateArguments(t *testing.T) {
	g := newGate(conditionOn("Job", "a"), conditionOn("Job", "b")).timeout(time.Minute).build()
	g.Status = rules.DecideGate(g, []rules.Observation{objectInState("Complete"), runningObject()}, instantAt(0)).Status
	before := g.DeepCopy()
	rules.DecideGate(g, []rules.Observation{objectInState("Failed"), missingObject()}, instantAt(2*time.Minute))
	assertEqual(t, "the gate", before, g)
}
