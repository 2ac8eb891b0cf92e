package konductor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"slices"
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
	// Reason is what an admission policy, a webhook or a quota had to say; the right itself is then not what is missing.
	Reason string
	// Unauthorized says that the API server doesn't know who is asking at all.
	Unauthorized bool
	err          error
}

func (e *ForbiddenError) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("not allowed to %s %s in %s: %s", e.Verb, e.Resource, where(e.Namespace), e.Reason)
	}
	if e.Unauthorized {
		return fmt.Sprintf("the API server doesn't accept these credentials (%s %s in %s): log in again, or check the kubeconfig's user", e.Verb, e.Resource, where(e.Namespace))
	}
	who := "you may"
	if e.User != "" {
		who = e.User + " may"
	}
	return fmt.Sprintf("%s not %s %s in %s; to allow it: %s", who, e.Verb, e.Resource, where(e.Namespace), e.Grant())
}

// where names a namespace; all when it is empty.
func where(namespace string) string {
	if namespace == "" {
		return "all namespaces"
	}
	return "namespace " + namespace
}

// Grant returns the command that gives the missing right: to a workload that takes part the participant's role, which has
// all that it will need; to all others exactly what is missing.
func (e *ForbiddenError) Grant() string {
	subject, who := "--user="+shellWord(e.User), regexp.MustCompile(`[^A-Za-z0-9.-]+`).ReplaceAllString(e.User, "-")
	account, isAccount := strings.CutPrefix(e.User, "system:serviceaccount:")
	if isAccount {
		subject = "--serviceaccount=" + account
		// A name of its own, so that the command also works where another account has been granted the right before.
		_, who, _ = strings.Cut(account, ":")
	} else if e.User == "" {
		subject, who = "--user=USER", "user"
	}
	if isAccount && e.Namespace != "" && participantMay(e.Verb, e.Resource) {
		return fmt.Sprintf("kubectl create rolebinding konductor-participant-%s --clusterrole=konductor-participant %s --namespace=%s", who, subject, e.Namespace)
	}
	resource, _, _ := strings.Cut(e.Resource, ".")
	name := strings.Join([]string{"konductor", strings.ReplaceAll(e.Verb, ",", "-"), resource, who}, "-")
	if e.Namespace == "" {
		return fmt.Sprintf("kubectl create clusterrole %[1]s --verb=%[2]s --resource=%[3]s && kubectl create clusterrolebinding %[1]s --clusterrole=%[1]s %[4]s",
			name, e.Verb, e.Resource, subject)
	}
	return fmt.Sprintf("kubectl create role %[1]s --verb=%[2]s --resource=%[3]s --namespace=%[5]s && kubectl create rolebinding %[1]s --role=%[1]s %[4]s --namespace=%[5]s",
		name, e.Verb, e.Resource, subject, e.Namespace)
}

// participantMay reports whether the role konductor-participant, as the chart has it, allows all of these verbs.
func participantMay(verbs, resource string) bool {
	allowed := map[string][]string{
		"barriers.konductor.io": {"get", "list", "watch"}, "gates.konductor.io": {"get", "list", "watch"},
		"leases.konductor.io": {"get", "list", "watch"}, "semaphores.konductor.io": {"get", "list", "watch"},
		"arrivals.konductor.io": {"create", "get"},
		"claims.konductor.io":   {"create", "get", "list", "watch", "patch", "delete"},
		"pods":                  {"get"},
	}[resource]
	for verb := range strings.SplitSeq(verbs, ",") {
		if !slices.Contains(allowed, verb) {
			return false
		}
	}
	return true
}

// shellWord quotes a word for a shell where it needs it.
func shellWord(word string) string {
	if regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]*$`).MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
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
type UninstalledError struct {
	// Context is that of the kubeconfig, if it is known.
	Context string
	err     error
}

func (e *UninstalledError) Error() string {
	if e.Context == "" {
		return "this cluster doesn't have konductor's resource types (group konductor.io): install konductor first, for example with 'kubectl konductor install'"
	}
	return fmt.Sprintf("the cluster of context %[1]s doesn't have konductor's resource types (group konductor.io): install konductor first, for example with 'kubectl konductor install --context=%[1]s'", shellWord(e.Context))
}

func (e *UninstalledError) Unwrap() error { return e.err }

// explain turns an error of the API server's into the one that says what to do. verb, resource and name say what was
// asked for.
func (c *Client) explain(err error, verb, resource, name string) error {
	err = explain(err, verb, resource, c.namespace, name)
	var uninstalled *UninstalledError
	if errors.As(err, &uninstalled) {
		uninstalled.Context = c.context
	}
	return err
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
		return &UninstalledError{err: err}
	case noSuchNamespace(err):
		return &NotFoundError{Kind: "Namespace", Name: namespace, Message: fmt.Sprintf("there is no namespace %s: check -n, or create it first", namespace)}
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

// admissionReason returns what admission has to say (a policy, a webhook, a quota, a namespace that is being deleted), when
// it and not a missing right forbids the request.
func admissionReason(err error) string {
	message := err.Error()
	if !apierrors.IsForbidden(err) || strings.Contains(message, `" cannot `) {
		return ""
	}
	if _, reason, found := strings.Cut(message, "denied request: "); found && strings.Contains(message, "ValidatingAdmissionPolicy 'konductor") {
		return reason
	}
	if _, reason, found := strings.Cut(message, " is forbidden: "); found {
		return reason
	}
	if denied(err) {
		return message
	}
	return ""
}

// denied reports whether a policy or a webhook has refused the request, with whatever code it gives. It says nothing about
// the object.
func denied(err error) bool {
	return strings.Contains(err.Error(), "denied request: ") || strings.Contains(err.Error(), "denied the request")
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

// noSuchNamespace reports whether it is the namespace that isn't there.
func noSuchNamespace(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
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
