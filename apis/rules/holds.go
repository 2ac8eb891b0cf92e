package rules

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

const (
	// MaxOvertaken is how many grants may pass a claim that is first in the queue and asks for more permits than are
	// free. After that the free permits are kept for it, so that it waits for current holds to end and for nobody else.
	MaxOvertaken = 10
	// lookBehind is how many claims behind such a claim are looked at for smaller ones, so that a grant costs the same
	// however long the queue is.
	lookBehind = 100
)

// HoldActions is what to do for a Lease or a Semaphore besides writing its status. The order matters for safety:
// claims in Expire are told before anything else and leave the holders only at the next decision, so that a renewal
// which arrives in between wins; claims in Granted are told after the status has been written.
type HoldActions struct {
	// Changed says that the status differs from what stands there.
	Changed bool
	// Urgent says that somebody waits for the change; otherwise it may be written a little later.
	Urgent bool
	// Granted are the claims that hold from this status on.
	Granted []*Claim
	// Ended are the holds that are over with this status, in the order in which they stood.
	Ended []Ended
	// Adopted are holders that another operator, or this one before a restart, granted without its being known here. Their
	// TTL counts from now.
	Adopted []*Claim
	// Tell are the holders whose claim doesn't say so, or says other times. It includes Granted.
	Tell []konductorv1.SemaphoreHolder
	// Expire are claims whose hold has run out.
	Expire []Verdict
	// Refuse are pending claims that won't be granted.
	Refuse []Verdict
	// Verify are holders whose claim has not been seen. They hold until it is known to be gone.
	Verify []konductorv1.SemaphoreHolder
	// Disown are claims that say they hold and don't, as it seems, or not with the token they say: after a look at the
	// object itself they are ended, so that their clients learn of it.
	Disown []*Claim
	// Former are claims that were made for another object of this name, as it seems one that was deleted: after a look at
	// the object itself they are ended, so that their clients learn of it.
	Former []*Claim
	// Events to record once the status is written.
	Events []Event
	// After is how long from now the object must be looked at again without anything else happening; zero: never.
	After time.Duration
}

// Ended is a hold that is over.
type Ended struct {
	// Holder is the hold's last entry in the status.
	Holder konductorv1.SemaphoreHolder
	// Reason is that of the Event that tells of it.
	Reason string
}

// Verdict ends a claim.
type Verdict struct {
	Claim   *Claim
	Message string
}

// Lease decides about l. It returns l's next status; revision is the resourceVersion that its write is conditional on.
func Lease(l *konductorv1.Lease, claims *Claims, revision uint64, now Now) (konductorv1.LeaseStatus, HoldActions) {
	in := holding{
		permits: 1, slots: 1, ttl: l.Spec.TTL.Or(0), revision: revision,
		holders: LeaseHolders(&l.Status), lastToken: l.Status.FencingToken,
	}
	out, act := in.decide(claims, now)

	next := l.Status.DeepCopy()
	next.ObservedGeneration = l.Generation
	next.FencingToken = out.lastToken
	next.Waiting = out.waiting
	next.Phase, next.Holder, next.Claim, next.ClaimUID = konductorv1.LeaseAvailable, "", "", ""
	next.AcquiredAt, next.ExpiresAt, next.Renewals = nil, nil, 0
	reason, message := konductorv1.ReasonAvailable, "nobody holds the lease"
	if len(out.holders) > 0 {
		h := out.holders[0]
		next.Phase, next.Holder, next.Claim, next.ClaimUID = konductorv1.LeaseHeld, h.Holder, h.Claim, h.ClaimUID
		next.AcquiredAt, next.ExpiresAt, next.Renewals = &h.AcquiredAt, h.ExpiresAt, h.Renewals
		reason, message = konductorv1.ReasonHeld, "held by "+h.Holder
	}
	meta.SetStatusCondition(&next.Conditions, condition(konductorv1.ConditionReady, true, konductorv1.ReasonAccepted, "the lease is in operation", l.Generation, now))
	meta.SetStatusCondition(&next.Conditions, condition(konductorv1.ConditionHeld, len(out.holders) > 0, reason, message, l.Generation, now))
	act.Changed = !equality.Semantic.DeepEqual(l.Status, *next)
	act.Urgent = act.Urgent || next.ObservedGeneration != l.Status.ObservedGeneration
	return *next, act
}

// LeaseHolders returns the holder of a lease in the form that Semaphores have, as a list of at most one.
func LeaseHolders(s *konductorv1.LeaseStatus) []konductorv1.SemaphoreHolder {
	if s.ClaimUID == "" {
		return nil
	}
	h := konductorv1.SemaphoreHolder{
		Holder: s.Holder, Claim: s.Claim, ClaimUID: s.ClaimUID, Permits: 1,
		FencingToken: s.FencingToken, ExpiresAt: s.ExpiresAt, Renewals: s.Renewals,
	}
	if s.AcquiredAt != nil {
		h.AcquiredAt = *s.AcquiredAt
	}
	return []konductorv1.SemaphoreHolder{h}
}

