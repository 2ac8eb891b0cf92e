package view

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// maxSectionLines is how many lines a section has at most: more than anybody reads, and few enough to rebuild for every
// frame.
const maxSectionLines = 500

// Detail is everything shown of one object, at one moment.
type Detail struct {
	Row *Row
	// RootCause is the root cause why the object is blocked; empty if it is not blocked or the cause is not known.
	RootCause string
	// Properties are single values of the spec and the status.
	Properties []Property
	// Sections are lists: holders, the queue, arrivals, conditions, events and so on. None is empty.
	Sections []Section
}

// Property is a name and a value, such as Quorum: 7.
type Property struct{ Name, Value string }

// Section is a table under a title.
type Section struct {
	Title string
	// Columns are the headers; empty where the lines need none.
	Columns []string
	Lines   []Line
	// Footnote says what was left out at the end, or why; empty: nothing.
	Footnote string
}

// Line is one line of a section.
type Line struct {
	Cells    []string
	Severity Severity
}

// Severity says how to color a line.
type Severity int

// Severities.
const (
	SeverityNone Severity = iota
	SeveritySuccess
	SeverityError
	SeverityMuted
)

// Detail returns the details of an object, or false if it doesn't exist. now is the time by the API server's clock.
func (w *Store) Detail(ref Ref, now time.Time) (Detail, bool) {
	row := w.Row(ref)
	if row == nil {
		return Detail{}, false
	}
	d := Detail{Row: row, RootCause: w.rootCauseText(ref, now)}
	d.Properties = append(d.Properties, Property{"Namespace", row.Namespace})
	switch o := w.Object(ref).(type) {
	case *konductorv1.Barrier:
		w.addBarrierDetails(&d, o, now)
	case *konductorv1.Gate:
		addGateDetails(&d, o, now)
	case *konductorv1.Lease:
		d.addDuration("TTL", o.Spec.TTL)
		d.addMaxPriority(o.Spec.MaxPriority)
		w.addHoldersAndQueueSections(&d, now)
		d.addConditionsSection(o.Status.Conditions, now)
	case *konductorv1.Semaphore:
		d.Properties = append(d.Properties, Property{"Permits", fmt.Sprintf("%d in use of %d, %d free", o.Status.InUse, o.Spec.Permits, o.Status.Available)})
		d.addDuration("TTL", o.Spec.TTL)
		d.addMaxPriority(o.Spec.MaxPriority)
		w.addHoldersAndQueueSections(&d, now)
		d.addConditionsSection(o.Status.Conditions, now)
	}
	d.Properties = append(d.Properties, Property{"Age", FormatAge(row.Created, now)})
	w.addEventsSection(&d, now)
	w.addWorkloadsSection(&d, now)
	return d, true
}

// addDuration adds a duration of the spec, unless it is nil.
func (d *Detail) addDuration(name string, value *konductorv1.Duration) {
	if value != nil {
		d.Properties = append(d.Properties, Property{name, value.Duration.Duration.String()})
	}
}

// addMaxPriority adds the highest priority of a claim, unless every priority is allowed.
func (d *Detail) addMaxPriority(value *int32) {
	if value != nil {
		d.Properties = append(d.Properties, Property{"Max priority", strconv.Itoa(int(*value))})
	}
}

// addSection adds a section unless it is empty, cut to maxSectionLines.
func (d *Detail) addSection(s Section) {
	if len(s.Lines) == 0 && s.Footnote == "" {
		return
	}
	if over := len(s.Lines) - maxSectionLines; over > 0 {
		s.Lines = s.Lines[:maxSectionLines]
		s.Footnote = fmt.Sprintf("and %d more", over)
	}
	d.Sections = append(d.Sections, s)
}

func (d *Detail) addConditionsSection(conditions []metav1.Condition, now time.Time) {
	s := Section{Title: "Conditions", Columns: []string{"TYPE", "STATUS", "REASON", "SINCE", "MESSAGE"}}
	for _, c := range conditions {
		line := Line{Cells: []string{c.Type, string(c.Status), c.Reason, FormatAge(c.LastTransitionTime.Time, now), c.Message}}
		if c.Type == konductorv1.ConditionReady && c.Status == metav1.ConditionFalse {
			line.Severity = SeverityError
		}
		s.Lines = append(s.Lines, line)
	}
	d.addSection(s)
}

