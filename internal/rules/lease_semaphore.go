package rules

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// overtakingScanLimit is how many claims behind one that asks for more permits than are free are scanned for smaller
// ones, so that a grant costs the same however long the queue is. The status has room for all claims that may be
// overtaken.
const overtakingScanLimit = konductorv1.MaxOvertakenClaims

// maxRefusalsPerDecision is how many claims one decision refuses at most for each reason. The next decision refuses more, so that each
// costs the same however many there are.
const maxRefusalsPerDecision = 128

// HoldDecision is what to do for a Lease or a Semaphore besides writing its status. The order matters for safety: claims
// in Expire are notified before anything else and leave the holders only at the next decision, so that a renewal which
// arrives in between wins; claims in Granted are notified after the status has been written.
type HoldDecision struct {
	// Changed says that the status differs from the present one.
	Changed bool
	// Urgent says that a client waits for the change; otherwise it may be written a little later.
	Urgent bool
	// Granted are the claims that this status grants.
	Granted []*Claim
	// Ended are the holds that end with this status, in the order of the previous holders.
	Ended []EndedHold
	// Adopted are holders with a grant that was not known here: another operator made it, or this one before a restart.
	// Their TTL counts from now.
	Adopted []*Claim
	// Notify are the holders whose claim doesn't record the grant, or has other times. It includes Granted.
	Notify []konductorv1.Holder
	// Expire are claims whose hold has run out.
	Expire []Termination
	// Refuse are pending claims that won't be granted.
	Refuse []Termination
	// Verify are claims that the status names and that have not been observed: those of holders, which keep their hold
	// until the claim is known to be deleted, and those that have been overtaken.
	Verify []ClaimRef
	// StopJobs are holders with a Job whose claim is deleted or has ended. They keep their hold until the Job is stopped:
	// ClaimSet.ObserveJobStopped.
	StopJobs []konductorv1.Holder
	// RevokeUnrecorded are claims whose status says Granted although the object's status doesn't have them, or has them
	// with another fencing token. They are ended after the object has been read again, so that their clients learn of it.
	RevokeUnrecorded []*Claim
	// StaleTarget are claims that were made for another object of this name, probably a deleted one, or for one that is
	// being deleted. They are ended after the object has been read again, so that their clients learn of it.
	StaleTarget []*Claim
	// Events to record once the status is written.
	Events []Event
	// RequeueAfter is after what time the object must be reconciled again if nothing else happens; zero: never.
	RequeueAfter time.Duration
}

// ClaimRef is a Claim that a status names.
type ClaimRef struct {
	Name string
	UID  types.UID
}

// EndedHold is a hold that is over.
type EndedHold struct {
	// Holder is the hold's last entry in the status.
	Holder konductorv1.Holder
	// Reason is that of the hold's Event.
	Reason string
}

// Termination ends a claim.
type Termination struct {
	Claim   *Claim
	Message string
}

// DecideLease returns l's next status and what else to do. revision is the resourceVersion that the status write is
// conditional on.
func DecideLease(l *konductorv1.Lease, claims *ClaimSet, revision uint64, now Instant) (konductorv1.LeaseStatus, HoldDecision) {
	before := holdState{
		isLease: true, permits: 1, maxHolders: 1, maxPriority: l.Spec.MaxPriority, defaultTTL: l.Spec.TTL.Or(0), revision: revision,
		holders: l.Status.Holders(), lastToken: l.Status.FencingToken,
	}
	if l.DeletionTimestamp != nil {
		before.deletedMessage = DeletedMessage(konductorv1.KindLease, l.Name)
	}
	after, act := before.decide(claims, now)

	next := l.Status.DeepCopy()
	next.ObservedGeneration = l.Generation
	next.FencingToken = after.lastToken
	next.Waiting = after.waiting
	next.Phase = konductorv1.LeaseAvailable
	next.SetHolder(nil)
	reason, message := konductorv1.ReasonAvailable, "nobody holds the lease"
	if len(after.holders) > 0 {
		next.Phase = konductorv1.LeaseHeld
		next.SetHolder(&after.holders[0])
		reason, message = konductorv1.ReasonHeld, "held by "+next.Holder
	}
	meta.SetStatusCondition(&next.Conditions, newCondition(konductorv1.ConditionReady, true, konductorv1.ReasonAccepted, "the lease is in operation", l.Generation, now))
	meta.SetStatusCondition(&next.Conditions, newCondition(konductorv1.ConditionHeld, len(after.holders) > 0, reason, message, l.Generation, now))
	if before.deletedMessage != "" {
		setTerminatingConditions(&next.Conditions, konductorv1.KindLease, l.Generation, now)
	}
	act.Changed = !equality.Semantic.DeepEqual(l.Status, *next)
	act.Urgent = act.Urgent || next.ObservedGeneration != l.Status.ObservedGeneration
	return *next, act
}