// Semaphore decides about s. It returns s's next status; revision is the resourceVersion that its write is conditional on.
func Semaphore(s *konductorv1.Semaphore, claims *Claims, revision uint64, now Now) (konductorv1.SemaphoreStatus, HoldActions) {
	in := holding{
		permits: s.Spec.Permits + sparePermits, slots: konductorv1.MaxHolders, ttl: s.Spec.TTL.Or(0), revision: revision,
		holders: s.Status.Holders, lastToken: s.Status.FencingToken, head: s.Status.Head,
	}
	out, act := in.decide(claims, now)

	next := s.Status.DeepCopy()
	next.ObservedGeneration = s.Generation
	next.Holders, next.FencingToken, next.Head, next.Waiting = out.holders, out.lastToken, out.head, out.waiting
	next.InUse = permitsOf(out.holders)
	next.Available = max(s.Spec.Permits-next.InUse, 0)
	next.Phase = konductorv1.SemaphoreReady
	reason := konductorv1.ReasonAvailable
	message := "permits are free"
	switch {
	case s.Spec.Permits == 0:
		next.Phase, reason, message = konductorv1.SemaphoreFull, konductorv1.ReasonPaused, "paused: spec.permits is 0"
	case next.Available == 0 || len(out.holders) >= konductorv1.MaxHolders:
		next.Phase, reason, message = konductorv1.SemaphoreFull, konductorv1.ReasonFull, "all permits are in use"
	}
	meta.SetStatusCondition(&next.Conditions, condition(konductorv1.ConditionReady, true, konductorv1.ReasonAccepted, "the semaphore is in operation", s.Generation, now))
	meta.SetStatusCondition(&next.Conditions, condition(konductorv1.ConditionAvailable, next.Phase == konductorv1.SemaphoreReady, reason, message, s.Generation, now))
	act.Changed = !equality.Semantic.DeepEqual(s.Status, *next)
	act.Urgent = act.Urgent || next.ObservedGeneration != s.Status.ObservedGeneration || next.Phase != s.Status.Phase
	return *next, act
}

// holding is a Lease or a Semaphore as the common rule sees it.
type holding struct {
	permits   int32
	slots     int // how many holders there can be at the most
	ttl       time.Duration
	revision  uint64
	holders   []konductorv1.SemaphoreHolder
	lastToken int64
	head      *konductorv1.QueueHead
	waiting   int32
}

// decide ends the holds that are over and grants what is free to those next in the queue.
func (in holding) decide(claims *Claims, now Now) (holding, HoldActions) {
	out := in
	var act HoldActions
	out.holders = in.keep(claims, now, &act)

	// settled are the queued claims that don't wait any more: granted, if perhaps not told yet, or refused.
	settled := map[types.UID]bool{}
	for i := range out.holders {
		if claims.queued(out.holders[i].ClaimUID) {
			settled[out.holders[i].ClaimUID] = true
		}
	}
	if in.permits > 0 {
		for c := range claims.LargestFirst() {
			if c.Permits <= in.permits {
				break
			}
			if !settled[c.UID] {
				settled[c.UID] = true
				act.Refuse = append(act.Refuse, Verdict{c, fmt.Sprintf("asks for %d permits of %d: ask for fewer or raise spec.permits", c.Permits, in.permits)})
			}
		}
	}
	out.grant(claims, settled, now, &act)
	for c := range claims.Impatient() {
		if !settled[c.UID] {
			settled[c.UID] = true
			act.Refuse = append(act.Refuse, Verdict{c, konductorv1.MessageBusy})
		}
	}
	out.waiting = int32(claims.Waiting() - len(settled))
	act.Tell = untold(out.holders, claims)
	act.Disown = disowned(out.holders, claims)
	act.Former = slices.Collect(maps.Values(claims.former))
	return out, act
}

