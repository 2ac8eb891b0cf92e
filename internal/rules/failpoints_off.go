//go:build !konductor_failpoints

package rules

// Failpoints: a build with the tag konductor_failpoints can break one rule on purpose (failpoints_on.go), so that the checks
// of e2e/chaos can show that they would notice. In every other build no rule is broken, and nothing of it is left in the
// program.
const (
	failpointExtraPermits        = 0     // extra-permits: how many permits more are granted than there are
	failpointCountDuplicates     = false // count-duplicates: each Arrival counts, not each participant
	failpointNewestFirst         = false // newest-first: the newest claim is served first
	failpointStartUngranted      = false // start-ungranted: a held Job or Pod starts when its holds are claimed
	failpointUnlimitedOvertaking = false // unlimited-overtaking: smaller claims overtake the first in the queue without limit
)

// failpointDropOtherHolds does nothing. In a build with failpoints, a release also drops all other holds (drop-other-holds).
func (*ClaimSet) failpointDropOtherHolds() {}
