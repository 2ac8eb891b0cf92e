package rules

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Workload is what the annotations of a Job ask for.
type Workload struct {
	// After are the gates and barriers that must be open before it starts, in the order of the annotation.
	After []WorkloadRef
	// Holds are the leases and semaphores to hold while it runs, in the order in which they are acquired: that of koncli run,
	// so that no two participants wait for each other.
	Holds []WorkloadHold
	// Arrive are the names of the barriers to arrive at.
	Arrive []string
	// WhenBusy is one of the WhenBusy… values.
	WhenBusy string
	// MaxWait is how long it waits at most; zero: with WhenBusySkip not at all, else without limit.
	MaxWait time.Duration
	// Priority is that of its claims.
	Priority int32
	// Paused says that it must not run.
	Paused bool
	// Limited says that the API server has suspended it for a Lease or Semaphore with spec.appliesTo, which may be gone by now.
	Limited bool
}

// WorkloadRef names an object in the namespace of the workload.
type WorkloadRef struct{ Kind, Name string }

// String returns KIND/NAME, in lower case.
func (r WorkloadRef) String() string { return strings.ToLower(r.Kind) + "/" + r.Name }

// WorkloadHold is a lease, or a number of permits of a semaphore.
type WorkloadHold struct {
	WorkloadRef
	Permits int32
	// WhenBusy is what happens if it can't be granted at once: one of the WhenBusy… values.
	WhenBusy string
	// Limit says that spec.appliesTo of the object asks for it. Then Permits may have changed since it was claimed.
	Limit bool
}

// KueueQueueLabel is the label of a Job that Kueue starts and stops.
const KueueQueueLabel = "kueue.x-k8s.io/queue-name"

// maxWorkloadRefs is how many objects one annotation may list, and how many limits may apply to a Job.
const maxWorkloadRefs = 32

var objectName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// Waits reports whether annotations make a Job or Pod wait before it may start.
func Waits(annotations map[string]string) bool {
	return annotations[konductorv1.AfterAnnotation] != "" || annotations[konductorv1.HoldAnnotation] != ""
}

// IsHeldWorkload reports whether the operator keeps a Job with these annotations from starting: they make it wait, or a limit
// applies to it.
func IsHeldWorkload(annotations map[string]string) bool {
	return Waits(annotations) || len(LimitsOf(annotations)) > 0
}

// LimitsOf returns the leases and semaphores that the API server has found to apply to a Job, in no order.
func LimitsOf(annotations map[string]string) (limits []WorkloadRef) {
	for annotation := range annotations {
		if ref, ok := limitOfMark(annotation); ok {
			limits = append(limits, ref)
		}
	}
	return limits
}

// IsLimitMark reports whether an annotation of that name marks a Job to which a lease or semaphore applies.
func IsLimitMark(annotation string) bool {
	_, ok := limitOfMark(annotation)
	return ok
}

func limitOfMark(annotation string) (WorkloadRef, bool) {
	object, _ := strings.CutSuffix(annotation, konductorv1.AppliesAnnotationSuffix)
	if len(object) == len(annotation) {
		return WorkloadRef{}, false
	}
	if name, ok := strings.CutSuffix(object, ".lease"); ok {
		return WorkloadRef{konductorv1.KindLease, name}, true
	}
	name, ok := strings.CutSuffix(object, ".semaphore")
	return WorkloadRef{konductorv1.KindSemaphore, name}, ok
}

// IsToken reports whether an annotation of that name has a fencing token.
func IsToken(annotation string) bool {
	return annotation == konductorv1.FencingTokenAnnotation || strings.HasSuffix(annotation, "."+konductorv1.FencingTokenAnnotation)
}

