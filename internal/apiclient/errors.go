package apiclient

import (
	"errors"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// IsObjectNotFound reports whether the API server has said that an object doesn't exist. A gateway may answer "not found" as
// well, and so may an API server that doesn't serve the resource at the moment: neither says anything about the object.
func IsObjectNotFound(err error) bool {
	var answered apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &answered) {
		return false
	}
	details := answered.Status().Details
	return details != nil && details.Name != "" && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// IsDeniedByAdmission reports whether an admission policy or a webhook has denied a request, with any status code. The code
// may be that of an invalid object, but the error says nothing about the object.
func IsDeniedByAdmission(err error) bool {
	return strings.Contains(err.Error(), "denied request: ") || strings.Contains(err.Error(), "denied the request")
}
