package rules_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// fakeAPIServer is an API server with one Lease or Semaphore, its claims and the pods that they are bound to. Its operators see
// changes late (see fakeOperator), unlike in scenario. It numbers its revisions, refuses a write that is conditional on another
// revision, and allows only the transitions of claims that the CRD allows. Each write is appended to eventLog; writeTargetStatus
// and writeClaim check the invariants.
type fakeAPIServer struct {
	isLease       bool          // else a semaphore
	defaultTTL    time.Duration // of the object
	now           time.Duration
	revision      uint64
	eventLog      []watchEvent
	target        *targetVersion
	claims        map[types.UID]*claimVersion
	createdClaims int

	largestToken    int64                  // token of all grants so far
	grantedTargets  map[grantKey]types.UID // the UID of the object that was held, by grant
	overtakeCounts  map[waitKey]int
	allClaims       map[types.UID]rules.Claim    // including deleted ones
	clientDeadlines map[types.UID]clientDeadline // of the clients that believe they hold
	invalidWrites   int                          // how many writes the API server refused as invalid
	createdTargets  int
}

// targetVersion is a Lease or a Semaphore as it was at a revision. It is never changed, only replaced.
type targetVersion struct {
	revision uint64
	lease    *konductorv1.Lease
	sem      *konductorv1.Semaphore
}

func (p *targetVersion) uid() types.UID {
	if p.lease != nil {
		return p.lease.UID
	}
	return p.sem.UID
}

func (p *targetVersion) permits() int32 {
	if p.lease != nil {
		return 1
	}
	return p.sem.Spec.Permits
}

// allowsPriority reports whether spec.maxPriority allows claims of that priority.
func (p *targetVersion) allowsPriority(priority int32) bool {
	var limit *int32
	if p.lease != nil {
		limit = p.lease.Spec.MaxPriority
	} else {
		limit = p.sem.Spec.MaxPriority
	}
	return limit == nil || priority <= *limit
}

func (p *targetVersion) overtaken() []konductorv1.OvertakenClaim {
	if p.lease != nil {
		return nil
	}
	return p.sem.Status.Overtaken
}

func (p *targetVersion) holders() []konductorv1.Holder {
	if p.lease != nil {
		return p.lease.Status.Holders()
	}
	return p.sem.Status.Holders
}

func (p *targetVersion) token() int64 {
	if p.lease != nil {
		return p.lease.Status.FencingToken
	}
	return p.sem.Status.FencingToken
}

func (p *targetVersion) decide(claims *rules.ClaimSet, now rules.Instant) (*targetVersion, rules.HoldDecision) {
	if p.lease != nil {
		next := p.lease.DeepCopy()
		status, act := rules.DecideLease(p.lease, claims, p.revision, now)
		next.Status = status
		return &targetVersion{lease: next}, act
	}
	next := p.sem.DeepCopy()
	status, act := rules.DecideSemaphore(p.sem, claims, p.revision, now)
	next.Status = status
	return &targetVersion{sem: next}, act
}

// claimVersion is a Claim as it was at a revision. It is never changed, only replaced.
type claimVersion struct {
	claim    rules.Claim
	podEnded bool
}

func (c *claimVersion) hasEnded() bool {
	return c.claim.Phase == konductorv1.ClaimExpired || c.claim.Phase == konductorv1.ClaimRefused
}

type grantKey struct {
	claim types.UID
	token int64
}

// waitKey identifies the wait of a claim for the object with that UID.
type waitKey struct{ claim, target types.UID }

// clientDeadline is until when a client believes that it holds, unless it is notified otherwise. The client obeys it.
type clientDeadline struct {
	at        time.Duration
	unlimited bool // as long as the pod
}

// watchEvent is an event of a watch: the new state of the object, a claim or a pod.
type watchEvent struct {
	stream  watchStream
	target  *targetVersion // nil: deleted
	claim   *claimVersion  // also for deletions and the end of its pod
	deleted bool
}

type watchStream int

const (
	targetStream watchStream = iota
	claimStream
	podStream
	streamCount
)

var (
	errConflict   = errors.New("conflict")
	errNotFound   = errors.New("not found")
	errInvalid    = errors.New("invalid")
	errNoResponse = errors.New("no answer")
)

