package konductor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Hold is a lease, or permits of a semaphore, that this process holds. Unless it was acquired Detached, it is renewed
// in the background until it is released or lost, also when the context it was acquired with is done: work that is told
// to stop takes a while, and nobody else may begin before it has. So release every hold. It is safe for concurrent use.
type Hold struct {
	client *Client
	object string // as KIND/NAME
	claim  string
	uid    types.UID
	holder string
	token  int64
	ttl    time.Duration // zero: as long as the Pod
	margin time.Duration // how much earlier than its TTL the hold counts as lost
	moved  func(*Hold)   // told when the deadline has moved; may be nil

	ctx    context.Context // the holder's
	cancel context.CancelCauseFunc
	lost   chan struct{}

	work  context.Context // of the background work
	stop  context.CancelFunc
	ended sync.WaitGroup
	// follower has followed the claim until the grant, and goes on from there.
	follower *claimFollower
	leave    func() // lets the next with the same identity take its turn; nil: it has none

	mu       sync.Mutex
	renewals int64
	version  string    // the claim's resourceVersion as it was last seen; empty: the grant itself was seen, and not the claim
	deadline time.Time // by the monotonic clock; zero: none
	reason   error     // why it was lost
	released bool
}

// errReleased is the cause of a hold's context that ended by Release.
var errReleased = errors.New("the hold was released")

// Token returns the fencing token: larger than that of every grant before. Send it along to the resource that the lease
// protects and let that refuse smaller ones; nothing else stops a paused process from acting on a hold it has lost.
func (h *Hold) Token() int64 { return h.token }

// Holder returns the name under which it is held.
func (h *Hold) Holder() string { return h.holder }

// TTL returns how long the hold lasts without renewal; zero: as long as the Pod it is bound to.
func (h *Hold) TTL() time.Duration { return h.ttl }

// Object returns what is held, as KIND/NAME: lease/db-migration, say.
func (h *Hold) Object() string { return h.object }

// Deadline returns when the hold counts as lost unless it is renewed before, by the monotonic clock. ok is false when
// the hold has no TTL and so no deadline.
func (h *Hold) Deadline() (deadline time.Time, ok bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.deadline, h.ttl > 0
}

// Lost is closed when the hold has ended without having been released: it could not be renewed in time, or its Claim was
// deleted. It is closed before the operator may give the hold to another.
func (h *Hold) Lost() <-chan struct{} { return h.lost }

// Context is done when the hold is lost or released, and when the context it was acquired with is done. Its cause is
// then a *LostError if it was lost.
func (h *Hold) Context() context.Context { return h.ctx }

// Release gives the hold back and ends the background work. It returns a *LostError when the hold had been lost before,
// so that others may have held in the meantime. To release again does nothing.
//
// It waits out an API server that is away, for as long as ctx allows and up to 5 s longer. When that was too short it
// returns an error and goes on in the background, since others wait for the hold.
func (h *Hold) Release(ctx context.Context) error {
	h.mu.Lock()
	if h.released {
		h.mu.Unlock()
		return nil
	}
	h.released = true
	h.mu.Unlock()
	h.end(errReleased)
	over, version := "", h.lastSeen()
	err := h.client.giveBack(ctx, h.leave, func(ctx context.Context) (err error) {
		over, err = h.client.releaseClaim(ctx, h.claim, h.uid, version)
		return err
	})
	if deadline, ok := h.Deadline(); ok && version == "" && over == "" && !time.Now().Before(deadline) {
		over = fmt.Sprintf("its ttl of %s was over before its release was answered", h.ttl)
	}
	if reason := h.lostReason(); reason != nil {
		return reason
	}
	if err != nil {
		return h.client.explain(err, "get,delete", plural(konductorv1.KindClaim), h.claim)
	}
	if over != "" {
		return &LostError{Object: h.object, Reason: over}
	}
	return nil
}

// end ends the hold's context and the background work.
func (h *Hold) end(cause error) {
	h.cancel(cause)
	h.stop()
	h.ended.Wait()
}