// keep returns the holders that go on holding, and notes which of them have run out of time.
func (in holding) keep(claims *Claims, now Now, act *HoldActions) []konductorv1.SemaphoreHolder {
	kept := make([]konductorv1.SemaphoreHolder, 0, len(in.holders)+1)
	for _, h := range in.holders {
		c, presence := claims.Find(h.ClaimUID)
		switch {
		case presence == Unknown:
			// Unknown is not free: a cache that lags must not make two holders.
			act.Verify = append(act.Verify, h)
		case presence == Gone && claims.gone[h.ClaimUID] != "":
			act.end(h, konductorv1.EventBroken, fmt.Sprintf("%s took %s away from %s", claims.gone[h.ClaimUID], permits(h.Permits), h.Holder))
			continue
		case presence == Gone:
			act.end(h, konductorv1.EventReleased, fmt.Sprintf("%s released %s", h.Holder, permits(h.Permits)))
			continue
		case rank(c.Phase) == 2:
			act.end(h, konductorv1.EventExpired, fmt.Sprintf("the hold of %s has expired", h.Holder))
			continue
		case c.PodEnded:
			act.end(h, konductorv1.EventPodEnded, fmt.Sprintf("the pod of %s has ended, and its hold with it", h.Holder))
			continue
		default:
			if !c.Held {
				act.Adopted = append(act.Adopted, c)
			}
			if rank(c.Phase) == 0 {
				// Nobody can renew or acknowledge what it has not been told of: the time of the hold begins then.
				c = c.grantedNow(now)
			}
			ttl := in.ttl
			if c.Bound && h.ExpiresAt == nil {
				// Granted for the life of the Pod. A TTL that the object was given since is for holds that begin after it:
				// this holder doesn't know that it would have to renew.
				ttl = 0
			}
			if left, why := c.timeLeft(ttl, now); why != "" {
				act.Expire = append(act.Expire, Verdict{c, why})
			} else {
				act.After = sooner(act.After, left)
				h = c.refresh(h, ttl, now)
			}
		}
		kept = append(kept, h)
	}
	return kept
}

// end notes that a hold is over.
func (act *HoldActions) end(h konductorv1.SemaphoreHolder, reason, message string) {
	act.Urgent = true
	act.Ended = append(act.Ended, Ended{h, reason})
	act.Events = append(act.Events, Event{Warning: reason != konductorv1.EventReleased, Reason: reason, Message: message})
}

// grant serves the queue from what is free. A claim that asks for more than is free is passed by smaller ones behind
// it at most MaxOvertaken times.
func (in *holding) grant(claims *Claims, settled map[types.UID]bool, now Now, act *HoldActions) {
	free := in.permits - permitsOf(in.holders)
	slots := in.slots - len(in.holders)
	token := in.nextToken()
	former := in.head
	if former != nil && (!claims.queued(former.ClaimUID) || settled[former.ClaimUID]) {
		former = nil
	}
	var head *Claim
	var overtaken int32
	looked := 0
	for c := range claims.Queue() {
		if free <= 0 || slots <= 0 || looked >= lookBehind || (head != nil && overtaken >= MaxOvertaken && !passedForEver) {
			break
		}
		if head != nil {
			looked++
		}
		if settled[c.UID] {
			continue
		}
		if c.Permits > free {
			if head == nil && !c.Refuse {
				head = c
				if former != nil && former.ClaimUID == c.UID {
					overtaken = former.Overtaken
				}
			}
			continue
		}
		if head != nil {
			overtaken++
		}
		settled[c.UID] = true
		free -= c.Permits
		slots--
		in.holders = append(in.holders, c.holder(token, in.ttl, now))
		in.lastToken = token
		token++
		act.Urgent = true
		act.Granted = append(act.Granted, c)
		act.Events = append(act.Events, Event{Reason: konductorv1.EventGranted, Message: fmt.Sprintf("granted %s to %s, fencing token %d", permits(c.Permits), c.Holder, in.lastToken)})
		if left, _ := c.grantedNow(now).timeLeft(in.ttl, now); left > 0 {
			act.After = sooner(act.After, left)
		}
	}
	switch {
	case head != nil && overtaken > 0:
		in.head = &konductorv1.QueueHead{ClaimUID: head.UID, Overtaken: overtaken}
	case head != nil || (former != nil && settled[former.ClaimUID]):
		in.head = nil
	default:
		in.head = former
	}
}

// nextToken returns the fencing token of the first grant that a write at this revision makes. Further grants of the
// same write count on from it, which is why a revision is worth as many tokens as there can be holders. The revision of
// etcd grows with every write in the cluster, so that tokens grow also when the object is deleted and created again.
// Only an etcd restored from a backup goes back in revisions; tokens of an object that outlived that go on from the last.
func (in *holding) nextToken() int64 {
	return max(int64(in.revision)*int64(in.slots), in.lastToken+1)
}

// untold returns the holders whose claim doesn't say what it should. A claim that was told of another grant is not among
// them: it can't be told otherwise.
func untold(holders []konductorv1.SemaphoreHolder, claims *Claims) (tell []konductorv1.SemaphoreHolder) {
	for _, h := range holders {
		c, presence := claims.Find(h.ClaimUID)
		if presence != Present || rank(c.Phase) == 2 || (rank(c.Phase) == 1 && c.Token != h.FencingToken) {
			continue
		}
		if c.Phase != konductorv1.ClaimGranted || !c.ExpiresAt.Equal(timeOf(h.ExpiresAt)) {
			tell = append(tell, h)
		}
	}
	return tell
}

