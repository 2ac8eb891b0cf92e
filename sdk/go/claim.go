package konductor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
)

// claimTTL returns the TTL to put into the claim; nil: the hold lasts as long as the Pod. The object's TTL is copied: a
// holder must know how long it holds, even if the object's spec changes in the meantime.
func (c *Client) claimTTL(t target, o options) *konductorv1.Duration {
	switch {
	case o.ttl != 0:
		return durationOrNil(o.ttl)
	case t.ttl != nil:
		return konductorv1.NewDuration(max(t.ttl.Or(0), konductorv1.MinTTL))
	case c.identity.pod != "":
		return nil
	default:
		return durationOrNil(cmp.Or(o.defaultTTL, konductorv1.DefaultTTL))
	}
}

// newClaim returns the claim of holder on t, not yet created.
func (c *Client) newClaim(t target, holder string, o options) *konductorv1.Claim {
	claim := &konductorv1.Claim{
		ObjectMeta: metav1.ObjectMeta{
			Name:            konductorv1.ClaimName(t.claimTarget(), holder, c.identity.podUID),
			OwnerReferences: []metav1.OwnerReference{ownerReference(t.kind, t.object)},
		},
		Spec: konductorv1.ClaimSpec{
			Target: t.claimTarget(), Holder: holder, Permits: o.permits, Priority: o.priority,
			TTL: c.claimTTL(t, o), BoundTo: c.identity.boundPod(), WhenBusy: konductorv1.BusyWait,
		},
	}
	if o.isNonBlocking() {
		claim.Spec.WhenBusy = konductorv1.BusyRefuse
	}
	annotateAttempt(claim)
	return claim
}

// createOrGetClaim creates the claim, or returns the one that the same identity created before. It replaces a claim that
// has ended and only awaits cleanup. outcomeUnknown says of an error that the claim may have been created anyway.
func (c *Client) createOrGetClaim(ctx context.Context, wanted *konductorv1.Claim, o options) (_ *konductorv1.Claim, outcomeUnknown bool, err error) {
	if err := c.annotateCreatedBy(ctx, &wanted.ObjectMeta); err != nil {
		return nil, false, err
	}
	for {
		var claim *konductorv1.Claim
		// Canceling the request would leave it unknown whether the claim was created.
		extended, cancel := withGracePeriod(ctx, cleanupGracePeriod)
		err = c.retryWithBackoff(ctx, extended, &backoff{nonBlocking: o.isNonBlocking()}, func(ctx context.Context) (err error) {
			claim, err = c.clients.claims.Create(ctx, wanted.DeepCopy(), metav1.CreateOptions{})
			outcomeUnknown = outcomeUnknown || mayHaveBeenApplied(err)
			return err
		})
		cancel()
		if err == nil {
			return claim, false, nil
		}
		if !apierrors.IsAlreadyExists(err) {
			c.createdBy.resetIfForbidden(err)
			return nil, outcomeUnknown, c.explain(err, "create", groupResource(konductorv1.KindClaim), wanted.Name)
		}
		claim, retry, err := c.reuseExistingClaim(ctx, wanted, o.ttl != 0)
		if !retry {
			return claim, outcomeUnknown && err != nil, err
		}
	}
}

// reuseExistingClaim returns the existing claim of that name if it is that of the same identity with the same terms. retry
// says that it is gone, so that creating it can be tried again. ttlGiven says that the TTL is the caller's and not a
// default.
func (c *Client) reuseExistingClaim(ctx context.Context, wanted *konductorv1.Claim, ttlGiven bool) (_ *konductorv1.Claim, retry bool, err error) {
	target := ref(wanted.Spec.Target.Kind, wanted.Spec.Target.Name)
	before, err := get(ctx, c, c.clients.claims, konductorv1.KindClaim, wanted.Name)
	var gone *NotFoundError
	if errors.As(err, &gone) {
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	if isForeignClaim(before, wanted) {
		return nil, false, fmt.Errorf("claim %s on %s belongs to %s, not to %s: use another holder, or ask someone with the right to break %s to delete it",
			before.Name, target, holderDisplayName(before.Spec.Holder, before.Spec.BoundTo), wanted.Spec.Holder, ref(before.Spec.Target.Kind, before.Spec.Target.Name))
	}
	if isStaleClaim(before, wanted) {
		if err := c.deleteClaim(ctx, before.Name, before.UID); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return nil, false, c.explain(err, "delete", groupResource(konductorv1.KindClaim), before.Name)
		}
		err := c.awaitDeletion(ctx, before)
		return nil, err == nil, err
	}
	if difference := describeTermsDifference(before, wanted, ttlGiven); difference != "" {
		return nil, false, &TermsError{Object: target, Holder: wanted.Spec.Holder, Difference: difference}
	}
	return before, false, nil
}

