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

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// A world is an API server with one Lease or Semaphore, its claims and the pods that they are bound to. It numbers its
// revisions, refuses a write that is conditional on another revision, and holds claims to the transitions that the CRD
// allows. All that is committed goes through commit, where the promises are checked.
type world struct {
	lease    bool          // or a semaphore
	ttl      time.Duration // of the object
	now      time.Duration
	revision uint64
	log      []change
	parent   *parent
	claims   map[types.UID]*apiClaim
	made     int

	largest    int64                  // token of all grants so far
	grants     map[grant]types.UID    // to the UID of the object that was held
	lastWord   map[types.UID]deadline // of the clients that believe they hold
	invalid    int                    // how many writes the API server refused for what they said
	incarnated int
}

// parent is a Lease or a Semaphore as it was at a revision. It is not changed, only replaced.
type parent struct {
	revision uint64
	lease    *konductorv1.Lease
	sem      *konductorv1.Semaphore
}

func (p *parent) uid() types.UID {
	if p.lease != nil {
		return p.lease.UID
	}
	return p.sem.UID
}

func (p *parent) permits() int32 {
	if p.lease != nil {
		return 1
	}
	return p.sem.Spec.Permits
}

func (p *parent) head() *konductorv1.QueueHead {
	if p.lease != nil {
		return nil
	}
	return p.sem.Status.Head
}

func (p *parent) holders() []konductorv1.SemaphoreHolder {
	if p.lease != nil {
		return rules.LeaseHolders(&p.lease.Status)
	}
	return p.sem.Status.Holders
}

func (p *parent) token() int64 {
	if p.lease != nil {
		return p.lease.Status.FencingToken
	}
	return p.sem.Status.FencingToken
}

func (p *parent) decide(claims *rules.Claims, now rules.Now) (*parent, rules.HoldActions) {
	if p.lease != nil {
		next := p.lease.DeepCopy()
		status, act := rules.Lease(p.lease, claims, p.revision, now)
		next.Status = status
		return &parent{lease: next}, act
	}
	next := p.sem.DeepCopy()
	status, act := rules.Semaphore(p.sem, claims, p.revision, now)
	next.Status = status
	return &parent{sem: next}, act
}

// apiClaim is a Claim as it was at a revision. It is not changed, only replaced.
type apiClaim struct {
	facts    rules.Claim
	podEnded bool
}

func (c *apiClaim) over() bool {
	return c.facts.Phase == konductorv1.ClaimExpired || c.facts.Phase == konductorv1.ClaimRefused
}

type grant struct {
	claim types.UID
	token int64
}

// deadline is until when a client believes that it holds, if nobody tells it otherwise. It obeys it.
type deadline struct {
	at   time.Duration
	none bool // as long as the pod
}

// change is what a watch tells: the object, a claim or a pod as it became at a revision.
type change struct {
	stream  stream
	parent  *parent   // nil: deleted
	claim   *apiClaim // also for deletions and the end of its pod
	deleted bool
}

type stream int

const (
	parents stream = iota
	claimEvents
	pods
	streams
)

var (
	errConflict = errors.New("conflict")
	errNotFound = errors.New("not found")
	errInvalid  = errors.New("invalid")
	errLost     = errors.New("no answer")
)

func newWorld(lease bool, permits int32, ttl time.Duration) *world {
	w := &world{
		lease: lease, ttl: ttl, claims: map[types.UID]*apiClaim{}, grants: map[grant]types.UID{}, lastWord: map[types.UID]deadline{}, revision: 1000,
	}
	w.createParent(permits)
	return w
}

func (w *world) append(c change) uint64 {
	w.revision++
	w.log = append(w.log, c)
	return w.revision
}

func (w *world) createParent(permits int32) {
	w.incarnated++
	meta := metav1.ObjectMeta{Name: "object", UID: types.UID(fmt.Sprint("object-", w.incarnated)), Generation: 1}
	p := &parent{}
	if w.lease {
		p.lease = &konductorv1.Lease{ObjectMeta: meta}
		if w.ttl > 0 {
			p.lease.Spec.TTL = konductorv1.NewDuration(w.ttl)
		}
	} else {
		p.sem = &konductorv1.Semaphore{ObjectMeta: meta}
		p.sem.Spec.Permits = permits
		if w.ttl > 0 {
			p.sem.Spec.TTL = konductorv1.NewDuration(w.ttl)
		}
	}
	p.revision = w.append(change{stream: parents, parent: p})
	w.parent = p
}

