package checks

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// waiter is a pending claim.
type waiter struct {
	uid             types.UID
	holder          string
	target          types.UID // of the object it was made for; empty: not known
	priority        int32
	permits         int32
	createdAt       time.Time
	createdRevision int64
	queues          bool
	// isOfWorkload says that it may not be served while an operator can't read its Job or Pod.
	isOfWorkload bool
}

// isDefinitelyBefore reports whether a comes before b in the queue and every operator that has observed b has observed a, too:
// operators observe claims in the order in which they were created.
func (a waiter) isDefinitelyBefore(b waiter) bool {
	if a.createdRevision >= b.createdRevision || a.priority < b.priority {
		return false
	}
	return a.priority > b.priority || !a.createdAt.After(b.createdAt)
}

// observedGrant is a grant and the claims ahead of it in the queue.
type observedGrant struct {
	revision    revisions.Revision
	target      revisions.Target
	granted     waiter
	freePermits int32 // permits just before the grant
	// waitersAhead are the claims that definitely came before it and are still pending.
	waitersAhead []waiter
}

// forEachGrant calls visit with each grant, with the claims that were ahead of it.
func forEachGrant(run *CampaignData, visit func(observedGrant)) {
	queues := map[revisions.ObjectKey]map[types.UID]waiter{}
	last := map[revisions.ObjectKey]revisions.Target{}
	known := map[types.UID]waiter{}
	for _, r := range run.Revisions {
		if r.Claim != nil {
			updateQueue(queues, known, r)
			continue
		}
		now, ok := r.Target()
		if !ok || r.Deleted {
			continue
		}
		holds := slices.Clone(now.Holds)
		slices.SortFunc(holds, func(a, b revisions.Hold) int { return int(a.Token - b.Token) })
		free := now.Permits
		for _, h := range holds {
			served, isKnown := known[h.UID]
			if _, held := last[now.ObjectKey].HoldOf(h.UID); !held && isKnown {
				visit(observedGrant{r, now, served, free, waitersAhead(queues[now.ObjectKey], now, served)})
			}
			free -= h.Permits
		}
		last[now.ObjectKey] = now
	}
}

// updateQueue updates the queues for a revision of a claim.
func updateQueue(queues map[revisions.ObjectKey]map[types.UID]waiter, known map[types.UID]waiter, r revisions.Revision) {
	c := r.Claim
	key := revisions.ObjectKey{Namespace: r.Namespace, Kind: c.Spec.Target.Kind, Name: c.Spec.Target.Name}
	if queues[key] == nil {
		queues[key] = map[types.UID]waiter{}
	}
	if r.Deleted || (c.Status.Phase != "" && c.Status.Phase != konductorv1.ClaimPending) {
		delete(queues[key], c.UID)
		return
	}
	w := waiter{
		uid: c.UID, holder: c.Spec.Holder, priority: c.Spec.Priority, permits: max(c.Spec.Permits, 1),
		createdAt: c.CreationTimestamp.Time, createdRevision: r.Created, queues: c.Spec.WhenBusy != konductorv1.BusyRefuse,
		target: c.Spec.Target.UID, isOfWorkload: c.Spec.NoTTL,
	}
	queues[key][c.UID], known[c.UID] = w, w
}

func waitersAhead(queue map[types.UID]waiter, now revisions.Target, served waiter) (found []waiter) {
	for _, w := range queue {
		if _, holds := now.HoldOf(w.uid); holds || (w.target != "" && w.target != now.UID) || w.permits > now.Permits || w.isOfWorkload {
			continue
		}
		if w.isDefinitelyBefore(served) {
			found = append(found, w)
		}
	}
	return found
}

func checkQueueOrder(run *CampaignData, f *findings) {
	forEachGrant(run, func(p observedGrant) {
		for _, w := range p.waitersAhead {
			if w.permits <= p.freePermits {
				f.add(p.target.ObjectKey, "revision %d: %s (priority %d, created at %d) is served before %s (priority %d, created at %d), who asks for %d of %d free",
					p.revision.Number, p.granted.holder, p.granted.priority, p.granted.createdRevision, w.holder, w.priority, w.createdRevision, w.permits, p.freePermits)
			}
		}
	})
}

// checkOvertaking checks that no pending claim is overtaken more often than the rule allows, however the queue changes meanwhile.
func checkOvertaking(run *CampaignData, f *findings) {
	type wait struct {
		object types.UID // each incarnation of a semaphore counts separately
		claim  types.UID
	}
	passed := map[wait]int{}
	forEachGrant(run, func(p observedGrant) {
		for _, w := range p.waitersAhead {
			if !w.queues || w.permits <= p.freePermits {
				continue
			}
			key := wait{p.target.UID, w.uid}
			if passed[key]++; passed[key] > konductorv1.MaxOvertaken {
				f.add(p.target.ObjectKey, "revision %d: %s is number %d to pass %s (priority %d, created at %d), who asks for %d", p.revision.Number, p.granted.holder, passed[key], w.holder, w.priority, w.createdRevision, w.permits)
			}
		}
	})
}