// DecideSemaphore returns s's next status and what else to do. revision is the resourceVersion that the status write is
// conditional on.
func DecideSemaphore(s *konductorv1.Semaphore, claims *ClaimSet, revision uint64, now Instant) (konductorv1.SemaphoreStatus, HoldDecision) {
	before := holdState{
		permits: s.Spec.Permits + failpointExtraPermits, maxHolders: konductorv1.MaxHolders, maxPriority: s.Spec.MaxPriority,
		defaultTTL: s.Spec.TTL.Or(0), revision: revision,
		holders: s.Status.Holders, lastToken: s.Status.FencingToken, overtaken: s.Status.Overtaken,
	}
	if s.DeletionTimestamp != nil {
		before.deletedMessage = DeletedMessage(konductorv1.KindSemaphore, s.Name)
	}
	after, act := before.decide(claims, now)

	next := s.Status.DeepCopy()
	next.ObservedGeneration = s.Generation
	next.Holders, next.FencingToken, next.Overtaken, next.Waiting = after.holders, after.lastToken, after.overtaken, after.waiting
	next.InUse = sumPermits(after.holders)
	next.Available = max(s.Spec.Permits-next.InUse, 0)
	next.Phase = konductorv1.SemaphoreReady
	reason := konductorv1.ReasonAvailable
	message := "permits are free"
	switch {
	case s.Spec.Permits == 0:
		next.Phase, reason, message = konductorv1.SemaphoreFull, konductorv1.ReasonPaused, "paused: spec.permits is 0"
	case next.Available == 0 || len(after.holders) >= konductorv1.MaxHolders:
		next.Phase, reason, message = konductorv1.SemaphoreFull, konductorv1.ReasonFull, "all permits are in use"
	}
	meta.SetStatusCondition(&next.Conditions, newCondition(konductorv1.ConditionReady, true, konductorv1.ReasonAccepted, "the semaphore is in operation", s.Generation, now))
	meta.SetStatusCondition(&next.Conditions, newCondition(konductorv1.ConditionAvailable, next.Phase == konductorv1.SemaphoreReady, reason, message, s.Generation, now))
	if before.deletedMessage != "" {
		setTerminatingConditions(&next.Conditions, konductorv1.KindSemaphore, s.Generation, now)
	}
	act.Changed = !equality.Semantic.DeepEqual(s.Status, *next)
	act.Urgent = act.Urgent || next.ObservedGeneration != s.Status.ObservedGeneration || next.Phase != s.Status.Phase
	return *next, act
}

// holdState is the state of a Lease or a Semaphore, in the form that both share.
type holdState struct {
	isLease        bool // so that Events don't mention permits
	permits        int32
	maxHolders     int // maximum number of holders
	maxPriority    *int32
	defaultTTL     time.Duration
	revision       uint64
	holders        []konductorv1.Holder
	lastToken      int64
	overtaken      []konductorv1.OvertakenClaim
	waiting        int32
	deletedMessage string // the message for claims if the object is being deleted; else empty
}

