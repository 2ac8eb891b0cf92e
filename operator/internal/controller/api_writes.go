package controller

import (
	"context"

	"github.com/LogicIQ/konductor/internal/rules"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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
