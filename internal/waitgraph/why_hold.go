package waitgraph

import (
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// resourceCause describes a Lease or Semaphore, as it concerns waiter if that isn't nil.
func (w *explainer) resourceCause(ref Ref, waiter *wait) *Cause {
	r := w.resources[ref]
	switch {
	case r == nil || !r.exists():
		if ref.Kind == konductorv1.KindLease {
			return missingCause(ref, ReasonLeaseMissing, "")
		}
		return missingCause(ref, ReasonSemaphoreMissing, " --permits N")
	case r.sem != nil && r.permits == 0:
		return &Cause{
			Reason: ReasonSemaphorePaused, Message: "is paused: it has 0 permits", Remedy: "resume it",
			Command: fmt.Sprintf("koncli semaphore resize %s --permits N -n %s", ref.Name, ref.Namespace),
		}
	case waiter != nil && waiter.permits > r.permits:
		return w.asksTooMuchCause(r, waiter.permits, waiter.process.ref.String()+" asks for")
	}
	observed, generation, created, neverObserved := r.observedGeneration()
	if unobserved := w.unobservedCause(r.ref.Namespace, observed, generation, created, neverObserved); unobserved != nil {
		return unobserved
	}
	if waiter == nil || waiter.claim == nil {
		return w.availabilityCause(r)
	}
	return w.notGrantedCause(r, waiter)
}

func (r *resource) observedGeneration() (observed, generation int64, created time.Time, neverObserved bool) {
	if r.lease != nil {
		return r.lease.Status.ObservedGeneration, r.lease.Generation, r.lease.CreationTimestamp.Time, r.lease.Status.Phase == ""
	}
	return r.sem.Status.ObservedGeneration, r.sem.Generation, r.sem.CreationTimestamp.Time, r.sem.Status.Phase == ""
}

func (w *explainer) asksTooMuchCause(r *resource, permits int32, who string) *Cause {
	return &Cause{
		Object: r.ref, Reason: ReasonAsksTooMuch, Message: fmt.Sprintf("has %s, but %s %d", countText(int(r.permits), "permit"), who, permits),
		Remedy:  "ask for fewer, or raise spec.permits",
		Command: fmt.Sprintf("koncli semaphore resize %s --permits %d -n %s", r.ref.Name, permits, r.ref.Namespace),
	}
}

// availabilityCause describes a Lease or Semaphore without regard to a waiter.
func (w *explainer) availabilityCause(r *resource) *Cause {
	if r.freePermits() > 0 {
		if len(r.queue) > 0 {
			return w.notGrantedCause(r, r.queue[0])
		}
		if r.lease != nil {
			return &Cause{Reason: ReasonAvailable, Message: "is free"}
		}
		return &Cause{Reason: ReasonAvailable, Message: fmt.Sprintf("has %d of %s free", r.freePermits(), countText(int(r.permits), "permit"))}
	}
	return w.heldCause(r)
}

// notGrantedCause describes why a claim on a Lease or Semaphore isn't granted.
func (w *explainer) notGrantedCause(r *resource, waiter *wait) *Cause {
	if r.freePermits() < waiter.permits {
		c := w.heldCause(r)
		if r.freePermits() > 0 {
			c.Message = fmt.Sprintf("has %s free, but %s asks for %d", countText(int(r.freePermits()), "permit"), waiter.process.ref.StringIn(r.ref.Namespace), waiter.permits)
		}
		return c
	}
	if reserved := r.reservedWait(waiter); reserved != nil {
		return w.withHolderCauses(r, &Cause{
			Reason: ReasonPermitsReserved, Message: fmt.Sprintf("reserves its free %s for %s, which is ahead in the queue and asks for %d", pluralize(int(r.freePermits()), "permit"), reserved.process.ref.StringIn(r.ref.Namespace), reserved.permits),
			Remedy: "wait for holders to release enough permits", Command: kubectlCommand("describe", r.ref),
		})
	}
	freed := r.lastFreedAt()
	if w.isOperatorOverdue(waiter.claim.CreationTimestamp.Time) && w.isOperatorOverdue(freed) {
		return w.operatorSilentCause(r.ref.Namespace, fmt.Sprintf("is free, but the operator hasn't granted it to %s, which has been waiting for %s", waiter.process.ref.StringIn(r.ref.Namespace), w.formatAge(waiter.claim.CreationTimestamp.Time)))
	}
	return &Cause{Reason: ReasonAboutToGo, Message: "is free: the operator is about to grant it"}
}

// reservedWait returns the wait ahead of waiter for which the free permits are reserved: one that doesn't fit and was overtaken
// as often as is allowed, else the first that doesn't fit.
func (r *resource) reservedWait(waiter *wait) (reserved *wait) {
	for _, w := range r.queue {
		switch {
		case w == waiter:
			return reserved
		case w.permits <= r.freePermits():
		case r.isReservedFor(w):
			return w
		case reserved == nil:
			reserved = w
		}
	}
	return reserved
}

// lastFreedAt returns when the Lease or Semaphore last became free, by its status.
func (r *resource) lastFreedAt() time.Time {
	if r.lease != nil {
		return conditionSince(r.lease.Status.Conditions, konductorv1.ConditionHeld, metav1.ConditionFalse)
	}
	return conditionSince(r.sem.Status.Conditions, konductorv1.ConditionAvailable, metav1.ConditionTrue)
}

// heldCause describes a Lease or Semaphore by its holders.
func (w *explainer) heldCause(r *resource) *Cause {
	if r.lease != nil && len(r.holds) == 1 {
		h := w.newHolder(&r.holds[0])
		c := &Cause{Reason: ReasonLeaseHeld, Message: "is held by " + h.describe(w, r.ref.Namespace)}
		c.Remedy = "wait for the holder to release"
		c.Command = fmt.Sprintf("koncli lease status %s -n %s", r.ref.Name, r.ref.Namespace)
		return w.withHolderCauses(r, c)
	}
	held := int32(0)
	for i := range r.holds {
		held += r.holds[i].holder.Permits
	}
	c := &Cause{
		Reason: ReasonPermitsInUse, Message: fmt.Sprintf("has %d of %s in use, by %s", held, countText(int(r.permits), "permit"), countText(len(r.holds), "holder")),
		Remedy:  "wait for a holder to release",
		Command: fmt.Sprintf("koncli semaphore status %s -n %s", r.ref.Name, r.ref.Namespace),
	}
	if len(r.holds) == 1 {
		h := w.newHolder(&r.holds[0])
		c.Message = fmt.Sprintf("has %d of %s in use, by %s", held, countText(int(r.permits), "permit"), h.describe(w, r.ref.Namespace))
	}
	return w.withHolderCauses(r, c)
}

// withHolderCauses adds the causes of the holders to that of a Lease or Semaphore. They are computed once, however many wait for
// it.
func (w *explainer) withHolderCauses(r *resource, c *Cause) *Cause {
	causes, known := w.holderCauses[r]
	if !known {
		causes, _ = mostUrgent(w.explainHolders(r), 0)
		// These two depend on the path from which they are reached, and may be different elsewhere.
		if !slices.ContainsFunc(causes, func(c *Cause) bool { return c.Reason == ReasonPossibleDeadlock || c.Reason == ReasonNotFollowed }) {
			w.holderCauses[r] = causes
		}
	}
	for _, holder := range causes {
		c.Because = append(c.Because, w.limitDepth(holder))
	}
	c.More = len(r.holds) - len(causes)
	c.height = chainHeight(c.Because)
	return c
}

// explainHolders describes each holder.
func (w *explainer) explainHolders(r *resource) (causes []*Cause) {
	for i := range r.holds {
		h := &r.holds[i]
		c := w.explain(h.process.ref, nil)
		if h.process.ref.Kind == KindHolder && c.Reason == ReasonHeldOutside {
			outside := *c
			outside.Message += w.expiryText(h)
			if r.lease != nil {
				outside.Remedy = "wait until it releases or its hold expires; or break the hold, once you know that the holder has stopped"
				outside.Command = fmt.Sprintf("koncli lease break %s -n %s", r.ref.Name, r.ref.Namespace)
			}
			c = &outside
		}
		causes = append(causes, c)
	}
	return causes
}

// expiryText says when a hold ends by itself.
func (w *explainer) expiryText(h *hold) string {
	if h.holder.ExpiresAt == nil {
		return ""
	}
	left := h.holder.ExpiresAt.Sub(w.Now)
	if left <= 0 {
		return "; its hold is expiring now"
	}
	return fmt.Sprintf("; its hold expires in %s unless renewed", w.formatAge(w.Now.Add(-left)))
}