// decide ends the holds that are over and grants the free permits to the next claims in the queue.
func (in holdState) decide(claims *ClaimSet, now Instant) (holdState, HoldDecision) {
	out := in
	var act HoldDecision
	out.holders = in.retainHolders(claims, now, &act)
	if in.deletedMessage != "" {
		out.terminateClaims(claims, &act)
		act.StaleTarget = slices.AppendSeq(act.StaleTarget, maps.Values(claims.staleTarget))
		return out, act
	}

	// decided are the queued claims that don't wait any more: granted, perhaps not notified yet, or refused.
	decided := map[types.UID]bool{}
	for i := range out.holders {
		if claims.isQueued(out.holders[i].ClaimUID) {
			decided[out.holders[i].ClaimUID] = true
		}
	}
	overtaking, unknown := newOvertakeCounter(in.overtaken, claims, decided)
	act.Verify = append(act.Verify, unknown...)
	for c := range claims.Queue(nil) {
		if in.maxPriority == nil || c.Priority <= *in.maxPriority || len(act.Refuse) == maxRefusalsPerDecision {
			break
		}
		if !decided[c.UID] {
			decided[c.UID] = true
			act.Refuse = append(act.Refuse, Termination{c, fmt.Sprintf("asks for priority %d: ask for at most %d, or raise spec.maxPriority", c.Priority, *in.maxPriority)})
		}
	}
	refusable := len(act.Refuse) + maxRefusalsPerDecision
	unrefusedOversized := 0 // oversized claims that are not refused yet
	if in.permits > 0 {
		for c := range claims.LargestFirst() {
			if c.Permits <= in.permits {
				break
			}
			switch {
			case decided[c.UID]:
			case len(act.Refuse) == refusable:
				unrefusedOversized++
			default:
				decided[c.UID] = true
				act.Refuse = append(act.Refuse, Termination{c, fmt.Sprintf("asks for %d permits, but spec.permits is %d: ask for fewer or raise it", c.Permits, in.permits)})
			}
		}
	}
	out.grantQueued(claims, decided, &overtaking, now, &act)
	out.overtaken = overtaking.countsExcluding(act.Granted)
	refusable = len(act.Refuse) + maxRefusalsPerDecision
	for c := range claims.NoWait() {
		if len(act.Refuse) == refusable {
			break
		}
		if !decided[c.UID] {
			decided[c.UID] = true
			act.Refuse = append(act.Refuse, Termination{c, konductorv1.MessageBusy})
		}
	}
	out.waiting = int32(claims.QueueLen() - len(decided) - unrefusedOversized)
	act.Notify = unnotifiedHolders(out.holders, claims)
	act.RevokeUnrecorded = unrecordedClaims(out.holders, claims)
	act.StaleTarget = slices.Collect(maps.Values(claims.staleTarget))
	return out, act
}

