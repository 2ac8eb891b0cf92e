package konductor

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// notHeldError returns the error that there is no hold to break. The %s in why stands for the object.
func (c *Client) notHeldError(kind, name, why string) error {
	return &NotFoundError{
		Kind: kind, Name: name, Namespace: c.namespace,
		Message: strings.Replace(why, "%s", ref(kind, name)+" in namespace "+c.namespace, 1),
	}
}

// matchesHold reports whether the options mean this hold. Who may break it is decided by the API server, with an admission
// policy of the chart (charts/konductor/templates/admission.yaml) and the verb break of a role.
func (o *options) matchesHold(holder string, claim types.UID) bool {
	return (o.holder == "" || o.holder == holder) && (o.onlyClaims == nil || slices.Contains(o.onlyClaims, claim))
}

// breakHold deletes another's claim, after it has recorded in the claim which user does so, for the Event. broken is false
// if the claim with that UID was gone already. A dry run ends after the record, which needs the same right.
func (c *Client) breakHold(ctx context.Context, kind, name, claim string, uid types.UID, o options) (broken bool, err error) {
	err = c.annotateBreaker(ctx, claim, uid, o)
	if err == nil && len(o.dryRun) == 0 {
		err = c.deleteClaim(ctx, claim, uid)
	}
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) || isUIDMismatch(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("breaking the hold on %s: %w", ref(kind, name), c.explain(err, "patch,delete", groupResource(konductorv1.KindClaim), claim))
	}
	return true, nil
}

// annotateBreaker records in a claim that this user is about to delete it.
func (c *Client) annotateBreaker(ctx context.Context, claim string, uid types.UID, o options) error {
	user, err := c.authenticatedUser(ctx)
	if err != nil {
		return err
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{
		"uid": uid, "annotations": map[string]string{konductorv1.BrokenByAnnotation: user},
	}})
	if err != nil {
		return err
	}
	return c.retryInteractive(ctx, func(ctx context.Context) error {
		_, err := c.clients.claims.Patch(ctx, claim, types.MergePatchType, patch, metav1.PatchOptions{DryRun: o.dryRun})
		return err
	})
}

// authenticatedUser returns the user name under which the API server knows this client.
func (c *Client) authenticatedUser(ctx context.Context) (string, error) {
	var answered []byte
	err := c.retryInteractive(ctx, func(ctx context.Context) (err error) {
		answered, err = responseBody(c.restClient.Post().AbsPath("/apis/authentication.k8s.io/v1/selfsubjectreviews").
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
