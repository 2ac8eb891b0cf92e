package controller

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// claimCache has the claims on all objects of one kind (Lease or Semaphore), kept up to date by watch events, so that a
// decision lists nothing.
type claimCache[T client.Object] struct {
	kind string

	mu            sync.Mutex
	targets       map[types.NamespacedName]*targetState[T]
	claimsByBound map[types.UID]boundClaims // by UID of the Pod or Job
}

// boundClaims are the claims that are bound to one Pod or Job, with the Lease or Semaphore that each is on. Most Pods and Jobs
// have one, for which a map of its own would take half a kilobyte.
type boundClaims struct {
	claim  types.UID // the first; empty: it is gone
	target types.NamespacedName
	others map[types.UID]types.NamespacedName
}

// targetState is the state of one Lease or Semaphore and its claims. mu guards its fields and is never held across a request
// to the API server: events of all objects come through one goroutine that must not wait.
type targetState[T client.Object] struct {
	writeCache[T]

	mu               sync.Mutex
	removed          bool
	exists           bool // the object itself was observed, and its deletion was not
	claims           *rules.ClaimSet
	uncheckedBound   map[types.UID]boundObject   // by claim UID: Pods and Jobs to check
	boundEndedClaims map[types.UID]string        // claim UID → name: claims to delete, since their Pod or Job has ended
	finishedClaims   map[types.UID]finishedClaim // by claim UID: claims to delete after finishedClaimTTL
	contradicted     map[types.UID]string        // claim UID → name: claims to verify with the API server
}

// boundObject is the Pod or Job that a claim is bound to.
type boundObject struct {
	kind string
	name string
	uid  types.UID
}

func boundObjectOf(c *konductorv1.Claim) boundObject {
	return boundObject{c.Spec.BoundTo.Kind, c.Spec.BoundTo.Name, c.Spec.BoundTo.UID}
}

type finishedClaim struct {
	name       string
	finishedAt time.Duration
}

func newClaimCache[T client.Object](kind string) *claimCache[T] {
	return &claimCache[T]{
		kind:          kind,
		targets:       map[types.NamespacedName]*targetState[T]{},
		claimsByBound: map[types.UID]boundClaims{},
	}
}

// targetState returns the state of the object with that key, a new one if there is none.
func (l *claimCache[T]) targetState(key types.NamespacedName) *targetState[T] {
	l.mu.Lock()
	defer l.mu.Unlock()
	a, ok := l.targets[key]
	if !ok {
		a = &targetState[T]{
			claims:           rules.NewClaimSet(),
			uncheckedBound:   map[types.UID]boundObject{},
			boundEndedClaims: map[types.UID]string{},
			finishedClaims:   map[types.UID]finishedClaim{},
			contradicted:     map[types.UID]string{},
		}
		l.targets[key] = a
	}
	return a
}

// allKeys returns the keys of all objects that exist or have claims.
func (l *claimCache[T]) allKeys(context.Context) []types.NamespacedName {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Keys(l.targets))
}

// recordTarget records that the object exists, and who holds it. Tombstones of other claims are dropped: nothing asks for
// them any more, and without this a standby replica would remember every claim there ever was.
func (l *claimCache[T]) recordTarget(key types.NamespacedName, holders []konductorv1.Holder) {
	l.withTargetLocked(key, func(a *targetState[T]) {
		a.exists = true
		a.claims.PruneTombstones(holders)
	})
}

// recordTargetDeleted records that the object was deleted.
func (l *claimCache[T]) recordTargetDeleted(key types.NamespacedName) {
	l.withTargetLocked(key, func(a *targetState[T]) { a.exists = false })
	l.removeIfUnused(key)
}

