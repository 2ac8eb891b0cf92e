package chaos

import (
	"testing"
	"time"
)

const (
	// brokenTag builds konductor so that brokenVariable can make it break a rule.
	brokenTag      = "konductor_broken"
	brokenVariable = "KONDUCTOR_BROKEN"
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
				Lasts: 6 * time.Second, Seed: 1, Koncli: koncli, SDK: 14, Commands: 2, Places: []Place{BothAct},
				SpareControlPlane: true, OnePool: variant == "overtaking", Env: []string{brokenVariable + "=" + variant},
				Patience: 8 * time.Second, // what is broken need not come to rest
			}
			if len(c.caught) == 0 {
				o.Patience = time.Minute
			}
			report := campaignOf(t, site, "broken-"+variant, o)
			caught := report.Caught()
			for _, check := range c.caught {
				if !caught[check] {
					t.Errorf("check %s has not noticed that %s", check, c.rule)
				}
			}
			if len(c.caught) == 0 && len(report.Violations) > 0 {
				t.Errorf("%d violations are reported of a konductor in which nothing is broken", len(report.Violations))
			}
		})
	}
}