func addGateDetails(d *Detail, g *konductorv1.Gate, now time.Time) {
	d.addDuration("Timeout", g.Spec.Timeout)
	d.addDuration("TTL after finished", g.Spec.TTLAfterFinished)
	s := Section{Title: fmt.Sprintf("Waits for (%d of %d met)", d.Row.Done, d.Row.Total), Columns: []string{"MET", "OBJECT", "OBSERVED"}}
	for i := range g.Status.ConditionStatuses {
		c := &g.Status.ConditionStatuses[i]
		line := Line{Cells: []string{"no", gateConditionName(c), c.Message}, Severity: SeverityNone}
		if c.Met {
			line.Cells[0], line.Severity = "yes", SeveritySuccess
		}
		s.Lines = append(s.Lines, line)
	}
	d.addSection(s)
	d.addConditionsSection(g.Status.Conditions, now)
}

// addHoldersAndQueueSections adds the holders of a lease or semaphore, and its queue in the order of service.
func (w *Store) addHoldersAndQueueSections(d *Detail, now time.Time) {
	isSemaphore := d.Row.Kind == konductorv1.KindSemaphore
	withPermits := func(cells []string, n int32) []string {
		if isSemaphore {
			return slices.Insert(cells, len(cells)-3, strconv.Itoa(int(n)))
		}
		return cells
	}
	holders := Section{Title: fmt.Sprintf("Holders (%d)", len(d.Row.Holds)), Columns: []string{"HOLDER", "POD", "HELD FOR", "EXPIRES", "TOKEN"}}
	waiting := Section{Columns: []string{"POSITION", "HOLDER", "POD", "WAITING", "PRIORITY", "PERMITS"}}
	if isSemaphore {
		holders.Columns = slices.Insert(holders.Columns, 2, "PERMITS")
	} else {
		waiting.Columns = waiting.Columns[:5]
	}
	for _, h := range d.Row.Holds {
		until := "with its pod"
		bound := w.boundPodName(d.Row.Ref, h.Claim)
		switch {
		case !h.ExpiresAt.IsZero():
			until = formatUntil(h.ExpiresAt, now)
		case strings.HasPrefix(bound, "job/"):
			until = "with its job"
		}
		cells := withPermits([]string{h.Holder, bound, FormatAge(h.AcquiredAt, now), until, strconv.FormatInt(h.FencingToken, 10)}, h.Permits)
		holders.Lines = append(holders.Lines, Line{Cells: cells})
	}
	d.addSection(holders)
	queue := w.queueOf(d.Row.Ref)
	waiting.Title = fmt.Sprintf("Queue (%d)", len(queue))
	for i, c := range queue {
		cells := []string{strconv.Itoa(i + 1), c.Spec.Holder, boundObjectName(c.Spec.BoundTo), FormatAge(c.CreationTimestamp.Time, now), strconv.Itoa(int(c.Spec.Priority))}
		if isSemaphore {
			cells = append(cells, strconv.Itoa(int(c.Spec.Permits)))
		}
		waiting.Lines = append(waiting.Lines, Line{Cells: cells})
	}
	if denied := w.DeniedMessage(konductorv1.KindClaim); denied != "" {
		waiting.Title, waiting.Footnote = "Queue", denied
	}
	d.addSection(waiting)
}

// queueOf returns the pending claims on an object in the order of service.
func (w *Store) queueOf(target Ref) []*konductorv1.Claim {
	var queue []*konductorv1.Claim
	for _, c := range w.claimsByTarget[target] {
		if isPending(c) {
			queue = append(queue, c)
		}
	}
	slices.SortFunc(queue, func(a, b *konductorv1.Claim) int {
		switch {
		case rules.ServedBefore(a, b):
			return -1
		case rules.ServedBefore(b, a):
			return 1
		default:
			return 0
		}
	})
	return queue
}

// boundPodName returns the name of the Pod that a hold is bound to, job/NAME of a Job, "none" or, if the claim is not known, "?".
func (w *Store) boundPodName(target Ref, claim string) string {
	c, ok := w.claimsByTarget[target][claim]
	if !ok {
		return "?"
	}
	return boundObjectName(c.Spec.BoundTo)
}

