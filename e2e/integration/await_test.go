package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// is waits until the object of that name exists and is as described, and returns it.
func is[T client.Object](w *world, name, what string, as func(T) bool) T {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	var last T
	seen := false
	err := follow(ctx, w.objects, w.namespace, name, func(obj T, deleted bool) bool {
		if deleted {
			return false
		}
		last, seen = obj, true
		return as(obj)
	})
	switch {
	case err == nil:
	case !seen:
		w.Fatalf("%T %s did not appear, to be %s: %v", last, name, what, err)
	default:
		last.SetManagedFields(nil)
		state, _ := json.MarshalIndent(last, "", "  ")
		w.Fatalf("%T %s did not become %s: %v\nit is\n%s", last, name, what, err, state)
	}
	return last
}

// isGone waits until that object, or one of its name if it has no UID, does not exist.
func isGone[T client.Object](w *world, obj T) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	for {
		current := empty[T]()
		err := w.objects.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: obj.GetName()}, current)
		if apierrors.IsNotFound(err) || (err == nil && obj.GetUID() != "" && current.GetUID() != obj.GetUID()) {
			return
		}
		if err != nil {
			w.Fatalf("%T %s is still there: %v", obj, obj.GetName(), err)
		}
		// A watch begins with what is there, so the deletion can't be missed in between; were it over already, the
		// watch would show nothing, hence the limit.
		moment, cancel := context.WithTimeout(ctx, time.Second)
		_ = follow(moment, w.objects, w.namespace, obj.GetName(), func(_ T, deleted bool) bool { return deleted })
		cancel()
	}
}

// follow shows see the object of that name as it is, and every change to it, until see is content. It reconnects.
func follow[T client.Object](ctx context.Context, c client.WithWatch, namespace, name string, see func(obj T, deleted bool) bool) error {
	list, err := listOf[T](c)
	if err != nil {
		return err
	}
	for {
		stream, err := c.Watch(ctx, list, client.InNamespace(namespace), client.MatchingFields{"metadata.name": name})
		if err == nil {
			done := drain(ctx, stream, see)
			stream.Stop()
			if done {
				return nil
			}
		}
		// The API server may be away: try again in a moment.
		timer := time.NewTimer(20 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
}

func drain[T client.Object](ctx context.Context, stream watch.Interface, see func(obj T, deleted bool) bool) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case e, ok := <-stream.ResultChan():
			if !ok || e.Type == watch.Error {
				return false
			}
			if obj, ok := e.Object.(T); ok && see(obj, e.Type == watch.Deleted) {
				return true
			}
		}
	}
}

// empty returns a new T.
func empty[T client.Object]() T {
	var t T
	return reflect.New(reflect.TypeOf(t).Elem()).Interface().(T)
}

// listOf returns an empty list for objects of type T.
func listOf[T client.Object](c client.Client) (client.ObjectList, error) {
	gvk, err := apiutil.GVKForObject(empty[T](), c.Scheme())
	if err != nil {
		return nil, err
	}
	gvk.Kind += "List"
	obj, err := c.Scheme().New(gvk)
	if err != nil {
		return nil, err
	}
	list, ok := obj.(client.ObjectList)
	if !ok {
		return nil, fmt.Errorf("%T is not a list", obj)
	}
	return list, nil
}

// get returns the object of that name in the test's namespace.
func get[T client.Object](w *world, name string) T {
	w.Helper()
	obj := empty[T]()
	if err := w.objects.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, obj); err != nil {
		w.Fatalf("reading %T %s: %v", obj, name, err)
	}
	return obj
}

// awaitEvent waits for an Event on an object whose message contains part.
func (w *world) awaitEvent(kind, name, reason, part string) *corev1.Event {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, patience)
	defer cancel()
	var found *corev1.Event
	for {
		stream, err := w.objects.Watch(ctx, &corev1.EventList{}, client.InNamespace(w.namespace), client.MatchingFields{"involvedObject.name": name})
		if err == nil {
			drain(ctx, stream, func(e *corev1.Event, _ bool) bool {
				if e.InvolvedObject.Kind == kind && e.Reason == reason && strings.Contains(e.Message, part) {
					found = e
				}
				return found != nil
			})
			stream.Stop()
		}
		if found != nil {
			return found
		}
		if ctx.Err() != nil {
			w.Fatalf("no event %s on %s %s came that says %q", reason, kind, name, part)
		}
	}
}
