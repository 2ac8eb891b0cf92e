package konductor

import (
	"cmp"
	"context"
	"crypto/rand"
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

// attemptAnnotation tells a call its own claim from one of the same name that it did not make, when the answer to the
// request that made it was lost.
const attemptAnnotation = "konductor.io/attempt"

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
	bounded, cancel := o.bounded(ctx)
	defer cancel()
	return c.acquireWithin(ctx, bounded, kind, name, o)
}

// acquireWithin acquires before bounded, which ends with the call's timeout, is done. The hold's context comes from ctx.
func (c *Client) acquireWithin(ctx, bounded context.Context, kind, name string, o options) (*Hold, error) {
	holder := c.holder(o)
	leave, err := c.takeTurn(bounded, kind, name, holder, o)
	if err != nil {
		return nil, err
	}
	hold, err := c.acquireTurn(ctx, bounded, kind, name, holder, o, leave)
	if err != nil {
		return nil, err
	}
	if o.detached {
		// A detached hold outlives its process, so nobody here can know when the next may have its turn. The claim says.
		leave()
	} else {
		hold.leave = leave
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
// ends with the call's timeout. When it fails, leave is called once no claim is left behind.
func (c *Client) acquireTurn(ctx, bounded context.Context, kind, name, holder string, o options, leave func()) (*Hold, error) {
	remaining := o
	remaining.hasTimeout = o.lookOnce() // the limit in time is in bounded already
	t, err := c.recallTarget(bounded, kind, name, remaining)
	if err != nil {
		leave()
		return nil, c.endedOr(bounded, o, ref(kind, name), "it does not exist", err)
	}
	for {
		sent := time.Now()
		wanted := c.newClaim(t, holder, o)
		claim, err := c.claim(bounded, wanted, o.ttl != 0)
		if err != nil {
			if bounded.Err() != nil {
				// It may have been made all the same.
				c.takeBack(ctx, leave, wanted)
			} else {
				leave()
			}
			return nil, c.endedOr(bounded, o, t.ref(), "", err)
		}
		follower := newFollower(c, c.objects.claims.reader, claim.Name, claim.ResourceVersion)
		granted := c.awaitHolder(bounded, &t, claim, claim.Annotations[attemptAnnotation] == wanted.Annotations[attemptAnnotation])
		if granted == nil {
			granted, err = c.awaitGrant(bounded, t, claim, follower, o)
		}
		if err == nil {
			hold := c.newHold(ctx, t, granted, sent, o)
			hold.follower = follower
			err = hold.begin(bounded, o, claim.Status.Phase == konductorv1.ClaimPending)
			if err == nil {
				c.targets.remember(t)
				c.tellDefaultTTL(t, o)
				return hold, nil
			}
			hold.end(errReleased)
		}
		follower.stop()
		var gone *NotFoundError
		if errors.As(err, &gone) && t.recalled && bounded.Err() == nil {
			// What we knew of was deleted since, and perhaps created anew. Its claims were ended with it.
			c.targets.forget(t)
			if t, err = c.findTarget(bounded, kind, name, remaining); err != nil {
				leave()
				return nil, c.endedOr(bounded, o, ref(kind, name), "it does not exist", err)
			}
			continue
		}
		var lapsed *LostError
		if errors.As(err, &lapsed) && bounded.Err() == nil {
			// The grant came and went before it was seen, as after a long sleep of this process. Queue again.
			continue
		}
		c.takeBack(ctx, leave, claim)
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

// takeBack deletes the claim of a call that has failed, and then calls leave. The claim may be one that was only asked
// for, so that nobody knows whether it was made.
func (c *Client) takeBack(ctx context.Context, leave func(), claim *konductorv1.Claim) {
	err := c.giveBack(ctx, leave, func(ctx context.Context) error {
		if claim.UID != "" {
			return c.deleteClaim(ctx, claim.Name, claim.UID)
		}
		made, err := get(ctx, c, c.objects.claims, konductorv1.KindClaim, claim.Name)
		var none *NotFoundError
		if errors.As(err, &none) || (err == nil && made.Annotations[attemptAnnotation] != claim.Annotations[attemptAnnotation]) {
			return nil
		}
		if err != nil {
			return err
		}
		return c.deleteClaim(ctx, made.Name, made.UID)
	})
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		c.notify(fmt.Sprintf("claim %s is not deleted yet and may still be granted: %v", claim.Name, err))
	}
}

// giveBack calls remove, which deletes a claim, and then leave. It tries for as long as ctx allows, and a little longer;
// when the API server is out of reach even then, it goes on in the background: a claim that is left behind may hold for
// as long as the Pod lives. Until it is gone the turn is kept, so that nobody in this process can take it up again; who has
// no turn (leave is nil) leaves it there.
func (c *Client) giveBack(ctx context.Context, leave func(), remove func(context.Context) error) error {
	longer, cancel := outlasting(ctx, tidyUp)
	defer cancel()
	err := remove(longer)
	if leave == nil {
		return err
	}
	if longer.Err() == nil || err == nil {
		leave()
		return err
	}
	go func() {
		defer leave()
		if err := remove(context.WithoutCancel(ctx)); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			c.notify(fmt.Sprintf("a claim could not be deleted and may still be granted: %v", err))
		}
	}()
	return err
}

// outlasting returns a context that goes on for that long after ctx is done, with the same cause in the end.
func outlasting(ctx context.Context, after time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
			cancel(context.Cause(ctx))
		case <-longer.Done():
		}
	})
	return longer, func() {
		stop()
		cancel(nil)
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
		return duration(cmp.Or(o.defaultTTL, konductorv1.DefaultTTL))
	}
}

