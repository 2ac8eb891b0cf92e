package view

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Event is a Kubernetes Event, shortened for a line.
type Event struct {
	InvolvedObject Ref       `json:"about"`
	LastTimestamp  time.Time `json:"at"`
	Warning        bool      `json:"warning"`
	Reason         string    `json:"reason"`
	Message        string    `json:"message"`
	// Count is how many times it happened; LastTimestamp is that of the last time.
	Count int32 `json:"count"`
}

// maxEvents is how many events are kept. The API server keeps them for an hour.
const maxEvents = 2000

// maxMessageBytes is how many bytes of an event's message are kept. Other programs may write any number.
const maxMessageBytes = 4 << 10

// eventCache has the latest events by UID. An event that happens again keeps its UID.
type eventCache struct {
	byUID       map[types.UID]Event
	newestFirst []Event // nil: not sorted yet
}

func (c *eventCache) clear() { *c = eventCache{} }

func (c *eventCache) add(e *corev1.Event) {
	if c.byUID == nil {
		c.byUID = map[types.UID]Event{}
	}
	c.byUID[e.UID] = Event{
		InvolvedObject: Ref{e.InvolvedObject.Kind, e.InvolvedObject.Namespace, e.InvolvedObject.Name},
		LastTimestamp:  lastOccurrence(e), Warning: e.Type == corev1.EventTypeWarning, Reason: e.Reason, Message: truncateMessage(e.Message), Count: max(e.Count, 1),
	}
	c.newestFirst = nil
	if len(c.byUID) > 2*maxEvents {
		c.evictOldest()
	}
}

// truncateMessage returns the text, cut to maxMessageBytes.
func truncateMessage(text string) string {
	if len(text) <= maxMessageBytes {
		return text
	}
	return strings.Clone(strings.ToValidUTF8(text[:maxMessageBytes], "")) + "…"
}

// evictOldest drops the oldest events down to maxEvents. It is called rarely enough to sort them all.
func (c *eventCache) evictOldest() {
	uids := make([]types.UID, 0, len(c.byUID))
	for uid := range c.byUID {
		uids = append(uids, uid)
	}
	slices.SortFunc(uids, func(a, b types.UID) int { return c.byUID[b].LastTimestamp.Compare(c.byUID[a].LastTimestamp) })
	for _, uid := range uids[maxEvents:] {
		delete(c.byUID, uid)
	}
}

func (c *eventCache) sortedNewestFirst() []Event {
	if c.newestFirst == nil {
		for _, e := range c.byUID {
			c.newestFirst = append(c.newestFirst, e)
		}
		slices.SortFunc(c.newestFirst, func(a, b Event) int {
			return cmp.Or(b.LastTimestamp.Compare(a.LastTimestamp), cmp.Compare(a.InvolvedObject.String(), b.InvolvedObject.String()), cmp.Compare(a.Message, b.Message))
		})
	}
	return c.newestFirst
}

func lastOccurrence(e *corev1.Event) time.Time {
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

// Events returns up to limit events, the latest first: those about that object, or all when object is empty.
func (w *Store) Events(object Ref, limit int) []Event {
	var events []Event
	for _, e := range w.events.sortedNewestFirst() {
		if len(events) == limit {
			break
		}
		if object == (Ref{}) || e.InvolvedObject == object {
			events = append(events, e)
		}
	}
	return events
}
