package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/costtest"
)

func TestParseWorkload(t *testing.T) {
	gate, barrier := WorkloadRef{konductorv1.KindGate, "ready"}, WorkloadRef{konductorv1.KindBarrier, "done"}
	lease := WorkloadHold{WorkloadRef{konductorv1.KindLease, "report"}, 1, konductorv1.WhenBusySkip, false}
	for what, c := range map[string]struct {
		annotations map[string]string
		want        Workload
		wantError   string
	}{
		"nothing": {want: Workload{WhenBusy: konductorv1.WhenBusyWait}},
		"everything": {
			annotations: map[string]string{
				konductorv1.AfterAnnotation: "gate/ready, barrier/done", konductorv1.HoldAnnotation: " semaphore/db:2,lease/report,lease/a", konductorv1.ArriveAnnotation: "barrier/done",
				konductorv1.WhenBusyAnnotation: "Skip", konductorv1.MaxWaitAnnotation: "30m", konductorv1.PriorityAnnotation: "-10", konductorv1.PauseAnnotation: "true",
			},
			want: Workload{
				After: []WorkloadRef{gate, barrier}, Arrive: []string{"done"}, WhenBusy: konductorv1.WhenBusySkip, MaxWait: 30 * time.Minute, Priority: -10, Paused: true,
				Holds: []WorkloadHold{{WorkloadRef{konductorv1.KindLease, "a"}, 1, konductorv1.WhenBusySkip, false}, lease, {WorkloadRef{konductorv1.KindSemaphore, "db"}, 2, konductorv1.WhenBusySkip, false}},
			},
		},
		"another kind":         {annotations: map[string]string{konductorv1.AfterAnnotation: "lease/x"}, wantError: `annotation konductor.io/after: "lease/x": write gate/NAME or barrier/NAME`},
		"no name":              {annotations: map[string]string{konductorv1.HoldAnnotation: "lease/"}, wantError: `"lease/": write lease/NAME`},
		"a gate can't be held": {annotations: map[string]string{konductorv1.HoldAnnotation: "gate/x"}, wantError: `"gate/x": write lease/NAME`},
		"permits of a lease":   {annotations: map[string]string{konductorv1.HoldAnnotation: "lease/x:2"}, wantError: "a lease has one permit"},
		"no permits":           {annotations: map[string]string{konductorv1.HoldAnnotation: "semaphore/x:0"}, wantError: "from 1 to 1000000"},
		"twice":                {annotations: map[string]string{konductorv1.HoldAnnotation: "semaphore/x,semaphore/x:2"}, wantError: "semaphore/x is listed twice"},
		"a gate twice":         {annotations: map[string]string{konductorv1.AfterAnnotation: "gate/x,gate/x"}, wantError: "gate/x is listed twice"},
		"too many":             {annotations: map[string]string{konductorv1.HoldAnnotation: strings.Repeat("lease/x,", 33)}, wantError: "more than 32"},
		"a long name":          {annotations: map[string]string{konductorv1.HoldAnnotation: "lease/" + strings.Repeat("x", 221)}, wantError: "more than 220 characters"},
		"arrive at a gate":     {annotations: map[string]string{konductorv1.ArriveAnnotation: "gate/x"}, wantError: "write barrier/NAME"},
		"when busy":            {annotations: map[string]string{konductorv1.WhenBusyAnnotation: "skip"}, wantError: `konductor.io/when-busy: "skip": write Wait, Skip, Newest or Replace`},
		"max wait":             {annotations: map[string]string{konductorv1.MaxWaitAnnotation: "0s"}, wantError: `konductor.io/max-wait: "0s": write a duration`},
		"priority":             {annotations: map[string]string{konductorv1.PriorityAnnotation: "high"}, wantError: `konductor.io/priority: "high"`},
	} {
		t.Run(what, func(t *testing.T) {
			got, err := ParseWorkload(c.annotations)
			if c.wantError != "" {
				if err == nil || !strings.Contains(err.Error(), c.wantError) {
					t.Errorf("got %v, want an error with %q", err, c.wantError)
				}
				return
			}
			if diff := cmp.Diff(c.want, got); err != nil || diff != "" {
				t.Errorf("%v, -want +got:\n%s", err, diff)
			}
		})
	}
}

