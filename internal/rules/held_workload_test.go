package rules

import (
	"slices"
	"strings"
	"testing"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func jobCreated() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }

// testJob returns a suspended Job that waits for a gate and is to hold a lease and two permits.
func testJob(change func(*HeldWorkload)) *HeldWorkload {
	j := &HeldWorkload{
		Workload: Workload{
			After: []WorkloadRef{{konductorv1.KindGate, "ready"}},
			Holds: []WorkloadHold{{WorkloadRef{konductorv1.KindLease, "report"}, 1, "", false}, {WorkloadRef{konductorv1.KindSemaphore, "db"}, 2, "", false}},
		},
		Kind: "job", State: konductorv1.HeldWaiting, Suspended: true, Created: jobCreated(), Released: map[string]int64{},
		Prerequisites: []Prerequisite{{Open: true}}, Claims: []*WorkloadClaim{nil, nil}, MissingTargets: []bool{false, false},
	}
	change(j)
	return j
}

func skipIfBusy(j *HeldWorkload) {
	j.WhenBusy = konductorv1.WhenBusySkip
	for i := range j.Holds {
		j.Holds[i].WhenBusy = j.WhenBusy
	}
}

func grantedClaim(name string, token int64) *WorkloadClaim {
	return &WorkloadClaim{Name: name, Phase: konductorv1.ClaimGranted, Token: token}
}

