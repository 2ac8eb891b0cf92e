package konductor

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func typeMeta(kind string) metav1.TypeMeta {
	return metav1.TypeMeta{APIVersion: konductorv1.GroupVersion().String(), Kind: kind}
}

// ownerReference returns the reference that makes a child be deleted with its parent. Its UID records for which object of
// that name the child was created.
func ownerReference(kind string, parent metaObject) metav1.OwnerReference {
	return metav1.OwnerReference{
		APIVersion: konductorv1.GroupVersion().String(), Kind: kind, Name: parent.GetName(), UID: parent.GetUID(),
	}
}

// get returns the object of that name, for a call that takes part.
func get[T any](ctx context.Context, c *Client, r interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (T, error)
}, kind, name string) (obj T, err error) {
	return getWithBackoff(ctx, c, backoff{}, r, kind, name)
}

// getInteractive returns the object of that name, for a person.
func getInteractive[T any](ctx context.Context, c *Client, r interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (T, error)
}, kind, name string) (obj T, err error) {
	return getWithBackoff(ctx, c, backoff{mode: modeInteractive}, r, kind, name)
}

func getWithBackoff[T any](ctx context.Context, c *Client, b backoff, r interface {
	Get(ctx context.Context, name string, opts metav1.GetOptions) (T, error)
}, kind, name string) (obj T, err error) {
	if name == "" {
		return obj, errNameRequired
	}
	err = c.retryWithBackoff(ctx, ctx, &b, func(ctx context.Context) (err error) {
		obj, err = r.Get(ctx, name, metav1.GetOptions{})
		return err
	})
	return obj, c.explain(err, "get", groupResource(kind), name)
}

// listInteractive returns the objects of a kind, for a person.
func listInteractive[L any](ctx context.Context, c *Client, r interface {
	List(ctx context.Context, opts metav1.ListOptions) (L, error)
}, kind string, opts metav1.ListOptions) (list L, err error) {
	err = c.retryInteractive(ctx, func(ctx context.Context) (err error) {
		list, err = r.List(ctx, opts)
		return err
	})
	return list, c.explain(err, "list", groupResource(kind), "")
}

// create creates an object. It is an error if an object of that name exists, unless a request of this very call has created
// it, and the answer was lost.
func create[T apiObject](ctx context.Context, c *Client, r interface {
	Create(ctx context.Context, obj T, opts metav1.CreateOptions) (T, error)
	Get(ctx context.Context, name string, opts metav1.GetOptions) (T, error)
}, obj T, opts metav1.CreateOptions) (made T, err error) {
	if opts.DryRun == nil {
		annotateAttempt(obj)
	}
	outcomeUnknown := false
	err = c.retryInteractive(ctx, func(ctx context.Context) (err error) {
		made, err = r.Create(ctx, obj, opts)
		if outcomeUnknown && apierrors.IsAlreadyExists(err) {
			there, getErr := r.Get(ctx, obj.GetName(), metav1.GetOptions{})
			if getErr != nil && classifyError(getErr) != classPermanent {
				return getErr
			}
			if getErr == nil && hasSameAttempt(there, obj) {
				made, err = there, nil
			}
		}
		outcomeUnknown = outcomeUnknown || opts.DryRun == nil && mayHaveBeenApplied(err)
		return err
	})
	return made, err
}

// attemptAnnotation identifies the call that created an object. When the answer to the request was lost, the call
// recognizes its own object by it among objects of the same name.
const attemptAnnotation = "konductor.io/attempt"

