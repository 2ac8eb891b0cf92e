package view

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// World is everything that a watch has brought so far. It is not safe for concurrent use.
type World struct {
	objects map[Ref]metav1.Object
	known   map[string]bool // kinds that have been listed
	denied  map[string]string
	rows    map[Ref]*Row
	stale   map[Ref]bool // rows to make anew
	claims  map[Ref]map[string]*konductorv1.Claim
	arrived map[Ref]map[string]*konductorv1.Arrival
	events  chronicle
	link    Link
	skew    time.Duration
	// analysis is the last one that details needed.
	analysis analysis
}

// NewWorld returns an empty world.
func NewWorld() *World {
	return &World{
		objects: map[Ref]metav1.Object{}, known: map[string]bool{}, denied: map[string]string{},
		rows: map[Ref]*Row{}, stale: map[Ref]bool{},
		claims: map[Ref]map[string]*konductorv1.Claim{}, arrived: map[Ref]map[string]*konductorv1.Arrival{},
	}
}

// Change is what happened to an object.
type Change struct {
	// Type is ADDED, MODIFIED or DELETED, as in a watch.
	Type string
	// Row is the object as it is now, or was before it was deleted.
	Row *Row
}

// Types of changes.
const (
	Added    = "ADDED"
	Modified = "MODIFIED"
	Deleted  = "DELETED"
)

// Apply takes in news and returns what changed in what there is to see: the passing of time is no change, nor is the
// renewal of a hold.
func (w *World) Apply(news News) []Change {
	w.link, w.skew = news.Link, news.Skew
	for _, k := range news.Kinds {
		w.applyKind(k)
	}
	return w.refresh()
}

func (w *World) applyKind(k KindNews) {
	w.denied[k.Kind] = k.Denied
	if k.Denied != "" {
		w.known[k.Kind] = true
	}
	if k.All {
		w.known[k.Kind] = true
		w.dropOthers(k)
	}
	for _, ref := range k.Gone {
		w.drop(ref)
	}
	for _, obj := range k.Put {
		w.put(k.Kind, obj)
	}
}

// dropOthers drops the objects of a kind that are not in its list.
func (w *World) dropOthers(k KindNews) {
	if k.Kind == KindEvent {
		w.events.clear()
		return
	}
	listed := make(map[Ref]bool, len(k.Put))
	for _, obj := range k.Put {
		listed[Ref{k.Kind, obj.GetNamespace(), obj.GetName()}] = true
	}
	for ref := range w.objects {
		if ref.Kind == k.Kind && !listed[ref] {
			w.drop(ref)
		}
	}
}

func (w *World) put(kind string, obj metav1.Object) {
	if e, ok := obj.(*corev1.Event); ok {
		w.events.add(e)
		return
	}
	ref := Ref{kind, obj.GetNamespace(), obj.GetName()}
	w.objects[ref] = obj
	switch o := obj.(type) {
	case *konductorv1.Claim:
		target := Ref{o.Spec.Target.Kind, o.Namespace, o.Spec.Target.Name}
		putChild(w.claims, target, o.Name, o)
		w.stale[target] = true
	case *konductorv1.Arrival:
		putChild(w.arrived, Ref{konductorv1.KindBarrier, o.Namespace, o.Spec.Barrier}, o.Name, o)
	default:
		w.stale[ref] = true
	}
}

func (w *World) drop(ref Ref) {
	obj, ok := w.objects[ref]
	if !ok {
		return
	}
	delete(w.objects, ref)
	switch o := obj.(type) {
	case *konductorv1.Claim:
		target := Ref{o.Spec.Target.Kind, o.Namespace, o.Spec.Target.Name}
		dropChild(w.claims, target, o.Name)
		w.stale[target] = true
	case *konductorv1.Arrival:
		dropChild(w.arrived, Ref{konductorv1.KindBarrier, o.Namespace, o.Spec.Barrier}, o.Name)
	default:
		w.stale[ref] = true
	}
}

