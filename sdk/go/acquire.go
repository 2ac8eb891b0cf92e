package konductor

import (
	"context"
	"errors"
	"fmt"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// nonBlockingGrantTimeout is how long an acquire with a timeout of 0 waits for the operator's answer to its claim.
const nonBlockingGrantTimeout = 10 * time.Second

// AcquireLease waits until it holds the lease. Options: WithHolder, WithTTL, WithDefaultTTL, WithPriority, WithTimeout (0:
// a *BusyError if the lease can't be granted at once), FailIfMissing, Detached, StopWithin, OnRenewal.
//
// If the same holder in the same Pod acquires again, it gets the existing hold, with the same token, or a *TermsError if it
// asks for another TTL or priority. Within one Client, a second acquire of the same identity waits until the first hold is
// released.
func (c *Client) AcquireLease(ctx context.Context, name string, opts ...AcquireLeaseOption) (*Hold, error) {
	return c.acquire(ctx, konductorv1.KindLease, name, applyOptions(opts))
}

// AcquireSemaphore waits until it holds permits of the semaphore: one, or the number in WithPermits. The other options are
// those of AcquireLease. It returns a *RefusedError if the semaphore doesn't have that many permits at all.
func (c *Client) AcquireSemaphore(ctx context.Context, name string, opts ...AcquireSemaphoreOption) (*Hold, error) {
	return c.acquire(ctx, konductorv1.KindSemaphore, name, applyOptions(opts))
}

// TryAcquireLease acquires the lease if it can be granted at once, and otherwise returns a *BusyError. It returns a
// *NotFoundError if the lease doesn't exist, and an *UnansweredError if the API server or the operator doesn't answer in
// time. Options: WithHolder, WithTTL, WithDefaultTTL, WithPriority, StopWithin, OnRenewal.
//
// It is AcquireLease with a timeout of 0.
func (c *Client) TryAcquireLease(ctx context.Context, name string, opts ...AcquireOption) (*Hold, error) {
	return c.tryAcquire(ctx, konductorv1.KindLease, name, applyOptions(opts))
}

// TryAcquireSemaphore does for permits of a semaphore, one or the number in WithPermits, what TryAcquireLease does for a
// lease.
func (c *Client) TryAcquireSemaphore(ctx context.Context, name string, opts ...TryAcquireSemaphoreOption) (*Hold, error) {
	return c.tryAcquire(ctx, konductorv1.KindSemaphore, name, applyOptions(opts))
}

func (c *Client) tryAcquire(ctx context.Context, kind, name string, o options) (*Hold, error) {
	o.timeout, o.hasTimeout = 0, true
	return c.acquire(ctx, kind, name, o)
}

func (c *Client) acquire(ctx context.Context, kind, name string, o options) (*Hold, error) {
	bounded, cancel := o.withCallTimeout(ctx)
	defer cancel()
	return c.acquireWithOptions(ctx, bounded, kind, name, o)
}

// acquireWithOptions acquires before bounded ends, which has the call's timeout. The hold's context derives from ctx.
func (c *Client) acquireWithOptions(ctx, bounded context.Context, kind, name string, o options) (*Hold, error) {
	for _, ttl := range []time.Duration{o.ttl, o.defaultTTL} {
		if ttl != 0 && ttl < konductorv1.MinTTL {
			return nil, fmt.Errorf("a ttl of %s is too short, it must be at least %s: a shorter hold could expire before its holder learns of it", ttl, konductorv1.MinTTL)
		}
	}
	holder := c.holderFor(o)
	unlock, err := c.lockIdentity(bounded, kind, name, holder, o)
	if err != nil {
		return nil, err
	}
	hold, err := c.acquireLocked(ctx, bounded, kind, name, holder, o, unlock)
	if err != nil {
		return nil, err
	}
	if o.detached {
		// A detached hold outlives this process, so the lock can't tell when it ends. Its Claim does.
		unlock()
	} else {
		hold.unlockIdentity = unlock
	}
	return hold, nil
}

// lockIdentity waits for other calls of this Client with the same identity, and returns the function that unlocks it. With
// a timeout of 0 it returns a *BusyError instead of waiting.
func (c *Client) lockIdentity(ctx context.Context, kind, name, holder string, o options) (func(), error) {
	if o.isNonBlocking() {
		unlock, ok := c.identityLocks.tryLock(kind + "/" + name + "/" + holder)
		if !ok {
			return nil, &BusyError{Object: ref(kind, name)}
		}
		return unlock, nil
	}
	unlock, err := c.identityLocks.lock(ctx, kind+"/"+name+"/"+holder)
	if err != nil {
		return nil, o.contextError(ctx, ref(kind, name), "another call in this process holds it, or waits for it, under the same holder name")
	}
	return unlock, nil
}

// acquireLocked creates the claim and waits for the grant. ctx is the caller's, from which the hold's context derives;
// bounded ends with the call's timeout. On failure it calls unlock once no claim is left behind.
func (c *Client) acquireLocked(ctx, bounded context.Context, kind, name, holder string, o options, unlock func()) (*Hold, error) {
	remaining := o
	remaining.hasTimeout = o.isNonBlocking() // bounded has the timeout already
	t, err := c.cachedOrAwaitedTarget(bounded, kind, name, remaining)
	if err != nil {
		unlock()
		return nil, c.contextErrorOr(bounded, o, ref(kind, name), "it does not exist", err)
	}
	var lapsedBackoff lapsedGrantBackoff
	for {
		sent := time.Now()
		wanted := c.newClaim(t, holder, o)
		claim, outcomeUnknown, err := c.createOrGetClaim(bounded, wanted, o)
		if err != nil {
			if outcomeUnknown {
				c.abandonUnconfirmedClaim(bounded, unlock, wanted)
			} else {
				unlock()
			}
			return nil, c.contextErrorOr(bounded, o, t.ref(), "", err)
		}
		watcher := newObjectWatcher(c, c.clients.claims.reader, claim.Name, claim.ResourceVersion)
		isNew := hasSameAttempt(claim, wanted)
		granted := c.awaitGrantOnLease(bounded, &t, claim, isNew)
		if granted != nil && !c.isReliableWithoutRenewal(granted, sent, o) {
			// The hold must be renewed before it is relied on, and only a Claim that is marked Granted can be renewed.
			granted = nil
		}
		if granted == nil {
			granted, err = c.awaitGrant(bounded, t, claim, watcher, o)
		}
		if err == nil {
			hold := c.newHold(ctx, t, granted, sent, o)
			hold.watcher, hold.found = watcher, !isNew
			err = hold.acknowledgeAndStart(bounded, o, claim.Status.Phase == konductorv1.ClaimPending)
			if err == nil {
				c.targetCache.put(t)
				c.notifyDefaultTTL(t, o)
				return hold, nil
			}
			hold.shutdown(errReleased)
		}
		watcher.stop()
		var gone *NotFoundError
		if errors.As(err, &gone) && t.fromCache && bounded.Err() == nil {
			// The cached target was deleted since, and its claims ended with it. It may have been recreated.
			c.targetCache.evict(t)
			if t, err = c.awaitTarget(bounded, kind, name, remaining); err != nil {
				c.abandonClaim(bounded, unlock, claim)
				return nil, c.contextErrorOr(bounded, o, ref(kind, name), "it does not exist", err)
			}
			continue
		}
		var lapsed *LostError
		if errors.As(err, &lapsed) && bounded.Err() == nil {
			// The grant expired before it was observed, for example because this process was suspended. Queue again.
			if err = lapsedBackoff.wait(bounded, c, lapsed); err == nil {
				continue
			}
		}
		c.abandonClaim(bounded, unlock, claim)
		return nil, c.contextErrorOr(bounded, o, t.ref(), "", err)
	}
}

// lapsedGrantBackoff delays the next claim of a call whose grant expired before the call observed it.
type lapsedGrantBackoff struct {
	delay    time.Duration
	notified bool
}

// wait notifies once that a grant has lapsed, and then waits: about 1 s at first, doubling up to 30 s. Without the delay, a
// TTL that is too short for this machine or its network would create and end claims endlessly.
func (l *lapsedGrantBackoff) wait(ctx context.Context, c *Client, lapsed *LostError) error {
	if !l.notified {
		l.notified = true
		c.notify(fmt.Sprintf("the grant of %s ended before it could be used (%s): retrying with backoff", lapsed.Object, lapsed.Reason))
	}
	const longest = 30 * time.Second
	l.delay = min(max(2*l.delay, time.Second), longest)
	return sleepWithJitter(ctx, l.delay)
}

// cachedOrAwaitedTarget returns the target from the cache if it is fresh, and otherwise what awaitTarget returns. If a cached
// target is outdated, the claim that is made for it ends at once, with a *NotFoundError.
func (c *Client) cachedOrAwaitedTarget(ctx context.Context, kind, name string, o options) (target, error) {
	if t, ok := c.targetCache.get(kind, name); ok {
		return t, c.checkStopWithin(t, o)
	}
	return c.awaitTarget(ctx, kind, name, o)
}

// awaitTarget waits until the Lease or Semaphore exists. It returns a *TTLError if the TTL is less than twice StopWithin.
func (c *Client) awaitTarget(ctx context.Context, kind, name string, o options) (target, error) {
	t := target{kind: kind, name: name}
	err := waitFor(ctx, c, c.clients.targetReaders[kind], kind, name, o, func(obj *partialTarget) (bool, string, error) {
		t.object, t.ttl, t.lastObservedClaimUID, t.readAt = obj, obj.Spec.TTL, obj.Status.ClaimUID, time.Now()
		t.lastObservedFree = kind == konductorv1.KindLease && obj.Status.Phase == konductorv1.LeaseAvailable && obj.Status.Waiting == 0
		return true, "", nil
	})
	if err != nil {
		return t, err
	}
	return t, c.checkStopWithin(t, o)
}

func (c *Client) checkStopWithin(t target, o options) error {
	if ttl := c.claimTTL(t, o).Or(0); ttl > 0 && o.stopWithin > ttl/2 {
		return &TTLError{Object: t.ref(), TTL: ttl, StopWithin: o.stopWithin}
	}
	return nil
}

// awaitGrantOnLease watches a lease that seemed to be free until somebody holds it. It returns the claim as granted,
// without a resourceVersion, if that is the holder; nil means that only the status of the claim can tell.
//
// The operator writes the grant into the Lease first and into the Claim after that, so this saves the time of one write
// (docs/decisions, number 0006). It is no way to queue: then all waiters would have to be notified of each release. isNew
// says that this call created the claim, so that every change of the lease that is watched comes after it.
func (c *Client) awaitGrantOnLease(ctx context.Context, t *target, claim *konductorv1.Claim, isNew bool) *konductorv1.Claim {
	// A claim that is bound to no Pod needs an acknowledgment, which is possible only once it is marked Granted.
	if !t.lastObservedFree || !isNew || claim.Spec.BoundTo == nil || claim.Status.Phase != konductorv1.ClaimPending {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fastPathTimeout)
	defer cancel()
	var granted *konductorv1.Claim
	t.lastObservedFree = false
	_ = watchUntilFrom(ctx, c, c.clients.targetReaders[t.kind], t.name, claim.ResourceVersion, func(lease *partialTarget) (bool, error) {
		if lease == nil || lease.DeletionTimestamp != nil || lease.UID != t.object.GetUID() || lease.Status.ClaimUID != claim.UID {
			return lease == nil || lease.DeletionTimestamp != nil || lease.Status.ClaimUID != "", nil
		}
		granted = claim.DeepCopy()
		granted.Status.Phase, granted.Status.FencingToken = konductorv1.ClaimGranted, lease.Status.FencingToken
		// The operator is writing the grant into the Claim just now.
		granted.ResourceVersion = ""
		t.lastObservedFree = true
		return true, nil
	}) // errors don't matter: the caller watches the Claim next
	return granted
}

// claimWatcher watches one claim.
type claimWatcher = objectWatcher[*konductorv1.Claim]

// awaitGrant waits for the operator's answer to the claim and returns the granted claim. The error is a *RefusedError, a
// *BusyError (timeout 0), a *LostError if the grant has already expired, or a *NotFoundError if the claim was deleted.
func (c *Client) awaitGrant(ctx context.Context, t target, claim *konductorv1.Claim, watcher *claimWatcher, o options) (*konductorv1.Claim, error) {
	if claim.Status.Phase == konductorv1.ClaimGranted {
		return claim, nil
	}
	if o.isNonBlocking() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, nonBlockingGrantTimeout, ownCause{&UnansweredError{
			Object: t.ref(), Message: c.noOperatorText(fmt.Sprintf("has answered the claim on %s within %s", t.ref(), nonBlockingGrantTimeout)),
		}})
		defer cancel()
	} else {
		var cancelWait context.CancelCauseFunc
		ctx, cancelWait = context.WithCancelCause(ctx)
		defer cancelWait(nil)
		defer c.monitorTarget(ctx, t, cancelWait)()
	}
	var granted *konductorv1.Claim
	err := watcher.watchUntil(ctx, func(now *konductorv1.Claim) (bool, error) {
		switch {
		case now == nil || now.UID != claim.UID || now.DeletionTimestamp != nil:
			return true, &NotFoundError{Kind: t.kind, Name: t.name, Namespace: c.namespace, Deleted: true, Message: fmt.Sprintf("claim %s was deleted while it waited for %s in namespace %s", claim.Name, t.ref(), c.namespace)}
		case now.Status.Phase == konductorv1.ClaimGranted:
			granted = now
			return true, nil
		case now.Status.Phase == konductorv1.ClaimExpired:
			return true, &LostError{Object: t.ref(), Reason: now.Status.Message}
		case now.Status.Phase == konductorv1.ClaimRefused && o.isNonBlocking() && now.Status.Message == konductorv1.MessageBusy:
			return true, &BusyError{Object: t.ref()}
		case now.Status.Phase == konductorv1.ClaimRefused:
			return true, &RefusedError{Object: t.ref(), Reason: now.Status.Message}
		}
		return false, nil
	})
	return granted, c.explain(err, "get,list,watch", groupResource(konductorv1.KindClaim), claim.Name)
}

