package live

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"

	corev1 "k8s.io/api/core/v1"

	"github.com/LogicIQ/konductor/plugins/konductor/view"
)

// inbox is the news of one kind that nobody has taken yet. An object that changes again replaces itself, so that it takes
// no more room than there are objects, however long nobody looks. The feed's lock guards it.
type inbox struct {
	kind    string
	objects map[view.Ref]metav1.Object // nil: deleted
	all     bool
	listed  bool
	denied  string
	news    bool
}

// empty takes out what is there.
func (b *inbox) empty() view.KindNews {
	k := view.KindNews{Kind: b.kind, All: b.all, Denied: b.denied}
	for ref, obj := range b.objects {
		if obj == nil {
			k.Gone = append(k.Gone, ref)
		} else {
			k.Put = append(k.Put, obj)
		}
	}
	b.objects, b.all, b.news = map[view.Ref]metav1.Object{}, false, false
	return k
}

// store is what a reflector writes into.
type store struct {
	feed *Feed
	box  *inbox
}

var _ cache.ReflectorStore = (*store)(nil)

func (s *store) Add(obj any) error    { s.put(obj, false); return nil }
func (s *store) Update(obj any) error { s.put(obj, false); return nil }
func (s *store) Delete(obj any) error { s.put(obj, true); return nil }
func (s *store) Resync() error        { return nil }

func (s *store) Replace(list []any, _ string) error {
	s.write(func() {
		s.box.objects = make(map[view.Ref]metav1.Object, len(list))
		s.box.all, s.box.listed = true, true
		for _, item := range list {
			if obj, ok := item.(metav1.Object); ok {
				s.box.objects[s.ref(obj)] = slim(obj)
			}
		}
	})
	return nil
}

func (s *store) put(item any, gone bool) {
	obj, ok := item.(metav1.Object)
	if !ok {
		return
	}
	s.write(func() {
		if gone {
			s.box.objects[s.ref(obj)] = nil
			return
		}
		s.box.objects[s.ref(obj)] = slim(obj)
	})
}

// write changes the inbox, unless it is not used any more.
func (s *store) write(change func()) {
	s.feed.mu.Lock()
	defer s.feed.mu.Unlock()
	if s.feed.inboxes[s.box.kind] != s.box {
		return
	}
	change()
	s.box.news = true
	s.feed.ring()
}

func (s *store) ref(obj metav1.Object) view.Ref {
	return view.Ref{Kind: s.box.kind, Namespace: obj.GetNamespace(), Name: obj.GetName()}
}

// slim drops what nobody looks at.
func slim(obj metav1.Object) metav1.Object {
	obj.SetManagedFields(nil)
	if pod, ok := obj.(*corev1.Pod); ok {
		pod.Spec.Volumes, pod.Spec.Tolerations, pod.Spec.Affinity = nil, nil, nil
	}
	return obj
}
