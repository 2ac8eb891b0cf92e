package konductor

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// NotFoundError says that an object doesn't exist, was deleted during the call, or isn't the one that OnlyUID names. A
// break returns it if there is no hold to break. For it, apierrors.IsNotFound is true.
type NotFoundError struct {
	// Kind, Name and Namespace identify the object.
	Kind, Name, Namespace string
	// Deleted says that the object existed before, or is being deleted.
	Deleted bool
	// Message replaces the text of the error, unless it is empty.
	Message string
}

func (e *NotFoundError) Error() string {
	switch {
	case e.Message != "":
		return e.Message
	case e.Deleted:
		return fmt.Sprintf("%s in namespace %s was deleted while waiting for it", ref(e.Kind, e.Name), e.Namespace)
	default:
		return fmt.Sprintf("%s not found in namespace %s", ref(e.Kind, e.Name), e.Namespace)
	}
}

// Unwrap returns the API server's error that means the same.
func (e *NotFoundError) Unwrap() error {
	return apierrors.NewNotFound(schema.ParseGroupResource(resourceOfKind(e.Kind)), e.Name)
}

// TimeoutError says that a call did not get what it waited for within its timeout. It is a context.DeadlineExceeded to
// errors.Is, as is the error of a call whose context had a deadline.
type TimeoutError struct {
	// Object is what the call waited for, as KIND/NAME.
	Object string
	// Timeout is how long the call waited; zero: it checked once.
	Timeout time.Duration
	// Status is the last observed status for people, if it is known.
	Status string
}

func (e *TimeoutError) Error() string {
	message := fmt.Sprintf("timed out after %s waiting for %s", e.Timeout, e.Object)
	if e.Timeout == 0 {
		message = fmt.Sprintf("%s is not open", e.Object)
	}
	if e.Status != "" {
		message += ": " + e.Status
	}
	return message
}

// Is reports whether target is context.DeadlineExceeded.
func (e *TimeoutError) Is(target error) bool { return target == context.DeadlineExceeded }

// UnansweredError says that a call that doesn't wait, with a timeout of 0, got no answer in the time that it gives the API
// server or the operator for one. It is a context.DeadlineExceeded to errors.Is.
type UnansweredError struct {
	// Object is the object of the call, as KIND/NAME.
	Object string
	// Message says who has not answered, and for how long.
	Message string
}

func (e *UnansweredError) Error() string { return e.Message }

// Is reports whether target is context.DeadlineExceeded.
func (e *UnansweredError) Is(target error) bool { return target == context.DeadlineExceeded }

// ForbiddenError says that the caller may not do what is needed, and how to allow it. For it, apierrors.IsForbidden or
// apierrors.IsUnauthorized is true.
type ForbiddenError struct {
	// Verb (several are separated by commas), Resource (with its group) and Namespace (empty: all) say what is not allowed.
	Verb, Resource, Namespace string
	// User is the name of the refused user, if the API server gave it.
	User string
	// Reason is the message of an admission policy, a webhook or a quota; the right itself is then not what is missing.
	Reason string
	// Unauthorized says that the API server doesn't accept the credentials (401).
	Unauthorized bool
	// Flags select the cluster in the commands of Grant, such as --context=prod; empty: the current context.
	Flags []string
	err   error
}

func (e *ForbiddenError) Error() string {
	if e.Reason != "" {
		return fmt.Sprintf("not allowed to %s %s in %s: %s", e.Verb, e.Resource, namespaceText(e.Namespace), e.Reason)
	}
	if e.Unauthorized {
		return fmt.Sprintf("the API server doesn't accept these credentials (%s %s in %s): log in again, or check the kubeconfig's user", e.Verb, e.Resource, namespaceText(e.Namespace))
	}
	who := "you may"
	if e.User != "" {
		who = e.User + " may"
	}
	return fmt.Sprintf("%s not %s %s in %s; to allow it: %s", who, e.Verb, e.Resource, namespaceText(e.Namespace), e.Grant())
}

// namespaceText names a namespace for people; empty means all namespaces.
func namespaceText(namespace string) string {
	if namespace == "" {
		return "all namespaces"
	}
	return "namespace " + namespace
}

