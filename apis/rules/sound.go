//go:build !konductor_broken

package rules

// Here a build with the tag konductor_broken can be told to break a rule (broken.go), so that the checks of e2e/chaos can
// show that they would notice. In this build, which is every other, no rule is broken, and nothing of it is left in the
// program.
const (
	sparePermits  = 0     // limit: how many permits more are granted than there are
	countsTwice   = false // arrival: each Arrival counts, not each participant
	newestFirst   = false // order: the last to ask is served first
	passedForEver = false // overtaking: smaller claims pass the first in the queue without end
)

// forgetOthers is where a broken build lets who leaves end the holds of others (release).
func (*Claims) forgetOthers() {}
