package konductor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// NotFoundError says that an object doesn't exist, or was deleted while it was waited for.
type NotFoundError struct {
	// Kind and Name of the object.
	Kind, Name, Namespace string
	// Deleted says that it was there when the wait began.
	Deleted bool
	// Message, if any, says it in other words.
	Message string
}

func (e *NotFoundError) Error() string {
	switch {
	case e.Message != "":
		return e.Message
	case e.Deleted:
		return fmt.Sprintf("%s in namespace %s was deleted while it was waited for", ref(e.Kind, e.Name), e.Namespace)
	default:
		return fmt.Sprintf("%s not found in namespace %s", ref(e.Kind, e.Name), e.Namespace)
	}
}

// TimeoutError says that what was waited for did not happen in time.
type TimeoutError struct {
	// Object is what was waited for, as KIND/NAME.
	Object string
	// Timeout is how long it was waited for.
	Timeout time.Duration
	// Status is how it stood at the end, if that is known.
	Status string
}

func (e *TimeoutError) Error() string {
	message := fmt.Sprintf("timed out after %s waiting for %s", e.Timeout, e.Object)
	if e.Timeout == 0 {
		message = fmt.Sprintf("%s is not there yet", e.Object)
	}
	if e.Status != "" {
		message += ": " + e.Status
	}
	return message
}

// ForbiddenError says that the caller may not do what is needed, and how to allow it.
type ForbiddenError struct {
	// Verb, Resource (with its group) and Namespace say what is not allowed.
	Verb, Resource, Namespace string
	// User is who is not allowed to, if the API server said so.
	User string
	// Reason is what an admission policy had to say; the right itself is then not what is missing.
	Reason string
	// Unauthorized says that the API server doesn't know who is asking at all.
	Unauthorized bool
	err          error
}

func (e *ForbiddenError) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("not allowed to %s %s in namespace %s: %s", e.Verb, e.Resource, e.Namespace, e.Reason)
	}
	if e.Unauthorized {
		return fmt.Sprintf("the API server doesn't accept these credentials (%s %s in namespace %s): log in again, or check the kubeconfig's user", e.Verb, e.Resource, e.Namespace)
	}
	who := "you may"
	if e.User != "" {
		who = e.User + " may"
	}
	return fmt.Sprintf("%s not %s %s in namespace %s; to allow it: %s", who, e.Verb, e.Resource, e.Namespace, e.Grant())
}

// Grant returns the command that gives the missing right.
func (e *ForbiddenError) Grant() string {
	binding, subject := "konductor-participant", "--user="+e.User
	if account, ok := strings.CutPrefix(e.User, "system:serviceaccount:"); ok {
		subject = "--serviceaccount=" + account
		// A name of its own, so that the command also works where another account has been granted the right before.
		_, name, _ := strings.Cut(account, ":")
		binding += "-" + name
	} else if e.User == "" {
		subject = "--user=USER"
	}
	return fmt.Sprintf("kubectl create rolebinding %s --clusterrole=konductor-participant %s --namespace=%s", binding, subject, e.Namespace)
}

func (e *ForbiddenError) Unwrap() error { return e.err }

// BusyError says that a lease or semaphore could not be had at once, and that waiting was not wanted.
type BusyError struct {
	// Object is the lease or semaphore, as KIND/NAME.
	Object string
}

func (e *BusyError) Error() string { return e.Object + " is busy" }

// FailedError says that a barrier or gate has failed or timed out, so that waiting for it is pointless.
type FailedError struct {
	// Object is the barrier or gate, as KIND/NAME.
	Object string
	// Phase is Failed or Timeout.
	Phase string
	// Message says why.
	Message string
}

func (e *FailedError) Error() string {
	verb := "failed"
	if e.Phase == "Timeout" {
		verb = "timed out"
	}
	return fmt.Sprintf("%s %s: %s", e.Object, verb, e.Message)
}

// LostError says that a hold ended without having been released by its holder.
type LostError struct {
	// Object is the lease or semaphore, as KIND/NAME.
	Object string
	// Reason says how.
	Reason string
}

func (e *LostError) Error() string {
	return fmt.Sprintf("the hold on %s was lost: %s", e.Object, e.Reason)
}

// RefusedError says that a claim can't be granted, however long it waits.
type RefusedError struct {
	// Object is the lease or semaphore, as KIND/NAME.
	Object string
	// Reason says why.
	Reason string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s refused the claim: %s", e.Object, e.Reason)
}