// ParseLimitedWorkload is ParseWorkload with the holds of the limits that apply to a Job. limits has those that exist, of
// LimitsOf; nothing is to be held for the others.
func ParseLimitedWorkload(annotations map[string]string, limits map[WorkloadRef]*konductorv1.JobLimit) (Workload, error) {
	w, err := ParseWorkload(annotations)
	if err != nil {
		return w, err
	}
	refs := LimitsOf(annotations)
	if len(refs) > maxWorkloadRefs {
		return w, fmt.Errorf("more than %d leases and semaphores apply to it", maxWorkloadRefs)
	}
	w.Limited = len(refs) > 0
	for _, ref := range refs {
		limit := limits[ref]
		if limit == nil {
			continue
		}
		if i := slices.IndexFunc(w.Holds, func(h WorkloadHold) bool { return h.WorkloadRef == ref }); i >= 0 {
			w.Holds[i].Limit, w.Holds[i].Permits = true, max(w.Holds[i].Permits, limit.Permits)
			continue
		}
		busy := cmp.Or(annotations[konductorv1.WhenBusyAnnotation], limit.WhenBusy, konductorv1.WhenBusyWait)
		w.Holds = append(w.Holds, WorkloadHold{WorkloadRef: ref, Permits: max(limit.Permits, 1), WhenBusy: busy, Limit: true})
	}
	sortHolds(w.Holds)
	return w, nil
}

// sortHolds sorts holds into the order in which they are acquired.
func sortHolds(holds []WorkloadHold) {
	slices.SortFunc(holds, func(a, b WorkloadHold) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Name, b.Name))
	})
}

// ParseWorkload parses the annotations. The error names the annotation and what to write instead.
func ParseWorkload(annotations map[string]string) (Workload, error) {
	var w Workload
	var err error
	if w.After, err = parseWorkloadRefs(annotations, konductorv1.AfterAnnotation, "gate/NAME or barrier/NAME", konductorv1.KindGate, konductorv1.KindBarrier); err != nil {
		return w, err
	}
	if w.Holds, err = parseWorkloadHolds(annotations[konductorv1.HoldAnnotation]); err != nil {
		return w, annotationError(konductorv1.HoldAnnotation, err)
	}
	arrive, err := parseWorkloadRefs(annotations, konductorv1.ArriveAnnotation, "barrier/NAME", konductorv1.KindBarrier)
	if err != nil {
		return w, err
	}
	for _, ref := range arrive {
		w.Arrive = append(w.Arrive, ref.Name)
	}
	switch w.WhenBusy = cmp.Or(annotations[konductorv1.WhenBusyAnnotation], konductorv1.WhenBusyWait); w.WhenBusy {
	case konductorv1.WhenBusyWait, konductorv1.WhenBusySkip, konductorv1.WhenBusyNewest, konductorv1.WhenBusyReplace:
	default:
		return w, annotationError(konductorv1.WhenBusyAnnotation, fmt.Errorf("%q: write Wait, Skip, Newest or Replace", w.WhenBusy))
	}
	for i := range w.Holds {
		w.Holds[i].WhenBusy = w.WhenBusy
	}
	if text := annotations[konductorv1.MaxWaitAnnotation]; text != "" {
		if w.MaxWait, err = time.ParseDuration(text); err != nil || w.MaxWait <= 0 {
			return w, annotationError(konductorv1.MaxWaitAnnotation, fmt.Errorf("%q: write a duration longer than zero, for example 30m", text))
		}
	}
	if text := annotations[konductorv1.PriorityAnnotation]; text != "" {
		priority, err := strconv.ParseInt(text, 10, 32)
		if err != nil || priority < -1000000 || priority > 1000000 {
			return w, annotationError(konductorv1.PriorityAnnotation, fmt.Errorf("%q: write a number from -1000000 to 1000000", text))
		}
		w.Priority = int32(priority)
	}
	w.Paused = annotations[konductorv1.PauseAnnotation] == "true"
	return w, nil
}

func annotationError(annotation string, err error) error {
	return fmt.Errorf("annotation %s: %w", annotation, err)
}

