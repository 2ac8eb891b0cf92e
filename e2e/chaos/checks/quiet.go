package checks

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// Quiet reports what still has to happen, as of now, before all is quiet: claims that wait or hold, holds in a status,
// and barriers that have not come to what they ought to.
func Quiet(present map[string]revisions.Revision, now time.Time) (left []string) {
	meetings := map[types.UID]*meeting{}
	for _, r := range present {
		if r.Arrival == nil {
			continue
		}
		for _, owner := range r.Arrival.OwnerReferences {
			if meetings[owner.UID] == nil {
				meetings[owner.UID] = &meeting{}
			}
			m := meetings[owner.UID]
			m.arrivals = append(m.arrivals, arrivalOf(r))
		}
	}
	for _, r := range present {
		switch {
		case r.Claim != nil && unfinished(r.Claim):
			left = append(left, fmt.Sprintf("claim of %s on %s is %s", r.Claim.Spec.Holder, r.Claim.Spec.Target.Name, r.Claim.Status.Phase))
		case r.Barrier != nil:
			m := meetings[r.Barrier.UID]
			if m == nil {
				m = &meeting{}
			}
			if want, arrived, failed := m.ought(r.Barrier, now); !reached(r.Barrier, want, arrived, failed) {
				left = append(left, fmt.Sprintf("barrier %s is %s", r.Name, r.Barrier.Status.Phase))
			}
		default:
			if p, ok := r.Parent(); ok && len(p.Holds) > 0 {
				left = append(left, fmt.Sprintf("%s is held by %s", p.Key, p.Holds[0].Holder))
			}
		}
	}
	return left
}

func unfinished(c *konductorv1.Claim) bool {
	return c.Status.Phase != konductorv1.ClaimExpired && c.Status.Phase != konductorv1.ClaimRefused
}