func newFakeAPIServer(lease bool, permits int32, ttl time.Duration) *fakeAPIServer {
	w := &fakeAPIServer{
		isLease: lease, defaultTTL: ttl, claims: map[types.UID]*claimVersion{}, grantedTargets: map[grantKey]types.UID{}, clientDeadlines: map[types.UID]clientDeadline{}, revision: 1000,
		overtakeCounts: map[waitKey]int{}, allClaims: map[types.UID]rules.Claim{},
	}
	w.createTarget(permits)
	return w
}

func (w *fakeAPIServer) appendEvent(c watchEvent) uint64 {
	w.revision++
	w.eventLog = append(w.eventLog, c)
	return w.revision
}

func (w *fakeAPIServer) createTarget(permits int32) {
	w.createdTargets++
	meta := metav1.ObjectMeta{Name: "object", UID: types.UID(fmt.Sprint("object-", w.createdTargets)), Generation: 1}
	p := &targetVersion{}
	if w.isLease {
		p.lease = &konductorv1.Lease{ObjectMeta: meta}
		if w.defaultTTL > 0 {
			p.lease.Spec.TTL = konductorv1.NewDuration(w.defaultTTL)
		}
	} else {
		p.sem = &konductorv1.Semaphore{ObjectMeta: meta}
		p.sem.Spec.Permits = permits
		if w.defaultTTL > 0 {
			p.sem.Spec.TTL = konductorv1.NewDuration(w.defaultTTL)
		}
	}
	p.revision = w.appendEvent(watchEvent{stream: targetStream, target: p})
	w.target = p
}

func (w *fakeAPIServer) deleteTarget() {
	w.target = nil
	w.appendEvent(watchEvent{stream: targetStream})
}

func (w *fakeAPIServer) resize(permits int32) {
	p := &targetVersion{sem: w.target.sem.DeepCopy()}
	p.sem.Spec.Permits = permits
	p.sem.Generation++
	p.revision = w.appendEvent(watchEvent{stream: targetStream, target: p})
	w.target = p
}

func (w *fakeAPIServer) setMaxPriority(limit *int32) {
	p := &targetVersion{}
	if w.target.lease != nil {
		p.lease = w.target.lease.DeepCopy()
		p.lease.Spec.MaxPriority = limit
		p.lease.Generation++
	} else {
		p.sem = w.target.sem.DeepCopy()
		p.sem.Spec.MaxPriority = limit
		p.sem.Generation++
	}
	p.revision = w.appendEvent(watchEvent{stream: targetStream, target: p})
	w.target = p
}

// writeTargetStatus is the operator's write of the status, conditional on the revision of from.
func (w *fakeAPIServer) writeTargetStatus(from, next *targetVersion) error {
	switch {
	case w.target == nil || w.target.uid() != next.uid():
		return errNotFound
	case w.target.revision != from.revision:
		return errConflict
	}
	w.checkStatusWrite(w.target, next)
	next.revision = w.appendEvent(watchEvent{stream: targetStream, target: next})
	w.target = next
	return nil
}

// createClaim creates a client's claim. Bound claims have a pod each.
func (w *fakeAPIServer) createClaim(c rules.Claim) {
	w.createdClaims++
	c.Name = fmt.Sprint("claim-", w.createdClaims)
	c.UID, c.Holder, c.Phase = types.UID(c.Name), c.Name, konductorv1.ClaimPending
	c.Created = epoch.Add(w.now.Truncate(time.Second))
	stored := &claimVersion{claim: c}
	w.putClaim(stored)
	// The creation revision is a field of the claim.
	stored.claim.CreationRevision = w.revision
	w.allClaims[c.UID] = stored.claim
}

func (w *fakeAPIServer) putClaim(c *claimVersion) {
	c.claim.ResourceVersion = strconv.FormatUint(w.appendEvent(watchEvent{stream: claimStream, claim: c}), 10)
	w.claims[c.claim.UID] = c
}

// deleteClaim deletes a claim, as its client does to release.
func (w *fakeAPIServer) deleteClaim(uid types.UID) {
	w.appendEvent(watchEvent{stream: claimStream, claim: w.claims[uid], deleted: true})
	delete(w.claims, uid)
	delete(w.clientDeadlines, uid)
}

// renewClaim renews a hold, as its client does. The API server accepts that only while the claim is Granted.
func (w *fakeAPIServer) renewClaim(uid types.UID) {
	c := *w.claims[uid]
	if c.claim.Phase != konductorv1.ClaimGranted || c.podEnded {
		return
	}
	c.claim.Renewals++
	w.putClaim(&c)
	w.clientDeadlines[uid] = w.newClientDeadline(&c)
}