// lastSeen returns the claim's resourceVersion as it was last seen.
func (h *Hold) lastSeen() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.version
}

func (h *Hold) lostReason() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.reason
}

// lose ends the hold.
func (h *Hold) lose(reason string) {
	h.mu.Lock()
	first := h.reason == nil && !h.released
	if first {
		h.reason = &LostError{Object: h.object, Reason: reason}
	}
	err := h.reason
	h.mu.Unlock()
	if first {
		close(h.lost)
		h.cancel(err)
		h.stop()
	}
}

// Renew prolongs the hold by another TTL, counted from before the request was sent. It is done in the background unless
// the hold was acquired Detached. It returns a *LostError when the hold has ended.
func (h *Hold) Renew(ctx context.Context) error {
	h.mu.Lock()
	next := h.renewals + 1
	h.mu.Unlock()
	sent := time.Now()
	claim, err := h.client.renewClaim(ctx, h.claim, h.uid, next)
	if over := endOfClaim(err); over != "" {
		h.lose(over)
		return &LostError{Object: h.object, Reason: over}
	}
	if err != nil {
		return h.client.explain(err, "patch", plural(konductorv1.KindClaim), h.claim)
	}
	h.mu.Lock()
	h.renewals, h.version = claim.Spec.Renewals, claim.ResourceVersion
	if h.ttl > 0 {
		h.deadline = sent.Add(h.lasts())
	}
	h.mu.Unlock()
	if h.moved != nil {
		h.moved(h)
	}
	return nil
}

// margin is how much earlier than its TTL a holder stops: what the work needs to end, and a little for the time between
// noticing and acting on it.
func margin(ttl, stopWithin time.Duration) time.Duration { return ttl/10 + stopWithin }

// lasts is how long after a renewal was sent the hold counts as held.
func (h *Hold) lasts() time.Duration { return h.ttl - h.margin }

// endOfClaim says why a claim that can't be renewed can't; empty: it can, as far as err tells.
func endOfClaim(err error) string {
	switch {
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		return "its claim was deleted"
	case apierrors.IsInvalid(err) && !denied(err):
		return "it was not renewed in time"
	default:
		return ""
	}
}

// keep renews the hold and watches over it until it is released or lost.
func (h *Hold) keep() {
	h.ended.Go(func() { h.watchClaim(h.work) })
	if h.ttl > 0 {
		h.ended.Go(func() { h.renewInTime(h.work) })
	}
}

// watchClaim notices when the claim ends.
func (h *Hold) watchClaim(ctx context.Context) {
	defer h.follower.stop()
	err := h.follower.follow(ctx, func(c *konductorv1.Claim) (bool, error) {
		switch {
		case c == nil || c.UID != h.uid || c.DeletionTimestamp != nil:
			h.lose("its claim was deleted")
		case c.Status.Phase == konductorv1.ClaimExpired || c.Status.Phase == konductorv1.ClaimRefused:
			h.lose(c.Status.Message)
		default:
			h.mu.Lock()
			h.version = c.ResourceVersion
			h.mu.Unlock()
			return false, nil
		}
		return true, nil
	})
	if err != nil && ctx.Err() == nil {
		h.client.notify(fmt.Sprintf("can't watch over the hold on %s: %v", h.object, err))
	}
}

// renewInTime renews three times as often as it must, and counts the hold as lost when the last renewal that succeeded is
// too long ago: after that the operator may give it to another.
func (h *Hold) renewInTime(ctx context.Context) {
	pause := time.NewTimer(h.lasts() / 3)
	defer pause.Stop()
	for {
		deadline, _ := h.Deadline()
		over := time.NewTimer(time.Until(deadline))
		select {
		case <-ctx.Done():
			over.Stop()
			return
		case <-over.C:
			h.lose(fmt.Sprintf("it could not be renewed within its ttl of %s", h.ttl))
			return
		case <-pause.C:
			over.Stop()
		}
		// A process that was stopped wakes up here. It must not trust a hold it may have lost long ago.
		if !time.Now().Before(deadline) {
			h.lose(fmt.Sprintf("it could not be renewed within its ttl of %s", h.ttl))
			return
		}
		// An attempt gets part of the time that is left, so that one which hangs leaves time for another.
		attempt, cancel := context.WithTimeout(ctx, max(time.Until(deadline)/3, min(time.Second, time.Until(deadline))))
		err := h.Renew(attempt)
		cancel()
		if h.lostReason() != nil {
			return
		}
		if err != nil && ctx.Err() == nil {
			h.client.notify(fmt.Sprintf("renewing the hold on %s: %v", h.object, err))
			pause.Reset(min(h.ttl/20, time.Second))
			continue
		}
		pause.Reset(h.lasts() / 3)
	}
}

