package view

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Store has the objects that watches have delivered so far. It is not safe for concurrent use.
type Store struct {
	objects           map[Ref]metav1.Object
	listedKinds       map[string]bool // listed, or denied
	deniedMessages    map[string]string
	rows              map[Ref]*Row
	staleRows         map[Ref]bool // rows to rebuild
	claimsByTarget    map[Ref]map[string]*konductorv1.Claim
	arrivalsByBarrier map[Ref]map[string]*konductorv1.Arrival
	events            eventCache
	connection        Connection
	clockSkew         time.Duration
	// analysis is the last one that Detail used.
	analysis cachedAnalysis
}

// NewStore returns an empty Store.
func NewStore() *Store {
	return &Store{
		objects: map[Ref]metav1.Object{}, listedKinds: map[string]bool{}, deniedMessages: map[string]string{},
		rows: map[Ref]*Row{}, staleRows: map[Ref]bool{},
		claimsByTarget: map[Ref]map[string]*konductorv1.Claim{}, arrivalsByBarrier: map[Ref]map[string]*konductorv1.Arrival{},
	}
}

// Change is a change of an object's row.
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

// Apply applies a Delta and returns the visible changes: neither the passing of time nor the renewal of a hold is one.
func (w *Store) Apply(news Delta) []Change {
	w.connection, w.clockSkew = news.Connection, news.ClockSkew
	for _, k := range news.Kinds {
		w.applyKind(k)
	}
	return w.rebuildStaleRows()
}

func (w *Store) applyKind(k KindDelta) {
	w.deniedMessages[k.Kind] = k.DeniedMessage
	if k.DeniedMessage != "" {
		w.listedKinds[k.Kind] = true
	}
	if k.Replace {
		w.listedKinds[k.Kind] = true
		w.removeUnlisted(k)
	}
	for _, ref := range k.Deleted {
		w.remove(ref)
	}
	for _, obj := range k.Upserted {
		w.upsert(k.Kind, obj)
	}
}

// removeUnlisted removes the objects of a kind that are not in its new list.
func (w *Store) removeUnlisted(k KindDelta) {
	if k.Kind == KindEvent {
		w.events.clear()
		return
	}
	listed := make(map[Ref]bool, len(k.Upserted))
	for _, obj := range k.Upserted {
		listed[Ref{k.Kind, obj.GetNamespace(), obj.GetName()}] = true
	}
	for ref := range w.objects {
		if ref.Kind == k.Kind && !listed[ref] {
			w.remove(ref)
		}
	}
}

func (w *Store) upsert(kind string, obj metav1.Object) {
	if e, ok := obj.(*corev1.Event); ok {
		w.events.add(e)
		return
	}
	ref := Ref{kind, obj.GetNamespace(), obj.GetName()}
	w.objects[ref] = obj
	switch o := obj.(type) {
	case *konductorv1.Claim:
		target := Ref{o.Spec.Target.Kind, o.Namespace, o.Spec.Target.Name}
		addToIndex(w.claimsByTarget, target, o.Name, o)
		w.staleRows[target] = true
	case *konductorv1.Arrival:
		addToIndex(w.arrivalsByBarrier, Ref{konductorv1.KindBarrier, o.Namespace, o.Spec.Barrier}, o.Name, o)
	default:
		w.staleRows[ref] = true
	}
}

func (w *Store) remove(ref Ref) {
	obj, ok := w.objects[ref]
	if !ok {
		return
	}
	delete(w.objects, ref)
	switch o := obj.(type) {
	case *konductorv1.Claim:
		target := Ref{o.Spec.Target.Kind, o.Namespace, o.Spec.Target.Name}
		removeFromIndex(w.claimsByTarget, target, o.Name)
		w.staleRows[target] = true
	case *konductorv1.Arrival:
		removeFromIndex(w.arrivalsByBarrier, Ref{konductorv1.KindBarrier, o.Namespace, o.Spec.Barrier}, o.Name)
	default:
		w.staleRows[ref] = true
	}
}

func addToIndex[T any](children map[Ref]map[string]T, parent Ref, name string, child T) {
	if children[parent] == nil {
		children[parent] = map[string]T{}
	}
	children[parent][name] = child
}

func removeFromIndex[T any](children map[Ref]map[string]T, parent Ref, name string) {
	if delete(children[parent], name); len(children[parent]) == 0 {
		delete(children, parent)
	}
}

// rebuildStaleRows rebuilds the rows of changed objects, and returns the visible changes.
func (w *Store) rebuildStaleRows() []Change {
	var changes []Change
	for ref := range w.staleRows {
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
			if before.State != row.State || before.StateSummary() != row.StateSummary() || before.UID != row.UID || !before.Created.Equal(row.Created) {
				changes = append(changes, Change{Modified, row})
			}
		}
	}
	clear(w.staleRows)
	slices.SortFunc(changes, func(a, b Change) int { return compareRows(a.Row, b.Row) })
	return changes
}

// Rows returns a row for each object, in no particular order.
func (w *Store) Rows() []*Row {
	rows := make([]*Row, 0, len(w.rows))
	for _, r := range w.rows {
		rows = append(rows, r)
	}
	return rows
}

// Row returns the row of an object, or nil if there is no such object.
func (w *Store) Row(ref Ref) *Row { return w.rows[ref] }

// Object returns an object as the API server has it, or nil. It must not be modified.
func (w *Store) Object(ref Ref) metav1.Object { return w.objects[ref] }

// HasSynced reports whether every one of the kinds has been listed or denied; without arguments, the four primitives.
func (w *Store) HasSynced(kinds ...string) bool {
	if len(kinds) == 0 {
		kinds = PrimitiveKinds()
	}
	for _, kind := range kinds {
		if !w.listedKinds[kind] {
			return false
		}
	}
	return true
}

// DeniedMessage returns why objects of a kind can't be read; empty: they can.
func (w *Store) DeniedMessage(kind string) string { return w.deniedMessages[kind] }

// Connection returns the state of the connection to the API server.
func (w *Store) Connection() Connection { return w.connection }

// ClockSkew returns how far the API server's clock is ahead of this machine's.
func (w *Store) ClockSkew() time.Duration { return w.clockSkew }

// Namespaces returns the namespaces with primitives, sorted.
func (w *Store) Namespaces() []string {
	var names []string
	for ref := range w.rows {
		names = append(names, ref.Namespace)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// longestWaitSince returns when the pending claim that has waited longest was created; zero if there is none.
func (w *Store) longestWaitSince(target Ref) (since time.Time) {
	for _, c := range w.claimsByTarget[target] {
		if isPending(c) && (since.IsZero() || c.CreationTimestamp.Time.Before(since)) {
			since = c.CreationTimestamp.Time
		}
	}
	return since
}

func isPending(c *konductorv1.Claim) bool {
	return c.Status.Phase == konductorv1.ClaimPending || c.Status.Phase == ""
}

// refOf returns the Ref of a primitive.
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

// compareRows compares rows by kind, namespace and name.
func compareRows(a, b *Row) int {
	return cmp.Or(
		cmp.Compare(slices.Index(PrimitiveKinds(), a.Kind), slices.Index(PrimitiveKinds(), b.Kind)),
		cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name),
	)
}