// targetCheckInterval is about how often a waiter checks that its target still exists.
const targetCheckInterval = 30 * time.Second

// monitorTarget checks t from time to time while its claim is not answered. It notifies once if no operator seems to run: t
// is free, and yet the claim is not granted. If t is being deleted or is gone, it cancels the wait: without an operator,
// and with a claim that a finalizer keeps, nothing else would.
func (c *Client) monitorTarget(ctx context.Context, t target, cancelWait context.CancelCauseFunc) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		notified := false
		for after := operatorCheckDelay; sleepWithJitter(ctx, after) == nil; after = targetCheckInterval {
			targets := c.clients.targetReaders[t.kind]
			attempt, cancelAttempt := context.WithTimeout(ctx, defaultRequestTimeout)
			now, err := targets.get(attempt, t.name)
			cancelAttempt()
			switch {
			case isObjectNotFound(err), err == nil && now.UID != t.object.GetUID(), err == nil && now.DeletionTimestamp != nil:
				cancelWait(ownCause{&NotFoundError{Kind: t.kind, Name: t.name, Namespace: c.namespace, Deleted: true}})
				return
			case err == nil && !notified && now.isAvailable(t.kind):
				notified = true
				c.notify(t.ref() + " is free but " + c.noOperatorText(fmt.Sprintf("has answered for %s", operatorCheckDelay)))
			}
		}
	}()
	return cancel
}

