package checks

import (
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/models"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// forEachTargetRevision calls visit with each revision of a lease or semaphore and the one before it; a deleted object holds
// nothing.
func forEachTargetRevision(run *CampaignData, visit func(r revisions.Revision, before, now revisions.Target)) {
	last := map[revisions.ObjectKey]revisions.Target{}
	for _, r := range run.Revisions {
		now, ok := r.Target()
		if !ok {
			continue
		}
		if r.Deleted {
			now.Holds = nil
		}
		visit(r, last[now.ObjectKey], now)
		last[now.ObjectKey] = now
	}
}

func checkPermitLimit(run *CampaignData, f *findings) {
	forEachTargetRevision(run, func(r revisions.Revision, before, now revisions.Target) {
		if now.InUse() <= now.Permits {
			return
		}
		if now.InUse() > before.InUse() {
			f.add(now.ObjectKey, "revision %d: %d permits are held of %d, before it were %d: %v", r.Number, now.InUse(), now.Permits, before.InUse(), now.Holds)
			return
		}
		for _, h := range now.Holds {
			if _, held := before.HoldOf(h.UID); !held {
				f.add(now.ObjectKey, "revision %d: %s is granted while %d permits are held of %d", r.Number, h.Holder, now.InUse(), now.Permits)
			}
		}
	})
}

func checkFencingTokens(run *CampaignData, f *findings) {
	highest := map[revisions.ObjectKey]int64{}
	forEachTargetRevision(run, func(r revisions.Revision, before, now revisions.Target) {
		top := highest[now.ObjectKey]
		for _, h := range now.Holds {
			former, held := before.HoldOf(h.UID)
			switch {
			case held && former.Token != h.Token:
				f.add(now.ObjectKey, "revision %d: the token of %s went from %d to %d", r.Number, h.Holder, former.Token, h.Token)
			case !held && h.Token <= highest[now.ObjectKey]:
				f.add(now.ObjectKey, "revision %d: %s is granted with token %d after token %d", r.Number, h.Holder, h.Token, highest[now.ObjectKey])
			}
			top = max(top, h.Token)
		}
		seen := map[int64]bool{}
		for _, h := range now.Holds {
			if seen[h.Token] {
				f.add(now.ObjectKey, "revision %d: two hold with token %d", r.Number, h.Token)
			}
			seen[h.Token] = true
		}
		highest[now.ObjectKey] = top
	})
}

func checkGrantNotifications(run *CampaignData, f *findings) {
	granted := map[types.UID]map[int64]bool{}
	for _, r := range run.Revisions {
		if p, ok := r.Target(); ok {
			for _, h := range p.Holds {
				if granted[h.UID] == nil {
					granted[h.UID] = map[int64]bool{}
				}
				granted[h.UID][h.Token] = true
			}
		}
		if c := r.Claim; c != nil && !r.Deleted && c.Status.Phase == konductorv1.ClaimGranted && !granted[c.UID][c.Status.FencingToken] {
			f.add(location("Claim "+r.Namespace+"/"+r.Name), "revision %d: %s is told of token %d, which it has not been granted", r.Number, c.Spec.Holder, c.Status.FencingToken)
		}
	}
}

func checkHoldEndCauses(run *CampaignData, f *findings) {
	endedClaims := map[types.UID]bool{} // claims that were deleted or whose status says that they have expired or are refused
	endedPods := map[workloadKey]bool{} // held Pods that have finished or are gone
	ended := map[types.UID]bool{}
	mayEnd := func(key revisions.ObjectKey, h revisions.Hold) bool {
		// For those of Jobs there is checkRunningPods.
		return endedClaims[h.UID] || endedPods[workloadKey{key.Namespace, h.Holder}] || h.Job != ""
	}
	last := map[revisions.ObjectKey]revisions.Target{}
	for _, r := range run.Revisions {
		if c := r.Claim; c != nil && (r.Deleted || c.Status.Phase == konductorv1.ClaimExpired || c.Status.Phase == konductorv1.ClaimRefused) {
			endedClaims[c.UID] = true
		}
		if pod := r.Pod; pod != nil && (r.Deleted || pod.Finished) {
			endedPods[workloadKey{r.Namespace, pod.Holder}] = true
		}
		now, ok := r.Target()
		if !ok {
			continue
		}
		if r.Deleted {
			delete(last, now.ObjectKey)
			continue
		}
		for _, h := range last[now.ObjectKey].Holds {
			if _, holds := now.HoldOf(h.UID); holds {
				continue
			}
			ended[h.UID] = true
			if !mayEnd(now.ObjectKey, h) {
				f.add(now.ObjectKey, "revision %d: the hold of %s (token %d) ends, and its claim is alive and knows nothing of it", r.Number, h.Holder, h.Token)
			}
		}
		for _, h := range now.Holds {
			// A claim that ended while an operator couldn't observe it may be granted once more, to no client, until that operator
			// notifies it. So may one that another operator, active at the same time, has just refused.
			if _, held := last[now.ObjectKey].HoldOf(h.UID); !held && ended[h.UID] && !mayEnd(now.ObjectKey, h) {
				f.add(now.ObjectKey, "revision %d: the ended hold of %s comes back", r.Number, h.Holder)
			}
		}
		last[now.ObjectKey] = now
	}
}

func checkHoldDeadlines(run *CampaignData, f *findings) {
	for _, early := range models.EarlyEnds(run.Ops, run.Revisions) {
		f.add(early.ObjectKey, "the hold of %s (token %d) had ended by %s, and its client could rely on it until %s", early.Holder, early.Token, early.EndReadAt, early.EarliestEnd)
	}
}

// checkLeaks checks that nothing is left at the end.
func checkLeaks(run *CampaignData, f *findings) {
	type object struct{ resource, namespace, name string }
	last := map[object]revisions.Revision{}
	for _, r := range run.Revisions {
		last[object{r.Resource, r.Namespace, r.Name}] = r
	}
	alive := map[types.UID]bool{}
	for _, r := range last {
		if r.Claim != nil && !r.Deleted {
			alive[r.Claim.UID] = true
			if isUnfinished(r.Claim) {
				f.add(location("Claim "+r.Namespace+"/"+r.Name), "the claim of %s on %s is %s in the end", r.Claim.Spec.Holder, r.Claim.Spec.Target.Name, r.Claim.Status.Phase)
			}
		}
	}
	for _, r := range last {
		p, ok := r.Target()
		if !ok || r.Deleted {
			continue
		}
		for _, h := range p.Holds {
			state := "its claim is alive"
			if !alive[h.UID] {
				state = "its claim is gone"
			}
			f.add(p.ObjectKey, "%s holds in the end with token %d, and %s", h.Holder, h.Token, state)
		}
	}
}