// splitRefs splits an annotation into its entries.
func splitRefs(text string) ([]string, error) {
	if strings.TrimSpace(text) == "" {
		return nil, nil
	}
	entries := strings.SplitN(text, ",", maxWorkloadRefs+1)
	if len(entries) > maxWorkloadRefs {
		return nil, fmt.Errorf("lists more than %d objects", maxWorkloadRefs)
	}
	for i := range entries {
		entries[i] = strings.TrimSpace(entries[i])
	}
	return entries, nil
}

func parseWorkloadRefs(annotations map[string]string, annotation, form string, kinds ...string) (refs []WorkloadRef, err error) {
	entries, err := splitRefs(annotations[annotation])
	if err != nil {
		return nil, annotationError(annotation, err)
	}
	for _, entry := range entries {
		kind, name, _ := strings.Cut(entry, "/")
		i := slices.IndexFunc(kinds, func(k string) bool { return strings.ToLower(k) == kind })
		if i < 0 || len(name) > 253 || !objectName.MatchString(name) {
			return nil, annotationError(annotation, fmt.Errorf("%q: write %s", entry, form))
		}
		ref := WorkloadRef{kinds[i], name}
		if slices.Contains(refs, ref) {
			return nil, annotationError(annotation, fmt.Errorf("%s is listed twice", ref))
		}
		refs = append(refs, ref)
	}
	return refs, nil
}

func parseWorkloadHolds(text string) (holds []WorkloadHold, err error) {
	entries, err := splitRefs(text)
	if err != nil {
		return nil, err
	}
	const form = "write lease/NAME, semaphore/NAME or semaphore/NAME:PERMITS"
	for _, entry := range entries {
		object, permits, counted := strings.Cut(entry, ":")
		kind, name, _ := strings.Cut(object, "/")
		h := WorkloadHold{WorkloadRef: WorkloadRef{Name: name}, Permits: 1}
		switch kind {
		case "lease":
			h.Kind = konductorv1.KindLease
		case "semaphore":
			h.Kind = konductorv1.KindSemaphore
		}
		if h.Kind == "" || !objectName.MatchString(name) {
			return nil, fmt.Errorf("%q: %s", entry, form)
		}
		if len(name) > konductorv1.MaxHeldNameLength {
			return nil, fmt.Errorf("the name of %s/%s… has more than %d characters", kind, name[:20], konductorv1.MaxHeldNameLength)
		}
		if counted {
			n, err := strconv.ParseInt(permits, 10, 32)
			if err != nil || n < 1 || n > 1000000 {
				return nil, fmt.Errorf("%q: permits must be a number from 1 to 1000000", entry)
			}
			if h.Kind == konductorv1.KindLease && n != 1 {
				return nil, errors.New(strconv.Quote(entry) + ": a lease has one permit: leave :" + permits + " out")
			}
			h.Permits = int32(n)
		}
		if slices.ContainsFunc(holds, func(other WorkloadHold) bool { return other.WorkloadRef == h.WorkloadRef }) {
			return nil, fmt.Errorf("%s is listed twice: list it once, with the total number of permits", h.WorkloadRef)
		}
		holds = append(holds, h)
	}
	sortHolds(holds)
	return holds, nil
}

// ReleasedJob is the entry of ReleasedTokensAnnotation which says that the Job was started before, and was stopped.
const ReleasedJob = "job"

// ParseReleasedTokens parses ReleasedTokensAnnotation: the largest token of each object, given as KIND/NAME. Entries that don't
// parse are left out.
func ParseReleasedTokens(text string) map[string]int64 {
	released := map[string]int64{}
	for entry := range strings.SplitSeq(text, ",") {
		object, number, _ := strings.Cut(entry, ":")
		if token, err := strconv.ParseInt(number, 10, 64); err == nil {
			released[object] = max(released[object], token)
		}
	}
	return released
}

// FormatReleasedTokens returns the annotation's value.
func FormatReleasedTokens(released map[string]int64) string {
	var entries []string
	for _, object := range slices.Sorted(maps.Keys(released)) {
		entries = append(entries, object+":"+strconv.FormatInt(released[object], 10))
	}
	return strings.Join(entries, ",")
}
