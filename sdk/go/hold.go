package konductor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Hold is a lease, or permits of a semaphore, that this process holds. Unless it was acquired Detached, it is renewed in
// the background until it is released or lost, even after the context it was acquired with is done: work that is told to
// stop takes a while, and nobody else may begin before it has stopped. So release every hold. It is safe for concurrent
// use.
type Hold struct {
	client       *Client
	object       string // as KIND/NAME
	claimName    string
	claimUID     types.UID
	holder       string
	token        int64
	ttl          time.Duration // zero: as long as the Pod
	safetyMargin time.Duration // how much earlier than its TTL the hold counts as lost
	onRenewal    func(*Hold)   // called when the deadline has moved; may be nil
	found        bool          // the claim existed already

	ctx    context.Context // returned by Context
	cancel context.CancelCauseFunc
	lost   chan struct{}

	backgroundCtx  context.Context // of the background work
	stopBackground context.CancelFunc
	background     sync.WaitGroup
	// watcher has watched the claim until the grant, and continues from there.
	watcher        *claimWatcher
	unlockIdentity func() // lets the next acquire of the same identity go on; nil: not locked

	mu           sync.Mutex
	renewals     int64
	claimVersion string    // the claim's resourceVersion as last observed; empty: the grant was observed on the Lease only
	deadline     time.Time // by the monotonic clock; zero: none
	lostErr      error     // why it was lost
	released     bool
}

// errReleased is the cause of a hold's context that was ended by Release.
var errReleased = errors.New("the hold was released")

// Token returns the fencing token, which is larger than that of every earlier grant. Send it along to the resource that the
// lease protects, and let the resource reject smaller ones: nothing else stops a paused process from acting on a hold it
// has lost.
func (h *Hold) Token() int64 { return h.token }

// Holder returns the name of the holder.
func (h *Hold) Holder() string { return h.holder }

// TTL returns how long the hold lasts without renewal; zero: as long as the Pod it is bound to.
func (h *Hold) TTL() time.Duration { return h.ttl }

// Found reports whether the hold uses a claim that existed already, created by an earlier call or by another process of the
// same identity. After a restart that is the hold that this process had before. But two processes outside of Pods that are
// given the same holder name are one holder to the operator, and then both hold.
func (h *Hold) Found() bool { return h.found }

// Object returns what is held, as KIND/NAME, for example lease/db-migration.
func (h *Hold) Object() string { return h.object }

// Deadline returns when the hold counts as lost unless it is renewed before, by the monotonic clock. ok is false if the
// hold has no TTL and so no deadline.
func (h *Hold) Deadline() (deadline time.Time, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.deadline, h.ttl > 0
}

// Lost returns a channel that is closed when the hold has ended without having been released: it could not be renewed in
// time, or its Claim was deleted. It is closed before the operator may grant the hold to another.
func (h *Hold) Lost() <-chan struct{} { return h.lost }

// Context returns a context that is done when the hold is lost or released, or when the context it was acquired with is
// done. If the hold was lost, its cause is a *LostError.
func (h *Hold) Context() context.Context { return h.ctx }

// holdKey is the key of a Hold among the values of its context.
type holdKey struct{}

// HoldFromContext returns the hold whose context ctx is or derives from; nil: there is none. Work that WithLease or
// WithSemaphore has called gets its fencing token from it.
func HoldFromContext(ctx context.Context) *Hold {
	hold, _ := ctx.Value(holdKey{}).(*Hold)
	return hold
}

// Release releases the hold and ends the background work. It returns a *LostError if the hold had been lost before, so that
// others may have held in the meantime. Releasing again does nothing.
//
// It waits out an API server that is unavailable for as long as ctx allows and up to 5 s longer. If that is too short, it
// returns an error and goes on in the background, because others wait for the hold.
func (h *Hold) Release(ctx context.Context) error {
	h.mu.Lock()
	if h.released {
		h.mu.Unlock()
		return nil
	}
	h.released = true
	h.mu.Unlock()
	h.shutdown(errReleased)
	var lastEndReason atomic.Pointer[string] // deleteFn may still run in the background when this returns
	version := h.lastObservedVersion()
	err := h.client.deleteAndUnlock(ctx, cleanupGracePeriod, h.unlockIdentity, func(ctx context.Context) error {
		endReason, err := h.client.releaseClaim(ctx, h.claimName, h.claimUID, version)
		lastEndReason.Store(&endReason)
		return err
	})
	endReason := ""
	if reason := lastEndReason.Load(); reason != nil {
		endReason = *reason
	}
	if deadline, ok := h.Deadline(); ok && version == "" && endReason == "" && !time.Now().Before(deadline) {
		endReason = fmt.Sprintf("its ttl of %s passed before the release was confirmed", h.ttl)
	}
	if reason := h.lostError(); reason != nil {
		return reason
	}
	if err != nil {
		return h.client.explain(err, "get,delete", groupResource(konductorv1.KindClaim), h.claimName)
	}
	if endReason != "" {
		return &LostError{Object: h.object, Reason: endReason}
	}
	return nil
}

// shutdown ends the hold's context and the background work, and waits for the latter.
func (h *Hold) shutdown(cause error) {
	h.cancel(cause)
	h.stopBackground()
	h.background.Wait()
}

// lastObservedVersion returns the claim's resourceVersion as last observed.
func (h *Hold) lastObservedVersion() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.claimVersion
}

func (h *Hold) lostError() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.lostErr
}

