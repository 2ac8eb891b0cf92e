package view

import (
	"cmp"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Event is something that happened.
type Event struct {
	About   Ref       `json:"about"`
	At      time.Time `json:"at"`
	Warning bool      `json:"warning"`
	Reason  string    `json:"reason"`
	Message string    `json:"message"`
	// Count is how many times it happened, At being the last.
	Count int32 `json:"count"`
}

// remembered is how many events are kept. The API server keeps them for an hour.
const remembered = 2000

// chronicle are the latest events, each known by its UID, since an event that happens again is the same one.
type chronicle struct {
	byUID  map[types.UID]Event
	sorted []Event // latest first; nil: to be made
}

func (c *chronicle) clear() { *c = chronicle{} }

func (c *chronicle) add(e *corev1.Event) {
	if c.byUID == nil {
		c.byUID = map[types.UID]Event{}
	}
	c.byUID[e.UID] = Event{
		About: Ref{e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name},
		At:    happened(e), Warning: e.Type == corev1.EventTypeWarning, Reason: e.Reason, Message: e.Message, Count: max(e.Count, 1),
	}
	c.sorted = nil
	if len(c.byUID) > 2*remembered {
		c.forget()
	}
}

// forget drops the oldest events. It is called rarely enough to sort them all.
func (c *chronicle) forget() {
	uids := make([]types.UID, 0, len(c.byUID))
	for uid := range c.byUID {
		uids = append(uids, uid)
	}
	slices.SortFunc(uids, func(a, b types.UID) int { return c.byUID[b].At.Compare(c.byUID[a].At) })
	for _, uid := range uids[remembered:] {
		delete(c.byUID, uid)
	}
}

func (c *chronicle) latestFirst() []Event {
	if c.sorted == nil {
		for _, e := range c.byUID {
			c.sorted = append(c.sorted, e)
		}
		slices.SortFunc(c.sorted, func(a, b Event) int {
			return cmp.Or(b.At.Compare(a.At), cmp.Compare(a.About.String(), b.About.String()), cmp.Compare(a.Message, b.Message))
		})
	}
	return c.sorted
}

func happened(e *corev1.Event) time.Time {
	switch {
	case e.Series != nil:
		return e.Series.LastObservedTime.Time
	case !e.LastTimestamp.IsZero():
		return e.LastTimestamp.Time
	case !e.EventTime.IsZero():
		return e.EventTime.Time
	default:
		return e.CreationTimestamp.Time
	}
}

// Events returns up to limit events, the latest first: those about that object, or all when about is empty.
func (w *World) Events(about Ref, limit int) []Event {
	var events []Event
	for _, e := range w.events.latestFirst() {
		if len(events) == limit {
			break
		}
		if about == (Ref{}) || e.About == about {
			events = append(events, e)
		}
	}
	return events
}