// retainHolders returns the holders that keep their hold. It adds to act the holds that have ended (released, broken, expired,
// or their Pod has ended) and those that have run out of time, which end once their claim says so.
func (in holdState) retainHolders(claims *ClaimSet, now Instant, act *HoldDecision) []konductorv1.Holder {
	remaining := make([]konductorv1.Holder, 0, len(in.holders)+1)
	for _, h := range in.holders {
		c, existence := claims.Find(h.ClaimUID)
		switch {
		case existence == ExistenceUnknown:
			// Unknown is not free: a stale cache must not make two holders.
			act.Verify = append(act.Verify, ClaimRef{h.Claim, h.ClaimUID})
		case in.deletedMessage == "" && h.Job != nil && !claims.stoppedJobs[h.ClaimUID] && (existence == ExistenceDeleted || phaseRank(c.Phase) == 2):
			// Pods may run that this hold covers.
			act.StopJobs = append(act.StopJobs, h)
		case existence == ExistenceDeleted && claims.tombstones[h.ClaimUID] != "":
			act.recordEnd(h, konductorv1.EventBroken, in.breakText(&h, claims.tombstones[h.ClaimUID]))
			continue
		case existence == ExistenceDeleted:
			act.recordEnd(h, konductorv1.EventReleased, in.releaseText(&h))
			continue
		case phaseRank(c.Phase) == 2 && in.deletedMessage != "":
			act.recordEnd(h, konductorv1.EventExpired, fmt.Sprintf("the hold of %s has ended: %s", h.Name, in.deletedMessage))
			continue
		case phaseRank(c.Phase) == 2:
			act.recordEnd(h, konductorv1.EventExpired, fmt.Sprintf("the hold of %s has expired", h.Name))
			continue
		case c.BoundEnded:
			act.recordEnd(h, konductorv1.EventPodEnded, fmt.Sprintf("the hold of %s ended with its %s", h.Name, boundKind(&h)))
			continue
		case in.deletedMessage != "":
			// The hold ends with the object: see terminateClaims.
		default:
			if !c.GrantObserved {
				act.Adopted = append(act.Adopted, c)
			}
			if phaseRank(c.Phase) == 0 {
				// A client can't renew or acknowledge a grant that it was not notified of: the time of the hold begins
				// with the notification.
				c = c.withGrantAt(now)
			}
			ttl := in.defaultTTL
			if c.BoundToPod && h.ExpiresAt == nil {
				// Granted for the life of the Pod. A TTL that the object was given since applies only to later holds:
				// this client doesn't know that it would have to renew.
				ttl = 0
			}
			if left, reason := c.timeLeft(ttl, now); reason != "" {
				act.Expire = append(act.Expire, Termination{c, reason})
			} else {
				act.RequeueAfter = MinNonZero(act.RequeueAfter, left)
				h = c.refreshHolderTimes(h, ttl, now)
			}
		}
		remaining = append(remaining, h)
	}
	return remaining
}

// boundKind returns the kind of the object that a hold has ended with.
func boundKind(h *konductorv1.Holder) string {
	if h.Job != nil {
		return "job"
	}
	return "pod"
}

// recordEnd adds a hold that has ended, and its Event.
func (act *HoldDecision) recordEnd(h konductorv1.Holder, reason, message string) {
	act.Urgent = true
	act.Ended = append(act.Ended, EndedHold{h, reason})
	act.Events = append(act.Events, Event{Warning: reason != konductorv1.EventReleased, Reason: reason, Message: message})
}

// grantQueued grants the free permits in queue order, which is that of queueLess. A claim that asks for more than is free may
// be overtaken by smaller ones behind it, as far as overtakeCounter.mayOvertake allows.
func (in *holdState) grantQueued(claims *ClaimSet, decided map[types.UID]bool, overtaking *overtakeCounter, now Instant, act *HoldDecision) {
	free := in.permits - sumPermits(in.holders)
	freeSlots := in.maxHolders - len(in.holders)
	token := in.nextFencingToken()
	blocked, scanned := false, 0
	for c := range claims.Queue(in.maxPriority) {
		if free <= 0 || freeSlots <= 0 || !overtaking.mayOvertake() {
			break
		}
		if scanned >= overtakingScanLimit {
			if len(act.Refuse) > 0 || len(claims.noWait) > 0 {
				// The claims refused now make room for scanning others.
				act.RequeueAfter = MinNonZero(act.RequeueAfter, time.Millisecond)
			}
			break
		}
		if decided[c.UID] {
			continue
		}
		if blocked {
			scanned++
		}
		if c.Permits > free {
			if !c.NoWait && (c.Permits <= in.permits || in.permits <= 0) {
				blocked = true
				overtaking.recordBlocked(c)
			}
			continue
		}
		overtaking.recordOvertake()
		decided[c.UID] = true
		free -= c.Permits
		freeSlots--
		in.holders = append(in.holders, c.newHolderEntry(token, in.defaultTTL, now))
		in.lastToken = token
		token++
		act.Urgent = true
		act.Granted = append(act.Granted, c)
		act.Events = append(act.Events, Event{Reason: konductorv1.EventGranted, Message: in.grantText(c, in.lastToken)})
		if left, _ := c.withGrantAt(now).timeLeft(in.defaultTTL, now); left > 0 {
			act.RequeueAfter = MinNonZero(act.RequeueAfter, left)
		}
	}
}

