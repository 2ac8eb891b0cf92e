package rules

import (
	"cmp"
	"iter"
	"time"

	"github.com/google/btree"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Claim is what the rules need to know of a Claim object.
type Claim struct {
	Name   string
	UID    types.UID
	Holder string
	// Target is the UID of the Lease or Semaphore that the claim was made for, or empty when it doesn't say.
	Target   types.UID
	Permits  int32
	Priority int32
	// Version is the resourceVersion that the claim was last seen with; a write to it is conditional on that.
	Version string
	// Created and Revision (the resourceVersion that the claim was created with) put the queue in order. Nothing
	// writes to a pending claim, so that its resourceVersion is that of its creation, also for an operator that comes
	// later.
	Created  time.Time
	Revision uint64
	// TTL is the claim's own, zero when it has none.
	TTL time.Duration
	// Bound says that the claim is bound to a Pod.
	Bound bool
	// Refuse says that the claim is not to be kept waiting.
	Refuse bool
	// Phase, Token and ExpiresAt are what the claim has been told.
	Phase     konductorv1.ClaimPhase
	Token     int64
	ExpiresAt time.Time
	// Renewals is how often the claim has been renewed.
	Renewals int64
	// RenewedAt is when the operator saw the last renewal or made the grant, on its own clock (Now.Elapsed).
	RenewedAt time.Duration
	// Held says that the grant is known here, so that RenewedAt counts from it and not from the claim's creation.
	Held bool
	// PodEnded says that the Pod the claim is bound to has finished or is gone.
	PodEnded bool
	// BrokenBy is the user who is about to delete the claim of another, or empty.
	BrokenBy string
}

// before is the order of the queue: higher priority first, then the older claim, to the second by its creation time
// and within the second by its revision.
func before(a, b *Claim) bool {
	if a.Priority != b.Priority {
		return a.Priority > b.Priority
	}
	if newestFirst {
		a, b = b, a
	}
	if !a.Created.Equal(b.Created) {
		return a.Created.Before(b.Created)
	}
	if a.Revision != b.Revision {
		return a.Revision < b.Revision
	}
	return a.UID < b.UID
}

// Before reports whether claim a is served before claim b.
func Before(a, b *konductorv1.Claim, revision func(*konductorv1.Claim) uint64) bool {
	key := func(c *konductorv1.Claim) *Claim {
		return &Claim{Priority: c.Spec.Priority, Created: c.CreationTimestamp.Time, Revision: revision(c), UID: c.UID}
	}
	return before(key(a), key(b))
}

// larger orders pending claims by size, the largest first.
func larger(a, b *Claim) bool {
	if c := cmp.Compare(b.Permits, a.Permits); c != 0 {
		return c < 0
	}
	return a.UID < b.UID
}

// Presence is what is known of the Claim behind a hold.
type Presence int

const (
	// Unknown means that the claim has not been seen, which is not to say that it is gone.
	Unknown Presence = iota
	// Present means that the claim exists.
	Present
	// Gone means that the claim was seen deleted.
	Gone
)

// Claims are all claims on one Lease or Semaphore: those that wait, in order, and those that hold. Adding, removing and
// finding the next cost O(log n), so a grant costs the same however long the queue is. It is not safe for concurrent use.
type Claims struct {
	target types.UID
	all    map[types.UID]*Claim
	queue  *btree.BTreeG[*Claim]
	sizes  *btree.BTreeG[*Claim]
	refuse map[types.UID]*Claim
	told   map[types.UID]*Claim
	former map[types.UID]*Claim // made for an object that had this name before, and not ended
	gone   map[types.UID]string // who broke it, or empty
}

// NewClaims returns the empty set.
func NewClaims() *Claims {
	const degree = 16
	return &Claims{
		all:    map[types.UID]*Claim{},
		queue:  btree.NewG(degree, before),
		sizes:  btree.NewG(degree, larger),
		refuse: map[types.UID]*Claim{},
		told:   map[types.UID]*Claim{},
		former: map[types.UID]*Claim{},
		gone:   map[types.UID]string{},
	}
}

// SetTarget says which object these claims are on now. When it was deleted and created again, claims that were made for
// the former one don't count any more.
func (c *Claims) SetTarget(uid types.UID) {
	if c.target == uid {
		return
	}
	c.target = uid
	c.queue.Clear(false)
	c.sizes.Clear(false)
	clear(c.refuse)
	clear(c.told)
	clear(c.former)
	for _, claim := range c.all {
		c.enqueue(claim)
	}
}

// Observe takes note of a claim as the API server has it, and reports whether that is news to the rules. What is known
// only here (RenewedAt, PodEnded, the place in the queue) is kept.
func (c *Claims) Observe(seen Claim, elapsed time.Duration) bool {
	if _, ok := c.gone[seen.UID]; ok {
		// The answer to our own write came after the news of its deletion. A UID doesn't come back.
		return false
	}
	seen.RenewedAt, seen.Held = elapsed, seen.Phase == konductorv1.ClaimGranted
	known, ok := c.all[seen.UID]
	if !ok {
		c.all[seen.UID] = &seen
		c.enqueue(&seen)
		return true
	}
	seen.Created, seen.Revision = known.Created, known.Revision
	seen.PodEnded = seen.PodEnded || known.PodEnded
	// Whoever was told of the grant counts its time from then, which may be a good while after the grant was written.
	told := seen.Held && rank(known.Phase) == 0
	if !told && seen.Renewals <= known.Renewals {
		seen.Renewals, seen.RenewedAt = known.Renewals, known.RenewedAt
	}
	seen.Held = seen.Held || known.Held
	if rank(seen.Phase) < rank(known.Phase) {
		// An event from before our own write. Phases never go back.
		seen.Phase, seen.Token, seen.ExpiresAt, seen.Version = known.Phase, known.Token, known.ExpiresAt, known.Version
	}
	news := seen.Phase != known.Phase || seen.Renewals != known.Renewals || seen.PodEnded != known.PodEnded
	c.replace(known, &seen)
	return news
}

// rank orders phases in time.
func rank(p konductorv1.ClaimPhase) int {
	switch p {
	case konductorv1.ClaimGranted:
		return 1
	case konductorv1.ClaimExpired, konductorv1.ClaimRefused:
		return 2
	default:
		return 0
	}
}

// Forget takes note that the claim was deleted.
func (c *Claims) Forget(uid types.UID) {
	brokenBy := c.gone[uid]
	if claim, ok := c.all[uid]; ok {
		brokenBy = claim.BrokenBy
		c.dequeue(claim)
		delete(c.all, uid)
	}
	c.gone[uid] = brokenBy
	c.forgetOthers()
}

// Broken takes note of the user who deletes the claim of another. It does nothing when the claim is gone already.
func (c *Claims) Broken(uid types.UID, by string) {
	if claim, ok := c.all[uid]; ok {
		broken := *claim
		broken.BrokenBy = by
		c.replace(claim, &broken)
	}
}

// EndPod takes note that the Pod which the claim is bound to has finished or is gone.
func (c *Claims) EndPod(uid types.UID) {
	if claim, ok := c.all[uid]; ok && !claim.PodEnded {
		ended := *claim
		ended.PodEnded = true
		c.replace(claim, &ended)
	}
}

// Granted takes note that the grant to the claim has been written, or was found written, so that its TTL counts from now.
func (c *Claims) Granted(uid types.UID, elapsed time.Duration) {
	if claim, ok := c.all[uid]; ok {
		granted := *claim
		granted.RenewedAt, granted.Held = elapsed, true
		c.replace(claim, &granted)
	}
}

// Find returns what is known of the claim with that UID.
func (c *Claims) Find(uid types.UID) (*Claim, Presence) {
	if claim, ok := c.all[uid]; ok {
		return claim, Present
	}
	if _, ok := c.gone[uid]; ok {
		return nil, Gone
	}
	return nil, Unknown
}

// Settle forgets which claims are gone, except those that still stand among holders: nobody will ask for the others.
func (c *Claims) Settle(holders []konductorv1.SemaphoreHolder) {
	if len(c.gone) == 0 {
		return
	}
	keep := map[types.UID]string{}
	for i := range holders {
		if by, ok := c.gone[holders[i].ClaimUID]; ok {
			keep[holders[i].ClaimUID] = by
		}
	}
	c.gone = keep
}

// Len returns how many claims there are, in any phase.
func (c *Claims) Len() int { return len(c.all) }

// All iterates over all claims, in no particular order.
func (c *Claims) All() iter.Seq[*Claim] {
	return func(yield func(*Claim) bool) {
		for _, claim := range c.all {
			if !yield(claim) {
				return
			}
		}
	}
}

// Waiting returns how many claims are pending.
func (c *Claims) Waiting() int { return c.queue.Len() }

// Queue iterates over the pending claims in the order in which they are served.
func (c *Claims) Queue() iter.Seq[*Claim] {
	return func(yield func(*Claim) bool) { c.queue.Ascend(yield) }
}

// LargestFirst iterates over the pending claims by the permits they ask for.
func (c *Claims) LargestFirst() iter.Seq[*Claim] {
	return func(yield func(*Claim) bool) { c.sizes.Ascend(yield) }
}

// Impatient iterates over the pending claims that are not to be kept waiting.
func (c *Claims) Impatient() iter.Seq[*Claim] {
	return func(yield func(*Claim) bool) {
		for _, claim := range c.refuse {
			if !yield(claim) {
				return
			}
		}
	}
}

// queued reports whether the claim with that UID is pending.
func (c *Claims) queued(uid types.UID) bool {
	claim, ok := c.all[uid]
	return ok && c.waits(claim)
}

// waits reports whether the claim has its place in the queue.
func (c *Claims) waits(claim *Claim) bool {
	return rank(claim.Phase) == 0 && !claim.PodEnded && c.onTarget(claim)
}

// onTarget reports whether the claim was made for the present object, as far as it says.
func (c *Claims) onTarget(claim *Claim) bool {
	return claim.Target == "" || c.target == "" || claim.Target == c.target
}

// replace puts next in the place of known. A *Claim that was handed out is never written to, so that it can be read
// while the set goes on changing.
func (c *Claims) replace(known, next *Claim) {
	c.dequeue(known)
	c.all[next.UID] = next
	c.enqueue(next)
}

// enqueue and dequeue put the claim where it belongs by its phase, and take it out.
func (c *Claims) enqueue(claim *Claim) {
	if !c.onTarget(claim) && rank(claim.Phase) < 2 {
		c.former[claim.UID] = claim
	}
	if claim.Phase == konductorv1.ClaimGranted && c.onTarget(claim) {
		c.told[claim.UID] = claim
	}
	if !c.waits(claim) {
		return
	}
	c.queue.ReplaceOrInsert(claim)
	c.sizes.ReplaceOrInsert(claim)
	if claim.Refuse {
		c.refuse[claim.UID] = claim
	}
}

func (c *Claims) dequeue(claim *Claim) {
	c.queue.Delete(claim)
	c.sizes.Delete(claim)
	delete(c.refuse, claim.UID)
	delete(c.told, claim.UID)
	delete(c.former, claim.UID)
}