// deleteClaim deletes the claim with that UID. Passing trouble of the API server is waited out.
func (c *Client) deleteClaim(ctx context.Context, name string, uid types.UID, dryRun ...string) error {
	uncertain := false
	return c.retry(ctx, func() error {
		err := c.objects.claims.Delete(ctx, name, metav1.DeleteOptions{DryRun: dryRun, Preconditions: &metav1.Preconditions{UID: &uid}})
		if uncertain && (apierrors.IsNotFound(err) || apierrors.IsConflict(err)) {
			// An earlier try has done it, as it seems, and only the answer was lost.
			return nil
		}
		uncertain = uncertain || (err != nil && passing(err))
		return err
	})
}

// releaseClaim deletes a claim on condition that it is as it was when it held, so that success proves that nobody else
// has held until then. Without a version there is no such condition. over says that the hold had ended before, and why; the
// claim is then deleted all the same. Passing trouble of the API server is waited out.
func (c *Client) releaseClaim(ctx context.Context, name string, uid types.UID, version string) (over string, err error) {
	uncertain := false
	for {
		conditions := metav1.Preconditions{UID: &uid}
		if version != "" {
			conditions.ResourceVersion = &version
		}
		err := c.retry(ctx, func() error {
			err := c.objects.claims.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &conditions})
			uncertain = uncertain || (err != nil && passing(err))
			return err
		})
		if !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return "", err
		}
		now, err := get(ctx, c, c.objects.claims, konductorv1.KindClaim, name)
		var none *NotFoundError
		switch {
		case errors.As(err, &none) || (err == nil && now.UID != uid):
			if uncertain {
				// An earlier try has done it, as it seems, and only the answer was lost.
				return "", nil
			}
			return "its claim was deleted", nil
		case err != nil:
			return "", err
		case now.Status.Phase == konductorv1.ClaimExpired:
			err := c.deleteClaim(ctx, name, uid)
			if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
				err = nil
			}
			return now.Status.Message, err
		}
		// Renewed, or told something new, in the meantime.
		version = now.ResourceVersion
	}
}

// renewClaim raises the claim's renewals to n, or higher when another process of the same identity has renewed it too.
func (c *Client) renewClaim(ctx context.Context, name string, uid types.UID, n int64, dryRun ...string) (*konductorv1.Claim, error) {
	for {
		patch := fmt.Appendf(nil, `{"metadata":{"uid":%q},"spec":{"renewals":%d}}`, uid, n)
		var claim *konductorv1.Claim
		err := c.retry(ctx, func() (err error) {
			claim, err = c.objects.claims.Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{DryRun: dryRun})
			return err
		})
		if err == nil && claim.DeletionTimestamp != nil {
			// To delete a claim ends its hold, also while a finalizer keeps the claim.
			return nil, apierrors.NewNotFound(konductorv1.GroupVersion().WithResource(plural(konductorv1.KindClaim)).GroupResource(), name)
		}
		if !apierrors.IsInvalid(err) || denied(err) {
			return claim, err
		}
		now, getErr := c.objects.claims.Get(ctx, name, metav1.GetOptions{})
		if getErr != nil || now.UID != uid || now.Status.Phase != konductorv1.ClaimGranted || now.Spec.Renewals < n {
			return nil, err
		}
		n = now.Spec.Renewals + 1
	}
}