// grantText is the message of the Event for a grant.
func (in *holdState) grantText(c *Claim, token int64) string {
	if in.isLease {
		return fmt.Sprintf("granted to %s, fencing token %d", c.Holder, token)
	}
	return fmt.Sprintf("granted %s to %s, fencing token %d", permitsText(c.Permits), c.Holder, token)
}

// releaseText is the message of the Event for a release.
func (in *holdState) releaseText(h *konductorv1.Holder) string {
	if in.isLease {
		return "released by " + h.Name
	}
	return fmt.Sprintf("%s released %s", h.Name, permitsText(h.Permits))
}

// breakText is the message of the Event for a hold that a user broke.
func (in *holdState) breakText(h *konductorv1.Holder, user string) string {
	if in.isLease {
		return fmt.Sprintf("%s broke the hold of %s", user, h.Name)
	}
	return fmt.Sprintf("%s broke the hold of %s (%s)", user, h.Name, permitsText(h.Permits))
}

// nextFencingToken returns the fencing token of the first grant that a write at this revision makes. Further grants of
// the same write count on from it, which is why a revision is worth as many tokens as there can be holders. The revision
// of etcd grows with every write in the cluster, so that tokens also grow when the object is deleted and created again.
// Only an etcd restored from a backup goes back in revisions; tokens of an object that outlived that go on from the last.
func (in *holdState) nextFencingToken() int64 {
	return max(int64(in.revision)*int64(in.maxHolders), in.lastToken+1)
}

// unnotifiedHolders returns the holders whose claim doesn't record the grant with its times. Claims that record another
// grant are left out: that can't be changed.
func unnotifiedHolders(holders []konductorv1.Holder, claims *ClaimSet) (unnotified []konductorv1.Holder) {
	for _, h := range holders {
		c, existence := claims.Find(h.ClaimUID)
		if existence != ExistenceConfirmed || phaseRank(c.Phase) == 2 || (phaseRank(c.Phase) == 1 && c.Token != h.FencingToken) {
			continue
		}
		if c.Phase != konductorv1.ClaimGranted || !c.ExpiresAt.Equal(timeOrZero(h.ExpiresAt)) {
			unnotified = append(unnotified, h)
		}
	}
	return unnotified
}

// unrecordedClaims returns the claims whose status says Granted although holders doesn't have them, or has them with
// another fencing token: a claim granted by the previous object of this name, for example.
func unrecordedClaims(holders []konductorv1.Holder, claims *ClaimSet) (unrecorded []*Claim) {
	if len(claims.granted) <= len(holders) {
		recorded := 0
		for i := range holders {
			if c, ok := claims.granted[holders[i].ClaimUID]; ok && c.Token == holders[i].FencingToken {
				recorded++
			}
		}
		if recorded == len(claims.granted) {
			return nil
		}
	}
	tokens := make(map[types.UID]int64, len(holders))
	for i := range holders {
		tokens[holders[i].ClaimUID] = holders[i].FencingToken
	}
	for uid, c := range claims.granted {
		if token, ok := tokens[uid]; (!ok || token != c.Token) && !c.BoundEnded {
			unrecorded = append(unrecorded, c)
		}
	}
	return unrecorded
}

// sumPermits returns the sum of the permits of all holders.
func sumPermits(holders []konductorv1.Holder) (sum int32) {
	for i := range holders {
		sum += holders[i].Permits
	}
	return sum
}

func permitsText(n int32) string {
	if n == 1 {
		return "1 permit"
	}
	return fmt.Sprintf("%d permits", n)
}
