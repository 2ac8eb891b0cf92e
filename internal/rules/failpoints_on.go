//go:build konductor_failpoints

package rules

import "os"

// activeFailpoint is the failpoint that is enabled: see failpoints_off.go for what each does.
var activeFailpoint = os.Getenv("KONDUCTOR_FAILPOINT")

var (
	failpointExtraPermits        = map[bool]int32{true: 1}[activeFailpoint == "extra-permits"]
	failpointCountDuplicates     = activeFailpoint == "count-duplicates"
	failpointNewestFirst         = activeFailpoint == "newest-first"
	failpointStartUngranted      = activeFailpoint == "start-ungranted"
	failpointUnlimitedOvertaking = activeFailpoint == "unlimited-overtaking"
)

func (c *ClaimSet) failpointDropOtherHolds() {
	if activeFailpoint != "drop-other-holds" {
		return
	}
	for uid, claim := range c.granted {
		c.unindex(claim)
		delete(c.byUID, uid)
		c.tombstones[uid] = ""
	}
}
