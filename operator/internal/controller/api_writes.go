package controller

import (
	"context"
	"errors"
	"strings"

	"github.com/LogicIQ/konductor/internal/rules"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// deleteIfUnchanged deletes obj in exactly this version: an object that has changed, or was created anew under the same
// name, stays. A missing object is no error.
func deleteIfUnchanged(ctx context.Context, c client.Client, obj client.Object) error {
	uid, version := obj.GetUID(), obj.GetResourceVersion()
	preconditions := client.Preconditions{UID: &uid, ResourceVersion: &version}
	return ignoreNotFoundOrConflict(c.Delete(ctx, obj, preconditions))
}

// deleteByUID deletes the object with that UID, in whatever version. A missing object is no error.
func deleteByUID(ctx context.Context, c client.Client, obj client.Object, uid types.UID) error {
	return ignoreNotFoundOrConflict(c.Delete(ctx, obj, client.Preconditions{UID: &uid}))
}

// isObjectNotFound reports whether the API server said that an object doesn't exist. A gateway may answer "not found" as
// well, and so may an API server that doesn't serve the type at the moment: neither says anything about the object.
func isObjectNotFound(err error) bool {
	var answered apierrors.APIStatus
	if !apierrors.IsNotFound(err) || !errors.As(err, &answered) {
		return false
	}
	details := answered.Status().Details
	return details != nil && details.Name != "" && !apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// isAdmissionDenied reports whether an admission policy or webhook denied a request. The code may be that of an invalid
// object, but it says nothing about the object.
func isAdmissionDenied(err error) bool {
	return strings.Contains(err.Error(), "denied request: ") || strings.Contains(err.Error(), "denied the request")
}

// ignoreNotFoundOrConflict drops the errors which say that the object has changed or is gone. Its watch event is on its way.
func ignoreNotFoundOrConflict(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}

// recordEvents records the events on obj.
func recordEvents(recorder record.EventRecorder, obj client.Object, events []rules.Event) {
	for _, e := range events {
		eventType := corev1.EventTypeNormal
		if e.Warning {
			eventType = corev1.EventTypeWarning
		}
		recorder.Event(obj, eventType, e.Reason, e.Message)
	}
}