// isForeignClaim reports whether the existing claim is another identity's. Names of claims are predictable, so anybody may
// have created a claim of this name for something else. To take its grant for ours would make two holders.
func isForeignClaim(before, wanted *konductorv1.Claim) bool {
	return before.Spec.Target != wanted.Spec.Target || before.Spec.Holder != wanted.Spec.Holder ||
		boundObject(before) != boundObject(wanted)
}

func boundObject(claim *konductorv1.Claim) konductorv1.BoundObject {
	if claim.Spec.BoundTo == nil {
		return konductorv1.BoundObject{}
	}
	return *claim.Spec.BoundTo
}

// holderDisplayName returns whom to name for a claim or an arrival: its Pod, which the API server has verified, or else the
// name in its spec.
func holderDisplayName(name string, bound *konductorv1.BoundObject) string {
	if bound != nil {
		return "pod/" + bound.Name
	}
	return name
}

// isStaleClaim reports whether the existing claim has ended, or is pending with another whenBusy than the wanted one.
func isStaleClaim(before, wanted *konductorv1.Claim) bool {
	switch before.Status.Phase {
	case konductorv1.ClaimExpired, konductorv1.ClaimRefused:
		return true
	case konductorv1.ClaimGranted:
		return before.DeletionTimestamp != nil
	default:
		return before.DeletionTimestamp != nil || before.Spec.WhenBusy != wanted.Spec.WhenBusy
	}
}

// describeTermsDifference lists the terms in which the existing claim differs from the wanted one; empty: none.
func describeTermsDifference(before, wanted *konductorv1.Claim, ttlGiven bool) string {
	var differences []string
	note := func(term string, before, wanted any) {
		if before != wanted {
			differences = append(differences, fmt.Sprintf("%s: %v before, %v now", term, before, wanted))
		}
	}
	note("permits", before.Spec.Permits, wanted.Spec.Permits)
	note("priority", before.Spec.Priority, wanted.Spec.Priority)
	// With neither boundTo nor TTL, the holder doesn't know how long the claim lasts. This SDK creates none like that.
	if ttlGiven || (before.Spec.BoundTo == nil && before.Spec.TTL == nil) {
		note("ttl", before.Spec.TTL.Or(0), wanted.Spec.TTL.Or(0))
	}
	return strings.Join(differences, ", ")
}

// awaitDeletion waits until the deleted claim is gone.
func (c *Client) awaitDeletion(ctx context.Context, claim *konductorv1.Claim) error {
	err := watchUntil(ctx, c, c.clients.claims.reader, claim.Name, func(now *konductorv1.Claim) (bool, error) {
		return now == nil || now.UID != claim.UID, nil
	})
	return c.explain(err, "get,list,watch", groupResource(konductorv1.KindClaim), claim.Name)
}

// errClaimNotGranted says that a claim can't be renewed yet: the lease or semaphore records its grant, but the claim is not
// marked Granted. An operator that died between these two writes leaves the second to its successor.
var errClaimNotGranted = errors.New("its claim is not marked Granted yet, and no operator answers")

// errRenewalConflict says that on every attempt somebody else had just renewed the claim.
var errRenewalConflict = errors.New("other clients changed its claim on every attempt")

