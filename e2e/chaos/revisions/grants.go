package revisions

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Key names a Lease, Semaphore or Barrier, whatever its incarnation.
type Key struct{ Namespace, Kind, Name string }

func (k Key) String() string { return k.Kind + " " + k.Namespace + "/" + k.Name }

// Hold is one holder as the status of a Lease or Semaphore has it.
type Hold struct {
	Holder  string
	Claim   string
	UID     types.UID // of the claim
	Permits int32
	Token   int64
}

// Parent is a Lease or a Semaphore at one revision, as far as both have the same.
type Parent struct {
	Key
	UID     types.UID
	Permits int32
	Holds   []Hold
	Token   int64 // the largest granted, as the status says
	Head    *konductorv1.QueueHead
}

// Parent returns the lease or semaphore that r is a revision of; false: it is of something else.
func (r Revision) Parent() (Parent, bool) {
	switch {
	case r.Lease != nil:
		s := r.Lease.Status
		p := Parent{Key: Key{r.Namespace, konductorv1.KindLease, r.Name}, UID: r.Lease.UID, Permits: 1, Token: s.FencingToken}
		if s.ClaimUID != "" {
			p.Holds = []Hold{{s.Holder, s.Claim, s.ClaimUID, 1, s.FencingToken}}
		}
		return p, true
	case r.Semaphore != nil:
		s := r.Semaphore.Status
		p := Parent{
			Key: Key{r.Namespace, konductorv1.KindSemaphore, r.Name}, UID: r.Semaphore.UID, Permits: r.Semaphore.Spec.Permits,
			Token: s.FencingToken, Head: s.Head,
		}
		for _, h := range s.Holders {
			p.Holds = append(p.Holds, Hold{h.Holder, h.Claim, h.ClaimUID, h.Permits, h.FencingToken})
		}
		return p, true
	default:
		return Parent{}, false
	}
}

// Has returns the hold of that claim.
func (p Parent) Has(claim types.UID) (Hold, bool) {
	for _, h := range p.Holds {
		if h.UID == claim {
			return h, true
		}
	}
	return Hold{}, false
}

// InUse returns how many permits are held.
func (p Parent) InUse() (n int32) {
	for _, h := range p.Holds {
		n += h.Permits
	}
	return n
}

// Grant is a hold from the revision in which it appears to the one in which it is there no more.
type Grant struct {
	Key
	Hold
	// Revision and Seen say when it was granted.
	Revision int64
	Seen     time.Duration
	// EndRevision and EndSeen say when it ended; EndRevision is 0 while it hasn't.
	EndRevision int64
	EndSeen     time.Duration
}

// EndedBefore reports whether the grant's end was read before that time.
func (g *Grant) EndedBefore(at time.Duration) bool { return g.EndRevision != 0 && g.EndSeen < at }

// Grants returns all grants there were, in the order in which they were written.
func Grants(all []Revision) []*Grant {
	var grants []*Grant
	type slot struct {
		key   Key
		claim types.UID
	}
	open := map[slot]*Grant{}
	before := map[Key]Parent{}
	for _, r := range all {
		p, ok := r.Parent()
		if !ok {
			continue
		}
		if r.Deleted {
			p.Holds = nil
		}
		for _, h := range before[p.Key].Holds {
			if _, holds := p.Has(h.UID); !holds {
				g := open[slot{p.Key, h.UID}]
				g.EndRevision, g.EndSeen = r.Number, r.Seen
				delete(open, slot{p.Key, h.UID})
			}
		}
		for _, h := range p.Holds {
			if open[slot{p.Key, h.UID}] == nil {
				g := &Grant{Key: p.Key, Hold: h, Revision: r.Number, Seen: r.Seen}
				open[slot{p.Key, h.UID}] = g
				grants = append(grants, g)
			}
		}
		before[p.Key] = p
	}
	return grants
}
