package rules_test

import (
	"errors"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// operator acts on the rules' decisions in a world that it sees late: the object, the claims and the pods each as of
// some revision of their own. What a decision asks for becomes a plan, of which one request is made at a time, so that
// anything can happen in between.
type operator struct {
	w      *world
	claims *rules.Claims
	seen   [streams]int // how much of the log it has been told
	parent *parent
	next   *parent            // as it decided last
	ended  map[types.UID]bool // pods
	clock  time.Duration      // what its monotonic clock is ahead of the world's
	plan   []func(fault) error
}

// fault is what becomes of a request.
type fault int

const (
	works fault = iota
	lost        // it is carried out and the answer doesn't arrive
	fails       // it doesn't arrive
)

// start starts an operator on a list of what there was when the log was as long as given.
func (w *world) start(clock time.Duration, listed int) *operator {
	o := &operator{w: w, claims: rules.NewClaims(), ended: map[types.UID]bool{}, clock: clock}
	existing := map[types.UID]*apiClaim{}
	var order []types.UID
	for _, c := range w.log[:listed] {
		switch {
		case c.stream == parents:
			o.parent = c.parent
		case c.stream == pods:
			o.ended[c.claim.facts.UID] = true
		case c.deleted:
			delete(existing, c.claim.facts.UID)
		default:
			existing[c.claim.facts.UID] = c.claim
			order = append(order, c.claim.facts.UID)
		}
	}
	for _, uid := range order {
		if c, ok := existing[uid]; ok {
			o.observe(c)
			delete(existing, uid)
		}
	}
	o.seen = [streams]int{listed, listed, listed}
	return o
}

func (o *operator) elapsed() time.Duration { return o.w.now + o.clock }

// deliver tells the operator the next change of a stream, and reports whether there was one.
func (o *operator) deliver(s stream) bool {
	for o.seen[s] < len(o.w.log) {
		c := o.w.log[o.seen[s]]
		o.seen[s]++
		if c.stream != s {
			continue
		}
		switch {
		case s == parents:
			o.see(c.parent)
		case s == pods:
			o.ended[c.claim.facts.UID] = true
			o.claims.EndPod(c.claim.facts.UID)
		case c.deleted:
			o.claims.Forget(c.claim.facts.UID)
		default:
			o.observe(c.claim)
		}
		return true
	}
	return false
}

func (o *operator) catchUp() {
	for s := range streams {
		for o.deliver(s) {
		}
	}
}

// see takes note of the object, unless it knows a newer one by its own write. nil: it was deleted.
func (o *operator) see(p *parent) {
	if p == nil || o.parent == nil || p.revision > o.parent.revision {
		o.parent = p
	}
}

func (o *operator) observe(c *apiClaim) {
	o.claims.Observe(c.facts, o.elapsed())
	if o.ended[c.facts.UID] {
		o.claims.EndPod(c.facts.UID)
	}
}

// look is a read of the claim from the API server.
func (o *operator) look(uid types.UID) {
	if c, ok := o.w.claims[uid]; ok {
		o.observe(c)
	} else {
		o.claims.Forget(uid)
	}
}

// request makes a request, to which fault happens.
func request(f fault, do func() error) error {
	if f == fails {
		return errLost
	}
	err := do()
	if f == lost {
		return errLost
	}
	return err
}

// decide makes a plan. skew is what the API server's clock is off by.
func (o *operator) decide(skew time.Duration) rules.HoldActions {
	o.plan = nil
	if o.parent == nil {
		o.planGone()
		return rules.HoldActions{}
	}
	from := o.parent
	o.claims.SetTarget(from.uid())
	next, act := from.decide(o.claims, rules.Now{Server: epoch.Add(o.w.now + skew), Elapsed: o.elapsed()})
	o.next = next
	o.checkEnds(from, next)
	for _, c := range act.Adopted {
		o.claims.Granted(c.UID, o.elapsed())
	}
	for _, v := range act.Expire {
		o.planClaim(*v.Claim, answer{phase: konductorv1.ClaimExpired, token: v.Claim.Token, timeOver: true})
	}
	if len(act.Expire) > 0 {
		return act
	}
	for _, h := range act.Verify {
		o.then(func(f fault) error {
			return request(f, func() error { o.look(h.ClaimUID); return nil })
		})
	}
	if len(act.Verify) > 0 {
		return act
	}
	if act.Changed {
		o.planWrite(from, next, act)
	}
	for _, h := range act.Tell {
		// What is known of the claim when its turn comes, which is after the write.
		o.then(func(f fault) error {
			c, presence := o.claims.Find(h.ClaimUID)
			if presence != rules.Present {
				return nil
			}
			var expires time.Time
			if h.ExpiresAt != nil {
				expires = h.ExpiresAt.Time
			}
			return o.writeClaim(f, *c, answer{phase: konductorv1.ClaimGranted, token: h.FencingToken, expires: expires})
		})
	}
	for _, v := range act.Refuse {
		o.planClaim(*v.Claim, answer{phase: konductorv1.ClaimRefused})
	}
	o.planDisown(from, act.Disown)
	return act
}

// checkEnds checks that a decision ends only holds that are known to be over: a claim that has to be told of its end
// first, and one that has not been seen, go on holding.
func (o *operator) checkEnds(from, next *parent) {
	holds := map[types.UID]bool{}
	for _, h := range next.holders() {
		holds[h.ClaimUID] = true
	}
	for _, h := range from.holders() {
		c, presence := o.claims.Find(h.ClaimUID)
		over := presence == rules.Gone ||
			presence == rules.Present && (c.PodEnded || c.Phase == konductorv1.ClaimExpired || c.Phase == konductorv1.ClaimRefused)
		if !over && !holds[h.ClaimUID] {
			violation("the hold of %s is ended, and nothing is known that has ended it", h.Claim)
		}
	}
}

func (o *operator) then(step func(fault) error) { o.plan = append(o.plan, step) }

func (o *operator) planWrite(from, next *parent, act rules.HoldActions) {
	o.then(func(f fault) error {
		err := request(f, func() error { return o.w.writeParent(from, next) })
		switch {
		case err == nil:
			o.see(next)
			for _, c := range act.Granted {
				o.claims.Granted(c.UID, o.elapsed())
			}
			o.claims.Settle(next.holders())
		case errors.Is(err, errConflict):
			o.see(o.w.parent)
		}
		return err
	})
}

func (o *operator) planClaim(c rules.Claim, a answer) {
	o.then(func(f fault) error { return o.writeClaim(f, c, a) })
}

func (o *operator) writeClaim(f fault, c rules.Claim, a answer) error {
	err := request(f, func() error { return o.w.writeClaim(c.UID, c.Version, a) })
	if !errors.Is(err, errLost) {
		o.look(c.UID)
	}
	return err
}

// planDisown ends claims that don't hold, after a look at the object itself.
func (o *operator) planDisown(from *parent, claims []*rules.Claim) {
	if len(claims) == 0 {
		return
	}
	holds := map[grant]bool{}
	o.then(func(f fault) error {
		return request(f, func() error {
			if o.w.parent == nil || o.w.parent.uid() != from.uid() {
				return errNotFound
			}
			for _, h := range o.w.parent.holders() {
				holds[grant{h.ClaimUID, h.FencingToken}] = true
			}
			return nil
		})
	})
	for _, c := range claims {
		o.then(func(f fault) error {
			if holds[grant{c.UID, c.Token}] {
				return nil
			}
			return o.writeClaim(f, *c, answer{phase: konductorv1.ClaimExpired, token: c.Token})
		})
	}
}

// planGone ends the holds on an object that was deleted.
func (o *operator) planGone() {
	o.then(func(f fault) error {
		return request(f, func() error {
			if o.w.parent != nil {
				return errConflict
			}
			return nil
		})
	})
	for c := range o.claims.All() {
		if c.Phase == konductorv1.ClaimGranted {
			o.planClaim(*c, answer{phase: konductorv1.ClaimExpired, token: c.Token})
		}
	}
}

// step makes the next request of the plan. A request that doesn't succeed ends the plan: all is decided anew.
func (o *operator) step(f fault) {
	if len(o.plan) == 0 {
		return
	}
	next := o.plan[0]
	o.plan = o.plan[1:]
	if err := next(f); err != nil {
		o.plan = nil
	}
}

// enough decisions come to rest, if they ever do.
const enough = 1000

// settle lets the operator see and do everything until nothing is left to do.
func (o *operator) settle() {
	var act rules.HoldActions
	for range enough {
		o.catchUp()
		act = o.decide(0)
		if len(o.plan) == 0 && !act.Changed {
			return
		}
		if o.parent == nil && len(o.plan) == 1 {
			return // only the look whether it is really gone
		}
		for len(o.plan) > 0 {
			o.step(works)
			o.w.checkBelief()
		}
	}
	violation("no rest after %d decisions; the last: %+v", enough, act)
}