// renewClaim raises the claim's renewals from n-1 to n, on condition that they are still n-1. A request whose answer was
// lost, or another process of the same identity, may have raised them already. Sending the same number again would then
// succeed without any effect, neither on the claim nor on the operator. So renewClaim reads the claim and tries again with
// the next number.
//
// If token is not 0, the renewal is of the grant with that token, and a *LostError says that the claim has another one.
func (c *Client) renewClaim(ctx context.Context, name string, uid types.UID, token, n int64, dryRun ...string) (*konductorv1.Claim, error) {
	const tries = 5 // a caller that has time calls again
	gone := apierrors.NewNotFound(konductorv1.GroupVersion().WithResource(groupResource(konductorv1.KindClaim)).GroupResource(), name)
	for range tries {
		patch := fmt.Appendf(nil, `[{"op":"test","path":"/metadata/uid","value":%q},{"op":"test","path":"/spec/renewals","value":%d},{"op":"replace","path":"/spec/renewals","value":%d}]`, uid, n-1, n)
		var claim *konductorv1.Claim
		err := c.retry(ctx, func(ctx context.Context) (err error) {
			claim, err = c.clients.claims.Patch(ctx, name, types.JSONPatchType, patch, metav1.PatchOptions{DryRun: dryRun})
			return err
		})
		switch {
		case err == nil && claim.DeletionTimestamp != nil:
			// Deleting a claim ends its hold, even while a finalizer keeps the claim.
			return nil, gone
		case err == nil && token != 0 && claim.Status.FencingToken != token:
			return nil, &LostError{Reason: reasonGrantLost}
		case !apierrors.IsInvalid(err) || apiclient.IsDeniedByAdmission(err):
			return claim, err
		}
		now, getErr := get(ctx, c, c.clients.claims, konductorv1.KindClaim, name)
		var none *NotFoundError
		switch {
		case errors.As(getErr, &none) || (getErr == nil && now.UID != uid):
			return nil, gone
		case getErr != nil:
			return nil, getErr // it is unknown whether the hold has ended
		}
		switch now.Status.Phase {
		case konductorv1.ClaimGranted:
			n = now.Spec.Renewals + 1
		case konductorv1.ClaimExpired, konductorv1.ClaimRefused:
			return nil, err
		default:
			return nil, errClaimNotGranted
		}
	}
	return nil, errRenewalConflict
}

// reasonGrantLost is why a hold has ended whose claim was marked Granted and now has no grant, or another one.
const reasonGrantLost = "its grant is no longer recorded: the API server was restored to an older state"

// claimEndReason returns why the hold of a claim has ended, given the error of its renewal; empty: it has not, as far as
// err tells.
func claimEndReason(err error) string {
	var lost *LostError
	switch {
	case errors.As(err, &lost):
		return lost.Reason
	case isObjectNotFound(err):
		return "its claim was deleted"
	case apierrors.IsInvalid(err) && !apiclient.IsDeniedByAdmission(err):
		return "it was not renewed in time"
	default:
		return ""
	}
}

