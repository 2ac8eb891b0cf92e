package checks

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// UnfinishedWork describes what is left to happen, as of now, before the campaign is quiescent: pending or granted claims, holds
// in a status, and barriers that don't have their expected state yet.
func UnfinishedWork(present map[string]revisions.Revision, now time.Time) (left []string) {
	incarnations := map[types.UID]*barrierIncarnation{}
	for _, r := range present {
		if r.Arrival == nil {
			continue
		}
		uid := r.Arrival.Spec.BarrierUID
		if incarnations[uid] == nil {
			incarnations[uid] = &barrierIncarnation{}
		}
		m := incarnations[uid]
		m.arrivals = append(m.arrivals, newArrival(r))
	}
	for _, r := range present {
		switch {
		case r.Claim != nil && isUnfinished(r.Claim):
			left = append(left, fmt.Sprintf("claim of %s on %s is %s", r.Claim.Spec.Holder, r.Claim.Spec.Target.Name, r.Claim.Status.Phase))
		case r.Barrier != nil:
			m := incarnations[r.Barrier.UID]
			if m == nil {
				m = &barrierIncarnation{}
			}
			if want, arrived, failed := m.expectedState(r.Barrier, now); !matchesExpectedState(r.Barrier, want, arrived, failed) {
				left = append(left, fmt.Sprintf("barrier %s is %s", r.Name, r.Barrier.Status.Phase))
			}
		default:
			if p, ok := r.Target(); ok && len(p.Holds) > 0 {
				left = append(left, fmt.Sprintf("%s is held by %s", p.ObjectKey, p.Holds[0].Holder))
			}
		}
	}
	return left
}

func isUnfinished(c *konductorv1.Claim) bool {
	return c.Status.Phase != konductorv1.ClaimExpired && c.Status.Phase != konductorv1.ClaimRefused
}
