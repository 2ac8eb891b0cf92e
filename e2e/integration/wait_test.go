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

// waitFor waits until the object of that name exists and condition is true for it, and returns it.
func waitFor[T client.Object](w *testEnv, name, what string, condition func(T) bool) T {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, waitTimeout)
	defer cancel()
	var last T
	seen := false
	err := watchObject(ctx, w.client, w.namespace, name, func(obj T, deleted bool) bool {
		if deleted {
			return false
		}
		last, seen = obj, true
		return condition(obj)
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

// waitGone waits until that object, or if it has no UID any object of its name, does not exist.
func waitGone[T client.Object](w *testEnv, obj T) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, waitTimeout)
	defer cancel()
	for {
		current := newObject[T]()
		err := w.client.Get(ctx, client.ObjectKey{Namespace: w.namespace, Name: obj.GetName()}, current)
		if apierrors.IsNotFound(err) || (err == nil && obj.GetUID() != "" && current.GetUID() != obj.GetUID()) {
			return
		}
		if err != nil {
			w.Fatalf("%T %s is still there: %v", obj, obj.GetName(), err)
		}
		// A watch begins with the present state, so the deletion can't be missed in between; if it was over already, the watch would
		// show nothing, hence the limit.
		moment, cancel := context.WithTimeout(ctx, time.Second)
		_ = watchObject(moment, w.client, w.namespace, obj.GetName(), func(_ T, deleted bool) bool { return deleted })
		cancel()
	}
}

// watchObject calls visit with the present state of the object of that name, and after every change, until visit returns true. It
// reconnects.
func watchObject[T client.Object](ctx context.Context, c client.WithWatch, namespace, name string, visit func(obj T, deleted bool) bool) error {
	list, err := newListOf[T](c)
	if err != nil {
		return err
	}
	for {
		stream, err := c.Watch(ctx, list, client.InNamespace(namespace), client.MatchingFields{"metadata.name": name})
		if err == nil {
			done := consumeWatch(ctx, stream, visit)
			stream.Stop()
			if done {
				return nil
			}
		}
		// The API server may be unavailable: retry after a moment.
		timer := time.NewTimer(20 * time.Millisecond)
		select {
		case <-ctx.Done():
			timer.Stop()
			return context.Cause(ctx)
		case <-timer.C:
		}
	}
}

func consumeWatch[T client.Object](ctx context.Context, stream watch.Interface, visit func(obj T, deleted bool) bool) bool {
	for {
		select {
		case <-ctx.Done():
			return false
		case e, ok := <-stream.ResultChan():
			if !ok || e.Type == watch.Error {
				return false
			}
			if obj, ok := e.Object.(T); ok && visit(obj, e.Type == watch.Deleted) {
				return true
			}
		}
	}
}

func newObject[T client.Object]() T {
	var t T
	return reflect.New(reflect.TypeOf(t).Elem()).Interface().(T)
}

// newListOf returns an empty list for objects of type T.
func newListOf[T client.Object](c client.Client) (client.ObjectList, error) {
	gvk, err := apiutil.GVKForObject(newObject[T](), c.Scheme())
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

// getObject returns the object of that name in the test's namespace.
func getObject[T client.Object](w *testEnv, name string) T {
	w.Helper()
	obj := newObject[T]()
	if err := w.client.Get(w.ctx, client.ObjectKey{Namespace: w.namespace, Name: name}, obj); err != nil {
		w.Fatalf("reading %T %s: %v", obj, name, err)
	}
	return obj
}

// awaitEvent waits for an Event on an object whose message contains part.
func (w *testEnv) awaitEvent(kind, name, reason, part string) *corev1.Event {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.ctx, waitTimeout)
	defer cancel()
	var found *corev1.Event
	for {
		stream, err := w.client.Watch(ctx, &corev1.EventList{}, client.InNamespace(w.namespace), client.MatchingFields{"involvedObject.name": name})
		if err == nil {
			consumeWatch(ctx, stream, func(e *corev1.Event, _ bool) bool {
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