// newClientDeadline is the deadline of a client that was notified of its grant, or renewed, just now.
func (w *fakeAPIServer) newClientDeadline(c *claimVersion) clientDeadline {
	ttl := c.claim.TTL
	if ttl == 0 {
		ttl = w.defaultTTL
	}
	switch {
	case ttl == 0 && c.claim.BoundToPod:
		return clientDeadline{unlimited: true}
	case ttl == 0:
		ttl = konductorv1.DefaultTTL
	}
	if !c.claim.BoundToPod && c.claim.Renewals == 0 {
		ttl = min(ttl, konductorv1.AcknowledgeWithin)
	}
	return clientDeadline{at: w.now + ttl}
}

func (w *fakeAPIServer) endPod(uid types.UID) {
	c := *w.claims[uid]
	c.podEnded = true
	w.claims[uid] = &c
	w.appendEvent(watchEvent{stream: podStream, claim: &c})
	delete(w.clientDeadlines, uid)
}

// claimStatusUpdate is what an operator writes into the status of a claim.
type claimStatusUpdate struct {
	phase     konductorv1.ClaimPhase
	token     int64
	expiresAt time.Time
	expired   bool // the hold has run out, and wasn't ended for another reason
}

// writeClaim is the operator's write of a claim's status, conditional on that resourceVersion.
func (w *fakeAPIServer) writeClaim(uid types.UID, version string, a claimStatusUpdate) error {
	c, ok := w.claims[uid]
	if !ok {
		return errNotFound
	}
	if c.claim.ResourceVersion != version {
		return errConflict
	}
	next := *c
	next.claim.Phase, next.claim.Token, next.claim.ExpiresAt = a.phase, a.token, a.expiresAt
	if !isAllowedTransition(c.claim, next.claim) {
		w.invalidWrites++
		return errInvalid
	}
	w.putClaim(&next)
	switch {
	case a.phase != konductorv1.ClaimGranted:
		if a.expired {
			w.checkExpiry(uid)
		}
		delete(w.clientDeadlines, uid)
	case c.claim.Phase != a.phase:
		w.checkGrantNotification(uid, a.token)
		if !c.podEnded {
			w.clientDeadlines[uid] = w.newClientDeadline(&next)
		}
	}
	return nil
}

// isAllowedTransition restates the transition rules of the Claim's CRD.
func isAllowedTransition(from, to rules.Claim) bool {
	if from.Token != 0 && to.Token != from.Token {
		return false
	}
	return from.Phase == konductorv1.ClaimPending || from.Phase == to.Phase ||
		(from.Phase == konductorv1.ClaimGranted && to.Phase == konductorv1.ClaimExpired)
}

// failInvariant panics because an invariant was violated. rapid reports the panic with the steps that led to it.
func failInvariant(format string, args ...any) {
	panic("broken promise: " + fmt.Sprintf(format, args...))
}

// checkStatusWrite checks the invariants between one status and the next, whichever operator writes.
func (w *fakeAPIServer) checkStatusWrite(old, next *targetVersion) {
	sum := func(p *targetVersion) (n int32) {
		for _, h := range p.holders() {
			n += h.Permits
		}
		return n
	}
	if n := sum(next); n > next.permits() && n > sum(old) {
		failInvariant("%d permits are held of %d, and %d were before", n, next.permits(), sum(old))
	}
	if len(next.holders()) > konductorv1.MaxHolders {
		failInvariant("%d holders", len(next.holders()))
	}
	if next.token() < old.token() {
		failInvariant("the token goes back from %d to %d", old.token(), next.token())
	}
	before := map[types.UID]konductorv1.Holder{}
	for _, h := range old.holders() {
		before[h.ClaimUID] = h
	}
	seen := map[types.UID]bool{}
	var granted []konductorv1.Holder
	defer func() { w.checkOvertaking(next, granted) }()
	for _, h := range next.holders() {
		if seen[h.ClaimUID] {
			failInvariant("%s holds twice", h.Claim)
		}
		seen[h.ClaimUID] = true
		if h.FencingToken > next.token() {
			failInvariant("%s has token %d and the largest is said to be %d", h.Claim, h.FencingToken, next.token())
		}
		if b, ok := before[h.ClaimUID]; ok {
			if b.FencingToken != h.FencingToken || b.Permits != h.Permits {
				failInvariant("the hold of %s changed from token %d for %d to token %d for %d", h.Claim, b.FencingToken, b.Permits, h.FencingToken, h.Permits)
			}
			continue
		}
		if h.FencingToken <= w.largestToken {
			failInvariant("%s is granted token %d after %d was", h.Claim, h.FencingToken, w.largestToken)
		}
		if claim, known := w.allClaims[h.ClaimUID]; known && !next.allowsPriority(claim.Priority) {
			failInvariant("%s is granted with priority %d", h.Claim, claim.Priority)
		}
		w.largestToken = h.FencingToken
		granted = append(granted, h)
		w.grantedTargets[grantKey{h.ClaimUID, h.FencingToken}] = next.uid()
	}
	for uid, h := range before {
		c, exists := w.claims[uid]
		if !seen[uid] && exists && !c.hasEnded() && !c.podEnded {
			failInvariant("the hold of %s was taken away while its claim is %s", h.Claim, c.claim.Phase)
		}
	}
}