func (w *world) deleteParent() {
	w.parent = nil
	w.append(change{stream: parents})
}

func (w *world) resize(permits int32) {
	p := &parent{sem: w.parent.sem.DeepCopy()}
	p.sem.Spec.Permits = permits
	p.sem.Generation++
	p.revision = w.append(change{stream: parents, parent: p})
	w.parent = p
}

// writeParent is the operator's write of the status, on condition that the object is still as it was in from.
func (w *world) writeParent(from, next *parent) error {
	switch {
	case w.parent == nil || w.parent.uid() != next.uid():
		return errNotFound
	case w.parent.revision != from.revision:
		return errConflict
	}
	w.checkWrite(w.parent, next)
	next.revision = w.append(change{stream: parents, parent: next})
	w.parent = next
	return nil
}

// createClaim is what a client does. Bound claims have a pod each.
func (w *world) createClaim(c rules.Claim) {
	w.made++
	c.Name = fmt.Sprint("claim-", w.made)
	c.UID, c.Holder, c.Phase = types.UID(c.Name), c.Name, konductorv1.ClaimPending
	c.Created = epoch.Add(w.now.Truncate(time.Second))
	stored := &apiClaim{facts: c}
	w.put(stored)
	// The creation revision is part of what the claim is.
	stored.facts.Revision = w.revision
}

func (w *world) put(c *apiClaim) {
	c.facts.Version = strconv.FormatUint(w.append(change{stream: claimEvents, claim: c}), 10)
	w.claims[c.facts.UID] = c
}

// deleteClaim is the release.
func (w *world) deleteClaim(uid types.UID) {
	w.append(change{stream: claimEvents, claim: w.claims[uid], deleted: true})
	delete(w.claims, uid)
	delete(w.lastWord, uid)
}

// renewClaim is what a holder does. The API server takes it only while the claim is Granted.
func (w *world) renewClaim(uid types.UID) {
	c := *w.claims[uid]
	if c.facts.Phase != konductorv1.ClaimGranted || c.podEnded {
		return
	}
	c.facts.Renewals++
	w.put(&c)
	w.lastWord[uid] = w.deadlineOf(&c)
}

// deadlineOf is how long a client trusts a hold that it was told of, or that it renewed, just now.
func (w *world) deadlineOf(c *apiClaim) deadline {
	ttl := c.facts.TTL
	if ttl == 0 {
		ttl = w.ttl
	}
	switch {
	case ttl == 0 && c.facts.Bound:
		return deadline{none: true}
	case ttl == 0:
		ttl = konductorv1.DefaultTTL
	}
	if !c.facts.Bound && c.facts.Renewals == 0 {
		ttl = min(ttl, konductorv1.AcknowledgeWithin)
	}
	return deadline{at: w.now + ttl}
}

func (w *world) endPod(uid types.UID) {
	c := *w.claims[uid]
	c.podEnded = true
	w.claims[uid] = &c
	w.append(change{stream: pods, claim: &c})
	delete(w.lastWord, uid)
}

// answer is what an operator writes into the status of a claim.
type answer struct {
	phase    konductorv1.ClaimPhase
	token    int64
	expires  time.Time
	timeOver bool // the hold has run out, and is not ended for another reason
}

// writeClaim is the operator's write of a claim's status, on condition that the claim is still of that version.
func (w *world) writeClaim(uid types.UID, version string, a answer) error {
	c, ok := w.claims[uid]
	if !ok {
		return errNotFound
	}
	if c.facts.Version != version {
		return errConflict
	}
	next := *c
	next.facts.Phase, next.facts.Token, next.facts.ExpiresAt = a.phase, a.token, a.expires
	if !allowed(c.facts, next.facts) {
		w.invalid++
		return errInvalid
	}
	w.put(&next)
	switch {
	case a.phase != konductorv1.ClaimGranted:
		if a.timeOver {
			w.checkExpiry(uid)
		}
		delete(w.lastWord, uid)
	case c.facts.Phase != a.phase:
		w.checkTold(uid, a.token)
		if !c.podEnded {
			w.lastWord[uid] = w.deadlineOf(&next)
		}
	}
	return nil
}

