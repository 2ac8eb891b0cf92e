package rules_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"

	"github.com/LogicIQ/konductor/apis/rules"
)

// Objects as a gate may see them.
func missing() rules.Observed                 { return rules.Observed{Detail: "missing"} }
func left(last rules.Observed) rules.Observed { return rules.Observed{Left: &last} }
func denied() rules.Observed                  { return rules.Observed{Denied: true} }
func running() rules.Observed                 { return rules.Observed{Found: true, UID: "first", Detail: "running"} }
func is(state konductorv1.GateState) rules.Observed {
	return rules.Observed{Found: true, UID: "first", State: state, Detail: strings.ToLower(string(state))}
}
func anew(o rules.Observed) rules.Observed { o.UID = "second"; return o }
func free(permits int32) rules.Observed {
	o := is(konductorv1.StateAvailable)
	if permits == 0 {
		o = is(konductorv1.StateFull)
	}
	o.Free = permits
	return o
}

func TestGateJudgesEachTypeAndState(t *testing.T) {
	type verdict struct {
		Phase konductorv1.GatePhase
		Open  string
	}
	waits := func(why string) verdict {
		return verdict{"Waiting", "Open=False Waiting: 0 of 1 conditions are met, not met: " + why}
	}
	opens := verdict{"Open", "Open=True Opened: 1 of 1 conditions are met"}
	fails := func(why string) verdict { return verdict{"Failed", "Open=False Failed: " + why} }
	elsewhere := on("Job", "x")
	elsewhere.Namespace = "other"

	tests := map[string]struct {
		condition konductorv1.GateCondition
		seen      rules.Observed
		want      verdict
	}{
		"a missing job is waited for":                                {on("Job", "x"), missing(), waits("job/x not found")},
		"a job that was complete when it was deleted will do":        {on("Job", "x"), left(is("Complete")), opens},
		"a job that was deleted before it was complete is missing":   {on("Job", "x"), left(running()), waits("job/x not found")},
		"a job that had failed when it was deleted may be made anew": {on("Job", "x"), left(is("Failed")), waits("job/x not found")},
		"a lease that was free when it was deleted is missing":       {on("Lease", "x"), left(is("Available")), waits("lease/x not found")},
		"a running job is waited for":                                {on("Job", "x"), running(), waits("job/x is running")},
		"a complete job is what a job should be":                     {on("Job", "x"), is("Complete"), opens},
		"a failed job ends the gate at once":                         {on("Job", "x"), is("Failed"), fails("job/x is failed")},
		"a failed job is what was asked for":                         {onState("Job", "x", "Failed"), is("Failed"), opens},
		"a complete job will not fail any more":                      {onState("Job", "x", "Failed"), is("Complete"), fails("job/x is complete")},
		"a running job may still fail":                               {onState("Job", "x", "Failed"), running(), waits("job/x is running")},
		"a missing barrier is waited for":                            {on("Barrier", "x"), missing(), waits("barrier/x not found")},
		"a barrier that waits is waited for":                         {on("Barrier", "x"), running(), waits("barrier/x is running")},
		"an open barrier is what a barrier should be":                {on("Barrier", "x"), is("Open"), opens},
		"a failed barrier ends the gate":                             {on("Barrier", "x"), is("Failed"), fails("barrier/x is failed")},
		"a barrier that timed out ends the gate":                     {on("Barrier", "x"), is("Timeout"), fails("barrier/x is timeout")},
		"a barrier's failure can be asked for":                       {onState("Barrier", "x", "Failed"), is("Failed"), opens},
		"a barrier's timeout can be asked for":                       {onState("Barrier", "x", "Timeout"), is("Timeout"), opens},
		"an open barrier won't time out":                             {onState("Barrier", "x", "Timeout"), is("Open"), fails("barrier/x is open")},
		"a missing gate is waited for":                               {on("Gate", "x"), missing(), waits("gate/x not found")},
		"a gate that waits is waited for":                            {on("Gate", "x"), running(), waits("gate/x is running")},
		"an open gate is what a gate should be":                      {on("Gate", "x"), is("Open"), opens},
		"a failed gate ends the gate":                                {on("Gate", "x"), is("Failed"), fails("gate/x is failed")},
		"a gate's failure can be asked for":                          {onState("Gate", "x", "Failed"), is("Failed"), opens},
		"a gate's timeout can be asked for":                          {onState("Gate", "x", "Timeout"), is("Timeout"), opens},
		"a missing lease is waited for":                              {on("Lease", "x"), missing(), waits("lease/x not found")},
		"a free lease is what a lease should be":                     {on("Lease", "x"), is("Available"), opens},
		"a held lease is waited for, as it comes free":               {on("Lease", "x"), is("Held"), waits("lease/x is held")},
		"a held lease is what was asked for":                         {onState("Lease", "x", "Held"), is("Held"), opens},
		"a free lease may still be taken":                            {onState("Lease", "x", "Held"), is("Available"), waits("lease/x is available")},
		"a missing semaphore is waited for":                          {on("Semaphore", "x"), missing(), waits("semaphore/x not found")},
		"one free permit is what a semaphore should have":            {on("Semaphore", "x"), free(1), opens},
		"a full semaphore is waited for":                             {on("Semaphore", "x"), free(0), waits("semaphore/x has 0 free permits, 1 wanted")},
		"as many free permits as asked for open it":                  {onFree("x", 3), free(3), opens},
		"one free permit less than asked for doesn't":                {onFree("x", 3), free(2), waits("semaphore/x has 2 free permits, 3 wanted")},
		"a full semaphore can be asked for":                          {onState("Semaphore", "x", "Full"), free(0), opens},
		"a semaphore may still fill":                                 {onState("Semaphore", "x", "Full"), free(1), waits("semaphore/x is available")},
		"another namespace is not looked at without a word":          {elsewhere, denied(), waits("namespace other doesn't allow it: its annotation konductor.io/allow-gates-from must name this gate's namespace")},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			d := rules.Gate(aGate(test.condition).build(), []rules.Observed{test.seen}, at(0))
			differ(t, "the verdict", test.want, verdict{d.Status.Phase, conditionLine(d.Status.Conditions, konductorv1.ConditionOpen)})
		})
	}
}