// checkOvertaking checks that no waiting claim is overtaken more often than is allowed, whichever others come and go. granted are
// the new holders of next, in the order of their tokens.
func (w *fakeAPIServer) checkOvertaking(next *targetVersion, granted []konductorv1.Holder) {
	holds := map[types.UID]bool{}
	free := next.permits()
	for _, h := range next.holders() {
		holds[h.ClaimUID] = true
		free -= h.Permits
	}
	for _, h := range granted {
		free += h.Permits
	}
	for _, h := range granted {
		for uid, c := range w.claims {
			waits := c.claim.Phase == konductorv1.ClaimPending && !c.podEnded && !c.claim.NoWait && !holds[uid] &&
				(c.claim.TargetUID == "" || c.claim.TargetUID == next.uid()) && c.claim.Permits <= next.permits() && next.allowsPriority(c.claim.Priority)
			if !waits || c.claim.Permits <= free || !isServedBefore(c.claim, w.allClaims[h.ClaimUID]) {
				continue
			}
			w.overtakeCounts[waitKey{uid, next.uid()}]++
			if n := w.overtakeCounts[waitKey{uid, next.uid()}]; n > konductorv1.MaxOvertaken {
				failInvariant("%s is number %d to pass %s", h.Claim, n, uid)
			}
		}
		free -= h.Permits
	}
}

// isServedBefore reports whether a is served before b, and every operator that knows b knows a too.
func isServedBefore(a, b rules.Claim) bool {
	return a.CreationRevision < b.CreationRevision && (a.Priority > b.Priority || (a.Priority == b.Priority && !a.Created.After(b.Created)))
}

// checkGrantNotification checks that a claim is notified only of a grant that was made.
func (w *fakeAPIServer) checkGrantNotification(uid types.UID, token int64) {
	if _, ok := w.grantedTargets[grantKey{uid, token}]; !ok {
		failInvariant("%s was told that it holds with token %d, and never did", uid, token)
	}
}

// checkClientHolds checks that each client that believes it holds, and obeys its deadline, does hold.
func (w *fakeAPIServer) checkClientHolds() {
	if w.target == nil {
		return
	}
	holds := map[grantKey]bool{}
	for _, h := range w.target.holders() {
		holds[grantKey{h.ClaimUID, h.FencingToken}] = true
	}
	for uid, d := range w.clientDeadlines {
		c := w.claims[uid]
		presumed := grantKey{uid, c.claim.Token}
		if w.grantedTargets[presumed] == w.target.uid() && (d.unlimited || w.now < d.at) && !holds[presumed] {
			failInvariant("%s believes that it holds until %s, it is %s, and it does not", uid, d.at, w.now)
		}
	}
}

// checkExpiry checks that a hold which is ended as expired has ended for its client too.
func (w *fakeAPIServer) checkExpiry(uid types.UID) {
	if d, ok := w.clientDeadlines[uid]; ok && (d.unlimited || w.now < d.at) {
		failInvariant("the hold of %s was ended at %s, and the client counts on it until %s", uid, w.now, d.at)
	}
}

// sortedClaimUIDs returns the UIDs of the claims for which f holds, sorted, so that a run can be repeated.
func (w *fakeAPIServer) sortedClaimUIDs(f func(*claimVersion) bool) (uids []types.UID) {
	for _, uid := range slices.Sorted(maps.Keys(w.claims)) {
		if f(w.claims[uid]) {
			uids = append(uids, uid)
		}
	}
	return uids
}
