package rules

import (
	"cmp"
	"iter"
	"maps"
	"slices"
	"time"

	"github.com/google/btree"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Claim is the part of a Claim object that the rules need.
type Claim struct {
	Name   string
	UID    types.UID
	Holder string
	// TargetUID is the UID of the Lease or Semaphore that the claim was made for, or empty when the claim doesn't have
	// it.
	TargetUID types.UID
	Permits   int32
	Priority  int32
	// ResourceVersion is the last observed resourceVersion; a write to the claim is conditional on it.
	ResourceVersion string
	// Created and CreationRevision (the resourceVersion that the claim was created with) order the queue. Nothing writes
	// to a pending claim, so its resourceVersion is that of its creation, also for an operator that starts later.
	Created          time.Time
	CreationRevision uint64
	// TTL is the claim's own; zero: none.
	TTL time.Duration
	// BoundToPod says that the claim is bound to a Pod.
	BoundToPod bool
	// NoTTL says that the hold has no TTL, not even the target's.
	NoTTL bool
	// Job is the Job that the claim is bound to; nil: none.
	Job *konductorv1.JobReference
	// NoWait says that the claim must be granted or refused at once.
	NoWait bool
	// Phase, Token and ExpiresAt are from the claim's status: what its client was notified of.
	Phase     konductorv1.ClaimPhase
	Token     int64
	ExpiresAt time.Time
	// Renewals is how often the claim has been renewed.
	Renewals int64
	// LastObservedRenewal is when the operator observed the last renewal or made the grant, on its own clock
	// (Instant.Monotonic).
	LastObservedRenewal time.Duration
	// GrantObserved says that the grant is known here, so that LastObservedRenewal counts from it and not from the
	// claim's creation.
	GrantObserved bool
	// BoundEnded says that the Pod the claim is bound to has ended or was deleted, or that the Job has and that no Pod of it may
	// still run.
	BoundEnded bool
	// BoundUnknown says that it could not be determined whether the Pod or Job has ended, or that Pods of a deleted Job still
	// run. Until it has been determined, the claim isn't served.
	BoundUnknown bool
	// BrokenBy is the user who is about to delete another's claim, or empty.
	BrokenBy string
}

// queueLess is the order of the queue: higher priority first, then the older claim, by creation time (in seconds) and,
// within the second, by CreationRevision.
func queueLess(a, b *Claim) bool {
	if a.Priority != b.Priority {
		return a.Priority > b.Priority
	}
	if failpointNewestFirst {
		a, b = b, a
	}
	if !a.Created.Equal(b.Created) {
		return a.Created.Before(b.Created)
	}
	if a.CreationRevision != b.CreationRevision {
		return a.CreationRevision < b.CreationRevision
	}
	return a.UID < b.UID
}

// ServedBefore reports whether claim a is served before claim b. Both wait, so their resourceVersions are those of their
// creation.
func ServedBefore(a, b *konductorv1.Claim) bool {
	key := func(c *konductorv1.Claim) *Claim {
		created, revision := PositionOf(c)
		return &Claim{Priority: c.Spec.Priority, Created: created, CreationRevision: revision, UID: c.UID}
	}
	return queueLess(key(a), key(b))
}

// PositionOf returns the creation by which a pending claim is queued: its own, or the one in spec.queuePosition.
func PositionOf(c *konductorv1.Claim) (created time.Time, revision uint64) {
	if p := c.Spec.QueuePosition; p != nil {
		return p.CreatedAt.Time, uint64(max(p.Revision, 0))
	}
	return c.CreationTimestamp.Time, RevisionOrZero(c)
}

// largestFirstLess orders pending claims by size, the largest first.
func largestFirstLess(a, b *Claim) bool {
	if c := cmp.Compare(b.Permits, a.Permits); c != 0 {
		return c < 0
	}
	return a.UID < b.UID
}

// Existence is what is known of the existence of the Claim of a hold.
type Existence int

const (
	// ExistenceUnknown means that the claim has not been observed. It may exist all the same.
	ExistenceUnknown Existence = iota
	// ExistenceConfirmed means that the claim exists.
	ExistenceConfirmed
	// ExistenceDeleted means that the deletion of the claim was observed.
	ExistenceDeleted
)

// ClaimSet has all claims on one Lease or Semaphore: the pending ones in queue order, and the granted ones. Adding,
// removing and finding the next cost O(log n), so a grant costs the same however long the queue is. It is not safe for
// concurrent use.
type ClaimSet struct {
	targetUID   types.UID
	byUID       map[types.UID]*Claim
	queue       *btree.BTreeG[*Claim]
	bySize      *btree.BTreeG[*Claim]
	noWait      map[types.UID]*Claim
	granted     map[types.UID]*Claim
	staleTarget map[types.UID]*Claim // made for a previous object of this name, and not ended
	tombstones  map[types.UID]string // deleted claims: the user who broke the hold, or empty
	stoppedJobs map[types.UID]bool   // claims without a hold any more: the Job can't start with it, and no Pod of it may still run
}

// NewClaimSet returns an empty set.
func NewClaimSet() *ClaimSet {
	const degree = 16
	return &ClaimSet{
		byUID:       map[types.UID]*Claim{},
		queue:       btree.NewG(degree, queueLess),
		bySize:      btree.NewG(degree, largestFirstLess),
		noWait:      map[types.UID]*Claim{},
		granted:     map[types.UID]*Claim{},
		staleTarget: map[types.UID]*Claim{},
		tombstones:  map[types.UID]string{},
		stoppedJobs: map[types.UID]bool{},
	}
}

// SetTargetUID sets the UID of the present object. When the object was deleted and created again, claims that were made
// for the previous one don't count any more.
func (c *ClaimSet) SetTargetUID(uid types.UID) {
	if c.targetUID == uid {
		return
	}
	c.targetUID = uid
	c.queue.Clear(false)
	c.bySize.Clear(false)
	clear(c.noWait)
	clear(c.granted)
	clear(c.staleTarget)
	for _, claim := range c.byUID {
		c.index(claim)
	}
}

// Observe records a claim as read from the API server, and reports whether that changes anything for the rules. Facts
// that only this set has (LastObservedRenewal, BoundEnded, the position in the queue) are kept.
func (c *ClaimSet) Observe(observed Claim, monotonic time.Duration) bool {
	if _, ok := c.tombstones[observed.UID]; ok {
		// The response to our own write came after the deletion was observed. A UID doesn't come back.
		return false
	}
	observed.LastObservedRenewal, observed.GrantObserved = monotonic, observed.Phase == konductorv1.ClaimGranted
	known, ok := c.byUID[observed.UID]
	if !ok {
		c.byUID[observed.UID] = &observed
		c.index(&observed)
		return true
	}
	observed.Created, observed.CreationRevision = known.Created, known.CreationRevision
	observed.BoundEnded, observed.BoundUnknown = observed.BoundEnded || known.BoundEnded, known.BoundUnknown
	// A client that was notified of the grant counts its time from then, which may be long after the grant was written.
	newlyGranted := observed.GrantObserved && phaseRank(known.Phase) == 0
	if !newlyGranted && observed.Renewals <= known.Renewals {
		observed.Renewals, observed.LastObservedRenewal = known.Renewals, known.LastObservedRenewal
	}
	observed.GrantObserved = observed.GrantObserved || known.GrantObserved
	if phaseRank(observed.Phase) < phaseRank(known.Phase) {
		// An event from before our own write. Phases never go back.
		observed.Phase, observed.Token, observed.ExpiresAt, observed.ResourceVersion = known.Phase, known.Token, known.ExpiresAt, known.ResourceVersion
	}
	changed := observed.Phase != known.Phase || observed.Renewals != known.Renewals || observed.BoundEnded != known.BoundEnded
	c.replace(known, &observed)
	return changed
}

// Contradicts reports whether a claim delivered by a watch contradicts what is known: it is in an earlier phase, or is
// known to be deleted. Either the event is older than our own write, or etcd was restored from a backup and no longer has
// the history that is known here. Only the API server can decide which: see Overwrite.
func (c *ClaimSet) Contradicts(observed *Claim) bool {
	if _, deleted := c.tombstones[observed.UID]; deleted {
		return true
	}
	known, ok := c.byUID[observed.UID]
	return ok && phaseRank(observed.Phase) < phaseRank(known.Phase)
}

// Overwrite records a contradicting claim as just read from the API server, replacing whatever is known of it.
func (c *ClaimSet) Overwrite(current Claim, monotonic time.Duration) {
	delete(c.tombstones, current.UID)
	if known, ok := c.byUID[current.UID]; ok {
		c.unindex(known)
		delete(c.byUID, current.UID)
	}
	c.Observe(current, monotonic)
}

// phaseRank orders phases in time: 0 pending, 1 granted, 2 ended.
func phaseRank(p konductorv1.ClaimPhase) int {
	switch p {
	case konductorv1.ClaimGranted:
		return 1
	case konductorv1.ClaimExpired, konductorv1.ClaimRefused:
		return 2
	default:
		return 0
	}
}

// maxTombstones is how many deleted claims are remembered at most: more than can hold at a time.
const maxTombstones = 2 * konductorv1.MaxHolders

// ObserveDeletion records that the claim was deleted.
//
// Tombstones are kept only for claims that may be among the holders, since others are never looked up. Their number is
// limited: clients decide how many claims they create, and while the target doesn't exist its holders are never read.
// Forgetting too much is safe: a holder whose claim is neither known nor known to be deleted keeps its hold until the API
// server itself was asked (ExistenceUnknown).
func (c *ClaimSet) ObserveDeletion(uid types.UID) {
	brokenBy, mayHold := c.tombstones[uid], true
	if claim, ok := c.byUID[uid]; ok {
		brokenBy, mayHold = claim.BrokenBy, claim.GrantObserved || claim.Token != 0
		c.unindex(claim)
		delete(c.byUID, uid)
	}
	if mayHold || brokenBy != "" {
		c.tombstones[uid] = brokenBy
	}
	for other := range c.tombstones {
		if len(c.tombstones) <= maxTombstones {
			break
		}
		if other != uid {
			delete(c.tombstones, other)
		}
	}
	c.failpointDropOtherHolds()
}

// ObserveBreak records the user who deletes another's claim. It does nothing when the claim is deleted already.
func (c *ClaimSet) ObserveBreak(uid types.UID, by string) {
	if claim, ok := c.byUID[uid]; ok {
		broken := *claim
		broken.BrokenBy = by
		c.replace(claim, &broken)
	}
}

// ObserveJobStopped records that the hold of the claim with that UID, which is deleted or has ended, covers no Pod any more:
// its Job can't start with it, and no Pod of the Job may still run.
func (c *ClaimSet) ObserveJobStopped(uid types.UID) { c.stoppedJobs[uid] = true }

// ObserveBoundEnd records that the Pod or Job which the claim is bound to has ended: see Claim.BoundEnded.
func (c *ClaimSet) ObserveBoundEnd(uid types.UID) {
	if claim, ok := c.byUID[uid]; ok && !claim.BoundEnded {
		ended := *claim
		ended.BoundEnded = true
		c.replace(claim, &ended)
	}
}

// SetBoundKnown records whether the state of the Pod or Job that the claim is bound to could be determined.
func (c *ClaimSet) SetBoundKnown(uid types.UID, known bool) {
	if claim, ok := c.byUID[uid]; ok && claim.BoundUnknown == known {
		next := *claim
		next.BoundUnknown = !known
		c.replace(claim, &next)
	}
}

// RecordGrant records that the grant to the claim has been written, or was found written: its TTL counts from now.
func (c *ClaimSet) RecordGrant(uid types.UID, monotonic time.Duration) {
	if claim, ok := c.byUID[uid]; ok {
		granted := *claim
		granted.LastObservedRenewal, granted.GrantObserved = monotonic, true
		c.replace(claim, &granted)
	}
}

// Find returns what is known of the claim with that UID.
func (c *ClaimSet) Find(uid types.UID) (*Claim, Existence) {
	if claim, ok := c.byUID[uid]; ok {
		return claim, ExistenceConfirmed
	}
	if _, ok := c.tombstones[uid]; ok {
		return nil, ExistenceDeleted
	}
	return nil, ExistenceUnknown
}

// PruneTombstones drops all tombstones except those of holders: the others are not looked up any more. It does the same with
// what ObserveJobStopped has recorded.
func (c *ClaimSet) PruneTombstones(holders []konductorv1.Holder) {
	if len(c.stoppedJobs) > 0 {
		maps.DeleteFunc(c.stoppedJobs, func(uid types.UID, _ bool) bool {
			return !slices.ContainsFunc(holders, func(h konductorv1.Holder) bool { return h.ClaimUID == uid })
		})
	}
	if len(c.tombstones) == 0 {
		return
	}
	remaining := map[types.UID]string{}
	for i := range holders {
		if by, ok := c.tombstones[holders[i].ClaimUID]; ok {
			remaining[holders[i].ClaimUID] = by
		}
	}
	c.tombstones = remaining
}

// Len returns how many claims there are, in any phase.
func (c *ClaimSet) Len() int { return len(c.byUID) }

// All iterates over all claims, in no particular order.
func (c *ClaimSet) All() iter.Seq[*Claim] {
	return func(yield func(*Claim) bool) {
		for _, claim := range c.byUID {
			if !yield(claim) {
				return
			}
		}
	}
}

// QueueLen returns how many claims are pending.
func (c *ClaimSet) QueueLen() int { return c.queue.Len() }

// Queue iterates over the pending claims of at most that priority (nil: all) in the order in which they are served.
func (c *ClaimSet) Queue(maxPriority *int32) iter.Seq[*Claim] {
	return func(yield func(*Claim) bool) {
		if maxPriority == nil {
			c.queue.Ascend(yield)
			return
		}
		// The zero values of the other fields are before those of all claims.
		c.queue.AscendGreaterOrEqual(&Claim{Priority: *maxPriority}, yield)
	}
}

// LargestFirst iterates over the pending claims, by the permits they ask for.
func (c *ClaimSet) LargestFirst() iter.Seq[*Claim] {
	return func(yield func(*Claim) bool) { c.bySize.Ascend(yield) }
}

// NoWait iterates over the pending claims that must be granted or refused at once.
func (c *ClaimSet) NoWait() iter.Seq[*Claim] {
	return func(yield func(*Claim) bool) {
		for _, claim := range c.noWait {
			if !yield(claim) {
				return
			}
		}
	}
}

// isQueued reports whether the claim with that UID is pending.
func (c *ClaimSet) isQueued(uid types.UID) bool {
	claim, ok := c.byUID[uid]
	return ok && c.isEligible(claim)
}

// isEligible reports whether the claim is in the queue.
func (c *ClaimSet) isEligible(claim *Claim) bool { return c.isPending(claim) && !claim.BoundUnknown }

// isPending reports whether the claim waits as far as is known, even if the state of its Pod is unknown.
func (c *ClaimSet) isPending(claim *Claim) bool {
	return phaseRank(claim.Phase) == 0 && !claim.BoundEnded && c.targetsCurrentUID(claim)
}

// targetsCurrentUID reports whether the claim was made for the present object. A claim without a target UID counts as if
// it was.
func (c *ClaimSet) targetsCurrentUID(claim *Claim) bool {
	return claim.TargetUID == "" || c.targetUID == "" || claim.TargetUID == c.targetUID
}

// replace replaces known with next. A *Claim that was handed out is never written to, so that it can be read while the
// set changes.
func (c *ClaimSet) replace(known, next *Claim) {
	c.unindex(known)
	c.byUID[next.UID] = next
	c.index(next)
}

// index adds the claim to the collections that its phase belongs to; unindex removes it.
func (c *ClaimSet) index(claim *Claim) {
	if !c.targetsCurrentUID(claim) && phaseRank(claim.Phase) < 2 {
		c.staleTarget[claim.UID] = claim
	}
	if claim.Phase == konductorv1.ClaimGranted && c.targetsCurrentUID(claim) {
		c.granted[claim.UID] = claim
	}
	if !c.isEligible(claim) {
		return
	}
	c.queue.ReplaceOrInsert(claim)
	c.bySize.ReplaceOrInsert(claim)
	if claim.NoWait {
		c.noWait[claim.UID] = claim
	}
}

func (c *ClaimSet) unindex(claim *Claim) {
	c.queue.Delete(claim)
	c.bySize.Delete(claim)
	delete(c.noWait, claim.UID)
	delete(c.granted, claim.UID)
	delete(c.staleTarget, claim.UID)
}
