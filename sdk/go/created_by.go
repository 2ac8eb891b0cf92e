package konductor

import (
	"context"
	"encoding/json"
	"errors"
	"sync/atomic"

	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// createdByCache is the user as whom the API server authenticates this client, as the chart's policies write it. nil: not
// asked yet; empty: the API server doesn't say.
type createdByCache struct{ atomic.Pointer[string] }

// annotateCreatedBy records in a Claim or Arrival that is bound to no Pod which user creates, and so owns, it. From
// Kubernetes 1.36 on the API server sets that itself; before, it only verifies it. If the API server doesn't say which user
// this is, the object is created without the record.
func (c *Client) annotateCreatedBy(ctx context.Context, object *metav1.ObjectMeta) error {
	if c.identity.pod != "" {
		return nil
	}
	if c.createdBy.Load() == nil {
		who, err := c.whoAmI(ctx)
		if err != nil {
			return err
		}
		c.createdBy.Store(&who)
	}
	if who := *c.createdBy.Load(); who != "" {
		metav1.SetMetaDataAnnotation(object, konductorv1.CreatedByAnnotation, who)
	}
	return nil
}

// whoAmI asks the API server which user this is; empty: it refuses to say.
func (c *Client) whoAmI(ctx context.Context) (string, error) {
	var body []byte
	err := c.retryInteractive(ctx, func(ctx context.Context) (err error) {
		body, err = c.restClient.Post().AbsPath("/apis/authentication.k8s.io/v1/selfsubjectreviews").
			SetHeader("Content-Type", "application/json").SetHeader("Accept", "application/json").
			Body([]byte(`{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}`)).Do(ctx).Raw()
		return err
	})
	if refusal := apierrors.APIStatus(nil); errors.As(err, &refusal) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	review := &authenticationv1.SelfSubjectReview{}
	if err := json.Unmarshal(body, review); err != nil {
		return "", nil //nolint:nilerr // nobody knows who answered that; it doesn't keep us from acting
	}
	// A Pod that works in another namespace can't be bound to there, but the API server still knows it.
	who := review.Status.UserInfo.Username
	if pod := review.Status.UserInfo.Extra["authentication.kubernetes.io/pod-uid"]; len(pod) > 0 {
		who += " in pod " + pod[0]
	}
	return who, nil
}

// resetIfForbidden empties the cache if it may be the reason for a refusal: credentials can change while a program runs.
func (c *createdByCache) resetIfForbidden(err error) {
	if apierrors.IsForbidden(err) {
		c.Store(nil)
	}
}