func boundObjectName(b *konductorv1.BoundObject) string {
	if b == nil {
		return "none"
	}
	if b.Kind == konductorv1.KindJob {
		return "job/" + b.Name
	}
	return b.Name
}

func (w *Store) addBarrierDetails(d *Detail, b *konductorv1.Barrier, now time.Time) {
	d.Properties = append(d.Properties, Property{"Arrived", fmt.Sprintf("%d of %d", d.Row.Done, d.Row.Total)})
	if d.Row.Quorum != 0 {
		d.Properties = append(d.Properties, Property{"Quorum", strconv.Itoa(int(d.Row.Quorum))})
	}
	if d.Row.Failed != 0 {
		d.Properties = append(d.Properties, Property{"Failed", strconv.Itoa(int(d.Row.Failed))})
	}
	d.addDuration("Timeout", b.Spec.Timeout)
	d.addDuration("TTL after finished", b.Spec.TTLAfterFinished)
	arrivals := w.sortedArrivals(d.Row.Ref)
	w.addMissingSection(d, b, arrivals, now)
	w.addArrivalsSection(d, b, arrivals, now)
	d.addConditionsSection(b.Status.Conditions, now)
}

// sortedArrivals returns the arrivals at a barrier in the order of their creation.
func (w *Store) sortedArrivals(barrier Ref) []*konductorv1.Arrival {
	var arrivals []*konductorv1.Arrival
	for _, a := range w.arrivalsByBarrier[barrier] {
		arrivals = append(arrivals, a)
	}
	slices.SortFunc(arrivals, func(a, b *konductorv1.Arrival) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Spec.Participant, b.Spec.Participant))
	})
	return arrivals
}

func (w *Store) addArrivalsSection(d *Detail, b *konductorv1.Barrier, arrivals []*konductorv1.Arrival, now time.Time) {
	s := Section{Title: fmt.Sprintf("Arrivals (%d)", len(arrivals)), Columns: []string{"PARTICIPANT", "POD", "ARRIVED", "OUTCOME"}}
	if w.DeniedMessage(konductorv1.KindArrival) != "" {
		// The barrier's status has the names of the first arrivals.
		s.Title, s.Columns = fmt.Sprintf("Arrivals (%d)", b.Status.Arrived), nil
		for _, name := range b.Status.Arrivals {
			s.Lines = append(s.Lines, Line{Cells: []string{name}})
		}
		if more := int(b.Status.Arrived) - len(b.Status.Arrivals); more > 0 {
			s.Footnote = fmt.Sprintf("and %d more", more)
		}
		d.addSection(s)
		return
	}
	// The latest first: they are what is new.
	for _, a := range slices.Backward(arrivals) {
		line := Line{Cells: []string{a.Spec.Participant, boundObjectName(a.Spec.BoundTo), formatAgo(a.CreationTimestamp.Time, now), "done"}}
		if a.Spec.Failed {
			line.Cells[3], line.Severity = "failed", SeverityError
			if a.Spec.Reason != "" {
				line.Cells[3] += ": " + a.Spec.Reason
			}
		}
		s.Lines = append(s.Lines, line)
	}
	d.addSection(s)
}

func (w *Store) addEventsSection(d *Detail, now time.Time) {
	const recent = 20
	s := Section{Title: "Recent events", Columns: []string{"WHEN", "REASON", "MESSAGE"}}
	for _, e := range w.Events(d.Row.Ref, recent) {
		line := Line{Cells: []string{formatAgo(e.LastTimestamp, now), e.Reason, e.Message}}
		if e.Warning {
			line.Severity = SeverityError
		}
		if e.Count > 1 {
			line.Cells[1] += fmt.Sprintf(" (%d times)", e.Count)
		}
		s.Lines = append(s.Lines, line)
	}
	if denied := w.DeniedMessage(KindEvent); denied != "" {
		s.Footnote = denied
	}
	d.addSection(s)
}

// parseParticipant splits a participant's name as the SDK builds it: job/NAME, job/NAME/INDEX or pod/NAME.
func parseParticipant(participant string) (kind, name, index string) {
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
