package view

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// listed is how many lines a section of the details has at most: more than anybody reads, and little enough to be made
// anew with every frame.
const listed = 500

// Detail is everything there is to see of one object, at one moment.
type Detail struct {
	Row *Row
	// Why is the root cause of why it doesn't go on; empty where it does, or not enough is known to say.
	Why string
	// Facts say what was declared and how it stands.
	Facts []Fact
	// Sections are lists: holders, the queue, arrivals, conditions, events and so on. None is empty.
	Sections []Section
}

// Fact is one thing to know, such as Quorum: 7.
type Fact struct{ Name, Value string }

// Section is a table under a title.
type Section struct {
	Title string
	// Columns are the headers; empty where the lines speak for themselves.
	Columns []string
	Lines   []Line
	// More says what is left out at the end; empty: nothing.
	More string
}

// Line is one line of a section.
type Line struct {
	Cells []string
	Mood  Mood
}

// Mood says how to show a line.
type Mood int

// Moods.
const (
	Plain Mood = iota
	Good
	Bad
	Dim
)

// Detail returns the details of an object at the time now of the API server's clock, or false when there is none.
func (w *World) Detail(ref Ref, now time.Time) (Detail, bool) {
	row := w.Row(ref)
	if row == nil {
		return Detail{}, false
	}
	d := Detail{Row: row, Why: w.why(ref, now)}
	d.Facts = append(d.Facts, Fact{"Namespace", row.Namespace})
	switch o := w.Object(ref).(type) {
	case *konductorv1.Barrier:
		w.barrierDetail(&d, o, now)
	case *konductorv1.Gate:
		gateDetail(&d, o, now)
	case *konductorv1.Lease:
		d.fact("TTL", o.Spec.TTL)
		w.heldDetail(&d, now)
		d.conditions(o.Status.Conditions, now)
	case *konductorv1.Semaphore:
		d.Facts = append(d.Facts, Fact{"Permits", fmt.Sprintf("%d in use of %d, %d free", o.Status.InUse, o.Spec.Permits, o.Status.Available)})
		d.fact("TTL", o.Spec.TTL)
		w.heldDetail(&d, now)
		d.conditions(o.Status.Conditions, now)
	}
	d.Facts = append(d.Facts, Fact{"Age", Age(row.Created, now)})
	w.eventsDetail(&d, now)
	w.behind(&d, now)
	return d, true
}

// fact adds a duration that was declared.
func (d *Detail) fact(name string, value *konductorv1.Duration) {
	if value != nil {
		d.Facts = append(d.Facts, Fact{name, value.Duration.Duration.String()})
	}
}

// section adds a section if it has lines, and cuts it to what can be shown.
func (d *Detail) section(s Section) {
	if len(s.Lines) == 0 && s.More == "" {
		return
	}
	if over := len(s.Lines) - listed; over > 0 {
		s.Lines = s.Lines[:listed]
		s.More = fmt.Sprintf("and %d more", over)
	}
	d.Sections = append(d.Sections, s)
}

func (d *Detail) conditions(conditions []metav1.Condition, now time.Time) {
	s := Section{Title: "Conditions", Columns: []string{"TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"}}
	for _, c := range conditions {
		line := Line{Cells: []string{c.Type, string(c.Status), c.Reason, Age(c.LastTransitionTime.Time, now), c.Message}}
		if c.Type == konductorv1.ConditionReady && c.Status == metav1.ConditionFalse {
			line.Mood = Bad
		}
		s.Lines = append(s.Lines, line)
	}
	d.section(s)
}

func gateDetail(d *Detail, g *konductorv1.Gate, now time.Time) {
	d.fact("Timeout", g.Spec.Timeout)
	d.fact("TTL", g.Spec.TTL)
	s := Section{Title: fmt.Sprintf("Waits for (%d of %d met)", d.Row.Done, d.Row.Total), Columns: []string{"MET", "OBJECT", "WHAT WAS SEEN"}}
	for i := range g.Status.ConditionStatuses {
		c := &g.Status.ConditionStatuses[i]
		line := Line{Cells: []string{"no", conditionName(c), c.Message}, Mood: Plain}
		if c.Met {
			line.Cells[0], line.Mood = "yes", Good
		}
		s.Lines = append(s.Lines, line)
	}
	d.section(s)
	d.conditions(g.Status.Conditions, now)
}

// heldDetail adds who holds a lease or semaphore, and who waits for it in the order in which they will be served.
func (w *World) heldDetail(d *Detail, now time.Time) {
	several := d.Row.Kind == konductorv1.KindSemaphore
	permits := func(cells []string, n int32) []string {
		if several {
			return slices.Insert(cells, len(cells)-3, strconv.Itoa(int(n)))
		}
		return cells
	}
	holders := Section{Title: fmt.Sprintf("Holders (%d)", len(d.Row.Holds)), Columns: []string{"HOLDER", "POD", "HELD FOR", "EXPIRES", "TOKEN"}}
	waiting := Section{Columns: []string{"PLACE", "HOLDER", "POD", "WAITING", "PRIORITY", "PERMITS"}}
	if several {
		holders.Columns = slices.Insert(holders.Columns, 2, "PERMITS")
	} else {
		waiting.Columns = waiting.Columns[:5]
	}
	for _, h := range d.Row.Holds {
		until := "with its pod"
		if !h.Until.IsZero() {
			until = in(h.Until, now)
		}
		cells := permits([]string{h.Holder, w.podOf(d.Row.Ref, h.Claim), Age(h.Since, now), until, strconv.FormatInt(h.Token, 10)}, h.Permits)
		holders.Lines = append(holders.Lines, Line{Cells: cells})
	}
	d.section(holders)
	queue := w.queue(d.Row.Ref)
	waiting.Title = fmt.Sprintf("Queue (%d)", len(queue))
	for i, c := range queue {
		cells := []string{strconv.Itoa(i + 1), c.Spec.Holder, boundTo(c.Spec.BoundTo), Age(c.CreationTimestamp.Time, now), strconv.Itoa(int(c.Spec.Priority))}
		if several {
			cells = append(cells, strconv.Itoa(int(c.Spec.Permits)))
		}
		waiting.Lines = append(waiting.Lines, Line{Cells: cells})
	}
	if denied := w.Denied(konductorv1.KindClaim); denied != "" {
		waiting.Title, waiting.More = "Queue", denied
	}
	d.section(waiting)
}