func putChild[T any](children map[Ref]map[string]T, parent Ref, name string, child T) {
	if children[parent] == nil {
		children[parent] = map[string]T{}
	}
	children[parent][name] = child
}

func dropChild[T any](children map[Ref]map[string]T, parent Ref, name string) {
	if delete(children[parent], name); len(children[parent]) == 0 {
		delete(children, parent)
	}
}

// refresh makes the rows of objects that have changed, and says what changed.
func (w *World) refresh() []Change {
	var changes []Change
	for ref := range w.stale {
		before, had := w.rows[ref]
		obj, has := w.objects[ref]
		var row *Row
		if has {
			row = w.newRow(obj)
		}
		switch {
		case row == nil && had:
			delete(w.rows, ref)
			changes = append(changes, Change{Deleted, before})
		case row == nil:
		case !had:
			w.rows[ref] = row
			changes = append(changes, Change{Added, row})
		default:
			w.rows[ref] = row
			if before.State != row.State || before.Gist() != row.Gist() || !before.Created.Equal(row.Created) {
				changes = append(changes, Change{Modified, row})
			}
		}
	}
	clear(w.stale)
	slices.SortFunc(changes, func(a, b Change) int { return byName(a.Row, b.Row) })
	return changes
}

// Rows returns a row for each object, in no particular order.
func (w *World) Rows() []*Row {
	rows := make([]*Row, 0, len(w.rows))
	for _, r := range w.rows {
		rows = append(rows, r)
	}
	return rows
}

// Row returns the row of an object, or nil when there is no such object.
func (w *World) Row(ref Ref) *Row { return w.rows[ref] }

// Object returns an object as the API server has it, or nil. It must not be written to.
func (w *World) Object(ref Ref) metav1.Object { return w.objects[ref] }

// Complete reports whether there is a whole picture: every primitive has been listed, or may not be.
func (w *World) Complete(kinds ...string) bool {
	if len(kinds) == 0 {
		kinds = Kinds()
	}
	for _, kind := range kinds {
		if !w.known[kind] {
			return false
		}
	}
	return true
}

// Denied says why objects of a kind can't be seen; empty: they can.
func (w *World) Denied(kind string) string { return w.denied[kind] }

// Link returns how the connection to the API server is.
func (w *World) Link() Link { return w.link }

// Skew returns how far the API server's clock is ahead of this machine's.
func (w *World) Skew() time.Duration { return w.skew }

// Namespaces returns the namespaces in which there are objects, in order.
func (w *World) Namespaces() []string {
	var names []string
	for ref := range w.rows {
		names = append(names, ref.Namespace)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// longestWait returns since when the claim waits that has waited longest.
func (w *World) longestWait(target Ref) (since time.Time) {
	for _, c := range w.claims[target] {
		if pending(c) && (since.IsZero() || c.CreationTimestamp.Time.Before(since)) {
			since = c.CreationTimestamp.Time
		}
	}
	return since
}

func pending(c *konductorv1.Claim) bool {
	return c.Status.Phase == konductorv1.ClaimPending || c.Status.Phase == ""
}

// refOf names an object of a type that is followed.
func refOf(obj metav1.Object) Ref {
	kind := ""
	switch obj.(type) {
	case *konductorv1.Barrier:
		kind = konductorv1.KindBarrier
	case *konductorv1.Gate:
		kind = konductorv1.KindGate
	case *konductorv1.Lease:
		kind = konductorv1.KindLease
	case *konductorv1.Semaphore:
		kind = konductorv1.KindSemaphore
	}
	return Ref{kind, obj.GetNamespace(), obj.GetName()}
}

// byName orders rows as they are listed: by kind, namespace and name.
func byName(a, b *Row) int {
	return cmp.Or(
		cmp.Compare(slices.Index(Kinds(), a.Kind), slices.Index(Kinds(), b.Kind)),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name),
	)
}
