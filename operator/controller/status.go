package controller

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/LogicIQ/konductor/apis/rules"
)

// informWithin is how long news that nobody waits for (how many have arrived, how many wait) may be held back to be
// written together.
const informWithin = 100 * time.Millisecond

// revisionOf returns the object's resourceVersion as a number.
func revisionOf(obj client.Object) (uint64, error) {
	rev, err := strconv.ParseUint(obj.GetResourceVersion(), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("resourceVersion %q of %s is not a number: %w", obj.GetResourceVersion(), obj.GetName(), err)
	}
	return rev, nil
}

// memory is the last version of an object that we wrote or read ourselves. It may be newer than the cache, and a
// decision on an older version would only be refused by the API server.
type memory[T client.Object] struct {
	mu        sync.Mutex
	last      T
	known     bool
	writtenAt time.Duration
}

// newer returns cached, or what is remembered if that is a later version of the same object.
func (m *memory[T]) newer(cached T) T {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.known || m.last.GetUID() != cached.GetUID() {
		return cached
	}
	mine, err := revisionOf(m.last)
	if err != nil {
		return cached
	}
	if theirs, err := revisionOf(cached); err != nil || mine <= theirs {
		return cached
	}
	return m.last
}

// wrote remembers obj, as written at elapsed on the operator's clock.
func (m *memory[T]) wrote(obj T, elapsed time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.writtenAt = elapsed
	m.keep(obj)
}

// read remembers obj.
func (m *memory[T]) read(obj T) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.keep(obj)
}

// keep remembers obj without what is never looked at. The caller holds m.mu.
func (m *memory[T]) keep(obj T) {
	obj.SetManagedFields(nil)
	m.last, m.known = obj, true
}

// holdBack returns how much longer news that nobody waits for should be held back; zero: write it now.
func (m *memory[T]) holdBack(now rules.Now) time.Duration {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writtenAt == 0 {
		return 0
	}
	return max(m.writtenAt+informWithin-now.Elapsed, 0)
}

// recordAll records the events on obj.
func recordAll(recorder record.EventRecorder, obj client.Object, events []rules.Event) {
	for _, e := range events {
		kind := corev1.EventTypeNormal
		if e.Warning {
			kind = corev1.EventTypeWarning
		}
		recorder.Event(obj, kind, e.Reason, e.Message)
	}
}

// deleteExactly deletes that version of that object: one that has changed, or was created anew under the same name,
// stays. An object that is gone already is no error.
func deleteExactly(ctx context.Context, c client.Client, obj client.Object) error {
	uid, version := obj.GetUID(), obj.GetResourceVersion()
	preconditions := client.Preconditions{UID: &uid, ResourceVersion: &version}
	return ignoreLost(c.Delete(ctx, obj, preconditions))
}

// deleteByUID deletes the object with that UID, in whatever version.
func deleteByUID(ctx context.Context, c client.Client, obj client.Object, uid types.UID) error {
	return ignoreLost(c.Delete(ctx, obj, client.Preconditions{UID: &uid}))
}

// denied reports whether somebody's admission policy or webhook has refused a request. It may do so with the code of an
// object that is not valid, but says nothing about the object.
func denied(err error) bool {
	return strings.Contains(err.Error(), "denied request: ") || strings.Contains(err.Error(), "denied the request")
}

// ignoreLost drops the errors that say that the object is not any more what we took it for. An event will tell.
func ignoreLost(err error) error {
	if apierrors.IsNotFound(err) || apierrors.IsConflict(err) {
		return nil
	}
	return err
}
