package konductor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// busyAnswer is how long an acquire that must not wait for the lease waits for the operator's answer.
const busyAnswer = 10 * time.Second

// tidyUp is how long a call whose context has ended tries to take its claim back.
const tidyUp = 5 * time.Second

// target is what acquire, renew and release need of a Lease or Semaphore.
type target struct {
	kind, name string
	ttl        *konductorv1.Duration
	object     metav1.Object
}

func (t target) ref() string { return ref(t.kind, t.name) }

func (t target) claimTarget() konductorv1.ClaimTarget {
	return konductorv1.ClaimTarget{Kind: t.kind, Name: t.name}
}

// findTarget waits until the Lease or Semaphore exists.
func (c *Client) findTarget(ctx context.Context, kind, name string, o options) (target, error) {
	t := target{kind: kind, name: name}
	if kind == konductorv1.KindLease {
		return t, waitFor(ctx, c, c.objects.leases, kind, name, o, func(l *konductorv1.Lease) (bool, string, error) {
			t.object, t.ttl = l, l.Spec.TTL
			return true, "", nil
		})
	}
	return t, waitFor(ctx, c, c.objects.semaphores, kind, name, o, func(s *konductorv1.Semaphore) (bool, string, error) {
		t.object, t.ttl = s, s.Spec.TTL
		return true, "", nil
	})
}

// AcquireLease waits until it holds the lease. Options: WithHolder, WithTTL, WithPriority, WithTimeout (0: a *BusyError
// when the lease can't be had at once), FailIfMissing, Detached.
//
// The same holder in the same Pod that acquires again gets the hold that is there, with the same token; a *TermsError
// when it asks for another TTL or priority. Within one Client, those of the same identity take turns.
func (c *Client) AcquireLease(ctx context.Context, name string, opts ...Option) (*Hold, error) {
	return c.acquire(ctx, konductorv1.KindLease, name, append(opts, WithPermits(1)))
}

// AcquireSemaphore waits until it holds permits of the semaphore: one, or as many as WithPermits says. Options as for
// AcquireLease. It returns a *RefusedError when the semaphore doesn't have so many permits at all.
func (c *Client) AcquireSemaphore(ctx context.Context, name string, opts ...Option) (*Hold, error) {
	return c.acquire(ctx, konductorv1.KindSemaphore, name, opts)
}

func (c *Client) acquire(ctx context.Context, kind, name string, opts []Option) (*Hold, error) {
	o := collect(opts)
	holder := c.Holder(opts...)
	bounded, cancel := o.bounded(ctx)
	defer cancel()
	leave, err := c.takeTurn(bounded, kind, name, holder, o)
	if err != nil {
		return nil, err
	}
	hold, err := c.acquireTurn(ctx, bounded, kind, name, holder, o)
	if err != nil {
		leave()
		return nil, err
	}
	hold.leave = leave
	if o.detached {
		// A detached hold outlives its process, so nobody here can know when the next may have its turn. The claim says.
		leave()
	}
	return hold, nil
}

// takeTurn waits for others of the same identity in this process.
func (c *Client) takeTurn(ctx context.Context, kind, name, holder string, o options) (func(), error) {
	if o.lookOnce() {
		leave, ok := c.turns.tryTake(kind + "/" + name + "/" + holder)
		if !ok {
			return nil, &BusyError{Object: ref(kind, name)}
		}
		return leave, nil
	}
	leave, err := c.turns.take(ctx, kind+"/"+name+"/"+holder)
	if err != nil {
		return nil, o.ended(ctx, ref(kind, name), "another part of this process has it")
	}
	return leave, nil
}

// acquireTurn makes the claim and waits for the grant. ctx is the caller's, from which the hold's context comes; bounded
// ends with the call's timeout.
func (c *Client) acquireTurn(ctx, bounded context.Context, kind, name, holder string, o options) (*Hold, error) {
	remaining := o
	remaining.hasTimeout = o.lookOnce() // the limit in time is in bounded already
	t, err := c.findTarget(bounded, kind, name, remaining)
	if err != nil {
		return nil, c.endedOr(bounded, o, ref(kind, name), "it does not exist", err)
	}
	for {
		sent := time.Now()
		claim, err := c.claim(bounded, c.newClaim(t, holder, o), o.ttl != 0)
		if err != nil {
			return nil, c.endedOr(bounded, o, t.ref(), "", err)
		}
		granted, err := c.awaitGrant(bounded, t, claim, o)
		if err == nil {
			hold := c.newHold(ctx, t, granted, sent)
			err = hold.begin(bounded, o, claim.Status.Phase == konductorv1.ClaimPending)
			if err == nil {
				c.tellDefaultTTL(t, o)
				return hold, nil
			}
			hold.cancel(errReleased)
			hold.ended.Wait()
		}
		var lapsed *LostError
		if errors.As(err, &lapsed) && bounded.Err() == nil {
			// The grant came and went before it was seen, as after a long sleep of this process. Queue again.
			continue
		}
		c.takeBack(ctx, claim)
		return nil, c.endedOr(bounded, o, t.ref(), "", err)
	}
}

