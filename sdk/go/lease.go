package konductor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// CreateLease creates a lease. Options: WithTTL, DryRun.
func (c *Client) CreateLease(ctx context.Context, name string, opts ...Option) (*konductorv1.Lease, error) {
	o := collect(opts)
	l, err := c.objects.leases.Create(ctx, NewLease(name, opts...), metav1.CreateOptions{DryRun: o.dryRun})
	return l, c.explain(err, "create", plural(konductorv1.KindLease), name)
}

// NewLease returns the lease that CreateLease creates.
func NewLease(name string, opts ...Option) *konductorv1.Lease {
	o := collect(opts)
	return &konductorv1.Lease{
		TypeMeta:   typeMeta(konductorv1.KindLease),
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec:       konductorv1.LeaseSpec{TTL: duration(o.ttl)},
	}
}

// GetLease returns a lease.
func (c *Client) GetLease(ctx context.Context, name string) (*konductorv1.Lease, error) {
	return get(ctx, c, c.objects.leases, konductorv1.KindLease, name)
}

// ListLeases returns all leases of the namespace.
func (c *Client) ListLeases(ctx context.Context) (*konductorv1.LeaseList, error) {
	list, err := c.objects.leases.List(ctx, metav1.ListOptions{})
	return list, c.explain(err, "list", plural(konductorv1.KindLease), "")
}

// DeleteLease deletes a lease. A hold on it is lost, and those who wait for it end with a *NotFoundError.
func (c *Client) DeleteLease(ctx context.Context, name string, opts ...Option) error {
	return remove(ctx, c, c.objects.leases, konductorv1.KindLease, name, opts)
}

// BreakLease takes the lease away from whoever holds it, and returns who that was. The holder learns of it, but may act
// on its hold until then. It returns a *NotFoundError, and takes nothing away, when nobody holds the lease, and when the
// hold isn't one that the options allow, or ends by itself at that moment. Options: WithHolder for the only holder that is
// meant, OnlyClaims, DryRun.
func (c *Client) BreakLease(ctx context.Context, name string, opts ...Option) (holder string, err error) {
	o := collect(opts)
	l, err := c.GetLease(ctx, name)
	if err != nil {
		return "", err
	}
	holder = l.Status.Holder
	switch {
	case l.Status.ClaimUID == "":
		return "", c.notHeld(konductorv1.KindLease, name, "nobody holds %s")
	case o.holder != "" && o.holder != holder:
		return "", c.notHeld(konductorv1.KindLease, name, o.holder+" doesn't hold %s, "+holder+" does: nothing was taken away")
	case !o.breaks(holder, l.Status.ClaimUID):
		return "", c.notHeld(konductorv1.KindLease, name, "%s has changed hands, and "+holder+" holds it now: nothing was taken away")
	}
	broken, err := c.breakHold(ctx, konductorv1.KindLease, name, l.Status.Claim, l.Status.ClaimUID, o)
	switch {
	case err != nil:
		return "", err
	case !broken:
		return "", c.notHeld(konductorv1.KindLease, name, holder+" doesn't hold %s any more: nothing was taken away")
	}
	return holder, nil
}

// notHeld says why there is nothing to take away. Its %s stands for the object.
func (c *Client) notHeld(kind, name, why string) error {
	return &NotFoundError{
		Kind: kind, Name: name, Namespace: c.namespace,
		Message: strings.Replace(why, "%s", ref(kind, name)+" in namespace "+c.namespace, 1),
	}
}

// breaks reports whether a hold may be taken away.
func (o *options) breaks(holder string, claim types.UID) bool {
	return (o.holder == "" || o.holder == holder) && (o.claims == nil || slices.Contains(o.claims, claim))
}

// breakHold deletes somebody else's claim, and reports whether it did: false says that the claim with that UID was gone
// already. Before that it writes into the claim who does it, for the Event. That needs the same right, so that a dry run
// ends there.
func (c *Client) breakHold(ctx context.Context, kind, name, claim string, uid types.UID, o options) (broken bool, err error) {
	err = c.markBroken(ctx, claim, uid, o)
	if err == nil && len(o.dryRun) == 0 {
		err = c.deleteClaim(ctx, claim, uid)
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("breaking the hold on %s: %w", ref(kind, name), c.explain(err, "patch,delete", plural(konductorv1.KindClaim), claim))
	}
	return true, nil
}

// markBroken writes into a claim that this user is about to delete it.
func (c *Client) markBroken(ctx context.Context, claim string, uid types.UID, o options) error {
	user, err := c.user(ctx)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": uid, "annotations": map[string]string{konductorv1.BrokenByAnnotation: user},
	}})
	if err != nil {
		return err
	}
	return c.retry(ctx, func() error {
		_, err := c.objects.claims.Patch(ctx, claim, types.MergePatchType, patch, metav1.PatchOptions{DryRun: o.dryRun})
		return err
	})
}

// user returns the name by which the API server knows us.
func (c *Client) user(ctx context.Context) (string, error) {
	var answered []byte
	err := c.retry(ctx, func() (err error) {
		answered, err = answer(c.server.Post().AbsPath("/apis/authentication.k8s.io/v1/selfsubjectreviews").
			SetHeader("Content-Type", "application/json").
			Body([]byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)).Do(ctx))
		return err
	})
	if err != nil {
		return "", err
	}
	var review struct {
		Status struct {
			UserInfo struct {
				Username string `json:"username"`
			} `json:"userInfo"`
		} `json:"status"`
	}
	err = json.Unmarshal(answered, &review)
	return review.Status.UserInfo.Username, err
}

// ListClaims returns the claims on a lease or semaphore, those that wait and those that hold.
func (c *Client) ListClaims(ctx context.Context, kind, name string) (*konductorv1.ClaimList, error) {
	selector := fields.Set{"spec.target.kind": kind, "spec.target.name": name}.AsSelector().String()
	list, err := c.objects.claims.List(ctx, metav1.ListOptions{FieldSelector: selector})
	return list, c.explain(err, "list", plural(konductorv1.KindClaim), "")
}
