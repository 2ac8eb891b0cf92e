package waitgraph

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/api/meta"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// barrierCause describes a Barrier.
func (w *explainer) barrierCause(ref Ref) *Cause {
	b := w.barriers[ref]
	if b == nil {
		return missingCause(ref, ReasonBarrierMissing, " --expected N")
	}
	message := ""
	if open := meta.FindStatusCondition(b.obj.Status.Conditions, konductorv1.ConditionOpen); open != nil {
		message = open.Message
	}
	switch b.obj.Status.Phase {
	case konductorv1.BarrierOpen:
		return &Cause{Reason: ReasonOpen, Message: "is open"}
	case konductorv1.BarrierFailed:
		return &Cause{
			Reason: ReasonBarrierFailed, Message: "has failed" + prefixIfNotEmpty(": ", message), Remedy: "lower spec.quorum, or delete it and create it again",
			Command: kubectlCommand("describe", ref),
		}
	case konductorv1.BarrierTimeout:
		return &Cause{
			Reason: ReasonBarrierTimedOut, Message: "has " + cmp.Or(message, "timed out"), Remedy: "raise spec.timeout: the barrier then waits again",
			Command: kubectlCommand("edit", ref),
		}
	default:
	}
	if unobserved := w.unobservedCause(ref.Namespace, b.obj.Status.ObservedGeneration, b.obj.Generation, b.obj.CreationTimestamp.Time, b.obj.Status.Phase == ""); unobserved != nil {
		return unobserved
	}
	if c := w.exceedsSemaphoreCause(b); c != nil {
		return c
	}
	return w.arrivalsMissingCause(b)
}

// arrivalsMissingCause describes which participants have yet to arrive at a barrier, and why they don't.
func (w *explainer) arrivalsMissingCause(b *barrier) *Cause {
	missing, quorum := b.missingCount(), b.obj.Quorum()
	c := &Cause{
		Reason: ReasonArrivalsMissing, Message: fmt.Sprintf("waits: %d of %d have arrived", b.obj.Status.Arrived, quorum),
		Command: kubectlCommand("describe", b.ref),
	}
	arriving := int64(0)
	for _, r := range b.pendingParticipants {
		arriving += int64(r.count)
		c.Because = append(c.Because, w.participantCause(r))
	}
	if len(b.pendingParticipants) > 0 {
		c.Inferred = "the commands of Pods and Jobs"
	}
	unreadable := !w.isReadable(KindPod, b.ref.Namespace) || !w.isReadable(KindJob, b.ref.Namespace)
	switch {
	case unreadable:
		c.Message += "; the missing participants can't be determined"
		c.Because = append(c.Because, w.unreadableParticipantsCause(b.ref.Namespace))
	case arriving >= missing:
	case arriving == 0 && w.countUnknownPods(b) == 0:
		c.Reason = ReasonNobodyLeftToArrive
		c.Message += ", and no pod or job is left that could arrive"
		c.Inferred = "the commands of Pods and Jobs; programs outside the namespace's Pods are not visible"
		c.Remedy = fmt.Sprintf("start %s, or lower spec.quorum", countText(int(missing), "more participant"))
	default:
		c.Message += fmt.Sprintf(", %d known to be on the way", arriving)
		if n := w.countUnknownPods(b); n > 0 {
			c.Message += fmt.Sprintf("; %s with unknown commands may also arrive", countText(n, "pod"))
		}
		c.Remedy = fmt.Sprintf("start %s", countText(int(missing-arriving), "more participant"))
	}
	return c
}

// participantCause describes a participant that has yet to arrive.
func (w *explainer) participantCause(r *pendingParticipant) *Cause {
	return w.explain(r.ref(), nil)
}

// ref returns the Pod that will arrive, or the Job if it has no Pod yet.
func (r *pendingParticipant) ref() Ref {
	if len(r.processes) == 0 {
		return r.job.ref
	}
	return r.processes[0].ref
}

func (w *explainer) unreadableParticipantsCause(namespace string) *Cause {
	kind := KindPod
	if w.isReadable(KindPod, namespace) {
		kind = KindJob
	}
	c := w.unreadableCause(Ref{Kind: kind, Namespace: namespace})
	c.Object = Ref{Kind: kind, Namespace: namespace, Name: "*"}
	return c
}

