package rules_test

import (
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// fakeOperator acts on the decisions of the rules, and observes the API server late: the object, the claims and the pods each as
// of another revision. A decision becomes a plan of requests. They are made one at a time, so that anything can happen in
// between.
type fakeOperator struct {
	server          *fakeAPIServer
	claims          *rules.ClaimSet
	watchPositions  [streamCount]int // how much of the log it has observed
	target          *targetVersion
	lastDecided     *targetVersion     // the result of the last decision
	endedPods       map[types.UID]bool // by the UID of the claim
	monotonicOffset time.Duration      // how far its monotonic clock is ahead of the server's
	pendingRequests []func(requestFault) error
}

// requestFault is the fault that a request meets.
type requestFault int

const (
	noFault      requestFault = iota
	responseLost              // it is carried out, but the response doesn't arrive
	requestLost               // it doesn't arrive
)

// startOperator starts an operator that has listed the objects as of listedLength entries of the log.
func (w *fakeAPIServer) startOperator(monotonicOffset time.Duration, listedLength int) *fakeOperator {
	o := &fakeOperator{server: w, claims: rules.NewClaimSet(), endedPods: map[types.UID]bool{}, monotonicOffset: monotonicOffset}
	existing := map[types.UID]*claimVersion{}
	var order []types.UID
	for _, c := range w.eventLog[:listedLength] {
		switch {
		case c.stream == targetStream:
			o.target = c.target
		case c.stream == podStream:
			o.endedPods[c.claim.claim.UID] = true
		case c.deleted:
			delete(existing, c.claim.claim.UID)
		default:
			existing[c.claim.claim.UID] = c.claim
			order = append(order, c.claim.claim.UID)
		}
	}
	for _, uid := range order {
		if c, ok := existing[uid]; ok {
			o.observeClaim(c)
			delete(existing, uid)
		}
	}
	o.watchPositions = [streamCount]int{listedLength, listedLength, listedLength}
	return o
}

func (o *fakeOperator) monotonic() time.Duration { return o.server.now + o.monotonicOffset }

// deliverNext delivers the next event of a stream to the operator, and reports whether there was one.
func (o *fakeOperator) deliverNext(s watchStream) bool {
	for o.watchPositions[s] < len(o.server.eventLog) {
		c := o.server.eventLog[o.watchPositions[s]]
		o.watchPositions[s]++
		if c.stream != s {
			continue
		}
		switch {
		case s == targetStream:
			o.observeTarget(c.target)
		case s == podStream:
			o.endedPods[c.claim.claim.UID] = true
			o.claims.ObserveBoundEnd(c.claim.claim.UID)
		case c.deleted:
			o.claims.ObserveDeletion(c.claim.claim.UID)
		default:
			o.observeClaim(c.claim)
		}
		return true
	}
	return false
}

func (o *fakeOperator) deliverAll() {
	for s := range streamCount {
		for o.deliverNext(s) {
		}
	}
}

// observeTarget records the object, unless the operator knows a newer version from its own write. nil: it was deleted.
func (o *fakeOperator) observeTarget(p *targetVersion) {
	if p == nil || o.target == nil || p.revision > o.target.revision {
		o.target = p
	}
}

func (o *fakeOperator) observeClaim(c *claimVersion) {
	o.claims.Observe(c.claim, o.monotonic())
	if o.endedPods[c.claim.UID] {
		o.claims.ObserveBoundEnd(c.claim.UID)
	}
}

// getClaim reads the claim from the API server.
func (o *fakeOperator) getClaim(uid types.UID) {
	if c, ok := o.server.claims[uid]; ok {
		o.observeClaim(c)
	} else {
		o.claims.ObserveDeletion(uid)
	}
}

// sendRequest makes a request that meets fault f.
func sendRequest(f requestFault, do func() error) error {
	if f == requestLost {
		return errNoResponse
	}
	err := do()
	if f == responseLost {
		return errNoResponse
	}
	return err
}

// decide makes a plan. skew is the error of the estimated API server time.
func (o *fakeOperator) decide(skew time.Duration) rules.HoldDecision {
	o.pendingRequests = nil
	if o.target == nil {
		o.planTargetDeleted()
		return rules.HoldDecision{}
	}
	from := o.target
	o.claims.SetTargetUID(from.uid())
	next, act := from.decide(o.claims, rules.Instant{ServerTime: epoch.Add(o.server.now + skew), Monotonic: o.monotonic()})
	o.lastDecided = next
	o.checkEndedHolds(from, next)
	for _, c := range act.Adopted {
		o.claims.RecordGrant(c.UID, o.monotonic())
	}
	for _, v := range act.Expire {
		o.planClaimWrite(*v.Claim, claimStatusUpdate{phase: konductorv1.ClaimExpired, token: v.Claim.Token, expired: true})
	}
	if len(act.Expire) > 0 {
		return act
	}
	for _, c := range act.Verify {
		o.planRequest(func(f requestFault) error {
			return sendRequest(f, func() error { o.getClaim(c.UID); return nil })
		})
	}
	if len(act.Verify) > 0 {
		return act
	}
	if act.Changed {
		o.planStatusWrite(from, next, act)
	}
	for _, h := range act.Notify {
		// The claim is looked up when its turn comes, which is after the write.
		o.planRequest(func(f requestFault) error {
			c, existence := o.claims.Find(h.ClaimUID)
			if existence != rules.ExistenceConfirmed {
				return nil
			}
			var expires time.Time
			if h.ExpiresAt != nil {
				expires = h.ExpiresAt.Time
			}
			return o.writeClaim(f, *c, claimStatusUpdate{phase: konductorv1.ClaimGranted, token: h.FencingToken, expiresAt: expires})
		})
	}
	for _, v := range act.Refuse {
		o.planClaimWrite(*v.Claim, claimStatusUpdate{phase: konductorv1.ClaimRefused})
	}
	o.planRevokeUnrecorded(from, act.RevokeUnrecorded)
	return act
}

// checkEndedHolds checks that a decision ends only holds that are known to be over: a claim that must be notified of its end
// first, and one that has not been observed, keep their hold.
func (o *fakeOperator) checkEndedHolds(from, next *targetVersion) {
	holds := map[types.UID]bool{}
	for _, h := range next.holders() {
		holds[h.ClaimUID] = true
	}
	for _, h := range from.holders() {
		c, existence := o.claims.Find(h.ClaimUID)
		over := existence == rules.ExistenceDeleted ||
			existence == rules.ExistenceConfirmed && (c.BoundEnded || c.Phase == konductorv1.ClaimExpired || c.Phase == konductorv1.ClaimRefused)
		if !over && !holds[h.ClaimUID] {
			failInvariant("the hold of %s is ended, and nothing is known that has ended it", h.Claim)
		}
	}
}

func (o *fakeOperator) planRequest(step func(requestFault) error) {
	o.pendingRequests = append(o.pendingRequests, step)
}

func (o *fakeOperator) planStatusWrite(from, next *targetVersion, act rules.HoldDecision) {
	o.planRequest(func(f requestFault) error {
		err := sendRequest(f, func() error { return o.server.writeTargetStatus(from, next) })
		switch {
		case err == nil:
			o.observeTarget(next)
			for _, c := range act.Granted {
				o.claims.RecordGrant(c.UID, o.monotonic())
			}
			o.claims.PruneTombstones(next.holders())
		case errors.Is(err, errConflict):
			o.observeTarget(o.server.target)
		}
		return err
	})
}

func (o *fakeOperator) planClaimWrite(c rules.Claim, a claimStatusUpdate) {
	o.planRequest(func(f requestFault) error { return o.writeClaim(f, c, a) })
}

func (o *fakeOperator) writeClaim(f requestFault, c rules.Claim, a claimStatusUpdate) error {
	err := sendRequest(f, func() error { return o.server.writeClaim(c.UID, c.ResourceVersion, a) })
	if !errors.Is(err, errNoResponse) {
		o.getClaim(c.UID)
	}
	return err
}

// planRevokeUnrecorded ends claims that don't hold, after the object itself has been read again.
func (o *fakeOperator) planRevokeUnrecorded(from *targetVersion, claims []*rules.Claim) {
	if len(claims) == 0 {
		return
	}
	holds := map[grantKey]bool{}
	o.planRequest(func(f requestFault) error {
		return sendRequest(f, func() error {
			if o.server.target == nil || o.server.target.uid() != from.uid() {
				return errNotFound
			}
			for _, h := range o.server.target.holders() {
				holds[grantKey{h.ClaimUID, h.FencingToken}] = true
			}
			return nil
		})
	})
	for _, c := range claims {
		o.planRequest(func(f requestFault) error {
			if holds[grantKey{c.UID, c.Token}] {
				return nil
			}
			return o.writeClaim(f, *c, claimStatusUpdate{phase: konductorv1.ClaimExpired, token: c.Token})
		})
	}
}

// planTargetDeleted ends the holds on an object that was deleted.
func (o *fakeOperator) planTargetDeleted() {
	o.planRequest(func(f requestFault) error {
		return sendRequest(f, func() error {
			if o.server.target != nil {
				return errConflict
			}
			return nil
		})
	})
	for c := range o.claims.All() {
		if c.Phase == konductorv1.ClaimGranted {
			o.planClaimWrite(*c, claimStatusUpdate{phase: konductorv1.ClaimExpired, token: c.Token})
		}
	}
}

// runNextRequest makes the next request of the plan. A failed request ends the plan: the next decision starts anew.
func (o *fakeOperator) runNextRequest(f requestFault) {
	if len(o.pendingRequests) == 0 {
		return
	}
	next := o.pendingRequests[0]
	o.pendingRequests = o.pendingRequests[1:]
	if err := next(f); err != nil {
		o.pendingRequests = nil
	}
}

// maxDecisions is how many decisions are enough to become stable, if that ever happens.
const maxDecisions = 1000

// reconcileUntilStable delivers all events and makes all requests until nothing is left to do.
func (o *fakeOperator) reconcileUntilStable() {
	var act rules.HoldDecision
	for range maxDecisions {
		o.deliverAll()
		act = o.decide(0)
		if len(o.pendingRequests) == 0 && !act.Changed {
			return
		}
		if o.target == nil && len(o.pendingRequests) == 1 {
			return // only the check that it was really deleted
		}
		for len(o.pendingRequests) > 0 {
			o.runNextRequest(noFault)
			o.server.checkClientHolds()
		}
	}
	failInvariant("no rest after %d decisions; the last: %+v", maxDecisions, act)
}