// annotateAttempt gives an object that is to be created a unique attemptAnnotation.
func annotateAttempt(obj metav1.Object) {
	annotations := maps.Clone(obj.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[attemptAnnotation] = rand.Text()
	obj.SetAnnotations(annotations)
}

// hasSameAttempt reports whether the existing object is the one that this call has requested, and did not exist before.
func hasSameAttempt(there, wanted metav1.Object) bool {
	return there.GetAnnotations()[attemptAnnotation] == wanted.GetAnnotations()[attemptAnnotation]
}

// deleter deletes objects of one kind.
type deleter interface {
	Delete(ctx context.Context, name string, opts metav1.DeleteOptions) error
}

func deleteObject(ctx context.Context, c *Client, r deleter, kind, name string, o options) error {
	if name == "" {
		return errNameRequired
	}
	err := c.deleteWithPreconditions(ctx, r, name, o, "")
	if apierrors.IsConflict(err) {
		return c.replacedError(kind, name)
	}
	return c.explain(err, "delete", groupResource(kind), name)
}

// deleteWithPreconditions deletes an object on condition of its UID, if the options have one, and of its resourceVersion,
// if one is given.
func (c *Client) deleteWithPreconditions(ctx context.Context, r deleter, name string, o options, version string) error {
	wanted := metav1.DeleteOptions{DryRun: o.dryRun}
	if o.onlyUID != "" || version != "" {
		wanted.Preconditions = &metav1.Preconditions{}
	}
	if o.onlyUID != "" {
		wanted.Preconditions.UID = &o.onlyUID
	}
	if version != "" {
		wanted.Preconditions.ResourceVersion = &version
	}
	return c.deleteWithRetry(ctx, &backoff{mode: modeInteractive}, r, name, wanted)
}

// deleteUnlessHeld deletes a lease or semaphore. With UnlessHeld it does so on condition that the object hasn't changed
// since getHolder found that nobody holds it.
func deleteUnlessHeld(ctx context.Context, c *Client, r deleter, kind, name string, o options, getHolder func() (metaObject, string, error)) error {
	if !o.unlessHeld {
		return deleteObject(ctx, c, r, kind, name, o)
	}
	for {
		now, holder, err := getHolder()
		switch {
		case err != nil:
			return err
		case o.onlyUID != "" && now.GetUID() != o.onlyUID:
			return c.replacedError(kind, name)
		case holder != "":
			return &BusyError{Object: ref(kind, name)}
		}
		err = c.deleteWithPreconditions(ctx, r, name, o, now.GetResourceVersion())
		if apierrors.IsConflict(err) {
			continue
		}
		return c.explain(err, "delete", groupResource(kind), name)
	}
}

// isUIDMismatch reports whether the API server has refused a patch because the object has another UID than the patch says.
func isUIDMismatch(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || !apierrors.IsInvalid(err) || status.Status().Details == nil {
		return false
	}
	return slices.ContainsFunc(status.Status().Details.Causes, func(c metav1.StatusCause) bool { return c.Field == "metadata.uid" })
}

// replacedError returns the error that the object of that name is not the one with the UID that was given.
func (c *Client) replacedError(kind, name string) error {
	return &NotFoundError{
		Kind: kind, Name: name, Namespace: c.namespace, Deleted: true,
		Message: fmt.Sprintf("%s in namespace %s was deleted and recreated in the meantime: nothing was done", ref(kind, name), c.namespace),
	}
}

// deleteWithRetry deletes an object. If the object is gone after an answer was lost, this call has probably deleted it, and
// succeeds. Another version of the object is no such sign.
func (c *Client) deleteWithRetry(ctx context.Context, b *backoff, r deleter, name string, opts metav1.DeleteOptions) error {
	outcomeUnknown := false
	return c.retryWithBackoff(ctx, ctx, b, func(ctx context.Context) error {
		err := r.Delete(ctx, name, opts)
		replaced := apierrors.IsConflict(err) && classifyError(err) == classPermanent && opts.Preconditions != nil && opts.Preconditions.ResourceVersion == nil
		if outcomeUnknown && (isObjectNotFound(err) || replaced) {
			return nil
		}
		outcomeUnknown = outcomeUnknown || mayHaveBeenApplied(err)
		return err
	})
}

// groupResource returns the resource of a konductor kind, as RBAC names it: leases.konductor.io for Lease.
func groupResource(kind string) string {
	return map[string]string{
		"Barrier": "barriers", "Gate": "gates", "Lease": "leases", "Semaphore": "semaphores", "Claim": "claims", "Arrival": "arrivals",
	}[kind] + ".konductor.io"
}

// resourceOfKind returns the resource of a kind as RBAC names it: leases.konductor.io for Lease, namespaces for Namespace.
func resourceOfKind(kind string) string {
	plural := strings.ToLower(kind) + "s"
	if resource := plural + "." + konductorv1.GroupName; kindOfResource(resource) == kind {
		return resource
	}
	return plural
}

// kindOfResource returns the kind of a konductor resource, or the singular of another group's.
func kindOfResource(resource string) string {
	for _, kind := range []string{
		konductorv1.KindBarrier, konductorv1.KindGate, konductorv1.KindLease, konductorv1.KindSemaphore, konductorv1.KindClaim, konductorv1.KindArrival,
	} {
		if groupResource(kind) == resource {
			return kind
		}
	}
	return strings.TrimSuffix(resource, "s")
}

// ref names an object as kubectl does: lease/db.
func ref(kind, name string) string { return strings.ToLower(kind) + "/" + name }

var errNameRequired = errors.New("a name is required")
