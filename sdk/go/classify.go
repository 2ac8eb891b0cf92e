package konductor

import (
	"errors"
	"net"
	"net/http"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/LogicIQ/konductor/internal/apiclient"
)

// errorClass is what an error means for a retry of the request.
type errorClass int

const (
	// classPermanent is an answer that a retry would get again.
	classPermanent errorClass = iota
	// classTransient is no answer, or one that says nothing about the object.
	classTransient
	// classForbidden is an answer that is final only if it lasts and comes from an API server that is ready: a missing
	// right (403), unknown credentials (401), or a resource that is not served.
	classForbidden
	// classQuotaExceeded is the answer of a quota that has no room just now.
	classQuotaExceeded
)

// classifyError classifies an error of a request that the caller's context has not ended.
func classifyError(err error) errorClass {
	if isExplained(err) {
		return classPermanent // a call that was made for this one has waited out what can be waited out
	}
	var answered apierrors.APIStatus
	if !errors.As(err, &answered) {
		// There was no answer, or it was not an API server's: a name that doesn't resolve, a certificate that isn't known
		// yet, a connection that was cut, the page of a proxy.
		return classTransient
	}
	status := answered.Status()
	if isNotServedStatus(&status) {
		return classForbidden
	}
	if isProxyResponse(&status) {
		return classTransient
	}
	switch status.Code {
	case http.StatusBadRequest, http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotAcceptable,
		http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusUnprocessableEntity:
		return classPermanent
	case http.StatusUnauthorized:
		return classForbidden
	case http.StatusForbidden:
		return classifyForbidden(err)
	case http.StatusConflict:
		if apierrors.IsAlreadyExists(err) || strings.Contains(status.Message, "recondition") || strings.Contains(status.Message, "uid mismatch") {
			return classPermanent
		}
		// There was a concurrent write to the object, or to the quota that counts it.
		return classTransient
	default:
		return classTransient
	}
}

func classifyForbidden(err error) errorClass {
	message := err.Error()
	says := func(part string) bool { return strings.Contains(message, part) }
	switch {
	case says("exceeded quota"), says("insufficient quota"):
		return classQuotaExceeded
	case says("not yet ready to handle request"), says("status unknown for quota"):
		// Admission is starting, or a quota was just created.
		return classTransient
	case says("resulted in error"), says("failed to configure"):
		// A policy can't be evaluated, for example because its parameters are being replaced.
		return classForbidden
	case admissionReason(err) != "":
		return classPermanent
	default:
		return classForbidden
	}
}

// isObjectNotFound reports whether the API server has said that an object doesn't exist. A gateway may answer 404 too.
func isObjectNotFound(err error) bool {
	return apierrors.IsNotFound(err) && classifyError(err) == classPermanent
}

// isProxyResponse reports whether an answer is not the API server's but that of a proxy, a load balancer or a login page in
// front of it.
func isProxyResponse(status *metav1.Status) bool {
	return status.Details != nil && len(status.Details.Causes) > 0 && status.Details.Causes[0].Type == metav1.CauseTypeUnexpectedServerResponse
}

// isNotServedStatus reports whether the API server doesn't serve the resource. It then answers 404 without naming an
// object.
func isNotServedStatus(status *metav1.Status) bool {
	if status.Code != http.StatusNotFound {
		return false
	}
	if isProxyResponse(status) {
		return strings.HasPrefix(strings.TrimSpace(status.Details.Causes[0].Message), "404 page not found")
	}
	return status.Details == nil || status.Details.Name == ""
}

// mayHaveBeenApplied reports whether a write that failed with err may have been carried out anyway.
func mayHaveBeenApplied(err error) bool {
	var answered apierrors.APIStatus
	if errors.As(err, &answered) {
		status := answered.Status()
		return status.Code >= http.StatusInternalServerError || status.Code == http.StatusRequestTimeout || isProxyResponse(&status)
	}
	var dialing *net.OpError
	var resolving *net.DNSError
	return err != nil && !errors.As(err, &resolving) && (!errors.As(err, &dialing) || dialing.Op != "dial")
}

// isNamespaceTerminating reports whether the API server refuses to create an object because the namespace is being deleted.
func isNamespaceTerminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause)
}

// isNotServedError is isNotServedStatus for an error.
func isNotServedError(err error) bool {
	var answered apierrors.APIStatus
	if !errors.As(err, &answered) {
		return false
	}
	status := answered.Status()
	return isNotServedStatus(&status)
}

// isNamespaceNotFound reports whether the object that doesn't exist is the namespace.
func isNamespaceNotFound(err error) bool {
	var status apierrors.APIStatus
	return apierrors.IsNotFound(err) && errors.As(err, &status) && status.Status().Details != nil && status.Status().Details.Kind == "namespaces"
}

// admissionReason returns the message of admission (a policy, a webhook, a quota, a namespace that is being deleted) if
// that, and not a missing right, forbids the request; otherwise it is empty.
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
	if apiclient.IsDeniedByAdmission(err) {
		return message
	}
	return ""
}