// endedOr returns the error of a call that was cut short, or else err.
func (c *Client) endedOr(bounded context.Context, o options, object, status string, err error) error {
	if bounded.Err() != nil && errors.Is(err, context.Cause(bounded)) {
		return o.ended(bounded, object, status)
	}
	return err
}

// takeBack deletes a claim that is not wanted any more, even when the call was cancelled.
func (c *Client) takeBack(ctx context.Context, claim *konductorv1.Claim) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tidyUp)
	defer cancel()
	err := c.deleteClaim(ctx, claim.Name, claim.UID)
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		c.notify(fmt.Sprintf("claim %s could not be deleted and may still be granted: %v", claim.Name, err))
	}
}

// ttl returns the TTL that the claim is made with. That of the object is pinned: a holder must know for how long it
// holds, whatever happens to the object's spec in the meantime.
func (c *Client) ttl(t target, o options) *konductorv1.Duration {
	switch {
	case o.ttl != 0:
		return duration(o.ttl)
	case t.ttl != nil:
		return t.ttl
	case c.identity.pod != "":
		return nil
	default:
		return duration(konductorv1.DefaultTTL)
	}
}

// tellDefaultTTL tells people how long a hold lasts of which nobody has said so.
func (c *Client) tellDefaultTTL(t target, o options) {
	if o.ttl == 0 && t.ttl == nil && c.identity.pod == "" {
		c.notify(fmt.Sprintf("%s has no ttl and this is not a pod: the hold ends after %s without renewal", t.ref(), konductorv1.DefaultTTL))
	}
}

// newClaim returns the claim of holder on t.
func (c *Client) newClaim(t target, holder string, o options) *konductorv1.Claim {
	claim := &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{
			Name:            konductorv1.ClaimName(t.claimTarget(), t.object.GetUID(), holder, c.identity.podUID),
			OwnerReferences: []metav1.OwnerReference{ownedBy(t.kind, t.object)},
		},
		Spec: konductorv1.ClaimSpec{
			Target: t.claimTarget(), Holder: holder, Permits: o.permits, Priority: o.priority,
			TTL: c.ttl(t, o), BoundTo: c.identity.bound(), WhenBusy: konductorv1.BusyWait,
		},
	}
	if o.lookOnce() {
		claim.Spec.WhenBusy = konductorv1.BusyRefuse
	}
	return claim
}

// claim creates the claim, or finds the one that the same identity has made before. A claim whose end is only waiting to
// be cleaned away makes room for a new one. ttlGiven says that the TTL is the caller's wish and not a default.
func (c *Client) claim(ctx context.Context, wanted *konductorv1.Claim, ttlGiven bool) (*konductorv1.Claim, error) {
	target := ref(wanted.Spec.Target.Kind, wanted.Spec.Target.Name)
	for {
		made := wanted.DeepCopy()
		var claim *konductorv1.Claim
		err := c.retry(ctx, func() (err error) {
			claim, err = c.objects.claims.Create(ctx, made, metav1.CreateOptions{})
			return err
		})
		if err == nil {
			return claim, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			return nil, c.explain(err, "create", plural(konductorv1.KindClaim), wanted.Name)
		}
		before, err := get(ctx, c, c.objects.claims, konductorv1.KindClaim, wanted.Name)
		var gone *NotFoundError
		if errors.As(err, &gone) {
			continue
		}
		if err != nil {
			return nil, err
		}
		if stale(before, wanted) {
			if err := c.deleteClaim(ctx, before.Name, before.UID); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
				return nil, c.explain(err, "delete", plural(konductorv1.KindClaim), before.Name)
			}
			if err := c.awaitGone(ctx, before); err != nil {
				return nil, err
			}
			continue
		}
		if difference := differentTerms(before, wanted, ttlGiven); difference != "" {
			return nil, &TermsError{Object: target, Holder: wanted.Spec.Holder, Difference: difference}
		}
		return before, nil
	}
}

// stale reports whether the claim that is there has ended, or waits in another way than is wanted now.
func stale(before, wanted *konductorv1.Claim) bool {
	switch before.Status.Phase {
	case konductorv1.ClaimExpired, konductorv1.ClaimRefused:
		return true
	case konductorv1.ClaimGranted:
		return before.DeletionTimestamp != nil
	default:
		return before.DeletionTimestamp != nil || before.Spec.WhenBusy != wanted.Spec.WhenBusy
	}
}