// Grant returns the command that grants the missing right. A ServiceAccount that takes part gets the participant's role,
// which has all rights that it will need; everybody else gets exactly the missing right.
func (e *ForbiddenError) Grant() string {
	cluster := ""
	for _, flag := range e.Flags {
		cluster += " " + shellQuote(flag)
	}
	subject, who := "--user="+shellQuote(e.User), regexp.MustCompile(`[^A-Za-z0-9.-]+`).ReplaceAllString(e.User, "-")
	account, isAccount := strings.CutPrefix(e.User, "system:serviceaccount:")
	if isAccount {
		subject = "--serviceaccount=" + account
		// The account is part of the name, so that the command also works after another account was granted the right.
		_, who, _ = strings.Cut(account, ":")
	} else if e.User == "" {
		subject, who = "--user=USER", "user"
	}
	if isAccount && e.Namespace != "" && participantRoleAllows(e.Verb, e.Resource) {
		return fmt.Sprintf("kubectl create rolebinding konductor-participant-%s --clusterrole=konductor-participant %s --namespace=%s%s", who, subject, e.Namespace, cluster)
	}
	resource, _, _ := strings.Cut(e.Resource, ".")
	name := strings.Join([]string{"konductor", strings.ReplaceAll(e.Verb, ",", "-"), resource, who}, "-")
	if e.Namespace == "" {
		return fmt.Sprintf("kubectl create clusterrole %[1]s --verb=%[2]s --resource=%[3]s%[5]s && kubectl create clusterrolebinding %[1]s --clusterrole=%[1]s %[4]s%[5]s",
			name, e.Verb, e.Resource, subject, cluster)
	}
	return fmt.Sprintf("kubectl create role %[1]s --verb=%[2]s --resource=%[3]s --namespace=%[5]s%[6]s && kubectl create rolebinding %[1]s --role=%[1]s %[4]s --namespace=%[5]s%[6]s",
		name, e.Verb, e.Resource, subject, e.Namespace, cluster)
}