func TestReleasedTokens(t *testing.T) {
	released := map[string]int64{"semaphore/db": 7, "lease/report": 12}
	text := FormatReleasedTokens(released)
	if want := "lease/report:12,semaphore/db:7"; text != want {
		t.Errorf("got %q, want %q", text, want)
	}
	if diff := cmp.Diff(released, ParseReleasedTokens(text+",lease/report:3,nonsense,x:y")); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func FuzzParseWorkload(f *testing.F) {
	f.Add("gate/a,barrier/b", "lease/c,semaphore/d:3", "barrier/e", "30m", "7")
	f.Add(strings.Repeat(",", 9000), strings.Repeat("lease/x,", 2000), "barrier/"+strings.Repeat("x", 5000), "1h1h1h", "9999999999999999999")
	f.Fuzz(func(t *testing.T, after, hold, arrive, maxWait, priority string) {
		annotations := map[string]string{
			konductorv1.AfterAnnotation: after, konductorv1.HoldAnnotation: hold, konductorv1.ArriveAnnotation: arrive,
			konductorv1.MaxWaitAnnotation: maxWait, konductorv1.PriorityAnnotation: priority, konductorv1.ReleasedTokensAnnotation: hold,
		}
		size := len(after) + len(hold) + len(arrive) + len(maxWait) + len(priority)
		var w Workload
		var err error
		costtest.CheckLinear(t, size, 64, func() {
			w, err = ParseWorkload(annotations)
			ParseReleasedTokens(hold)
		})
		if err == nil && (len(w.After) > maxWorkloadRefs || len(w.Holds) > maxWorkloadRefs || len(w.Arrive) > maxWorkloadRefs) {
			t.Errorf("it lists too much: %+v", w)
		}
	})
}

func TestParseLimitedWorkload(t *testing.T) {
	limits := map[WorkloadRef]*konductorv1.JobLimit{
		{konductorv1.KindSemaphore, "batch"}: {Permits: 1, WhenBusy: konductorv1.WhenBusySkip}, {konductorv1.KindLease, "a"}: {Permits: 1},
		{konductorv1.KindSemaphore, "db"}: {Permits: 3},
	}
	applies := konductorv1.AppliesAnnotation
	for what, c := range map[string]struct {
		annotations map[string]string
		want        string // the holds, as KIND/NAME:PERMITS:WHENBUSY
	}{
		"one":               {map[string]string{applies("semaphore", "batch"): "true"}, "semaphore/batch:1:Skip"},
		"its own when-busy": {map[string]string{applies("semaphore", "batch"): "true", konductorv1.WhenBusyAnnotation: "Wait"}, "semaphore/batch:1:Wait"},
		"in order":          {map[string]string{applies("semaphore", "batch"): "true", applies("lease", "a"): "true"}, "lease/a:1:Wait semaphore/batch:1:Skip"},
		"with annotations":  {map[string]string{applies("semaphore", "db"): "true", konductorv1.HoldAnnotation: "lease/z,semaphore/db:2"}, "lease/z:1:Wait semaphore/db:3:Wait"},
		"one that is gone":  {map[string]string{applies("semaphore", "gone"): "true"}, ""},
		"another kind":      {map[string]string{applies("gate", "batch"): "true"}, ""},
	} {
		w, err := ParseLimitedWorkload(c.annotations, limits)
		var holds []string
		for _, h := range w.Holds {
			holds = append(holds, fmt.Sprintf("%s:%d:%s", h, h.Permits, h.WhenBusy))
		}
		if got := strings.Join(holds, " "); err != nil || got != c.want || w.Limited != (what != "another kind") {
			t.Errorf("%s: got %q, limited %t, %v, want %q", what, got, w.Limited, err, c.want)
		}
	}
	many := map[string]string{}
	for i := range 33 {
		many[applies("lease", fmt.Sprint("l", i))] = "true"
	}
	if _, err := ParseLimitedWorkload(many, nil); err == nil {
		t.Error("33 limits are no error")
	}
}
