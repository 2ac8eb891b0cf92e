package revisions

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// ObjectKey names a Lease, Semaphore or Barrier, whatever its incarnation.
type ObjectKey struct{ Namespace, Kind, Name string }

func (k ObjectKey) String() string { return k.Kind + " " + k.Namespace + "/" + k.Name }

// Hold is one holder in the status of a Lease or Semaphore.
type Hold struct {
	Holder  string
	Claim   string
	UID     types.UID // of the claim
	Permits int32
	Token   int64
	// Job is the UID of the Job that holds; empty: none.
	Job types.UID
}

func newHold(h *konductorv1.Holder) Hold {
	hold := Hold{Holder: h.Name, Claim: h.Claim, UID: h.ClaimUID, Permits: h.Permits, Token: h.FencingToken}
	if h.Job != nil {
		hold.Job = h.Job.UID
	}
	return hold
}

// Target is a Lease or a Semaphore at one revision, with the fields that both have.
type Target struct {
	ObjectKey
	UID     types.UID
	Permits int32
	Holds   []Hold
	Token   int64 // the largest granted token, as the status says
}

// Target returns the lease or semaphore of which r is a revision; false: r is of another kind.
func (r Revision) Target() (Target, bool) {
	switch {
	case r.Lease != nil:
		s := r.Lease.Status
		p := Target{ObjectKey: ObjectKey{r.Namespace, konductorv1.KindLease, r.Name}, UID: r.Lease.UID, Permits: 1, Token: s.FencingToken}
		if s.ClaimUID != "" {
			p.Holds = []Hold{newHold(&konductorv1.Holder{
				Name: s.Holder, Claim: s.Claim, ClaimUID: s.ClaimUID, Permits: 1, FencingToken: s.FencingToken, Job: s.Job,
			})}
		}
		return p, true
	case r.Semaphore != nil:
		s := r.Semaphore.Status
		p := Target{
			ObjectKey: ObjectKey{r.Namespace, konductorv1.KindSemaphore, r.Name}, UID: r.Semaphore.UID, Permits: r.Semaphore.Spec.Permits,
			Token: s.FencingToken,
		}
		for _, h := range s.Holders {
			p.Holds = append(p.Holds, newHold(&h))
		}
		return p, true
	default:
		return Target{}, false
	}
}

// HoldOf returns the hold of that claim.
func (p Target) HoldOf(claim types.UID) (Hold, bool) {
	for _, h := range p.Holds {
		if h.UID == claim {
			return h, true
		}
	}
	return Hold{}, false
}

// InUse returns how many permits are held.
func (p Target) InUse() (n int32) {
	for _, h := range p.Holds {
		n += h.Permits
	}
	return n
}

// Grant is a hold, from the revision in which it appears to the one in which it is gone.
type Grant struct {
	ObjectKey
	Hold
	// Revision and ReadAt say when it was granted.
	Revision int64
	ReadAt   time.Duration
	// EndRevision and EndReadAt say when it ended; EndRevision is 0 while it hasn't.
	EndRevision int64
	EndReadAt   time.Duration
}

// EndedBefore reports whether the grant's end was read before that time.
func (g *Grant) EndedBefore(at time.Duration) bool { return g.EndRevision != 0 && g.EndReadAt < at }

// FindGrants returns all grants in the order in which they were written.
func FindGrants(all []Revision) []*Grant {
	var grants []*Grant
	type slot struct {
		key   ObjectKey
		claim types.UID
	}
	open := map[slot]*Grant{}
	before := map[ObjectKey]Target{}
	for _, r := range all {
		p, ok := r.Target()
		if !ok {
			continue
		}
		if r.Deleted {
			p.Holds = nil
		}
		for _, h := range before[p.ObjectKey].Holds {
			if _, holds := p.HoldOf(h.UID); !holds {
				g := open[slot{p.ObjectKey, h.UID}]
				g.EndRevision, g.EndReadAt = r.Number, r.ReadAt
				delete(open, slot{p.ObjectKey, h.UID})
			}
		}
		for _, h := range p.Holds {
			if open[slot{p.ObjectKey, h.UID}] == nil {
				g := &Grant{ObjectKey: p.ObjectKey, Hold: h, Revision: r.Number, ReadAt: r.ReadAt}
				open[slot{p.ObjectKey, h.UID}] = g
				grants = append(grants, g)
			}
		}
		before[p.ObjectKey] = p
	}
	return grants
}