// countUnknownPods returns how many running Pods may arrive at the barrier although no command says so.
func (w *explainer) countUnknownPods(b *barrier) (n int) {
	for _, p := range w.processes {
		if p.pod != nil && p.ref.Namespace == b.ref.Namespace && (len(p.calls) == 0 || hasUnparsable(p.calls)) {
			n++
		}
	}
	return n
}

// exceedsSemaphoreCause describes a barrier that expects more participants at once than a semaphore that they hold admits, or
// returns nil.
func (w *explainer) exceedsSemaphoreCause(b *barrier) *Cause {
	holdingParticipants := map[Ref]int64{} // by semaphore: participants that hold it while they wait at the barrier
	permits := map[Ref]int64{}             // by semaphore: the least permits that one of them holds
	for _, r := range b.pendingParticipants {
		calls := r.calls()
		ref, n := semaphoreHeldAtBarrier(calls, b.ref)
		if ref.Name == "" {
			continue
		}
		holdingParticipants[ref] += int64(r.count)
		if permits[ref] == 0 || n < permits[ref] {
			permits[ref] = n
		}
	}
	pendingCount := int64(0)
	for _, r := range b.pendingParticipants {
		pendingCount += int64(r.count)
	}
	for _, ref := range sortedRefs(holdingParticipants) {
		s := w.resources[ref]
		if s == nil || s.sem == nil || s.permits == 0 {
			continue
		}
		// Participants that have arrived and still wait there hold their permits too.
		capacity := max(int64(s.permits)/permits[ref]-w.countHoldersAt(s, b), 0)
		reachable := int64(b.obj.Status.Arrived) + (pendingCount - holdingParticipants[ref]) + min(holdingParticipants[ref], capacity)
		if pendingCount < b.missingCount() || reachable >= int64(b.obj.Quorum()) {
			continue
		}
		return &Cause{
			Reason: ReasonBarrierExceedsSemaphore,
			Message: fmt.Sprintf("waits for %d participants, and %s lets only %d of them run at a time: each holds its %s until the barrier opens",
				b.obj.Quorum(), ref.StringIn(b.ref.Namespace), int64(s.permits)/permits[ref], pluralize(int(permits[ref]), "permit")),
			Inferred: "the commands of Pods and Jobs",
			Remedy:   fmt.Sprintf("raise the semaphore to %d permits, or release before waiting at the barrier", int64(b.obj.Quorum())*permits[ref]),
			Command:  fmt.Sprintf("koncli semaphore resize %s --permits %d -n %s", ref.Name, int64(b.obj.Quorum())*permits[ref], ref.Namespace),
		}
	}
	return nil
}

func sortedRefs(m map[Ref]int64) []Ref {
	refs := make([]Ref, 0, len(m))
	for ref := range m {
		refs = append(refs, ref)
	}
	slices.SortFunc(refs, CompareRefs)
	return refs
}

// countHoldersAt returns how many participants hold the semaphore while they wait at the barrier, having arrived.
func (w *explainer) countHoldersAt(s *resource, b *barrier) (n int64) {
	for _, h := range s.holds {
		if h.process.pod != nil && b.arrivedParticipants[h.process.participantName] {
			n++
		}
	}
	return n
}

func (r *pendingParticipant) calls() []containerCalls {
	if len(r.processes) > 0 {
		return r.processes[0].calls
	}
	return r.job.calls
}

// semaphoreHeldAtBarrier returns the semaphore, if any, that calls acquire and don't release before they wait at a barrier, and
// how many of its permits.
func semaphoreHeldAtBarrier(containers []containerCalls, barrier Ref) (semaphore Ref, permits int64) {
	for _, c := range containers {
		for i := range c.calls {
			call := &c.calls[i]
			ref := Ref{call.Kind, barrier.Namespace, call.Name}
			switch {
			case call.Kind == konductorv1.KindSemaphore && call.Verb == VerbAcquire:
				semaphore, permits = ref, int64(call.Permits)
			case ref == semaphore && call.Verb == VerbRelease:
				semaphore, permits = Ref{}, 0
			case ref == barrier && call.Verb != VerbRelease && call.mayBlock():
				return semaphore, max(permits, 1)
			}
		}
	}
	return Ref{}, 0
}
