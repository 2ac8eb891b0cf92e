package controller

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// disown ends claims that say they hold and don't, after the object itself, and not the cache, has confirmed it.
func (r *holds[T]) disown(ctx context.Context, a *account[T], obj T, claims []*rules.Claim) error {
	if len(claims) == 0 {
		return nil
	}
	current := r.empty()
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(obj), current); err != nil {
		return client.IgnoreNotFound(err)
	}
	a.read(current)
	if current.GetUID() != obj.GetUID() {
		return nil
	}
	tokens := map[types.UID]int64{}
	for _, h := range r.holders(current) {
		tokens[h.ClaimUID] = h.FencingToken
	}
	for _, c := range claims {
		if token, holds := tokens[c.UID]; holds && token == c.Token {
			continue
		}
		status := konductorv1.ClaimStatus{Phase: konductorv1.ClaimExpired, Message: "the hold is not on record any more"}
		if _, err := r.writeClaim(ctx, a, client.ObjectKeyFromObject(obj), c, status); err != nil {
			return err
		}
	}
	return nil
}

// endFormer ends claims that were made for an object that had this name before, after the object itself, and not the
// cache, has confirmed that it is another. The garbage collector would come to it, but can take minutes, and until then
// nobody who waits or holds learns that it does so in vain.
func (r *holds[T]) endFormer(ctx context.Context, a *account[T], obj T, claims []*rules.Claim) error {
	if len(claims) == 0 {
		return nil
	}
	current := r.empty()
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(obj), current); err != nil {
		return err
	}
	for _, c := range claims {
		if c.Target == current.GetUID() {
			// The claim is newer than what the cache has of its object.
			continue
		}
		if err := r.endWithObject(ctx, a, client.ObjectKeyFromObject(obj), c); err != nil {
			return err
		}
	}
	return nil
}

// endWithObject ends a claim on an object that was deleted. Who holds is told so; who waits learns it from its claim being
// deleted.
func (r *holds[T]) endWithObject(ctx context.Context, a *account[T], key types.NamespacedName, c *rules.Claim) error {
	if c.Phase != konductorv1.ClaimGranted {
		claim := &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: c.Name}}
		return deleteByUID(ctx, r.Client, claim, c.UID)
	}
	status := konductorv1.ClaimStatus{Phase: konductorv1.ClaimExpired, Message: fmt.Sprintf("%s %s was deleted", r.kind, key.Name)}
	_, err := r.writeClaim(ctx, a, key, c, status)
	return err
}

// objectGone ends the claims on an object that was deleted. Those that were made without an owner wait on for an object of
// that name if they were waiting.
func (r *holds[T]) objectGone(ctx context.Context, key types.NamespacedName, a *account[T]) (time.Duration, error) {
	a.mu.Lock()
	var over []*rules.Claim
	for c := range a.claims.All() {
		waits := c.Phase == "" || c.Phase == konductorv1.ClaimPending
		if c.Phase == konductorv1.ClaimGranted || (waits && c.Target != "") {
			over = append(over, c)
		}
	}
	ended := maps.Clone(a.ended)
	a.mu.Unlock()
	if len(over) > 0 {
		if err := r.Live.Get(ctx, key, r.empty()); !apierrors.IsNotFound(err) {
			return 0, err
		}
	}
	for _, c := range over {
		if err := r.endWithObject(ctx, a, key, c); err != nil {
			return 0, err
		}
	}
	after, err := r.cleanUp(ctx, key.Namespace, a, ended)
	r.ledger.drop(key)
	return after, err
}

// cleanUp deletes claims whose Pod has ended (by UID, with their names), and those that ended some time ago. It returns
// when to do so again.
func (r *holds[T]) cleanUp(ctx context.Context, namespace string, a *account[T], ended map[types.UID]string) (after time.Duration, err error) {
	now := r.Clock.Now()
	remove := maps.Clone(ended)
	a.mu.Lock()
	for uid, f := range a.done {
		if left := f.at + keepFinishedClaims - now.Elapsed; left <= 0 {
			remove[uid] = f.name
		} else {
			after = sooner(after, left)
		}
	}
	a.mu.Unlock()
	for uid := range remove {
		if len(remove) <= endAtOnce {
			break
		}
		delete(remove, uid)
		after = time.Millisecond // the others soon, but not before those who wait
	}
	for uid, name := range remove {
		claim := &konductorv1.Claim{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
		if e := deleteByUID(ctx, r.Client, claim, uid); e != nil {
			err = errors.Join(err, fmt.Errorf("deleting claim %s: %w", name, e))
		}
	}
	if err == nil && len(remove) > 0 {
		a.mu.Lock()
		for uid := range remove {
			delete(a.ended, uid)
			delete(a.done, uid)
		}
		a.mu.Unlock()
		log.FromContext(ctx).V(1).Info("deleted claims that had ended", "count", len(remove))
	}
	return after, err
}