// gateMoment is one look at a gate: what has happened since the one before, and how it must stand then.
type gateMoment struct {
	at     time.Duration
	change func(*konductorv1.Gate) // by the user; raises metadata.generation
	seen   []rules.Observed
	cycle  string // the message of a condition Deadlocked for that reason
	want   gateStanding
}

// gateStanding is what people and clients can tell about a gate.
type gateStanding struct {
	Phase  konductorv1.GatePhase
	Met    string
	Open   string
	Ready  string // "" for the usual
	Events []string
	After  time.Duration
	Rest   bool
	Delete bool
}

func gateStandingOf(d rules.GateDecision) gateStanding {
	s := gateStanding{
		Phase: d.Status.Phase, Met: fmt.Sprintf("%d/%d", d.Status.ConditionsMet, d.Status.ConditionsTotal),
		Open:   conditionLine(d.Status.Conditions, konductorv1.ConditionOpen),
		Ready:  conditionLine(d.Status.Conditions, konductorv1.ConditionReady),
		Events: eventLines(d.Events), After: d.After, Rest: !d.Changed, Delete: d.Delete,
	}
	if s.Ready == "Ready=True Accepted: the gate is in operation" {
		s.Ready = ""
	}
	return s
}

func TestGate(t *testing.T) {
	jobAndLease := aGate(on("Job", "a"), on("Lease", "l"))
	openMessage := func(n int) string { return fmt.Sprintf("Open=True Opened: %d of %d conditions are met", n, n) }
	const circle = "these gates wait for each other and can never open: a -> b -> a"

	tests := map[string]struct {
		gate  *gateBuilder
		story []gateMoment
	}{
		"opens when the last condition is met, and says which is missing": {aGate(on("Job", "a"), on("Job", "b")), []gateMoment{
			{seen: []rules.Observed{is("Complete"), running()}, want: gateStanding{
				Phase: "Waiting", Met: "1/2", Open: "Open=False Waiting: 1 of 2 conditions are met, not met: job/b is running",
			}},
			{seen: []rules.Observed{is("Complete"), is("Complete")}, want: gateStanding{
				Phase: "Open", Met: "2/2", Open: openMessage(2), Events: []string{"Opened: 2 of 2 conditions are met"},
			}},
		}},
		"stays open whatever happens to what it waited for": {aGate(on("Lease", "l")), []gateMoment{
			{seen: []rules.Observed{is("Available")}, want: gateStanding{
				Phase: "Open", Met: "1/1", Open: openMessage(1), Events: []string{"Opened: 1 of 1 conditions are met"},
			}},
			{at: time.Hour, seen: []rules.Observed{is("Held")}, want: gateStanding{Phase: "Open", Met: "1/1", Open: openMessage(1), Rest: true}},
			{at: time.Hour, seen: []rules.Observed{missing()}, want: gateStanding{Phase: "Open", Met: "1/1", Open: openMessage(1), Rest: true}},
			{change: func(g *konductorv1.Gate) { g.Spec.Conditions = append(g.Spec.Conditions, on("Job", "never")) },
				seen: []rules.Observed{missing(), missing()}, want: gateStanding{Phase: "Open", Met: "1/1", Open: openMessage(1)}},
		}},
		"all conditions must hold at the same time": {jobAndLease, []gateMoment{
			{seen: []rules.Observed{running(), is("Available")}, want: gateStanding{
				Phase: "Waiting", Met: "1/2", Open: "Open=False Waiting: 1 of 2 conditions are met, not met: job/a is running",
			}},
			{seen: []rules.Observed{is("Complete"), is("Held")}, want: gateStanding{
				Phase: "Waiting", Met: "1/2", Open: "Open=False Waiting: 1 of 2 conditions are met, not met: lease/l is held",
			}},
			{seen: []rules.Observed{is("Complete"), is("Available")}, want: gateStanding{
				Phase: "Open", Met: "2/2", Open: openMessage(2), Events: []string{"Opened: 2 of 2 conditions are met"},
			}},
		}},
		"a job that was complete and is then deleted stays complete": {jobAndLease, []gateMoment{
			{seen: []rules.Observed{is("Complete"), is("Held")}, want: gateStanding{
				Phase: "Waiting", Met: "1/2", Open: "Open=False Waiting: 1 of 2 conditions are met, not met: lease/l is held",
			}},
			{seen: []rules.Observed{missing(), is("Held")}, want: gateStanding{
				Phase: "Waiting", Met: "1/2", Open: "Open=False Waiting: 1 of 2 conditions are met, not met: lease/l is held", Rest: true,
			}},
			{seen: []rules.Observed{missing(), is("Available")}, want: gateStanding{
				Phase: "Open", Met: "2/2", Open: openMessage(2), Events: []string{"Opened: 2 of 2 conditions are met"},
			}},
		}},
		"a job that was complete and is then created again is looked at anew": {jobAndLease, []gateMoment{
			{seen: []rules.Observed{is("Complete"), is("Held")}, want: gateStanding{
				Phase: "Waiting", Met: "1/2", Open: "Open=False Waiting: 1 of 2 conditions are met, not met: lease/l is held",
			}},
			{seen: []rules.Observed{anew(running()), is("Available")}, want: gateStanding{
				Phase: "Waiting", Met: "1/2", Open: "Open=False Waiting: 1 of 2 conditions are met, not met: job/a is running",
			}},
			{seen: []rules.Observed{anew(missing()), is("Available")}, want: gateStanding{
				Phase: "Waiting", Met: "1/2", Open: "Open=False Waiting: 1 of 2 conditions are met, not met: job/a not found",
			}},
		}},
		"a lease that is deleted is not free any more": {aGate(on("Lease", "l"), on("Job", "a")), []gateMoment{
			{seen: []rules.Observed{is("Available"), running()}, want: gateStanding{
				Phase: "Waiting", Met: "1/2", Open: "Open=False Waiting: 1 of 2 conditions are met, not met: job/a is running",
			}},
			{seen: []rules.Observed{missing(), running()}, want: gateStanding{
				Phase: "Waiting", Met: "0/2", Open: "Open=False Waiting: 0 of 2 conditions are met, not met: lease/l not found",
			}},
		}},
		"what was met counts for another state only when it is met again": {aGate(on("Job", "a"), on("Job", "b")), []gateMoment{
			{seen: []rules.Observed{is("Complete"), running()}, want: gateStanding{
				Phase: "Waiting", Met: "1/2", Open: "Open=False Waiting: 1 of 2 conditions are met, not met: job/b is running",
			}},
			{change: func(g *konductorv1.Gate) { g.Spec.Conditions[0].State = konductorv1.StateFailed },
				seen: []rules.Observed{missing(), running()}, want: gateStanding{
					Phase: "Waiting", Met: "0/2", Open: "Open=False Waiting: 0 of 2 conditions are met, not met: job/a not found",
				}},
		}},
		"a namespace that takes its permission back takes the condition back": {
			aGate(konductorv1.GateCondition{Type: "Job", Name: "a", Namespace: "other"}, on("Job", "b")), []gateMoment{
				{seen: []rules.Observed{is("Complete"), running()}, want: gateStanding{
					Phase: "Waiting", Met: "1/2", Open: "Open=False Waiting: 1 of 2 conditions are met, not met: job/b is running",
				}},
				{seen: []rules.Observed{denied(), running()}, want: gateStanding{
					Phase: "Waiting", Met: "0/2",
					Open: "Open=False Waiting: 0 of 2 conditions are met, not met: namespace other doesn't allow it: its annotation konductor.io/allow-gates-from must name this gate's namespace",
				}},
			}},
		"a failed job fails the gate though others still run, and its replacement makes it wait again": {aGate(on("Job", "a"), on("Job", "b")), []gateMoment{
			{seen: []rules.Observed{running(), is("Failed")}, want: gateStanding{
				Phase: "Failed", Met: "0/2", Open: "Open=False Failed: job/b is failed", Events: []string{"! Failed: job/b is failed"},
			}},
			{seen: []rules.Observed{running(), anew(running())}, want: gateStanding{
				Phase: "Waiting", Met: "0/2", Open: "Open=False Waiting: 0 of 2 conditions are met, not met: job/a is running",
				Events: []string{"Resumed: the gate waits again: 0 of 2 conditions are met, not met: job/a is running"},
			}},
			{seen: []rules.Observed{is("Complete"), anew(is("Complete"))}, want: gateStanding{
				Phase: "Open", Met: "2/2", Open: openMessage(2), Events: []string{"Opened: 2 of 2 conditions are met"},
			}},
		}},
		"the first of several failures is told": {aGate(on("Job", "a"), on("Job", "b")), []gateMoment{
			{seen: []rules.Observed{is("Failed"), is("Failed")}, want: gateStanding{
				Phase: "Failed", Met: "0/2", Open: "Open=False Failed: job/a is failed", Events: []string{"! Failed: job/a is failed"},
			}},
		}},
		"times out, and looks again no sooner than that": {aGate(on("Job", "a")).timeout(30 * time.Second), []gateMoment{
			{at: 10 * time.Second, seen: []rules.Observed{running()}, want: gateStanding{
				Phase: "Waiting", Met: "0/1", Open: "Open=False Waiting: 0 of 1 conditions are met, not met: job/a is running", After: 21 * time.Second,
			}},
			{at: 31 * time.Second, seen: []rules.Observed{running()}, want: gateStanding{
				Phase: "Timeout", Met: "0/1", Open: "Open=False Timeout: 0 of 1 conditions are met, not met: job/a is running",
				Events: []string{"! Timeout: the timeout of 30s passed: 0 of 1 conditions are met, not met: job/a is running"},
			}},
			// Waiters have been told, so it doesn't open any more.
			{at: 32 * time.Second, seen: []rules.Observed{is("Complete")}, want: gateStanding{
				Phase: "Timeout", Met: "1/1", Open: "Open=False Timeout: 1 of 1 conditions are met",
			}},
		}},
		"a longer timeout makes it wait again": {aGate(on("Job", "a")).timeout(30 * time.Second), []gateMoment{
			{at: time.Minute, seen: []rules.Observed{running()}, want: gateStanding{
				Phase: "Timeout", Met: "0/1", Open: "Open=False Timeout: 0 of 1 conditions are met, not met: job/a is running",
				Events: []string{"! Timeout: the timeout of 30s passed: 0 of 1 conditions are met, not met: job/a is running"},
			}},
			{at: time.Minute, change: func(g *konductorv1.Gate) { g.Spec.Timeout = konductorv1.NewDuration(2 * time.Minute) }, seen: []rules.Observed{running()}, want: gateStanding{
				Phase: "Waiting", Met: "0/1", Open: "Open=False Waiting: 0 of 1 conditions are met, not met: job/a is running", After: 61 * time.Second,
				Events: []string{"Resumed: the gate waits again: 0 of 1 conditions are met, not met: job/a is running"},
			}},
		}},
		"a timeout that passes after it opened changes nothing": {aGate(on("Job", "a")).timeout(30 * time.Second), []gateMoment{
			{seen: []rules.Observed{is("Complete")}, want: gateStanding{
				Phase: "Open", Met: "1/1", Open: openMessage(1), Events: []string{"Opened: 1 of 1 conditions are met"},
			}},
			{at: time.Hour, seen: []rules.Observed{is("Complete")}, want: gateStanding{Phase: "Open", Met: "1/1", Open: openMessage(1), Rest: true}},
		}},
		"is deleted when its TTL has passed since it opened": {aGate(on("Job", "a")).ttl(time.Minute), []gateMoment{
			{seen: []rules.Observed{is("Complete")}, want: gateStanding{
				Phase: "Open", Met: "1/1", Open: openMessage(1), Events: []string{"Opened: 1 of 1 conditions are met"}, After: 61 * time.Second,
			}},
			{at: 61 * time.Second, seen: []rules.Observed{missing()}, want: gateStanding{Phase: "Open", Met: "1/1", Open: openMessage(1), Rest: true, Delete: true}},
		}},
		"is deleted when its TTL has passed since it failed": {aGate(on("Job", "a")).ttl(time.Minute), []gateMoment{
			{seen: []rules.Observed{is("Failed")}, want: gateStanding{
				Phase: "Failed", Met: "0/1", Open: "Open=False Failed: job/a is failed", Events: []string{"! Failed: job/a is failed"}, After: 61 * time.Second,
			}},
			{at: 2 * time.Minute, seen: []rules.Observed{is("Failed")}, want: gateStanding{
				Phase: "Failed", Met: "0/1", Open: "Open=False Failed: job/a is failed", Rest: true, Delete: true,
			}},
		}},
		"a gate that waits again is not deleted for having failed before": {aGate(on("Job", "a")).ttl(time.Minute), []gateMoment{
			{seen: []rules.Observed{is("Failed")}, want: gateStanding{
				Phase: "Failed", Met: "0/1", Open: "Open=False Failed: job/a is failed", Events: []string{"! Failed: job/a is failed"}, After: 61 * time.Second,
			}},
			{at: 10 * time.Second, seen: []rules.Observed{anew(running())}, want: gateStanding{
				Phase: "Waiting", Met: "0/1", Open: "Open=False Waiting: 0 of 1 conditions are met, not met: job/a is running",
				Events: []string{"Resumed: the gate waits again: 0 of 1 conditions are met, not met: job/a is running"},
			}},
			{at: time.Hour, seen: []rules.Observed{anew(running())}, want: gateStanding{
				Phase: "Waiting", Met: "0/1", Open: "Open=False Waiting: 0 of 1 conditions are met, not met: job/a is running", Rest: true,
			}},
		}},
		"a gate isn't ready while it is known to wait for itself by way of other gates": {aGate(on("Gate", "b")), []gateMoment{
			{seen: []rules.Observed{running()}, cycle: circle, want: gateStanding{
				Phase: "Waiting", Met: "0/1", Open: "Open=False Waiting: 0 of 1 conditions are met, not met: gate/b is running",
				Ready: "Ready=False Cycle: " + circle,
			}},
			{at: time.Hour, seen: []rules.Observed{running()}, cycle: circle, want: gateStanding{
				Phase: "Waiting", Met: "0/1", Open: "Open=False Waiting: 0 of 1 conditions are met, not met: gate/b is running",
				Ready: "Ready=False Cycle: " + circle, Rest: true,
			}},
			{at: time.Hour, seen: []rules.Observed{running()}, want: gateStanding{
				Phase: "Waiting", Met: "0/1", Open: "Open=False Waiting: 0 of 1 conditions are met, not met: gate/b is running",
			}},
		}},
		"a circle that has timed out needs no report": {aGate(on("Gate", "b")).timeout(30 * time.Second), []gateMoment{
			{at: time.Minute, seen: []rules.Observed{running()}, cycle: circle, want: gateStanding{
				Phase: "Timeout", Met: "0/1", Open: "Open=False Timeout: 0 of 1 conditions are met, not met: gate/b is running",
				Events: []string{"! Timeout: the timeout of 30s passed: 0 of 1 conditions are met, not met: gate/b is running"},
			}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			g := test.gate.build()
			for i, m := range test.story {
				if m.change != nil {
					m.change(g)
					g.Generation++
				}
				if meta.RemoveStatusCondition(&g.Status.Conditions, konductorv1.ConditionDeadlocked); m.cycle != "" {
					meta.SetStatusCondition(&g.Status.Conditions, metav1.Condition{
						Type: konductorv1.ConditionDeadlocked, Status: metav1.ConditionTrue, Reason: konductorv1.ReasonCycle, Message: m.cycle,
					})
				}
				d := rules.Gate(g, m.seen, at(m.at))
				differ(t, fmt.Sprintf("moment %d", i+1), m.want, gateStandingOf(d))
				differ(t, "observedGeneration", g.Generation, d.Status.ObservedGeneration)
				g.Status = d.Status
				if again := rules.Gate(g, m.seen, at(m.at)); again.Changed || len(again.Events) > 0 {
					t.Errorf("moment %d: the gate is not at rest after its status was written: %v", i+1, again)
				}
			}
		})
	}
}

func TestGateTellsOfEachConditionInItsOrder(t *testing.T) {
	elsewhere := on("Barrier", "c")
	elsewhere.Namespace = "other"
	g := aGate(on("Job", "a"), onFree("s", 2), elsewhere).build()
	d := rules.Gate(g, []rules.Observed{is("Complete"), free(1), is("Open")}, at(0))
	differ(t, "conditionStatuses", []konductorv1.GateConditionStatus{
		{Type: "Job", Name: "a", State: "Complete", Met: true, Message: "job/a is complete", UID: "first"},
		{Type: "Semaphore", Name: "s", State: "Available", Message: "semaphore/s has 1 free permits, 2 wanted"},
		{Type: "Barrier", Name: "c", Namespace: "other", State: "Open", Met: true, Message: "barrier/c is open", UID: "first"},
	}, d.Status.ConditionStatuses)
}

func TestGateLeavesItsArgumentsAlone(t *testing.T) {
	g := aGate(on("Job", "a"), on("Job", "b")).timeout(time.Minute).build()
	g.Status = rules.Gate(g, []rules.Observed{is("Complete"), running()}, at(0)).Status
	before := g.DeepCopy()
	rules.Gate(g, []rules.Observed{is("Failed"), missing()}, at(2*time.Minute))
	differ(t, "the gate", before, g)
}