// tellDefaultTTL tells people how long a hold lasts of which nobody has said so.
func (c *Client) tellDefaultTTL(t target, o options) {
	if o.ttl == 0 && o.defaultTTL == 0 && t.ttl == nil && c.identity.pod == "" {
		c.notify(fmt.Sprintf("%s has no ttl and this is not a pod: the hold ends after %s without renewal", t.ref(), konductorv1.DefaultTTL))
	}
}

// newClaim returns the claim of holder on t.
func (c *Client) newClaim(t target, holder string, o options) *konductorv1.Claim {
	claim := &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{
			Name:            konductorv1.ClaimName(t.claimTarget(), t.object.GetUID(), holder, c.identity.podUID),
			OwnerReferences: []metav1.OwnerReference{ownedBy(t.kind, t.object)},
			Annotations:     map[string]string{attemptAnnotation: rand.Text()},
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
			// To cut the request short would leave it open whether the claim is made.
			longer, cancel := outlasting(ctx, tidyUp)
			defer cancel()
			claim, err = c.objects.claims.Create(longer, made, metav1.CreateOptions{})
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
		if taken(before, wanted) {
			return nil, fmt.Errorf("claim %s on %s is not that of %s but of %s: whoever may break %s can delete it; until then use another holder",
				before.Name, target, wanted.Spec.Holder, owner(before.Spec.Holder, before.Spec.BoundTo), ref(before.Spec.Target.Kind, before.Spec.Target.Name))
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

// taken reports whether the claim that is there is another's. Names can be worked out, so that somebody may have made a
// claim of this name for something else: to take its grant for ours would make two holders.
func taken(before, wanted *konductorv1.Claim) bool {
	return before.Spec.Target != wanted.Spec.Target || before.Spec.Holder != wanted.Spec.Holder ||
		boundTo(before) != boundTo(wanted)
}

func boundTo(claim *konductorv1.Claim) konductorv1.BoundObject {
	if claim.Spec.BoundTo == nil {
		return konductorv1.BoundObject{}
	}
	return *claim.Spec.BoundTo
}

// owner names who stands behind a claim or an arrival: its Pod, which the API server has checked, or else the name it gives.
func owner(name string, bound *konductorv1.BoundObject) string {
	if bound != nil {
		return "pod/" + bound.Name
	}
	return name
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
	// A claim that is bound to nothing and says no TTL lasts for one that its holder doesn't know. None of ours is so.
	if ttlGiven || (before.Spec.BoundTo == nil && before.Spec.TTL == nil) {
		note("ttl", before.Spec.TTL.Or(0), wanted.Spec.TTL.Or(0))
	}
	return strings.Join(differences, ", ")
}

// awaitGone waits until the claim that was deleted is gone.
func (c *Client) awaitGone(ctx context.Context, claim *konductorv1.Claim) error {
	err := follow(ctx, c, c.objects.claims.reader, claim.Name, func(now *konductorv1.Claim) (bool, error) {
		return now == nil || now.UID != claim.UID, nil
	})
	return c.explain(err, "get,list,watch", plural(konductorv1.KindClaim), claim.Name)
}

// claimFollower follows one claim.
type claimFollower = follower[*konductorv1.Claim]

// awaitGrant waits for the operator's answer to the claim.
func (c *Client) awaitGrant(ctx context.Context, t target, claim *konductorv1.Claim, follower *claimFollower, o options) (*konductorv1.Claim, error) {
	if claim.Status.Phase == konductorv1.ClaimGranted {
		return claim, nil
	}
	if o.lookOnce() {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, busyAnswer, errors.New(c.noOperator(fmt.Sprintf("has answered the claim on %s within %s", t.ref(), busyAnswer))))
		defer cancel()
	} else {
		defer c.watchClaimed(ctx, t)()
	}
	var granted *konductorv1.Claim
	err := follower.follow(ctx, func(now *konductorv1.Claim) (bool, error) {
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
	return granted, c.explain(err, "get,list,watch", plural(konductorv1.KindClaim), claim.Name)
}

// watchClaimed tells people when nothing shows that an operator is at work on t: t is free, and yet the claim is not
// granted. The returned function ends the watch.
func (c *Client) watchClaimed(ctx context.Context, t target) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	timer := time.AfterFunc(operatorAnswers, func() {
		free, err := c.free(ctx, t)
		if err == nil && free {
			c.notify(t.ref() + " is free but " + c.noOperator(fmt.Sprintf("has answered for %s", operatorAnswers)))
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
func (c *Client) newHold(ctx context.Context, t target, claim *konductorv1.Claim, sent time.Time, o options) *Hold {
	h := &Hold{
		client: c, object: t.ref(), claim: claim.Name, uid: claim.UID, holder: claim.Spec.Holder,
		token: claim.Status.FencingToken, ttl: claim.Spec.TTL.Or(0), renewals: claim.Spec.Renewals, version: claim.ResourceVersion,
		moved: o.renewed, lost: make(chan struct{}),
	}
	h.ctx, h.cancel = context.WithCancelCause(ctx)
	h.work, h.stop = context.WithCancel(context.WithoutCancel(ctx))
	if h.ttl > 0 {
		h.margin = margin(h.ttl, o.stopWithin)
		h.deadline = sent.Add(h.lasts())
	}
	return h
}

// begin acknowledges the grant where that is needed and starts the background work. fresh says that the claim was made
// by this very call, so that its age is known.
func (h *Hold) begin(ctx context.Context, o options, fresh bool) error {
	bound := h.client.identity.pod != ""
	// The operator counts from the grant, which was after the claim was made. Someone who waited for long can't tell
	// when that was, and has to renew before relying on the hold.
	young := fresh && h.ttl > 0 && time.Until(h.deadline) > h.lasts()*2/3
	if h.ttl > 0 && (!bound || !young) {
		if err := h.Renew(ctx); err != nil {
			return err
		}
	}
	if o.detached {
		h.follower.stop()
	} else {
		h.keep()
	}
	return nil
}
