package checks

import (
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/e2e/chaos/revisions"
)

// waiter is a claim that waits.
type waiter struct {
	uid      types.UID
	holder   string
	target   types.UID // of the object it was made for; empty: it doesn't say
	priority int32
	permits  int32
	second   time.Time // of its creation
	revision int64     // of its creation
	patient  bool
}

// surelyBefore reports whether a comes before b in the queue and whoever knows b knows a, too: operators hear of claims
// in the order in which they were created.
func (a waiter) surelyBefore(b waiter) bool {
	if a.revision >= b.revision || a.priority < b.priority {
		return false
	}
	return a.priority > b.priority || !a.second.After(b.second)
}

// passing is a grant to one who was not first.
type passing struct {
	r      revisions.Revision
	parent revisions.Parent
	served waiter
	free   int32 // permits just before the grant
	// ahead are those who surely came before it and still wait.
	ahead []waiter
}

// passings calls see with each grant, of those who were there before.
func passings(run *Run, see func(passing)) {
	queues := map[revisions.Key]map[types.UID]waiter{}
	last := map[revisions.Key]revisions.Parent{}
	known := map[types.UID]waiter{}
	for _, r := range run.Revisions {
		if r.Claim != nil {
			noteClaim(queues, known, r)
			continue
		}
		now, ok := r.Parent()
		if !ok || r.Deleted {
			continue
		}
		holds := slices.Clone(now.Holds)
		slices.SortFunc(holds, func(a, b revisions.Hold) int { return int(a.Token - b.Token) })
		free := now.Permits
		for _, h := range holds {
			served, isKnown := known[h.UID]
			if _, held := last[now.Key].Has(h.UID); !held && isKnown {
				see(passing{r, now, served, free, ahead(queues[now.Key], now, served)})
			}
			free -= h.Permits
		}
		last[now.Key] = now
	}
}

// noteClaim keeps the queues.
func noteClaim(queues map[revisions.Key]map[types.UID]waiter, known map[types.UID]waiter, r revisions.Revision) {
	c := r.Claim
	key := revisions.Key{Namespace: r.Namespace, Kind: c.Spec.Target.Kind, Name: c.Spec.Target.Name}
	if queues[key] == nil {
		queues[key] = map[types.UID]waiter{}
	}
	if r.Deleted || (c.Status.Phase != "" && c.Status.Phase != konductorv1.ClaimPending) {
		delete(queues[key], c.UID)
		return
	}
	w := waiter{
		uid: c.UID, holder: c.Spec.Holder, priority: c.Spec.Priority, permits: max(c.Spec.Permits, 1),
		second: c.CreationTimestamp.Time, revision: r.Created, patient: c.Spec.WhenBusy != konductorv1.BusyRefuse,
	}
	if len(c.OwnerReferences) > 0 {
		w.target = c.OwnerReferences[0].UID
	}
	queues[key][c.UID], known[c.UID] = w, w
}

func ahead(queue map[types.UID]waiter, now revisions.Parent, served waiter) (found []waiter) {
	for _, w := range queue {
		if _, holds := now.Has(w.uid); holds || (w.target != "" && w.target != now.UID) || w.permits > now.Permits {
			continue
		}
		if w.surelyBefore(served) {
			found = append(found, w)
		}
	}
	return found
}

func checkOrder(run *Run, f *findings) {
	passings(run, func(p passing) {
		for _, w := range p.ahead {
			if w.permits <= p.free {
				f.add(p.parent.Key, "revision %d: %s (priority %d, created at %d) is served before %s (priority %d, created at %d), who asks for %d of %d free",
					p.r.Number, p.served.holder, p.served.priority, p.served.revision, w.holder, w.priority, w.revision, w.permits, p.free)
			}
		}
	})
}

// mostPassed is how often the first in the queue may be passed by the rule.
const mostPassed = 10

func checkOvertaking(run *Run, f *findings) {
	type headship struct {
		head   types.UID
		passed int
	}
	heads := map[revisions.Key]*headship{}
	passings(run, func(p passing) {
		waiting := slices.DeleteFunc(slices.Clone(p.ahead), func(w waiter) bool { return !w.patient || w.permits <= p.free })
		if len(waiting) == 0 {
			return
		}
		slices.SortFunc(waiting, func(a, b waiter) int {
			switch {
			case a.priority != b.priority:
				return int(b.priority - a.priority)
			case !a.second.Equal(b.second):
				return a.second.Compare(b.second)
			default:
				return int(a.revision - b.revision)
			}
		})
		h := heads[p.parent.Key]
		if h == nil || h.head != waiting[0].uid {
			h = &headship{head: waiting[0].uid}
			heads[p.parent.Key] = h
		}
		if h.passed++; h.passed > mostPassed {
			f.add(p.parent.Key, "revision %d: %s is the %dth to pass %s, who asks for %d", p.r.Number, p.served.holder, h.passed, waiting[0].holder, waiting[0].permits)
		}
	})
}