// isAvailable reports whether a claim on the target should have been granted, or no operator has ever observed the target.
func (o *partialTarget) isAvailable(kind string) bool {
	if o.Status.ObservedGeneration == 0 {
		return true
	}
	if kind == konductorv1.KindLease {
		return o.Status.Phase == konductorv1.LeaseAvailable
	}
	return string(o.Status.Phase) == string(konductorv1.SemaphoreReady) && o.Status.Waiting == 0
}

// newHold returns the Hold of a granted claim. Its deadline counts from sent, when the claim was requested.
func (c *Client) newHold(ctx context.Context, t target, claim *konductorv1.Claim, sent time.Time, o options) *Hold {
	h := &Hold{
		client: c, object: t.ref(), claimName: claim.Name, claimUID: claim.UID, holder: claim.Spec.Holder,
		token: claim.Status.FencingToken, ttl: claim.Spec.TTL.Or(0), renewals: claim.Spec.Renewals, claimVersion: claim.ResourceVersion,
		onRenewal: o.onRenewal, lost: make(chan struct{}),
	}
	h.ctx, h.cancel = context.WithCancelCause(context.WithValue(ctx, holdKey{}, h))
	h.backgroundCtx, h.stopBackground = context.WithCancel(context.WithoutCancel(ctx))
	if h.ttl > 0 {
		h.safetyMargin = safetyMargin(h.ttl, o.stopWithin)
		h.deadline = sent.Add(h.validFor())
	}
	return h
}

