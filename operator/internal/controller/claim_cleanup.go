package controller

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/apiclient"
	"github.com/LogicIQ/konductor/internal/rules"
)

// revokeUnrecorded ends granted claims that the object's status doesn't list as holders with their token, after the API
// server, and not the cache, has confirmed it.
func (r *holdReconciler[T]) revokeUnrecorded(ctx context.Context, a *targetState[T], obj T, claims []*rules.Claim) error {
	if len(claims) == 0 {
		return nil
	}
	current := r.newObject()
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(obj), current); err != nil {
		return client.IgnoreNotFound(err)
	}
	a.recordRead(current)
	if current.GetUID() != obj.GetUID() {
		return nil
	}
	tokenByClaim := map[types.UID]int64{}
	for _, h := range r.holdersOf(current) {
		tokenByClaim[h.ClaimUID] = h.FencingToken
	}
	for _, c := range claims {
		if token, holds := tokenByClaim[c.UID]; holds && token == c.Token {
			continue
		}
		status := konductorv1.ClaimStatus{Phase: konductorv1.ClaimExpired, Message: "no longer recorded in the status of " + r.kind + " " + obj.GetName()}
		if _, err := r.updateClaimStatus(ctx, a, client.ObjectKeyFromObject(obj), c, status); err != nil {
			return err
		}
	}
	return nil
}

// endStaleTargetClaims ends claims made for a deleted object of this name, or for one that is being deleted, after the API
// server, and not the cache, has confirmed that. The garbage collector would delete them too, but can take minutes, and
// until then no waiter or holder would learn that its claim is useless.
func (r *holdReconciler[T]) endStaleTargetClaims(ctx context.Context, a *targetState[T], obj T, claims []*rules.Claim) error {
	if len(claims) == 0 {
		return nil
	}
	current := r.newObject()
	if err := r.APIReader.Get(ctx, client.ObjectKeyFromObject(obj), current); err != nil {
		return err
	}
	// A claim for the current object is not stale: it is newer than the cache's version of the object.
	stale := slices.DeleteFunc(slices.Clone(claims), func(c *rules.Claim) bool {
		return current.GetDeletionTimestamp() == nil && (c.TargetUID == current.GetUID() || c.TargetUID == "")
	})
	return r.endClaimsOfDeletedTarget(ctx, a, client.ObjectKeyFromObject(obj), stale)
}

// endClaimsOfDeletedTarget ends claims on a deleted object, maxParallelRequests at a time.
func (r *holdReconciler[T]) endClaimsOfDeletedTarget(ctx context.Context, a *targetState[T], key types.NamespacedName, claims []*rules.Claim) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelRequests)
	for _, c := range claims {
		group.Go(func() error { return r.endClaimOfDeletedTarget(ctx, a, key, c) })
	}
	return group.Wait()
}

// endClaimOfDeletedTarget ends a claim on a deleted object: a granted claim is set to Expired, a pending one deleted, which
// its client observes.
func (r *holdReconciler[T]) endClaimOfDeletedTarget(ctx context.Context, a *targetState[T], key types.NamespacedName, c *rules.Claim) error {
	if c.Phase != konductorv1.ClaimGranted {
		claim := &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: c.Name}}
		return deleteByUID(ctx, r.Client, claim, c.UID)
	}
	status := konductorv1.ClaimStatus{Phase: konductorv1.ClaimExpired, Message: rules.DeletedMessage(r.kind, key.Name)}
	_, err := r.updateClaimStatus(ctx, a, key, c, status)
	return err
}

// reconcileDeletedTarget ends the claims on a deleted object. Pending claims without an ownerReference keep waiting for a
// new object of that name.
func (r *holdReconciler[T]) reconcileDeletedTarget(ctx context.Context, key types.NamespacedName, a *targetState[T]) (time.Duration, error) {
	a.mu.Lock()
	var toEnd []*rules.Claim
	for c := range a.claims.All() {
		isWaiting := c.Phase == "" || c.Phase == konductorv1.ClaimPending
		if c.Phase == konductorv1.ClaimGranted || (isWaiting && c.TargetUID != "") {
			toEnd = append(toEnd, c)
		}
	}
	ended := deletionBatch(a.boundEndedClaims)
	a.mu.Unlock()
	if len(toEnd) > 0 {
		if err := r.APIReader.Get(ctx, key, r.newObject()); !apiclient.IsObjectNotFound(err) {
			return 0, err
		}
	}
	batch := toEnd[:min(len(toEnd), reconcileBatchSize)]
	if err := r.endClaimsOfDeletedTarget(ctx, a, key, batch); err != nil {
		return 0, err
	}
	after, err := r.deleteFinishedClaims(ctx, key.Namespace, a, ended)
	if len(batch) < len(toEnd) {
		after = rules.MinNonZero(after, statusBatchInterval)
	}
	r.claimCache.removeIfUnused(key)
	return after, err
}

// deletionBatch returns up to reconcileBatchSize+1 of the claims to delete (UID → name), of which there may be very many:
// one more than a reconciliation deletes, as a sign that more are left.
func deletionBatch(claims map[types.UID]string) map[types.UID]string {
	some := make(map[types.UID]string, min(len(claims), reconcileBatchSize+1))
	for uid, name := range claims {
		if len(some) > reconcileBatchSize {
			break
		}
		some[uid] = name
	}
	return some
}

// deleteFinishedClaims deletes the claims in ended (UID → name), whose Pod has ended, and those that finished
// finishedClaimTTL ago, up to reconcileBatchSize of them. after is when to call it again; zero: never.
func (r *holdReconciler[T]) deleteFinishedClaims(ctx context.Context, namespace string, a *targetState[T], ended map[types.UID]string) (after time.Duration, err error) {
	now := r.Clock.Now()
	remove := maps.Clone(ended)
	a.mu.Lock()
	for uid, f := range a.finishedClaims {
		if len(remove) > reconcileBatchSize {
			break
		}
		if left := f.finishedAt + finishedClaimTTL - now.Monotonic; left <= 0 {
			remove[uid] = f.name
		} else {
			after = rules.MinNonZero(after, left)
		}
	}
	a.mu.Unlock()
	for uid := range remove {
		if len(remove) <= reconcileBatchSize {
			break
		}
		delete(remove, uid)
		after = time.Millisecond // the rest soon, but after the objects in the queue
	}
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(maxParallelRequests)
	for uid, name := range remove {
		group.Go(func() error {
			claim := &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
			if err := deleteByUID(ctx, r.Client, claim, uid); err != nil {
				return fmt.Errorf("deleting claim %s: %w", name, err)
			}
			return nil
		})
	}
	err = group.Wait()
	if err == nil && len(remove) > 0 {
		a.mu.Lock()
		for uid := range remove {
			delete(a.boundEndedClaims, uid)
			delete(a.finishedClaims, uid)
		}
		a.mu.Unlock()
		log.FromContext(ctx).V(1).Info("deleted finished claims", "count", len(remove))
	}
	return after, err
}