// queue returns the claims that wait for an object, in the order in which they will be served.
func (w *World) queue(target Ref) []*konductorv1.Claim {
	var queue []*konductorv1.Claim
	for _, c := range w.claims[target] {
		if pending(c) {
			queue = append(queue, c)
		}
	}
	slices.SortFunc(queue, func(a, b *konductorv1.Claim) int {
		switch {
		case rules.Before(a, b, revision):
			return -1
		case rules.Before(b, a, revision):
			return 1
		default:
			return 0
		}
	})
	return queue
}

// revision is that of a claim's creation, since nothing writes to one that waits.
func revision(c *konductorv1.Claim) uint64 {
	n, err := strconv.ParseUint(c.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// podOf names the Pod that a hold is bound to, or says that there is none.
func (w *World) podOf(target Ref, claim string) string {
	c, ok := w.claims[target][claim]
	if !ok {
		return "?"
	}
	return boundTo(c.Spec.BoundTo)
}

func boundTo(b *konductorv1.BoundObject) string {
	if b == nil {
		return "none"
	}
	return b.Name
}

func (w *World) barrierDetail(d *Detail, b *konductorv1.Barrier, now time.Time) {
	d.Facts = append(d.Facts, Fact{"Arrived", fmt.Sprintf("%d of %d", d.Row.Done, d.Row.Total)})
	if d.Row.Quorum != 0 {
		d.Facts = append(d.Facts, Fact{"Quorum", strconv.Itoa(int(d.Row.Quorum))})
	}
	if d.Row.Failed != 0 {
		d.Facts = append(d.Facts, Fact{"Failed", strconv.Itoa(int(d.Row.Failed))})
	}
	d.fact("Timeout", b.Spec.Timeout)
	d.fact("TTL", b.Spec.TTL)
	arrivals := w.arrivalsAt(d.Row.Ref)
	w.missingDetail(d, b, arrivals, now)
	w.arrivalsDetail(d, b, arrivals, now)
	d.conditions(b.Status.Conditions, now)
}

// arrivalsAt returns the arrivals at a barrier in their order.
func (w *World) arrivalsAt(barrier Ref) []*konductorv1.Arrival {
	var arrivals []*konductorv1.Arrival
	for _, a := range w.arrived[barrier] {
		arrivals = append(arrivals, a)
	}
	slices.SortFunc(arrivals, func(a, b *konductorv1.Arrival) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Spec.Participant, b.Spec.Participant))
	})
	return arrivals
}

func (w *World) arrivalsDetail(d *Detail, b *konductorv1.Barrier, arrivals []*konductorv1.Arrival, now time.Time) {
	s := Section{Title: fmt.Sprintf("Arrivals (%d)", len(arrivals)), Columns: []string{"PARTICIPANT", "POD", "ARRIVED", "OUTCOME"}}
	if w.Denied(konductorv1.KindArrival) != "" {
		// The barrier itself names the first of them.
		s.Title, s.Columns = fmt.Sprintf("Arrivals (%d)", b.Status.Arrived), nil
		for _, name := range b.Status.Arrivals {
			s.Lines = append(s.Lines, Line{Cells: []string{name}})
		}
		if more := int(b.Status.Arrived) - len(b.Status.Arrivals); more > 0 {
			s.More = fmt.Sprintf("and %d more", more)
		}
		d.section(s)
		return
	}
	// The latest first: they are what is new.
	for _, a := range slices.Backward(arrivals) {
		line := Line{Cells: []string{a.Spec.Participant, boundTo(a.Spec.BoundTo), ago(a.CreationTimestamp.Time, now), "done"}}
		if a.Spec.Failed {
			line.Cells[3], line.Mood = "failed", Bad
			if a.Spec.Reason != "" {
				line.Cells[3] += ": " + a.Spec.Reason
			}
		}
		s.Lines = append(s.Lines, line)
	}
	d.section(s)
}

func (w *World) eventsDetail(d *Detail, now time.Time) {
	const recent = 20
	s := Section{Title: "Recent events", Columns: []string{"WHEN", "REASON", "MESSAGE"}}
	for _, e := range w.Events(d.Row.Ref, recent) {
		line := Line{Cells: []string{ago(e.At, now), e.Reason, e.Message}}
		if e.Warning {
			line.Mood = Bad
		}
		if e.Count > 1 {
			line.Cells[1] += fmt.Sprintf(" (%d times)", e.Count)
		}
		s.Lines = append(s.Lines, line)
	}
	if denied := w.Denied(KindEvent); denied != "" {
		s.More = denied
	}
	d.section(s)
}

// participantParts splits a participant's name as the SDK makes it: job/NAME, job/NAME/INDEX or pod/NAME.
func participantParts(participant string) (kind, name, index string) {
	parts := strings.SplitN(participant, "/", 3)
	switch {
	case len(parts) == 3 && parts[0] == "job":
		return "job", parts[1], parts[2]
	case len(parts) == 2 && (parts[0] == "job" || parts[0] == "pod"):
		return parts[0], parts[1], ""
	default:
		return "", participant, ""
	}
}