// disowned returns the claims that say they hold and don't, or hold by another grant than they say: one that was told of
// a grant by the object that had this name before, say.
func disowned(holders []konductorv1.SemaphoreHolder, claims *Claims) (found []*Claim) {
	if len(claims.told) <= len(holders) {
		holding := 0
		for i := range holders {
			if c, ok := claims.told[holders[i].ClaimUID]; ok && c.Token == holders[i].FencingToken {
				holding++
			}
		}
		if holding == len(claims.told) {
			return nil
		}
	}
	tokens := make(map[types.UID]int64, len(holders))
	for i := range holders {
		tokens[holders[i].ClaimUID] = holders[i].FencingToken
	}
	for uid, c := range claims.told {
		if token, ok := tokens[uid]; (!ok || token != c.Token) && !c.PodEnded {
			found = append(found, c)
		}
	}
	return found
}

// holder returns the entry that a grant to the claim adds.
func (c *Claim) holder(token int64, defaultTTL time.Duration, now Now) konductorv1.SemaphoreHolder {
	h := konductorv1.SemaphoreHolder{
		Holder: c.Holder, Claim: c.Name, ClaimUID: c.UID, Permits: c.Permits,
		FencingToken: token, AcquiredAt: *microTime(now.Server),
	}
	if ttl := c.effectiveTTL(defaultTTL); ttl > 0 {
		h.ExpiresAt = microTime(now.Server.Add(ttl))
	}
	return h
}

// refresh brings the times for people in h up to date, when they are off by more than a little: to write each small
// change would cost more than it tells.
func (c *Claim) refresh(h konductorv1.SemaphoreHolder, defaultTTL time.Duration, now Now) konductorv1.SemaphoreHolder {
	ttl := c.effectiveTTL(defaultTTL)
	if ttl == 0 {
		h.ExpiresAt, h.Renewals = nil, c.Renewals
		return h
	}
	expires := now.Server.Add(c.RenewedAt + ttl - now.Elapsed)
	off := expires.Sub(timeOf(h.ExpiresAt)).Abs()
	const clockNoise = 5 * time.Second
	if (c.Renewals != h.Renewals && off > ttl/10) || off > max(ttl/2, clockNoise) {
		h.ExpiresAt, h.Renewals = microTime(expires), c.Renewals
	}
	return h
}

// effectiveTTL returns how long the hold lasts without renewal; zero: as long as the Pod that it is bound to.
func (c *Claim) effectiveTTL(defaultTTL time.Duration) time.Duration {
	switch {
	case c.TTL > 0:
		return c.TTL
	case defaultTTL > 0 || c.Bound:
		return defaultTTL
	default:
		return konductorv1.DefaultTTL
	}
}

// timeLeft returns how long the hold lasts from now (zero: no limit), or, when it has run out, why.
func (c *Claim) timeLeft(defaultTTL time.Duration, now Now) (left time.Duration, over string) {
	ttl := c.effectiveTTL(defaultTTL)
	unacknowledged := !c.Bound && c.Renewals == 0 && ttl > konductorv1.AcknowledgeWithin
	if unacknowledged {
		ttl = konductorv1.AcknowledgeWithin
	}
	if ttl == 0 {
		return 0, ""
	}
	if left = c.RenewedAt + ttl - now.Elapsed; left > 0 {
		return left, ""
	}
	if unacknowledged {
		return 0, fmt.Sprintf("the grant was not acknowledged within %s", ttl)
	}
	return 0, fmt.Sprintf("not renewed within its ttl of %s", ttl)
}

// grantedNow returns the claim as it is right after a grant.
func (c *Claim) grantedNow(now Now) *Claim {
	granted := *c
	granted.RenewedAt = now.Elapsed
	return &granted
}

// permitsOf returns the sum of the permits of all holders.
func permitsOf(holders []konductorv1.SemaphoreHolder) (sum int32) {
	for i := range holders {
		sum += holders[i].Permits
	}
	return sum
}

func permits(n int32) string {
	if n == 1 {
		return "1 permit"
	}
	return fmt.Sprintf("%d permits", n)
}

// microTime returns t as an API field, cut to the precision that survives being written and read.
func microTime(t time.Time) *metav1.MicroTime {
	m := metav1.NewMicroTime(t.Truncate(time.Microsecond))
	return &m
}

func timeOf(t *metav1.MicroTime) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.Time
}