// differentTerms says in which of its terms the claim that is there differs from the one that is wanted.
func differentTerms(before, wanted *konductorv1.Claim, ttlGiven bool) string {
	var differences []string
	note := func(term string, before, wanted any) {
		if before != wanted {
			differences = append(differences, fmt.Sprintf("%s: %v before, %v now", term, before, wanted))
		}
	}
	note("permits", before.Spec.Permits, wanted.Spec.Permits)
	note("priority", before.Spec.Priority, wanted.Spec.Priority)
	if ttlGiven {
		note("ttl", before.Spec.TTL.Or(0), wanted.Spec.TTL.Or(0))
	}
	return strings.Join(differences, ", ")
}

// awaitGone waits until the claim that was deleted is gone.
func (c *Client) awaitGone(ctx context.Context, claim *konductorv1.Claim) error {
	err := follow(ctx, c, c.objects.claims, claim.Name, func(now *konductorv1.Claim) (bool, error) {
		return now == nil || now.UID != claim.UID, nil
	})
	return c.explain(err, "list,watch", plural(konductorv1.KindClaim), claim.Name)
}

// awaitGrant waits for the operator's answer to the claim.
func (c *Client) awaitGrant(ctx context.Context, t target, claim *konductorv1.Claim, o options) (*konductorv1.Claim, error) {
	if claim.Status.Phase == konductorv1.ClaimGranted {
		return claim, nil
	}
	if o.lookOnce() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, busyAnswer, fmt.Errorf("no operator has answered the claim on %s within %s: see whether konductor's operator runs (kubectl get deployments -A -l app.kubernetes.io/name=konductor)", t.ref(), busyAnswer))
		defer cancel()
	} else {
		defer c.watchClaimed(ctx, t)()
	}
	var granted *konductorv1.Claim
	err := followFrom(ctx, c, c.objects.claims, claim.Name, claim.ResourceVersion, func(now *konductorv1.Claim) (bool, error) {
		switch {
		case now == nil || now.UID != claim.UID:
			return true, &NotFoundError{Kind: t.kind, Name: t.name, Namespace: c.namespace, Deleted: true, Message: fmt.Sprintf("claim %s was deleted while it waited for %s in namespace %s", claim.Name, t.ref(), c.namespace)}
		case now.Status.Phase == konductorv1.ClaimGranted:
			granted = now
			return true, nil
		case now.Status.Phase == konductorv1.ClaimExpired:
			return true, &LostError{Object: t.ref(), Reason: now.Status.Message}
		case now.Status.Phase == konductorv1.ClaimRefused && o.lookOnce() && now.Status.Message == konductorv1.MessageBusy:
			return true, &BusyError{Object: t.ref()}
		case now.Status.Phase == konductorv1.ClaimRefused:
			return true, &RefusedError{Object: t.ref(), Reason: now.Status.Message}
		}
		return false, nil
	})
	return granted, c.explain(err, "list,watch", plural(konductorv1.KindClaim), claim.Name)
}

// watchClaimed tells people when nothing shows that an operator is at work on t: t is free, and yet the claim is not
// granted. The returned function ends the watch.
func (c *Client) watchClaimed(ctx context.Context, t target) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(operatorAnswers, func() {
		free, err := c.free(ctx, t)
		if err == nil && free {
			c.notify(fmt.Sprintf("%s is free but no operator has answered for %s: see whether konductor's operator runs (kubectl get deployments -A -l app.kubernetes.io/name=konductor)", t.ref(), operatorAnswers))
		}
	})
	return func() {
		timer.Stop()
		cancel()
	}
}

// free reports whether t looks as if a claim on it should have been granted, or as if no operator had ever seen it.
func (c *Client) free(ctx context.Context, t target) (bool, error) {
	if t.kind == konductorv1.KindLease {
		l, err := c.objects.leases.Get(ctx, t.name, metav1.GetOptions{})
		return err == nil && (l.Status.ObservedGeneration == 0 || l.Status.Phase == konductorv1.LeaseAvailable), err
	}
	s, err := c.objects.semaphores.Get(ctx, t.name, metav1.GetOptions{})
	return err == nil && (s.Status.ObservedGeneration == 0 || (s.Status.Phase == konductorv1.SemaphoreReady && s.Status.Waiting == 0)), err
}