// releaseClaim deletes a claim on condition that it has the version that was observed while it held. Success then proves
// that nobody else has held until then. An empty version means no such condition. endReason says why the hold had ended
// before; the claim is then deleted all the same.
func (c *Client) releaseClaim(ctx context.Context, name string, uid types.UID, version string) (endReason string, err error) {
	outcomeUnknown := false
	for {
		conditions := metav1.Preconditions{UID: &uid}
		if version != "" {
			conditions.ResourceVersion = &version
		}
		err := c.retry(ctx, func(ctx context.Context) error {
			err := c.clients.claims.Delete(ctx, name, metav1.DeleteOptions{Preconditions: &conditions})
			outcomeUnknown = outcomeUnknown || mayHaveBeenApplied(err)
			return err
		})
		if !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			return "", err
		}
		now, err := get(ctx, c, c.clients.claims, konductorv1.KindClaim, name)
		var none *NotFoundError
		switch {
		case errors.As(err, &none) || (err == nil && now.UID != uid):
			if outcomeUnknown {
				// An earlier attempt has probably deleted it, and only the answer was lost.
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
		// The claim was renewed, or its status was written, in the meantime.
		version = now.ResourceVersion
	}
}

// deleteClaim deletes the claim with that UID.
func (c *Client) deleteClaim(ctx context.Context, name string, uid types.UID, dryRun ...string) error {
	return c.deleteWithRetry(ctx, &backoff{}, c.clients.claims, name, metav1.DeleteOptions{DryRun: dryRun, Preconditions: &metav1.Preconditions{UID: &uid}})
}

// cleanupGracePeriod is how long a call whose context has ended still tries to delete its claim.
const cleanupGracePeriod = 5 * time.Second

// abandonClaim deletes the claim of a call that has failed, and then calls unlock.
func (c *Client) abandonClaim(ctx context.Context, unlock func(), claim *konductorv1.Claim) {
	c.notifyLeftoverClaim(claim, c.deleteAndUnlock(ctx, cleanupGracePeriod, unlock, func(ctx context.Context) error { return c.deleteClaim(ctx, claim.Name, claim.UID) }))
}

// abandonUnconfirmedClaim does the same for a claim that may have been created, or may be created any moment: the answer to
// the request was lost.
func (c *Client) abandonUnconfirmedClaim(ctx context.Context, unlock func(), wanted *konductorv1.Claim) {
	c.notifyLeftoverClaim(wanted, c.deleteAndUnlock(ctx, inFlightWriteTimeout+cleanupGracePeriod, unlock, func(ctx context.Context) error {
		made, err := c.awaitClaimCreation(ctx, wanted.Name)
		if err != nil || made == nil || !hasSameAttempt(made, wanted) {
			return err
		}
		return c.deleteClaim(ctx, made.Name, made.UID)
	}))
}

var errNotCreated = errors.New("it was not created")

// awaitClaimCreation returns the claim of that name. It waits up to inFlightWriteTimeout for its creation; nil: it was not
// created.
func (c *Client) awaitClaimCreation(ctx context.Context, name string) (made *konductorv1.Claim, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var timer *time.Timer
	err = watchUntil(ctx, c, c.clients.claims.reader, name, func(now *konductorv1.Claim) (bool, error) {
		if made = now; made == nil && timer == nil {
			timer = time.AfterFunc(inFlightWriteTimeout, func() { cancel(ownCause{errNotCreated}) })
		}
		return made != nil, nil
	})
	if timer != nil {
		timer.Stop()
	}
	if errors.Is(err, errNotCreated) {
		err = nil
	}
	return made, err
}

// notifyLeftoverClaim notifies people of a claim that could not be deleted yet.
func (c *Client) notifyLeftoverClaim(claim *konductorv1.Claim, err error) {
	if err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
		c.notify(fmt.Sprintf("claim %s is not deleted yet and may still be granted: %s", claim.Name, causeText(err)))
	}
}

// deleteAndUnlock calls deleteFn, which deletes a claim, and then unlock. It tries for as long as ctx allows and for grace
// longer. If the API server can't be reached even then, it goes on in the background: a claim that is left behind may hold
// for as long as the Pod lives. The identity stays locked until the claim is gone, so that no other call of this process
// reuses it. If unlock is nil, the identity is not locked, and the claim is left behind.
func (c *Client) deleteAndUnlock(ctx context.Context, grace time.Duration, unlock func(), deleteFn func(context.Context) error) error {
	extended, cancel := withGracePeriod(ctx, grace)
	defer cancel()
	err := deleteFn(extended)
	if unlock == nil {
		return err
	}
	if extended.Err() == nil || err == nil {
		unlock()
		return err
	}
	go func() {
		defer unlock()
		if err := deleteFn(context.WithoutCancel(ctx)); err != nil && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err) {
			c.notify("a claim could not be deleted and may still be granted: " + causeText(err))
		}
	}()
	return err
}

// ListClaims returns the claims on a lease or semaphore, waiting and holding. kind is Lease or Semaphore.
func (c *Client) ListClaims(ctx context.Context, kind, name string) (*konductorv1.ClaimList, error) {
	selector := fields.Set{"spec.target.kind": kind, "spec.target.name": name}.AsSelector().String()
	return listInteractive(ctx, c, c.clients.claims, konductorv1.KindClaim, metav1.ListOptions{FieldSelector: selector})
}
