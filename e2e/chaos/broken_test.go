package chaos

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

const (
	// brokenTag builds konductor so that brokenVariable can make it break a rule.
	brokenTag      = "konductor_broken"
	brokenVariable = "KONDUCTOR_BROKEN"
	// campaigns is how many there are at the most for a broken rule to be noticed.
	campaigns = 6
)

// TestEachBrokenRuleIsNoticed runs konductor with one rule broken at a time, on an API server that doesn't guard the
// rules itself. Then the checks must notice; and with no rule broken they must not.
func TestEachBrokenRuleIsNoticed(t *testing.T) {
	koncli := build(t, brokenTag)
	site := siteFor(t, true)
	for variant, c := range map[string]struct {
		rule   string
		caught []string
	}{
		"":           {"nothing is broken", nil},
		"limit":      {"one permit more is granted than there are", []string{"limit", "linearizable"}},
		"early":      {"a claim is told before the grant is written", []string{"told"}},
		"release":    {"who leaves the queue ends the holds of others", []string{"cause"}},
		"arrival":    {"each Arrival counts, not each participant", []string{"barrier"}},
		"order":      {"the last to ask is served first", []string{"order"}},
		"overtaking": {"small claims pass a large one without end", []string{"overtaking"}},
	} {
		t.Run(c.rule, func(t *testing.T) {
			o := Options{
				Lasts: 6 * time.Second, Koncli: koncli, SDK: 14, Commands: 2, Places: []Place{BothAct},
				SpareControlPlane: true, OnePool: variant == "overtaking", Env: []string{brokenVariable + "=" + variant},
				Patience: 8 * time.Second, // what is broken need not come to rest
			}
			if len(c.caught) == 0 {
				o.Patience = time.Minute
			}
			// What is to be noticed has to happen first, and so short a campaign may do without it.
			var report *Report
			missing := c.caught
			for o.Seed = 1; o.Seed == 1 || (len(missing) > 0 && o.Seed <= campaigns); o.Seed++ {
				report = campaignOf(t, site, fmt.Sprintf("broken-%s-%d", variant, o.Seed), o)
				caught := report.Caught()
				missing = slices.DeleteFunc(slices.Clone(missing), func(check string) bool { return caught[check] })
			}
			for _, check := range missing {
				t.Errorf("in %d campaigns check %s has not noticed that %s", campaigns, check, c.rule)
			}
			if len(c.caught) == 0 && len(report.Violations) > 0 {
				t.Errorf("%d violations are reported of a konductor in which nothing is broken", len(report.Violations))
			}
		})
	}
}
