package live

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	corev1 "k8s.io/api/core/v1"

	"github.com/LogicIQ/konductor/internal/view"
)

// pendingDelta has the changes of one kind that were not drained yet. An object that changes again replaces its entry, so
// that the size is bounded by the number of objects, however long nobody drains. The feed's lock guards it.
type pendingDelta struct {
	kind          string
	objects       map[view.Ref]metav1.Object // nil value: deleted
	replace       bool
	listed        bool
	deniedMessage string
	changed       bool
}

// drain returns and removes the pending changes.
func (b *pendingDelta) drain() view.KindDelta {
	k := view.KindDelta{Kind: b.kind, Replace: b.replace, DeniedMessage: b.deniedMessage}
	for ref, obj := range b.objects {
		if obj == nil {
			k.Deleted = append(k.Deleted, ref)
		} else {
			k.Upserted = append(k.Upserted, obj)
		}
	}
	b.objects, b.replace, b.changed = map[view.Ref]metav1.Object{}, false, false
	return k
}

// pendingStore is the store that a reflector writes into.
type pendingStore struct {
	feed    *Feed
	pending *pendingDelta
}

var _ cache.ReflectorStore = (*pendingStore)(nil)

func (s *pendingStore) Add(obj any) error    { s.record(obj, false); return nil }
func (s *pendingStore) Update(obj any) error { s.record(obj, false); return nil }
func (s *pendingStore) Delete(obj any) error { s.record(obj, true); return nil }
func (s *pendingStore) Resync() error        { return nil }

func (s *pendingStore) Replace(list []any, _ string) error {
	s.modify(func() {
		s.pending.objects = make(map[view.Ref]metav1.Object, len(list))
		s.pending.replace, s.pending.listed = true, true
		for _, item := range list {
			if obj, ok := item.(metav1.Object); ok {
				s.pending.objects[s.refOf(obj)] = stripUnusedFields(obj)
			}
		}
	})
	return nil
}

func (s *pendingStore) record(item any, deleted bool) {
	obj, ok := item.(metav1.Object)
	if !ok {
		return
	}
	s.modify(func() {
		if deleted {
			s.pending.objects[s.refOf(obj)] = nil
			return
		}
		s.pending.objects[s.refOf(obj)] = stripUnusedFields(obj)
	})
}

// modify changes the pending delta, unless another one has replaced it.
func (s *pendingStore) modify(change func()) {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if s.feed.pending[s.pending.kind] != s.pending {
		return
	}
	change()
	s.pending.changed = true
	s.feed.scheduleNotify()
}

func (s *pendingStore) refOf(obj metav1.Object) view.Ref {
	return view.Ref{Kind: s.pending.kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// stripUnusedFields removes large fields that no view reads.
func stripUnusedFields(obj metav1.Object) metav1.Object {
	obj.SetManagedFields(nil)
	if pod, ok := obj.(*corev1.Pod); ok {
		pod.Spec.Volumes, pod.Spec.Tolerations, pod.Spec.Affinity = nil, nil, nil
	}
	return obj
}
