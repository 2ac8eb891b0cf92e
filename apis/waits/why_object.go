package waits

import (
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// missing says that an object does not exist.
func missingObject(ref Ref, reason Reason, create string) *Cause {
	return &Cause{
		Reason: reason, Message: "does not exist", Remedy: "create it: those who wait for it go on waiting until then",
		Command: fmt.Sprintf("koncli %s create %s%s -n %s", strings.ToLower(ref.Kind), ref.Name, create, ref.Namespace),
	}
}

// gate says how a Gate stands.
func (w *walk) gate(ref Ref) *Cause {
	g := w.gates[ref]
	if g == nil {
		return missingObject(ref, GateMissing, " --job NAME")
	}
	switch g.obj.Status.Phase {
	case konductorv1.GateOpen:
		return &Cause{Reason: Open, Message: "is open"}
	case konductorv1.GateFailed:
		return w.gateEnded(g, GateFailed, "has failed: ", "mend what failed and replace it: the gate then waits again")
	case konductorv1.GateTimeout:
		return w.gateEnded(g, GateTimedOut, "has timed out: ", "raise spec.timeout: the gate then waits again")
	default:
	}
	if silent := w.unseen(ref.Namespace, g.obj.Status.ObservedGeneration, g.obj.Generation, g.obj.CreationTimestamp.Time, g.obj.Status.Phase == ""); silent != nil {
		return silent
	}
	c := &Cause{Command: kubectl("describe", ref)}
	met := 0
	for i := range g.obj.Spec.Conditions {
		if g.met(i) {
			met++
			continue
		}
		c.Because = append(c.Because, w.condition(g, i))
	}
	c.Reason = ConditionsNotMet
	c.Message = fmt.Sprintf("waits: %d of %d conditions are met", met, len(g.obj.Spec.Conditions))
	if len(c.Because) == 0 {
		c.Reason, c.Message = AboutToGo, "is about to open: all its conditions are met"
	}
	return c
}

func (w *walk) gateEnded(g *gate, reason Reason, prefix, remedy string) *Cause {
	message := strings.TrimSuffix(prefix, ": ")
	if open := meta.FindStatusCondition(g.obj.Status.Conditions, konductorv1.ConditionOpen); open != nil {
		message = prefix + open.Message
	}
	c := &Cause{Reason: reason, Message: message, Remedy: remedy, Command: kubectl("describe", g.ref)}
	for i := range g.obj.Spec.Conditions {
		if !g.met(i) {
			if b := w.condition(g, i); b.Reason.never() {
				c.Because = append(c.Because, b)
			}
		}
	}
	return c
}

// condition says why one condition of a gate isn't met.
func (w *walk) condition(g *gate, i int) *Cause {
	spec := &g.obj.Spec.Conditions[i]
	target := g.target(spec)
	if g.denied(i) {
		return &Cause{
			Object: target, Reason: NamespaceDenied, Message: "is in a namespace that doesn't let this gate look",
			Remedy:  "let it, if that namespace is yours",
			Command: fmt.Sprintf("kubectl annotate namespace %s %s=%s", target.Namespace, konductorv1.AllowGatesAnnotation, g.ref.Namespace),
		}
	}
	want := spec.WantedState()
	r := w.resources[target]
	if want == konductorv1.StateAvailable && spec.WantedPermits() > 1 && r != nil && r.sem != nil && r.permits > 0 && spec.WantedPermits() > r.permits {
		return w.asksTooMuch(r, spec.WantedPermits(), "the gate wants")
	}
	c := w.tellOne(target, nil, g.live)
	switch {
	case !c.Reason.fine():
		return c
	case c.Reason == Complete && want == konductorv1.StateComplete:
		return w.unnoticed(target, g)
	case (c.Reason == Complete || c.Reason == Open) && c.satisfies(want):
		return w.unnoticed(target, g)
	case c.Reason == Complete || c.Reason == Open:
		return &Cause{Object: target, Reason: WrongState, Message: fmt.Sprintf("%s, and the gate wants it %s", c.Message, want), Remedy: "change the condition, or replace the object"}
	case c.Reason == Available && want == konductorv1.StateAvailable && (r == nil || r.free() < spec.WantedPermits()):
		return &Cause{
			Object: target, Reason: PermitsInUse, Message: fmt.Sprintf("has %d of the %d free permits that the gate wants", r.free(), spec.WantedPermits()),
			Remedy: "its holders must release", Because: w.holdersOf(r),
		}
	case c.Reason == Available && want == konductorv1.StateAvailable:
		return w.unnoticed(target, g)
	default:
		return &Cause{Object: target, Reason: ConditionsNotMet, Message: fmt.Sprintf("%s, and the gate wants it %s", c.Message, want)}
	}
}

func (c *Cause) satisfies(want konductorv1.GateState) bool {
	return want == konductorv1.StateOpen && c.Reason == Open
}

// unnoticed says of an object that it is as the gate wants it. The operator sees that within moments, if it runs.
func (w *walk) unnoticed(target Ref, g *gate) *Cause {
	if j := w.jobs[target]; j != nil {
		for _, c := range j.obj.Status.Conditions {
			if c.Type == batchv1.JobComplete && w.old(c.LastTransitionTime.Time) && w.old(g.obj.CreationTimestamp.Time) {
				silent := w.silent(g.obj.Namespace, fmt.Sprintf("is complete for %s, and the operator hasn't told the gate", w.since(c.LastTransitionTime.Time)))
				silent.Object = target
				return silent
			}
		}
	}
	return &Cause{Object: target, Reason: AboutToGo, Message: "is as the gate wants it: the operator is about to notice"}
}

// unseen says that no operator has looked at an object, when that is so for longer than it takes.
func (w *walk) unseen(namespace string, observed, generation int64, created time.Time, never bool) *Cause {
	switch {
	case never && w.old(created):
		return w.silent(namespace, fmt.Sprintf("was created %s ago, and no operator has looked at it", w.since(created)))
	case never:
		return &Cause{Reason: AboutToGo, Message: "is new: the operator is about to look at it"}
	case observed < generation:
		return w.silent(namespace, fmt.Sprintf("has changed (generation %d), and the operator has seen generation %d only", generation, observed))
	}
	return nil
}

// barrier says how a Barrier stands.
func (w *walk) barrier(ref Ref) *Cause {
	b := w.barriers[ref]
	if b == nil {
		return missingObject(ref, BarrierMissing, " --expected N")
	}
	message := ""
	if open := meta.FindStatusCondition(b.obj.Status.Conditions, konductorv1.ConditionOpen); open != nil {
		message = ": " + open.Message
	}
	switch b.obj.Status.Phase {
	case konductorv1.BarrierOpen:
		return &Cause{Reason: Open, Message: "is open"}
	case konductorv1.BarrierFailed:
		return &Cause{
			Reason: BarrierFailed, Message: "has failed" + message, Remedy: "lower spec.quorum, or delete it and create it again",
			Command: kubectl("describe", ref),
		}
	case konductorv1.BarrierTimeout:
		return &Cause{
			Reason: BarrierTimedOut, Message: "has timed out" + message, Remedy: "raise spec.timeout: the barrier then waits again",
			Command: kubectl("edit", ref),
		}
	default:
	}
	if silent := w.unseen(ref.Namespace, b.obj.Status.ObservedGeneration, b.obj.Generation, b.obj.CreationTimestamp.Time, b.obj.Status.Phase == ""); silent != nil {
		return silent
	}
	if c := w.exceedsSemaphore(b); c != nil {
		return c
	}
	return w.arrivalsMissing(b)
}

// arrivalsMissing says who has yet to arrive at a barrier, and why they don't.
func (w *walk) arrivalsMissing(b *barrier) *Cause {
	missing, quorum := b.missing(), b.obj.Quorum()
	c := &Cause{
		Reason: ArrivalsMissing, Message: fmt.Sprintf("waits: %d of %d have arrived", b.obj.Status.Arrived, quorum),
		Command: kubectl("describe", b.ref),
	}
	coming := int64(0)
	for _, r := range b.arrivers {
		coming += int64(r.count)
		c.Because = append(c.Because, w.arriver(r))
	}
	if len(b.arrivers) > 0 {
		c.Inferred = "the commands of Pods and Jobs"
	}
	blind := !w.readable(KindPod, b.ref.Namespace) || !w.readable(KindJob, b.ref.Namespace)
	switch {
	case blind:
		c.Message += "; who is to come can't be seen"
		c.Because = append(c.Because, w.blind(b.ref.Namespace))
	case coming >= missing:
	case coming == 0 && w.opaque(b) == 0:
		c.Reason = NobodyLeftToArrive
		c.Message += ", and no pod or job is left that could arrive"
		c.Inferred = "the commands of Pods and Jobs; programs outside of the namespace's Pods can't be seen"
		c.Remedy = fmt.Sprintf("start %s more, or lower spec.quorum", count(int(missing), "participant"))
	default:
		c.Message += fmt.Sprintf(", %d are seen to be on their way", coming)
		if n := w.opaque(b); n > 0 {
			c.Message += fmt.Sprintf("; %s run whose commands don't tell", count(n, "pod"))
		}
		c.Remedy = fmt.Sprintf("start %s more", count(int(missing-coming), "participant"))
	}
	return c
}

// arriver says how a participant stands that has yet to arrive.
func (w *walk) arriver(r *arriver) *Cause {
	return w.tell(r.ref(), nil)
}

// ref returns the Pod that will arrive, or the Job that has none yet.
func (r *arriver) ref() Ref {
	if len(r.processes) == 0 {
		return r.job.ref
	}
	return r.processes[0].ref
}

func (w *walk) blind(namespace string) *Cause {
	kind := KindPod
	if w.readable(KindPod, namespace) {
		kind = KindJob
	}
	c := w.unreadable(Ref{Kind: kind, Namespace: namespace})
	c.Object = Ref{Kind: kind, Namespace: namespace, Name: "*"}
	return c
}

// opaque returns how many Pods run of which nothing tells whether they will arrive at the barrier.
func (w *walk) opaque(b *barrier) (n int) {
	for _, p := range w.processes {
		if p.pod != nil && p.ref.Namespace == b.ref.Namespace && len(p.calls) == 0 {
			n++
		}
	}
	return n
}

// exceedsSemaphore says that a barrier expects more at the same time than a semaphore before it lets run, if it does.
func (w *walk) exceedsSemaphore(b *barrier) *Cause {
	gated := map[Ref]int64{}   // by semaphore: participants who hold it while they wait at the barrier
	permits := map[Ref]int64{} // and how many permits each of them takes at least
	for _, r := range b.arrivers {
		calls := r.calls()
		ref, n := heldWhileWaiting(calls, b.ref)
		if ref.Name == "" {
			continue
		}
		gated[ref] += int64(r.count)
		if permits[ref] == 0 || n < permits[ref] {
			permits[ref] = n
		}
	}
	known := int64(0)
	for _, r := range b.arrivers {
		known += int64(r.count)
	}
	for _, ref := range sortedRefs(gated) {
		s := w.resources[ref]
		if s == nil || s.sem == nil || s.permits == 0 {
			continue
		}
		// Of those who have arrived, the ones that still wait there hold their permits too.
		room := max(int64(s.permits)/permits[ref]-w.holdingAt(s, b), 0)
		most := int64(b.obj.Status.Arrived) + (known - gated[ref]) + min(gated[ref], room)
		if known < b.missing() || most >= int64(b.obj.Quorum()) {
			continue
		}
		return &Cause{
			Reason: BarrierExceedsSemaphore,
			Message: fmt.Sprintf("waits for %d participants, and %s lets only %d of them run at a time: each holds its %s until the barrier opens",
				b.obj.Quorum(), ref.In(b.ref.Namespace), int64(s.permits)/permits[ref], plural(int(permits[ref]), "permit")),
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

// holdingAt returns how many hold the semaphore while they wait at the barrier, having arrived.
func (w *walk) holdingAt(s *resource, b *barrier) (n int64) {
	for _, h := range s.holds {
		if h.process.pod != nil && b.arrived[h.process.participant()] {
			n++
		}
	}
	return n
}

func (r *arriver) calls() []containerCalls {
	if len(r.processes) > 0 {
		return r.processes[0].calls
	}
	return r.job.calls
}

// heldWhileWaiting returns the semaphore, if any, that calls acquire before they wait at a barrier and don't release
// before, and how many of its permits.
func heldWhileWaiting(containers []containerCalls, barrier Ref) (semaphore Ref, permits int64) {
	for _, c := range containers {
		for i := range c.calls {
			call := &c.calls[i]
			ref := Ref{call.Kind, barrier.Namespace, call.Name}
			switch {
			case call.Kind == konductorv1.KindSemaphore && call.Verb == VerbAcquire:
				semaphore, permits = ref, int64(call.Permits)
			case ref == semaphore && call.Verb == VerbRelease:
				semaphore, permits = Ref{}, 0
			case ref == barrier && call.Verb != VerbRelease && call.blocks():
				return semaphore, max(permits, 1)
			}
		}
	}
	return Ref{}, 0
}

// resource says how a Lease or Semaphore stands, with the eyes of the one that waits for it.
func (w *walk) resource(ref Ref, by *wait) *Cause {
	r := w.resources[ref]
	switch {
	case r == nil || !r.exists():
		if ref.Kind == konductorv1.KindLease {
			return missingObject(ref, LeaseMissing, "")
		}
		return missingObject(ref, SemaphoreMissing, " --permits N")
	case r.sem != nil && r.permits == 0:
		return &Cause{
			Reason: SemaphorePaused, Message: "is paused: it has 0 permits", Remedy: "resume it",
			Command: fmt.Sprintf("koncli semaphore resize %s --permits N -n %s", ref.Name, ref.Namespace),
		}
	case by != nil && by.permits > r.permits:
		return w.asksTooMuch(r, by.permits, by.process.ref.String()+" asks for")
	}
	observed, generation, created, never := r.observed()
	if silent := w.unseen(r.ref.Namespace, observed, generation, created, never); silent != nil {
		return silent
	}
	if by == nil || by.claim == nil {
		return w.standing(r)
	}
	return w.standingFor(r, by)
}

func (r *resource) observed() (observed, generation int64, created time.Time, never bool) {
	if r.lease != nil {
		return r.lease.Status.ObservedGeneration, r.lease.Generation, r.lease.CreationTimestamp.Time, r.lease.Status.Phase == ""
	}
	return r.sem.Status.ObservedGeneration, r.sem.Generation, r.sem.CreationTimestamp.Time, r.sem.Status.Phase == ""
}

func (w *walk) asksTooMuch(r *resource, permits int32, who string) *Cause {
	return &Cause{
		Object: r.ref, Reason: AsksTooMuch, Message: fmt.Sprintf("has %s, and %s %d", count(int(r.permits), "permit"), who, permits),
		Remedy:  "ask for fewer, or raise spec.permits",
		Command: fmt.Sprintf("koncli semaphore resize %s --permits %d -n %s", r.ref.Name, permits, r.ref.Namespace),
	}
}

// standing says how a Lease or Semaphore stands when nobody in particular asks.
func (w *walk) standing(r *resource) *Cause {
	if r.free() > 0 {
		if len(r.queue) > 0 {
			return w.standingFor(r, r.queue[0])
		}
		if r.lease != nil {
			return &Cause{Reason: Available, Message: "is free"}
		}
		return &Cause{Reason: Available, Message: fmt.Sprintf("has %d of %s free", r.free(), count(int(r.permits), "permit"))}
	}
	return w.taken(r)
}

// standingFor says why a claim on a Lease or Semaphore isn't granted.
func (w *walk) standingFor(r *resource, by *wait) *Cause {
	if r.free() < by.permits {
		c := w.taken(r)
		if r.free() > 0 {
			c.Message = fmt.Sprintf("has %d of the %d permits free that %s asks for", r.free(), by.permits, by.process.ref.In(r.ref.Namespace))
		}
		return c
	}
	if head := r.queue[0]; head != by && head.permits > r.free() {
		return &Cause{
			Reason: PermitsReserved, Message: fmt.Sprintf("keeps its %s free for %s, which is first in the queue and asks for %d", plural(int(r.free()), "permit"), head.process.ref.In(r.ref.Namespace), head.permits),
			Remedy: "holders must release until it fits", Because: w.holdersOf(r),
			Command: kubectl("describe", r.ref),
		}
	}
	freed := r.freedAt()
	if w.old(by.claim.CreationTimestamp.Time) && w.old(freed) {
		return w.silent(r.ref.Namespace, fmt.Sprintf("is free, and the operator hasn't granted it to %s, which waits since %s", by.process.ref.In(r.ref.Namespace), w.since(by.claim.CreationTimestamp.Time)))
	}
	return &Cause{Reason: AboutToGo, Message: "is free: the operator is about to grant it"}
}

// freedAt returns when the Lease or Semaphore was last seen to become free.
func (r *resource) freedAt() time.Time {
	if r.lease != nil {
		return becameAt(r.lease.Status.Conditions, konductorv1.ConditionHeld, metav1.ConditionFalse)
	}
	return becameAt(r.sem.Status.Conditions, konductorv1.ConditionAvailable, metav1.ConditionTrue)
}

// becameAt returns since when a condition has had a status; the zero time when it hasn't.
func becameAt(conditions []metav1.Condition, kind string, status metav1.ConditionStatus) time.Time {
	if c := meta.FindStatusCondition(conditions, kind); c != nil && c.Status == status {
		return c.LastTransitionTime.Time
	}
	return time.Time{}
}

// taken says who holds a Lease or Semaphore.
func (w *walk) taken(r *resource) *Cause {
	if r.lease != nil && len(r.holds) == 1 {
		h := w.holder(&r.holds[0])
		c := &Cause{Reason: LeaseHeld, Message: "is held by " + h.words(w, r.ref.Namespace), Because: w.holdersOf(r)}
		c.Remedy = "it must release"
		c.Command = fmt.Sprintf("koncli lease status %s -n %s", r.ref.Name, r.ref.Namespace)
		return c
	}
	held := int32(0)
	for i := range r.holds {
		held += r.holds[i].holder.Permits
	}
	c := &Cause{
		Reason: PermitsInUse, Message: fmt.Sprintf("has %d of %s in use, by %s", held, count(int(r.permits), "permit"), count(len(r.holds), "holder")),
		Remedy: "a holder must release", Because: w.holdersOf(r),
		Command: fmt.Sprintf("koncli semaphore status %s -n %s", r.ref.Name, r.ref.Namespace),
	}
	if len(r.holds) == 1 {
		h := w.holder(&r.holds[0])
		c.Message = fmt.Sprintf("has %d of %s in use, by %s", held, count(int(r.permits), "permit"), h.words(w, r.ref.Namespace))
	}
	return c
}

// holdersOf tells of each holder.
func (w *walk) holdersOf(r *resource) (causes []*Cause) {
	for i := range r.holds {
		h := &r.holds[i]
		c := w.tell(h.process.ref, nil)
		if h.process.ref.Kind == KindHolder && c.Reason == HeldOutside {
			outside := *c
			outside.Message += w.ends(h)
			if r.lease != nil {
				outside.Remedy = "it releases, or its hold runs out; or take it away, once you know that it has stopped"
				outside.Command = fmt.Sprintf("koncli lease break %s -n %s", r.ref.Name, r.ref.Namespace)
			}
			c = &outside
		}
		causes = append(causes, c)
	}
	return causes
}

// ends says when a hold ends by itself.
func (w *walk) ends(h *hold) string {
	if h.holder.ExpiresAt == nil {
		return ""
	}
	left := h.holder.ExpiresAt.Sub(w.Now)
	if left <= 0 {
		return "; its hold is running out now"
	}
	return fmt.Sprintf("; its hold ends in %s unless it renews", w.since(w.Now.Add(-left)))
}

func plural(n int, thing string) string {
	if n == 1 {
		return thing
	}
	return thing + "s"
}