// allowed restates the transition rules of the Claim's CRD.
func allowed(from, to rules.Claim) bool {
	if from.Token != 0 && to.Token != from.Token {
		return false
	}
	return from.Phase == konductorv1.ClaimPending || from.Phase == to.Phase ||
		(from.Phase == konductorv1.ClaimGranted && to.Phase == konductorv1.ClaimExpired)
}

// violation is a promise that was broken. The world panics with it; rapid reports it with the steps that led there.
func violation(format string, args ...any) {
	panic("broken promise: " + fmt.Sprintf(format, args...))
}

// checkWrite checks what must hold between one status and the next, whoever writes.
func (w *world) checkWrite(old, next *parent) {
	sum := func(p *parent) (n int32) {
		for _, h := range p.holders() {
			n += h.Permits
		}
		return n
	}
	if n := sum(next); n > next.permits() && n > sum(old) {
		violation("%d permits are held of %d, and %d were before", n, next.permits(), sum(old))
	}
	if len(next.holders()) > konductorv1.MaxHolders {
		violation("%d holders", len(next.holders()))
	}
	if next.token() < old.token() {
		violation("the token goes back from %d to %d", old.token(), next.token())
	}
	before := map[types.UID]konductorv1.SemaphoreHolder{}
	for _, h := range old.holders() {
		before[h.ClaimUID] = h
	}
	seen := map[types.UID]bool{}
	for _, h := range next.holders() {
		if seen[h.ClaimUID] {
			violation("%s holds twice", h.Claim)
		}
		seen[h.ClaimUID] = true
		if h.FencingToken > next.token() {
			violation("%s has token %d and the largest is said to be %d", h.Claim, h.FencingToken, next.token())
		}
		if b, ok := before[h.ClaimUID]; ok {
			if b.FencingToken != h.FencingToken || b.Permits != h.Permits {
				violation("the hold of %s changed from token %d for %d to token %d for %d", h.Claim, b.FencingToken, b.Permits, h.FencingToken, h.Permits)
			}
			continue
		}
		if h.FencingToken <= w.largest {
			violation("%s is granted token %d after %d was", h.Claim, h.FencingToken, w.largest)
		}
		w.largest = h.FencingToken
		w.grants[grant{h.ClaimUID, h.FencingToken}] = next.uid()
	}
	for uid, h := range before {
		c, exists := w.claims[uid]
		if !seen[uid] && exists && !c.over() && !c.podEnded {
			violation("the hold of %s was taken away while its claim is %s", h.Claim, c.facts.Phase)
		}
	}
}

// checkTold checks that a claim is told only of a grant that was made.
func (w *world) checkTold(uid types.UID, token int64) {
	if _, ok := w.grants[grant{uid, token}]; !ok {
		violation("%s was told that it holds with token %d, and never did", uid, token)
	}
}

// checkBelief checks that whoever believes to hold, and obeys its deadline, does.
func (w *world) checkBelief() {
	if w.parent == nil {
		return
	}
	holds := map[grant]bool{}
	for _, h := range w.parent.holders() {
		holds[grant{h.ClaimUID, h.FencingToken}] = true
	}
	for uid, d := range w.lastWord {
		c := w.claims[uid]
		believes := grant{uid, c.facts.Token}
		if w.grants[believes] == w.parent.uid() && (d.none || w.now < d.at) && !holds[believes] {
			violation("%s believes that it holds until %s, it is %s, and it does not", uid, d.at, w.now)
		}
	}
}

// checkExpiry checks that the time of a hold that is to be ended is over for its client too.
func (w *world) checkExpiry(uid types.UID) {
	if d, ok := w.lastWord[uid]; ok && (d.none || w.now < d.at) {
		violation("the hold of %s was ended at %s, and the client counts on it until %s", uid, w.now, d.at)
	}
}

// sorted returns the UIDs of the claims for which f holds, in order, so that a run can be repeated.
func (w *world) sorted(f func(*apiClaim) bool) (uids []types.UID) {
	for _, uid := range slices.Sorted(maps.Keys(w.claims)) {
		if f(w.claims[uid]) {
			uids = append(uids, uid)
		}
	}
	return uids
}