// TermsError says that the same holder has a claim already, on other terms.
type TermsError struct {
	// Object is what the terms are about, as KIND/NAME.
	Object string
	// Holder is who has it.
	Holder string
	// Difference says which terms differ.
	Difference string
}

func (e *TermsError) Error() string {
	return fmt.Sprintf("%s has taken part in %s already on other terms (%s): release that first, or use another holder", e.Holder, e.Object, e.Difference)
}

// TTLError says that a hold's TTL is too short for the time that its work needs to stop.
type TTLError struct {
	// Object is the lease or semaphore, as KIND/NAME.
	Object string
	// TTL is that of the hold, and StopWithin how long the work needs.
	TTL, StopWithin time.Duration
}

func (e *TTLError) Error() string {
	return fmt.Sprintf("a hold on %s has a ttl of %s, which leaves no time for work that may need %s to stop: use a ttl of at least %s, or stop sooner", e.Object, e.TTL, e.StopWithin, 2*e.StopWithin)
}

// UninstalledError says that the cluster doesn't have konductor's resource types.
type UninstalledError struct{ err error }

func (e *UninstalledError) Error() string {
	return "this cluster doesn't know konductor's resources (group konductor.io): install konductor with its Helm chart first"
}

func (e *UninstalledError) Unwrap() error { return e.err }

// explain turns an error of the API server's into the one that says what to do. verb, resource and name say what was
// asked for.
func (c *Client) explain(err error, verb, resource, name string) error {
	return explain(err, verb, resource, c.namespace, name)
}

// Explain turns an error that the API server gave to a request for objects of a konductor kind into one of this
// package's types, where one fits. It is for programs that talk to the API server themselves.
func Explain(err error, verb, kind, namespace string) error {
	return explain(err, verb, plural(kind), namespace, "")
}

func explain(err error, verb, resource, namespace, name string) error {
	switch {
	case err == nil:
		return nil
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		e := &ForbiddenError{
			Verb: verb, Resource: resource, Namespace: namespace,
			Reason: admissionReason(err), Unauthorized: apierrors.IsUnauthorized(err), err: err,
		}
		if m := regexp.MustCompile(`User "([^"]+)"`).FindStringSubmatch(err.Error()); m != nil {
			e.User = m[1]
		}
		return e
	case noSuchResource(err):
		return &UninstalledError{err}
	case apierrors.IsNotFound(err):
		return &NotFoundError{Kind: kindOf(resource), Name: name, Namespace: namespace}
	default:
		return err
	}
}

// kindOf returns the kind of a konductor resource, or the resource itself when it is another's.
func kindOf(resource string) string {
	for _, kind := range []string{
		konductorv1.KindBarrier, konductorv1.KindGate, konductorv1.KindLease, konductorv1.KindSemaphore, konductorv1.KindClaim, konductorv1.KindArrival,
	} {
		if plural(kind) == resource {
			return kind
		}
	}
	return strings.TrimSuffix(resource, "s")
}

// admissionReason returns what an admission policy has to say, when it and not a missing right forbids the request.
func admissionReason(err error) string {
	_, reason, found := strings.Cut(err.Error(), "denied request: ")
	if !found || !strings.Contains(err.Error(), "ValidatingAdmissionPolicy") {
		return ""
	}
	return reason
}

// noSuchResource reports whether the API server doesn't serve the resource at all. It then says "not found" without
// naming an object.
func noSuchResource(err error) bool {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Code != http.StatusNotFound {
		return false
	}
	details := status.Status().Details
	return details == nil || details.Name == "" || len(details.Causes) > 0 && details.Causes[0].Type == metav1.CauseTypeUnexpectedServerResponse
}

// passing reports whether the same request may succeed later: the API server is starting, stopping, overloaded or out
// of reach.
func passing(err error) bool {
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return false
	}
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		code := status.Status().Code
		return code == http.StatusTooManyRequests || code >= http.StatusInternalServerError
	}
	return outOfReach(err)
}

// refused reports whether the API server says that we lack a right, or that it doesn't know us.
func refused(err error) bool {
	return (apierrors.IsForbidden(err) || apierrors.IsUnauthorized(err)) && admissionReason(err) == ""
}

// outOfReach reports whether no answer came.
func outOfReach(err error) bool {
	return utilnet.IsConnectionRefused(err) || utilnet.IsConnectionReset(err) || utilnet.IsProbableEOF(err) ||
		utilnet.IsTimeout(err) || utilnet.IsHTTP2ConnectionLost(err) || strings.Contains(err.Error(), "connect: ") ||
		strings.Contains(err.Error(), "unexpected EOF") || strings.Contains(err.Error(), "network is unreachable")
}