func TestDecideJob(t *testing.T) {
	now := Instant{ServerTime: jobCreated().Add(10 * time.Second)}
	bothGranted := func(j *HeldWorkload) { j.Claims = []*WorkloadClaim{grantedClaim("l", 5), grantedClaim("s", 6)} }
	started := func(j *HeldWorkload) {
		bothGranted(j)
		j.State, j.Suspended = konductorv1.HeldStarted, false
	}
	for what, c := range map[string]struct {
		change func(*HeldWorkload)
		// want is what is decided: the state, and of start, suspend, create NAME, nowait, delete NAME…, later.
		want  string
		event string // part of the Event's message
	}{
		"new":             {func(j *HeldWorkload) { j.State = "" }, "waiting create report", "the job waits for lease/report"},
		"a closed gate":   {func(j *HeldWorkload) { j.Prerequisites[0].Open = false }, "waiting", ""},
		"a missing gate":  {func(j *HeldWorkload) { j.State, j.Prerequisites[0] = "", Prerequisite{Missing: true} }, "waiting", "waits for gate/ready, which doesn't exist yet"},
		"a missing lease": {func(j *HeldWorkload) { j.State, j.MissingTargets[0] = "", true }, "waiting create report", "waits for lease/report, which doesn't exist yet"},
		"a job that only arrives": {func(j *HeldWorkload) {
			j.Workload, j.State, j.Suspended = Workload{Arrive: []string{"done"}}, "", false
		}, "", ""},
		"a failed gate": {func(j *HeldWorkload) {
			j.Prerequisites[0] = Prerequisite{Failed: true, Message: "gate/ready has failed"}
		}, "waiting", "can't start: gate/ready has failed"},
		"one hold":     {func(j *HeldWorkload) { j.Claims[0] = grantedClaim("l", 5) }, "waiting create db", ""},
		"in the queue": {func(j *HeldWorkload) { j.Claims[0] = &WorkloadClaim{Phase: konductorv1.ClaimPending} }, "waiting", ""},
		"all holds":    {bothGranted, "started start", "holds lease/report (fencing token 5), semaphore/db (fencing token 6)"},
		"refused": {func(j *HeldWorkload) {
			j.Claims[0] = &WorkloadClaim{Phase: konductorv1.ClaimRefused, Message: "too many"}
		}, "waiting", "refused: too many"},
		"refused, before the semaphore was resized": {func(j *HeldWorkload) {
			j.Claims[0] = &WorkloadClaim{Name: "l", Phase: konductorv1.ClaimRefused, Message: "too many", Retry: true}
		}, "waiting delete l", ""},
		"an ended claim":                  {func(j *HeldWorkload) { j.Claims[0] = &WorkloadClaim{Name: "l", Phase: konductorv1.ClaimExpired} }, "waiting delete l", ""},
		"a released token":                {func(j *HeldWorkload) { bothGranted(j); j.Released["lease/report"] = 5 }, "waiting delete s l", ""},
		"the first of two claims is gone": {func(j *HeldWorkload) { bothGranted(j); j.Claims[0] = nil }, "waiting delete s", ""},
		"limits that are all gone":        {func(j *HeldWorkload) { j.Workload, j.Claims = Workload{Limited: true}, nil }, "started start", "everything that it waited for is open"},
		"a limit that is gone":            {func(j *HeldWorkload) { bothGranted(j); j.NeedlessClaims = []*WorkloadClaim{{Name: "n"}} }, "waiting delete n", ""},
		"a claim that is being deleted": {func(j *HeldWorkload) {
			bothGranted(j)
			j.Claims[0].Deleting = true
		}, "waiting delete s", ""},

		"running":                        {started, "started", ""},
		"a lost hold":                    {func(j *HeldWorkload) { started(j); j.Claims[0] = nil }, "stopping suspend delete s", "its hold of lease/report has ended"},
		"an ended hold":                  {func(j *HeldWorkload) { started(j); j.Claims[1].Phase = konductorv1.ClaimExpired }, "stopping suspend delete l s", "its hold of semaphore/db has ended"},
		"suspended by hand":              {func(j *HeldWorkload) { started(j); j.Suspended = true }, "stopping delete l s", "the job was suspended"},
		"to be paused":                   {func(j *HeldWorkload) { started(j); j.Paused = true }, "stopping suspend delete l s", "paused"},
		"a closed gate doesn't stop it":  {func(j *HeldWorkload) { started(j); j.Prerequisites[0].Open = false }, "started", ""},
		"stopping, with claims":          {func(j *HeldWorkload) { bothGranted(j); j.State = konductorv1.HeldStopping }, "stopping delete l s", ""},
		"stopping, with Pods":            {func(j *HeldWorkload) { j.State, j.HoldsLeft = konductorv1.HeldStopping, true }, "stopping later", ""},
		"stopped":                        {func(j *HeldWorkload) { j.State = konductorv1.HeldStopping }, "waiting", ""},
		"stopped and paused":             {func(j *HeldWorkload) { j.State, j.Paused = konductorv1.HeldStopping, true }, "paused", ""},
		"started by hand while it stops": {func(j *HeldWorkload) { j.State, j.Suspended = konductorv1.HeldStopping, false }, "stopping suspend", ""},
		"paused while it waits":          {func(j *HeldWorkload) { bothGranted(j); j.Paused = true }, "paused delete l s", ""},
		"finished":                       {func(j *HeldWorkload) { started(j); j.Finished = true }, "finished", ""},
		"not suspended from the start":   {func(j *HeldWorkload) { j.State, j.Suspended = "", false }, "", "without its holds"},
		"started past the queue":         {func(j *HeldWorkload) { j.Suspended = false; j.Claims[0] = grantedClaim("l", 5) }, " delete l", "without its holds"},
		"deleted while it waits":         {func(j *HeldWorkload) { j.Deleting = true; j.Claims[0] = grantedClaim("l", 5) }, "waiting delete l", ""},
		"deleted while it runs":          {func(j *HeldWorkload) { started(j); j.Deleting = true }, "started", ""},

		"skip: a closed gate": {func(j *HeldWorkload) { skipIfBusy(j); j.Prerequisites[0].Open = false }, "skipped", "gate/ready is not open"},
		"skip: not asked yet": {func(j *HeldWorkload) { skipIfBusy(j) }, "waiting create report nowait", ""},
		"skip: busy": {func(j *HeldWorkload) {
			skipIfBusy(j)
			j.Claims = []*WorkloadClaim{grantedClaim("l", 5), {Name: "s", Phase: konductorv1.ClaimRefused, Message: konductorv1.MessageBusy}}
		}, "skipped delete l s", "semaphore/db is busy"},
		"max-wait: in time": {func(j *HeldWorkload) { j.MaxWait = time.Minute }, "waiting create report later", ""},
		"max-wait: over": {func(j *HeldWorkload) {
			j.MaxWait = 5 * time.Second
			j.Claims[0] = &WorkloadClaim{Name: "l", Phase: konductorv1.ClaimPending}
		}, "skipped delete l", "it waited for lease/report for longer than its konductor.io/max-wait of 5s"},
		"max-wait: over, but it ran before": {func(j *HeldWorkload) {
			j.MaxWait = 5 * time.Second
			j.Released[ReleasedJob] = 1
			j.Claims[0] = &WorkloadClaim{Name: "l", Phase: konductorv1.ClaimPending}
		}, "waiting", ""},
		"max-wait: over, and a hold was broken while it waited": {func(j *HeldWorkload) {
			j.MaxWait = 5 * time.Second
			j.Released["lease/report"] = 3
			j.Claims[0] = &WorkloadClaim{Name: "l", Phase: konductorv1.ClaimPending}
		}, "skipped delete l", "longer than"},
		"paused, with a claim of a limit that is gone": {func(j *HeldWorkload) { j.Paused = true; j.NeedlessClaims = []*WorkloadClaim{{Name: "n"}} }, "paused delete n", ""},
		"max-wait: over, but granted":                  {func(j *HeldWorkload) { bothGranted(j); j.MaxWait = 5 * time.Second }, "started start", "started"},
		"newest: superseded":                           {func(j *HeldWorkload) { bothGranted(j); j.SupersededBy = "next" }, "skipped delete l s", "job next is newer and waits in its place"},
		"replace: busy": {func(j *HeldWorkload) {
			j.WhenBusy = konductorv1.WhenBusyReplace
			j.Claims[0] = &WorkloadClaim{Phase: konductorv1.ClaimPending, Busy: true}
		}, "waiting replace", ""},
		"replace: about to be granted": {func(j *HeldWorkload) {
			j.WhenBusy = konductorv1.WhenBusyReplace
			j.Claims[0] = &WorkloadClaim{Phase: konductorv1.ClaimPending}
		}, "waiting", ""},
		"a claim of somebody else": {func(j *HeldWorkload) {
			bothGranted(j)
			j.Claims[0].Foreign = true
		}, "waiting delete s l later", ""},
		"a closed gate and a claim of somebody else": {func(j *HeldWorkload) {
			j.Prerequisites[0].Open = false
			j.Claims[0] = grantedClaim("l", 5)
			j.Claims[0].Foreign = true
		}, "waiting", ""},
		"a gate that is gone after it was open": {func(j *HeldWorkload) {
			bothGranted(j)
			j.Prerequisites[0] = Prerequisite{Missing: true}
		}, "started start", "holds lease/report"},
		"a template that can't be changed yet": {func(j *HeldWorkload) { bothGranted(j); j.TemplateLocked = true }, "waiting unlock", ""},
		"replace: not asked yet":               {func(j *HeldWorkload) { j.WhenBusy = konductorv1.WhenBusyReplace }, "waiting create report", ""},
		"skipped":                              {func(j *HeldWorkload) { j.State = konductorv1.HeldSkipped }, "skipped", ""},
	} {
		t.Run(what, func(t *testing.T) {
			d := DecideJob(testJob(c.change), now)
			got := []string{d.State}
			for what, is := range map[string]bool{"start": d.Start, "suspend": d.Suspend, "replace": d.ReplaceRunning, "unlock": d.UnlockTemplate} {
				if is {
					got = append(got, what)
				}
			}
			if d.CreateClaim != nil {
				got = append(got, "create", d.CreateClaim.Name)
			}
			if d.NoWait {
				got = append(got, "nowait")
			}
			if len(d.DeleteClaims) > 0 {
				got = append(got, "delete")
				for _, c := range d.DeleteClaims {
					got = append(got, c.Name)
				}
			}
			if d.RequeueAfter > 0 {
				got = append(got, "later")
			}
			if text := strings.Join(got, " "); text != c.want {
				t.Errorf("decided %q, want %q", text, c.want)
			}
			if c.event == "" && len(d.Events) > 0 || c.event != "" && !slices.ContainsFunc(d.Events, func(e Event) bool { return strings.Contains(e.Message, c.event) }) {
				t.Errorf("events %+v, want one with %q", d.Events, c.event)
			}
		})
	}
}