// removeIfUnused drops the state of a deleted object, unless it has claims that wait for one of that name.
func (l *claimCache[T]) removeIfUnused(key types.NamespacedName) {
	l.mu.Lock()
	a, ok := l.targets[key]
	l.mu.Unlock()
	if !ok {
		return
	}
	// A decision may hold the state's lock for a while, and the states of other objects must not wait for it.
	a.mu.Lock()
	a.removed = a.removed || a.claims.Len() == 0 && !a.exists
	dropped := a.removed
	a.mu.Unlock()
	if !dropped {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.targets[key] == a {
		delete(l.targets, key)
	}
}

// withTargetLocked calls f with the state of that key, holding its lock.
func (l *claimCache[T]) withTargetLocked(key types.NamespacedName, f func(*targetState[T])) {
	for {
		a := l.targetState(key)
		a.mu.Lock()
		if !a.removed {
			f(a)
			a.mu.Unlock()
			return
		}
		// It was removed between the look-up and the lock. What f records belongs in a new one.
		a.mu.Unlock()
	}
}

// targetKey returns the key of the object that the claim is on, and whether that object is of the cache's kind.
func (l *claimCache[T]) targetKey(c *konductorv1.Claim) (types.NamespacedName, bool) {
	return types.NamespacedName{Namespace: c.Namespace, Name: c.Spec.Target.Name}, c.Spec.Target.Kind == l.kind
}

// observeClaim records a claim that the watch delivered, and reports whether that changed anything.
func (l *claimCache[T]) observeClaim(c *konductorv1.Claim, now rules.Instant) bool {
	key, ok := l.targetKey(c)
	if !ok {
		return false
	}
	if c.Spec.BoundTo != nil {
		l.bindClaim(c.Spec.BoundTo.UID, c.UID, key)
	}
	changed := false
	l.withTargetLocked(key, func(a *targetState[T]) {
		if facts := claimFacts(c); c.DeletionTimestamp.IsZero() && a.claims.Contradicts(&facts) {
			a.contradicted[c.UID] = c.Name
			changed = true
			return
		}
		changed = a.observeClaim(c, now)
	})
	return changed
}

// recordVerified records a claim that was just read from the API server for verification, and reports whether the cache has
// it. The state read replaces a cached state that it contradicts.
func (l *claimCache[T]) recordVerified(c *konductorv1.Claim, now rules.Instant) (known bool) {
	key, ok := l.targetKey(c)
	if !ok {
		return false
	}
	contradicts := false
	l.withTargetLocked(key, func(a *targetState[T]) {
		facts := claimFacts(c)
		_, shown := a.contradicted[c.UID] // by the watch, which has not delivered its deletion since
		_, presence := a.claims.Find(c.UID)
		delete(a.contradicted, c.UID)
		contradicts = c.DeletionTimestamp.IsZero() && a.claims.Contradicts(&facts) && (shown || presence == rules.ExistenceConfirmed)
		if !contradicts {
			return
		}
		delete(a.finishedClaims, c.UID)
		delete(a.boundEndedClaims, c.UID)
		if c.Spec.BoundTo != nil {
			a.uncheckedBound[c.UID] = boundObjectOf(c)
		}
		a.claims.Overwrite(facts, now.Monotonic)
	})
	if !contradicts {
		return l.recordResponse(c, now)
	}
	if c.Spec.BoundTo != nil {
		l.bindClaim(c.Spec.BoundTo.UID, c.UID, key)
	}
	return true
}

// recordResponse records a claim from the API server's response to a request, and reports whether the cache has it. A claim
// that the cache doesn't have is not added: the response may come after the claim's deletion, and once that tombstone is
// dropped nothing would ever remove the claim. Only the watch, which delivers the deletion too, adds claims.
func (l *claimCache[T]) recordResponse(c *konductorv1.Claim, now rules.Instant) (known bool) {
	key, ok := l.targetKey(c)
	if !ok {
		return false
	}
	l.withTargetLocked(key, func(a *targetState[T]) {
		if !c.DeletionTimestamp.IsZero() {
			known = a.observeClaim(c, now)
			return
		}
		if _, presence := a.claims.Find(c.UID); presence == rules.ExistenceConfirmed {
			known = true
			a.observeClaim(c, now)
		}
	})
	return known
}

// observeClaim records a claim, and reports whether that changed anything. The caller holds a.mu.
func (a *targetState[T]) observeClaim(c *konductorv1.Claim, now rules.Instant) bool {
	if !c.DeletionTimestamp.IsZero() {
		// Deleting the claim releases its hold, however long a finalizer keeps the claim.
		_, presence := a.claims.Find(c.UID)
		a.removeClaim(c)
		return presence != rules.ExistenceDeleted
	}
	if _, presence := a.claims.Find(c.UID); presence != rules.ExistenceConfirmed && c.Spec.BoundTo != nil {
		a.uncheckedBound[c.UID] = boundObjectOf(c)
	}
	if c.Status.Phase == konductorv1.ClaimExpired || c.Status.Phase == konductorv1.ClaimRefused {
		if _, known := a.finishedClaims[c.UID]; !known {
			a.finishedClaims[c.UID] = finishedClaim{c.Name, now.Monotonic}
		}
	}
	return a.claims.Observe(claimFacts(c), now.Monotonic)
}

// removeClaim records that a claim is gone, and returns the key of its object.
func (l *claimCache[T]) removeClaim(c *konductorv1.Claim) (types.NamespacedName, bool) {
	key, ok := l.targetKey(c)
	if !ok {
		return key, false
	}
	if c.Spec.BoundTo != nil {
		l.unbindClaim(c.Spec.BoundTo.UID, c.UID)
	}
	l.withTargetLocked(key, func(a *targetState[T]) { a.removeClaim(c) })
	l.removeIfUnused(key)
	return key, true
}

// removeClaim records that the claim is gone. The caller holds a.mu.
func (a *targetState[T]) removeClaim(c *konductorv1.Claim) {
	if by := c.Annotations[konductorv1.BrokenByAnnotation]; by != "" {
		a.claims.ObserveBreak(c.UID, by)
	}
	a.removeClaimUID(c.UID)
}

// removeClaimUID records that the claim with that UID is gone. The caller holds a.mu.
func (a *targetState[T]) removeClaimUID(uid types.UID) {
	a.claims.ObserveDeletion(uid)
	delete(a.uncheckedBound, uid)
	delete(a.boundEndedClaims, uid)
	delete(a.finishedClaims, uid)
	delete(a.contradicted, uid)
}

// recordBoundEnded records that a Pod has finished or is gone, or that a Job has finished, and returns the keys of the objects
// that its claims are on.
func (l *claimCache[T]) recordBoundEnded(bound types.UID) []types.NamespacedName {
	return l.forEachClaimOf(bound, func(a *targetState[T], claim types.UID) { a.recordBoundEnded(claim) })
}

// recordJobDeleted records that a Job is gone, so that the API server has to be asked for its Pods, and returns the keys of the
// objects that its claims are on.
func (l *claimCache[T]) recordJobDeleted(name string, job types.UID) []types.NamespacedName {
	return l.forEachClaimOf(job, func(a *targetState[T], claim types.UID) {
		if c, presence := a.claims.Find(claim); presence == rules.ExistenceConfirmed && !c.BoundEnded {
			a.uncheckedBound[claim] = boundObject{konductorv1.KindJob, name, job}
		}
	})
}

// forEachClaimOf calls f for each claim that is bound to the Pod or Job with that UID, holding the lock of its target's state,
// and returns the keys of the targets.
func (l *claimCache[T]) forEachClaimOf(bound types.UID, f func(a *targetState[T], claim types.UID)) []types.NamespacedName {
	l.mu.Lock()
	claims := l.claimsByBound[bound]
	targets := map[types.UID]types.NamespacedName{}
	maps.Copy(targets, claims.others)
	l.mu.Unlock()
	if claims.claim != "" {
		targets[claims.claim] = claims.target
	}
	var keys []types.NamespacedName
	for claim, key := range targets {
		l.withTargetLocked(key, func(a *targetState[T]) { f(a, claim) })
		keys = append(keys, key)
	}
	return keys
}

// recordBoundEnded records that the Pod or Job of that claim has ended. The caller holds a.mu.
func (a *targetState[T]) recordBoundEnded(claim types.UID) {
	if c, presence := a.claims.Find(claim); presence == rules.ExistenceConfirmed {
		a.claims.ObserveBoundEnd(claim)
		a.boundEndedClaims[claim] = c.Name
	}
	delete(a.uncheckedBound, claim)
}

func (l *claimCache[T]) bindClaim(bound, claim types.UID, key types.NamespacedName) {
	l.mu.Lock()
	defer l.mu.Unlock()
	claims, ok := l.claimsByBound[bound]
	switch {
	case !ok:
		claims = boundClaims{claim: claim, target: key}
	case claims.claim == claim:
	case claims.others == nil:
		claims.others = map[types.UID]types.NamespacedName{claim: key}
	default:
		claims.others[claim] = key
	}
	l.claimsByBound[bound] = claims
}

func (l *claimCache[T]) unbindClaim(bound, claim types.UID) {
	l.mu.Lock()
	defer l.mu.Unlock()
	claims := l.claimsByBound[bound]
	if delete(claims.others, claim); claims.claim == claim {
		claims.claim = ""
	}
	if l.claimsByBound[bound] = claims; claims.claim == "" && len(claims.others) == 0 {
		delete(l.claimsByBound, bound)
	}
}

// claimFacts returns the fields of a claim that the rules need.
func claimFacts(c *konductorv1.Claim) rules.Claim {
	facts := rules.Claim{
		Name: c.Name, UID: c.UID, Holder: c.Spec.Holder, ResourceVersion: c.ResourceVersion,
		Permits: max(c.Spec.Permits, 1), Priority: c.Spec.Priority,
		TTL: c.Spec.TTL.Or(0), NoWait: c.Spec.WhenBusy == konductorv1.BusyRefuse,
		Phase: c.Status.Phase, Token: c.Status.FencingToken, Renewals: c.Spec.Renewals,
		BrokenBy:  c.Annotations[konductorv1.BrokenByAnnotation],
		TargetUID: c.Spec.Target.UID,
	}
	facts.Created, facts.CreationRevision = rules.PositionOf(c)
	if bound := c.Spec.BoundTo; bound != nil {
		facts.BoundToPod, facts.NoTTL = bound.Kind == konductorv1.KindPod, c.Spec.NoTTL
		if bound.Kind == konductorv1.KindJob {
			facts.Job = &konductorv1.JobReference{Name: bound.Name, UID: bound.UID}
		}
	}
	if c.Status.ExpiresAt != nil {
		facts.ExpiresAt = c.Status.ExpiresAt.Time
	}
	return facts
}