// newHold returns the hold that the granted claim gives. sent is when the claim was made, or later.
func (c *Client) newHold(ctx context.Context, t target, claim *konductorv1.Claim, sent time.Time) *Hold {
	h := &Hold{
		client: c, object: t.ref(), claim: claim.Name, uid: claim.UID, holder: claim.Spec.Holder,
		token: claim.Status.FencingToken, ttl: claim.Spec.TTL.Or(0), renewals: claim.Spec.Renewals,
		lost: make(chan struct{}),
	}
	h.ctx, h.cancel = context.WithCancelCause(ctx)
	if h.ttl > 0 {
		h.deadline = sent.Add(h.ttl - margin(h.ttl))
	}
	return h
}

// begin acknowledges the grant where that is needed and starts the background work. fresh says that the claim was made
// by this very call, so that its age is known.
func (h *Hold) begin(ctx context.Context, o options, fresh bool) error {
	bound := h.client.identity.pod != ""
	// The operator counts from the grant, which was after the claim was made. Someone who waited for long can't tell
	// when that was, and has to renew before relying on the hold.
	young := fresh && h.ttl > 0 && time.Until(h.deadline) > h.ttl*2/3
	if h.ttl > 0 && (!bound || !young) {
		if err := h.Renew(ctx); err != nil {
			return err
		}
	}
	if !o.detached {
		h.keep(h.ctx)
	}
	return nil
}

// RenewLease prolongs the hold that an earlier, Detached acquire of the same identity left. It returns a *LostError when
// there is none any more. Options: WithHolder.
func (c *Client) RenewLease(ctx context.Context, name string, opts ...Option) error {
	return c.renew(ctx, konductorv1.KindLease, name, opts)
}

// RenewSemaphore does for a semaphore what RenewLease does for a lease.
func (c *Client) RenewSemaphore(ctx context.Context, name string, opts ...Option) error {
	return c.renew(ctx, konductorv1.KindSemaphore, name, opts)
}

func (c *Client) renew(ctx context.Context, kind, name string, opts []Option) error {
	t, claim, err := c.ownClaim(ctx, kind, name, opts)
	var none *NotFoundError
	if errors.As(err, &none) && none.Kind == konductorv1.KindClaim {
		return &LostError{Object: t.ref(), Reason: c.Holder(opts...) + " doesn't hold it"}
	}
	if err != nil {
		return err
	}
	if claim.Status.Phase == konductorv1.ClaimPending {
		return fmt.Errorf("%s waits for %s and doesn't hold it yet: there is nothing to renew", claim.Spec.Holder, t.ref())
	}
	return c.newHold(ctx, t, claim, time.Now()).Renew(ctx)
}

// ReleaseLease gives back what an earlier, Detached acquire of the same identity left. It returns a *NotFoundError when
// there is nothing, and a *LostError when the hold had expired. Options: WithHolder.
func (c *Client) ReleaseLease(ctx context.Context, name string, opts ...Option) error {
	return c.release(ctx, konductorv1.KindLease, name, opts)
}

// ReleaseSemaphore does for a semaphore what ReleaseLease does for a lease.
func (c *Client) ReleaseSemaphore(ctx context.Context, name string, opts ...Option) error {
	return c.release(ctx, konductorv1.KindSemaphore, name, opts)
}

func (c *Client) release(ctx context.Context, kind, name string, opts []Option) error {
	t, claim, err := c.ownClaim(ctx, kind, name, opts)
	var none *NotFoundError
	if errors.As(err, &none) && none.Kind == konductorv1.KindClaim {
		none.Message = fmt.Sprintf("%s neither holds %s nor waits for it", c.Holder(opts...), t.ref())
	}
	if err != nil {
		return err
	}
	err = c.deleteClaim(ctx, claim.Name, claim.UID)
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return &LostError{Object: t.ref(), Reason: "its claim was deleted"}
	}
	if err != nil {
		return c.explain(err, "delete", plural(konductorv1.KindClaim), claim.Name)
	}
	if claim.Status.Phase == konductorv1.ClaimExpired {
		return &LostError{Object: t.ref(), Reason: claim.Status.Message}
	}
	return nil
}

// ownClaim returns the claim of this identity on an object that must exist.
func (c *Client) ownClaim(ctx context.Context, kind, name string, opts []Option) (target, *konductorv1.Claim, error) {
	o := collect(opts)
	o.failIfMissing = true
	t, err := c.findTarget(ctx, kind, name, o)
	if err != nil {
		return t, nil, err
	}
	claimName := konductorv1.ClaimName(t.claimTarget(), t.object.GetUID(), c.Holder(opts...), c.identity.podUID)
	claim, err := get(ctx, c, c.objects.claims, konductorv1.KindClaim, claimName)
	return t, claim, err
}