// isReliableWithoutRenewal reports whether a hold can be relied on before its first renewal: it has no TTL, or its claim
// was requested, at sent, so recently that more than two thirds of its validity are left.
func (c *Client) isReliableWithoutRenewal(claim *konductorv1.Claim, sent time.Time, o options) bool {
	ttl := claim.Spec.TTL.Or(0)
	validFor := ttl - safetyMargin(ttl, o.stopWithin)
	return ttl == 0 || time.Since(sent) < validFor/3
}

// acknowledgeAndStart renews the hold where needed, which acknowledges the grant, and starts the background work unless the
// hold is detached. isNew says that the claim was still pending after it was requested, so that the grant is not older than
// that.
func (h *Hold) acknowledgeAndStart(ctx context.Context, o options, isNew bool) error {
	isBound := h.client.identity.pod != ""
	// The operator counts the TTL from the grant, which came after the claim was requested. After a long wait the client
	// can't tell when that was, and must renew before it relies on the hold.
	isRecent := isNew && h.ttl > 0 && time.Until(h.deadline) > h.validFor()*2/3
	if h.ttl > 0 && (!isBound || !isRecent) {
		if err := h.Renew(ctx); err != nil {
			return err
		}
	}
	if o.detached {
		h.watcher.stop()
	} else {
		h.startBackground()
	}
	return nil
}

// notifyDefaultTTL notifies people of the default TTL if neither the caller, the object nor a Pod determines how long the
// hold lasts.
func (c *Client) notifyDefaultTTL(t target, o options) {
	if o.ttl == 0 && o.defaultTTL == 0 && t.ttl == nil && c.identity.pod == "" {
		c.notify(fmt.Sprintf("%s has no ttl and this is not a pod: the hold ends after %s without renewal", t.ref(), konductorv1.DefaultTTL))
	}
}
