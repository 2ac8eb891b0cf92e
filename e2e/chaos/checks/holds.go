package checks

import (
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/models"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// parents calls see with each revision of a lease or semaphore and the one before it; a deleted object holds nothing.
func parents(run *Run, see func(r revisions.Revision, before, now revisions.Parent)) {
	last := map[revisions.Key]revisions.Parent{}
	for _, r := range run.Revisions {
		now, ok := r.Parent()
		if !ok {
			continue
		}
		if r.Deleted {
			now.Holds = nil
		}
		see(r, last[now.Key], now)
		last[now.Key] = now
	}
}

func checkLimit(run *Run, f *findings) {
	parents(run, func(r revisions.Revision, before, now revisions.Parent) {
		if now.InUse() <= now.Permits {
			return
		}
		if now.InUse() > before.InUse() {
			f.add(now.Key, "revision %d: %d permits are held of %d, before it were %d: %v", r.Number, now.InUse(), now.Permits, before.InUse(), now.Holds)
			return
		}
		for _, h := range now.Holds {
			if _, held := before.Has(h.UID); !held {
				f.add(now.Key, "revision %d: %s is granted while %d permits are held of %d", r.Number, h.Holder, now.InUse(), now.Permits)
			}
		}
	})
}

func checkToken(run *Run, f *findings) {
	highest := map[revisions.Key]int64{}
	parents(run, func(r revisions.Revision, before, now revisions.Parent) {
		top := highest[now.Key]
		for _, h := range now.Holds {
			former, held := before.Has(h.UID)
			switch {
			case held && former.Token != h.Token:
				f.add(now.Key, "revision %d: the token of %s went from %d to %d", r.Number, h.Holder, former.Token, h.Token)
			case !held && h.Token <= highest[now.Key]:
				f.add(now.Key, "revision %d: %s is granted with token %d after token %d", r.Number, h.Holder, h.Token, highest[now.Key])
			}
			top = max(top, h.Token)
		}
		seen := map[int64]bool{}
		for _, h := range now.Holds {
			if seen[h.Token] {
				f.add(now.Key, "revision %d: two hold with token %d", r.Number, h.Token)
			}
			seen[h.Token] = true
		}
		highest[now.Key] = top
	})
}

func checkTold(run *Run, f *findings) {
	granted := map[types.UID]map[int64]bool{}
	for _, r := range run.Revisions {
		if p, ok := r.Parent(); ok {
			for _, h := range p.Holds {
				if granted[h.UID] == nil {
					granted[h.UID] = map[int64]bool{}
				}
				granted[h.UID][h.Token] = true
			}
		}
		if c := r.Claim; c != nil && !r.Deleted && c.Status.Phase == konductorv1.ClaimGranted && !granted[c.UID][c.Status.FencingToken] {
			f.add(place("Claim "+r.Namespace+"/"+r.Name), "revision %d: %s is told of token %d, which it has not been granted", r.Number, c.Spec.Holder, c.Status.FencingToken)
		}
	}
}

func checkCause(run *Run, f *findings) {
	over := map[types.UID]bool{} // claims that were deleted, or told that they have expired or are refused
	ended := map[types.UID]bool{}
	last := map[revisions.Key]revisions.Parent{}
	for _, r := range run.Revisions {
		if c := r.Claim; c != nil && (r.Deleted || c.Status.Phase == konductorv1.ClaimExpired || c.Status.Phase == konductorv1.ClaimRefused) {
			over[c.UID] = true
		}
		now, ok := r.Parent()
		if !ok {
			continue
		}
		if r.Deleted {
			delete(last, now.Key)
			continue
		}
		for _, h := range last[now.Key].Holds {
			if _, holds := now.Has(h.UID); holds {
				continue
			}
			ended[h.UID] = true
			if !over[h.UID] {
				f.add(now.Key, "revision %d: the hold of %s (token %d) ends, and its claim is alive and knows nothing of it", r.Number, h.Holder, h.Token)
			}
		}
		for _, h := range now.Holds {
			// A claim that was over while an operator couldn't hear of it may be granted once more, to nobody, until that
			// operator wants to tell it. So may one that another operator, acting at the same time, has just refused.
			if _, held := last[now.Key].Has(h.UID); !held && ended[h.UID] && !over[h.UID] {
				f.add(now.Key, "revision %d: the ended hold of %s comes back", r.Number, h.Holder)
			}
		}
		last[now.Key] = now
	}
}

func checkDeadline(run *Run, f *findings) {
	for _, early := range models.Early(run.Ops, run.Revisions) {
		f.add(early.Key, "the hold of %s (token %d) had ended by %s, and its client could rely on it until %s", early.Holder, early.Token, early.EndSeen, early.NotBefore)
	}
}

// checkLeak looks at how everything stands in the end.
func checkLeak(run *Run, f *findings) {
	type object struct{ resource, namespace, name string }
	last := map[object]revisions.Revision{}
	for _, r := range run.Revisions {
		last[object{r.Resource, r.Namespace, r.Name}] = r
	}
	alive := map[types.UID]bool{}
	for _, r := range last {
		if r.Claim != nil && !r.Deleted {
			alive[r.Claim.UID] = true
			if unfinished(r.Claim) {
				f.add(place("Claim "+r.Namespace+"/"+r.Name), "the claim of %s on %s is %s in the end", r.Claim.Spec.Holder, r.Claim.Spec.Target.Name, r.Claim.Status.Phase)
			}
		}
	}
	for _, r := range last {
		p, ok := r.Parent()
		if !ok || r.Deleted {
			continue
		}
		for _, h := range p.Holds {
			state := "its claim is alive"
			if !alive[h.UID] {
				state = "its claim is gone"
			}
			f.add(p.Key, "%s holds in the end with token %d, and %s", h.Holder, h.Token, state)
		}
	}
}