// participantRoleAllows reports whether the chart's role konductor-participant allows all of these verbs, separated by
// commas.
func participantRoleAllows(verbs, resource string) bool {
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

// shellQuote quotes a word for a shell if it needs that.
func shellQuote(word string) string {
	if regexp.MustCompile(`^[A-Za-z0-9_./:=@%+,-]*$`).MatchString(word) {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// Unwrap returns the API server's error.
func (e *ForbiddenError) Unwrap() error {
	switch {
	case e.err != nil:
		return e.err
	case e.Unauthorized:
		return apierrors.NewUnauthorized(e.Error())
	default:
		return apierrors.NewForbidden(schema.ParseGroupResource(e.Resource), "", errors.New(e.Error()))
	}
}

// BusyError says that a lease or semaphore is not available at once and the call doesn't wait, or that it is held and
// UnlessHeld forbids deleting it.
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
	if strings.HasPrefix(e.Message, verb+" ") {
		return e.Object + " " + e.Message
	}
	return fmt.Sprintf("%s %s: %s", e.Object, verb, e.Message)
}

// LostError says that a hold ended without having been released by its holder.
type LostError struct {
	// Object is the lease or semaphore, as KIND/NAME.
	Object string
	// Reason says why the hold ended.
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

// TermsError says that the same holder already has a claim with other terms, or that the same participant has already
// arrived with another outcome. For it, apierrors.IsConflict is true.
type TermsError struct {
	// Object is the lease, semaphore or barrier, as KIND/NAME.
	Object string
	// Holder is the name of the holder or participant.
	Holder string
	// Difference lists the terms that differ.
	Difference string
}

func (e *TermsError) Error() string {
	if strings.HasPrefix(e.Object, ref(konductorv1.KindBarrier, "")) {
		return fmt.Sprintf("%s has already arrived at %s with a different outcome (%s): delete that Arrival first, or use another holder", e.Holder, e.Object, e.Difference)
	}
	return fmt.Sprintf("%s already has a claim on %s with different terms (%s): release it first, or use another holder", e.Holder, e.Object, e.Difference)
}

// Unwrap returns the API server's error that means the same.
func (e *TermsError) Unwrap() error { return newConflict(e.Object, e) }

// ConflictError says that an object is not as the caller requires, see OnlyFromPermits, so that nothing was done. For it,
// apierrors.IsConflict is true.
type ConflictError struct {
	// Object is the object, as KIND/NAME.
	Object string
	// Message says what is different.
	Message string
}

func (e *ConflictError) Error() string { return e.Message }

// Unwrap returns the API server's error that means the same.
func (e *ConflictError) Unwrap() error { return newConflict(e.Object, e) }

// newConflict returns the API server's error that a request conflicts with the state of object, KIND/NAME.
func newConflict(object string, why error) error {
	kind, name, _ := strings.Cut(object, "/")
	return apierrors.NewConflict(schema.GroupResource{Group: konductorv1.GroupName, Resource: kind + "s"}, name, errors.New(why.Error()))
}

// TTLError says that a hold's TTL is too short for the time that its work needs to stop.
type TTLError struct {
	// Object is the lease or semaphore, as KIND/NAME.
	Object string
	// TTL is the hold's, and StopWithin is how long its work may take to stop.
	TTL, StopWithin time.Duration
}

func (e *TTLError) Error() string {
	return fmt.Sprintf("a ttl of %s on %s is too short for work that may need %s to stop: use a ttl of at least %s, or stop sooner", e.TTL, e.Object, e.StopWithin, 2*e.StopWithin)
}

// UninstalledError says that konductor's resource types are not installed in the cluster.
type UninstalledError struct {
	// Context is the name of the kubeconfig's context, if it is known.
	Context string
	err     error
}

func (e *UninstalledError) Error() string {
	if e.Context == "" {
		return "this cluster doesn't have konductor's resource types (group konductor.io): install konductor first, for example with 'kubectl konductor install'"
	}
	return fmt.Sprintf("the cluster of context %[1]s doesn't have konductor's resource types (group konductor.io): install konductor first, for example with 'kubectl konductor install --context=%[1]s'", shellQuote(e.Context))
}

// Unwrap returns the API server's error.
func (e *UninstalledError) Unwrap() error { return e.err }

// explain turns an error of the API server into the type of this package that says what to do, where one fits. verb,
// resource and name are those of the request.
func (c *Client) explain(err error, verb, resource, name string) error {
	err = explain(err, verb, resource, c.namespace, name)
	var uninstalled *UninstalledError
	if errors.As(err, &uninstalled) {
		uninstalled.Context = c.kubeContext
	}
	return err
}

// Explain turns the API server's error for a request on objects of a konductor kind into one of this package's types, where
// one fits. It is for programs that call the API server themselves.
func Explain(err error, verb, kind, namespace string) error {
	return explain(err, verb, groupResource(kind), namespace, "")
}

// isExplained reports whether err is one of this package's types that also answer as errors of the API server.
func isExplained(err error) bool {
	var (
		notFound    *NotFoundError
		forbidden   *ForbiddenError
		uninstalled *UninstalledError
		terms       *TermsError
		conflict    *ConflictError
	)
	return errors.As(err, &notFound) || errors.As(err, &forbidden) || errors.As(err, &uninstalled) || errors.As(err, &terms) || errors.As(err, &conflict)
}

func explain(err error, verb, resource, namespace, name string) error {
	switch {
	case err == nil:
		return nil
	case isExplained(err):
		return err
	case isNamespaceTerminating(err):
		return &NotFoundError{Kind: "Namespace", Name: namespace, Deleted: true, Message: fmt.Sprintf("namespace %s is being deleted", namespace)}
	case apierrors.IsForbidden(err), apierrors.IsUnauthorized(err):
		e := &ForbiddenError{
			Verb: verb, Resource: resource, Namespace: namespace,
			Reason: admissionReason(err), Unauthorized: apierrors.IsUnauthorized(err), err: err,
		}
		if m := regexp.MustCompile(`User "([^"]+)"`).FindStringSubmatch(err.Error()); m != nil {
			e.User = m[1]
		}
		return e
	case isNotServedError(err):
		return &UninstalledError{err: err}
	case isNamespaceNotFound(err):
		return &NotFoundError{Kind: "Namespace", Name: namespace, Message: fmt.Sprintf("namespace %s not found: check -n, or create it first", namespace)}
	case apierrors.IsNotFound(err):
		return &NotFoundError{Kind: kindOfResource(resource), Name: name, Namespace: namespace}
	default:
		return err
	}
}
