package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const (
	// mutantTag is the build tag with which mutantEnv selects a rule to break.
	mutantTag = "konductor_failpoints"
	mutantEnv = "KONDUCTOR_FAILPOINT"
	// maxCampaigns is the maximum number of campaigns until a mutant must be detected.
	maxCampaigns = 6
)

// TestChecksDetectEachMutant runs konductor with one rule broken at a time, on an API server without status validation. The
// checks must detect each mutant, and must find nothing when no rule is broken.
func TestChecksDetectEachMutant(t *testing.T) {
	koncli := buildKoncli(t, mutantTag)
	testCluster := startTestCluster(t, true)
	for variant, c := range map[string]struct {
		rule   string
		caught []string
	}{
		"":                     {"nothing is broken", nil},
		"extra-permits":        {"one permit more is granted than there are", []string{"limit", "linearizable"}},
		"notify-before-grant":  {"a claim is told before the grant is written", []string{"told"}},
		"drop-other-holds":     {"who leaves the queue ends the holds of others", []string{"cause"}},
		"count-duplicates":     {"each Arrival counts, not each participant", []string{"barrier"}},
		"newest-first":         {"the last to ask is served first", []string{"order"}},
		"ignore-job-pods":      {"the hold of a Job ends while its Pods run", []string{"pods"}},
		"start-ungranted":      {"a Job or Pod is started before its hold is granted", []string{"pods"}},
		"arrive-as-success":    {"a failed Job arrives as not failed", []string{"arrivals"}},
		"arrive-early":         {"a Job or Pod arrives when it is started", []string{"arrivals"}},
		"unlimited-overtaking": {"small claims pass a large one without end", []string{"overtaking"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			o := Options{
				FaultDuration: 6 * time.Second, Koncli: koncli, SDKClients: 14, CommandClients: 2, JobClients: 4, OperatorModes: []OperatorMode{BothActive},
				NoControlPlaneFaults: true, SingleSemaphore: variant == "unlimited-overtaking", OperatorEnv: []string{mutantEnv + "=" + variant},
				QuiesceTimeout: 8 * time.Second, // a mutant need not become quiescent
			}
			if len(c.caught) == 0 {
				o.QuiesceTimeout = time.Minute
			}
			// The violation has to happen first, and it may not in so short a campaign.
			var report *Report
			missing := c.caught
			for o.Seed = 1; o.Seed == 1 || (len(missing) > 0 && o.Seed <= maxCampaigns); o.Seed++ {
				report = runCampaign(t, testCluster, fmt.Sprintf("broken-%s-%d", variant, o.Seed), o)
				caught := report.FailedChecks()
				missing = slices.DeleteFunc(slices.Clone(missing), func(check string) bool { return caught[check] })
			}
			for _, check := range missing {
				t.Errorf("in %d campaigns check %s has not noticed that %s", maxCampaigns, check, c.rule)
			}
			if len(c.caught) == 0 && len(report.Violations) > 0 {
				t.Errorf("%d violations are reported of a konductor in which nothing is broken", len(report.Violations))
			}
		})
	}
}
