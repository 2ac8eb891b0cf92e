package rules

import (
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// overtakeCounter counts how often smaller claims have overtaken a claim that asks for more permits than are free. Each
// waiting claim has a count of its own. The count is in the status, and so is written with the grants that it counts:
// neither a claim that comes before it for a while, nor a restart, nor another operator resets it. A count ends with its
// claim.
type overtakeCounter struct {
	// counts are the counts of the claims that still wait and have been overtaken.
	counts []konductorv1.OvertakenClaim
	// aheadIndexes are indexes into counts: the claims ahead of the one that is scanned now.
	aheadIndexes []int
	// maxAheadCount is the largest count of those.
	maxAheadCount int32
	// uncountedAhead are the claims ahead that have not been overtaken yet.
	uncountedAhead []*Claim
}

// newOvertakeCounter continues the counts of the status. Counts of claims that don't wait any more are dropped. Claims
// that are not known here are returned in unknown: until they are known to be deleted they count as ahead of all others,
// since their position isn't known either. Claims whose Pod's state is unknown have no position meanwhile, and keep their
// count.
func newOvertakeCounter(counts []konductorv1.OvertakenClaim, claims *ClaimSet, decided map[types.UID]bool) (o overtakeCounter, unknown []ClaimRef) {
	for _, count := range counts {
		c, existence := claims.Find(count.ClaimUID)
		switch {
		case decided[count.ClaimUID] || existence == ExistenceDeleted || (existence == ExistenceConfirmed && !claims.isPending(c)):
			continue
		case existence == ExistenceUnknown:
			unknown = append(unknown, ClaimRef{count.Claim, count.ClaimUID})
			o.aheadIndexes = append(o.aheadIndexes, len(o.counts))
			o.maxAheadCount = max(o.maxAheadCount, count.Times)
		}
		o.counts = append(o.counts, count)
	}
	return o, unknown
}

// recordBlocked records that the claim doesn't fit and stays ahead of the claims that are scanned next.
func (o *overtakeCounter) recordBlocked(c *Claim) {
	for i := range o.counts {
		if o.counts[i].ClaimUID == c.UID {
			o.aheadIndexes = append(o.aheadIndexes, i)
			o.maxAheadCount = max(o.maxAheadCount, o.counts[i].Times)
			return
		}
	}
	o.uncountedAhead = append(o.uncountedAhead, c)
}

// mayOvertake reports whether the next claim may be granted before all those that wait ahead of it.
func (o *overtakeCounter) mayOvertake() bool {
	if failpointUnlimitedOvertaking {
		return true
	}
	return o.maxAheadCount < konductorv1.MaxOvertaken && len(o.counts)+len(o.uncountedAhead) <= konductorv1.MaxOvertakenClaims
}

// recordOvertake counts a grant to a claim behind those that are ahead.
func (o *overtakeCounter) recordOvertake() {
	for _, c := range o.uncountedAhead {
		o.aheadIndexes = append(o.aheadIndexes, len(o.counts))
		o.counts = append(o.counts, konductorv1.OvertakenClaim{Claim: c.Name, ClaimUID: c.UID})
	}
	o.uncountedAhead = nil
	for _, i := range o.aheadIndexes {
		times := &o.counts[i].Times
		*times = min(*times+1, konductorv1.MaxOvertaken)
		o.maxAheadCount = max(o.maxAheadCount, *times)
	}
}

// countsExcluding returns the counts without those of granted claims.
func (o *overtakeCounter) countsExcluding(granted []*Claim) (counts []konductorv1.OvertakenClaim) {
	isGranted := make(map[types.UID]bool, len(granted))
	for _, c := range granted {
		isGranted[c.UID] = true
	}
	for _, count := range o.counts {
		if !isGranted[count.ClaimUID] {
			counts = append(counts, count)
		}
	}
	return counts
}