// markLost ends the hold as lost, unless it has been lost or released before.
func (h *Hold) markLost(reason string) {
	h.mu.Lock()
	first := h.lostErr == nil && !h.released
	if first {
		h.lostErr = &LostError{Object: h.object, Reason: reason}
	}
	err := h.lostErr
	h.mu.Unlock()
	if first {
		close(h.lost)
		h.cancel(err)
		h.stopBackground()
	}
}

// Renew prolongs the hold by another TTL, counted from before the request was sent. This happens in the background unless
// the hold was acquired Detached. It returns a *LostError if the hold has ended.
func (h *Hold) Renew(ctx context.Context) error {
	h.mu.Lock()
	next := h.renewals + 1
	h.mu.Unlock()
	sent := time.Now()
	claim, err := h.client.renewClaim(ctx, h.claimName, h.claimUID, h.token, next)
	if endReason := claimEndReason(err); endReason != "" {
		h.markLost(endReason)
		return &LostError{Object: h.object, Reason: endReason}
	}
	if err != nil {
		return h.client.explain(err, "patch", groupResource(konductorv1.KindClaim), h.claimName)
	}
	h.mu.Lock()
	h.renewals, h.claimVersion = claim.Spec.Renewals, claim.ResourceVersion
	if h.ttl > 0 {
		h.deadline = sent.Add(h.validFor())
	}
	h.mu.Unlock()
	if h.onRenewal != nil {
		h.onRenewal(h)
	}
	return nil
}

// safetyMargin is how much earlier than its TTL a hold counts as lost: the time that the work needs to stop, and a tenth of
// the TTL for the time between noticing the loss and acting on it.
func safetyMargin(ttl, stopWithin time.Duration) time.Duration { return ttl/10 + stopWithin }

// validFor is how long after a renewal was sent the hold counts as held.
func (h *Hold) validFor() time.Duration { return h.ttl - h.safetyMargin }

// startBackground renews the hold and watches its claim until the hold is released or lost.
func (h *Hold) startBackground() {
	h.background.Go(func() { h.watchClaim(h.backgroundCtx) })
	if h.ttl > 0 {
		h.background.Go(func() { h.renewPeriodically(h.backgroundCtx) })
	}
}

// watchClaim watches the claim and marks the hold lost when the claim ends.
func (h *Hold) watchClaim(ctx context.Context) {
	defer h.watcher.stop()
	h.watcher.backoff.mode = modeHolding
	wasGranted, grantLost := false, false
	err := h.watcher.watchUntil(ctx, func(c *konductorv1.Claim) (bool, error) {
		switch {
		case c == nil || c.UID != h.claimUID || c.DeletionTimestamp != nil:
			h.markLost("its claim was deleted")
		case c.Status.Phase == konductorv1.ClaimExpired || c.Status.Phase == konductorv1.ClaimRefused:
			h.markLost(c.Status.Message)
		case c.Status.Phase == konductorv1.ClaimGranted && c.Status.FencingToken != h.token, c.Status.Phase != konductorv1.ClaimGranted && wasGranted:
			grantLost = true
			h.markLost(reasonGrantLost)
		default:
			wasGranted = c.Status.Phase == konductorv1.ClaimGranted
			h.mu.Lock()
			h.claimVersion = c.ResourceVersion
			h.mu.Unlock()
			return false, nil
		}
		return true, nil
	})
	if grantLost {
		// The claim is back in the queue, and nobody would use its grant.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), defaultRequestTimeout)
		defer cancel()
		_ = h.client.deleteClaim(ctx, h.claimName, h.claimUID) // if it can't be deleted, it ends with its TTL or Pod
		return
	}
	if err != nil && ctx.Err() == nil {
		h.client.notify(fmt.Sprintf("can't watch the hold on %s: %s", h.object, causeText(err)))
	}
}

// renewPeriodically renews three times as often as needed. It marks the hold lost when the last successful renewal is too
// long ago: after that the operator may grant it to another.
func (h *Hold) renewPeriodically(ctx context.Context) {
	pause := time.NewTimer(h.validFor() / 3)
	defer pause.Stop()
	lastNotified := ""
	for {
		deadline, _ := h.Deadline()
		expiry := time.NewTimer(time.Until(deadline))
		select {
		case <-ctx.Done():
			expiry.Stop()
			return
		case <-expiry.C:
			h.markLost(fmt.Sprintf("it could not be renewed within its ttl of %s", h.ttl))
			return
		case <-pause.C:
			expiry.Stop()
		}
		// A process that was suspended resumes here. It must not rely on a hold it may have lost long ago.
		if !time.Now().Before(deadline) {
			h.markLost(fmt.Sprintf("it could not be renewed within its ttl of %s", h.ttl))
			return
		}
		// An attempt gets only part of the time left, so that one that hangs leaves time for another.
		attempt, cancel := context.WithTimeout(ctx, max(time.Until(deadline)/3, min(time.Second, time.Until(deadline))))
		err := h.Renew(attempt)
		cancel()
		if h.lostError() != nil {
			return
		}
		if err != nil && ctx.Err() == nil {
			// A timeout is not reported here: outageNotifier does that.
			if why := causeText(err); !errors.Is(err, context.DeadlineExceeded) && why != lastNotified {
				lastNotified = why
				h.client.notify(fmt.Sprintf("can't renew the hold on %s, trying again: %s", h.object, why))
			}
			pause.Reset(min(h.ttl/20, time.Second))
			continue
		}
		pause.Reset(h.validFor() / 3)
	}
}
