package waitgraph

import (
	"fmt"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/api/meta"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// gateCause describes a Gate.
func (w *explainer) gateCause(ref Ref) *Cause {
	g := w.gates[ref]
	if g == nil {
		return missingCause(ref, ReasonGateMissing, " --job NAME")
	}
	switch g.obj.Status.Phase {
	case konductorv1.GateOpen:
		return &Cause{Reason: ReasonOpen, Message: "is open"}
	case konductorv1.GateFailed:
		return w.gateFailedCause(g, ReasonGateFailed, "has failed: ", "fix and replace what failed: the gate then waits again")
	case konductorv1.GateTimeout:
		return w.gateFailedCause(g, ReasonGateTimedOut, "has timed out: ", "raise spec.timeout: the gate then waits again")
	default:
	}
	if unobserved := w.unobservedCause(ref.Namespace, g.obj.Status.ObservedGeneration, g.obj.Generation, g.obj.CreationTimestamp.Time, g.obj.Status.Phase == ""); unobserved != nil {
		return unobserved
	}
	c := &Cause{Command: kubectlCommand("describe", ref)}
	met := 0
	for i := range g.obj.Spec.Conditions {
		if g.isMet(i) {
			met++
			continue
		}
		c.Because = append(c.Because, w.conditionCause(g, i))
	}
	c.Reason = ReasonConditionsNotMet
	c.Message = fmt.Sprintf("waits: %d of %d conditions are met", met, len(g.obj.Spec.Conditions))
	if len(c.Because) == 0 {
		c.Reason, c.Message = ReasonAboutToGo, "is about to open: all its conditions are met"
	}
	return c
}

func (w *explainer) gateFailedCause(g *gate, reason Reason, prefix, remedy string) *Cause {
	message := strings.TrimSuffix(prefix, ": ")
	if open := meta.FindStatusCondition(g.obj.Status.Conditions, konductorv1.ConditionOpen); open != nil {
		message = prefix + open.Message
	}
	c := &Cause{Reason: reason, Message: message, Remedy: remedy, Command: kubectlCommand("describe", g.ref)}
	for i := range g.obj.Spec.Conditions {
		if !g.isMet(i) {
			if b := w.conditionCause(g, i); b.Reason.neverProceeds() {
				c.Because = append(c.Because, b)
			}
		}
	}
	return c
}

// conditionCause describes why one condition of a gate isn't met.
func (w *explainer) conditionCause(g *gate, i int) *Cause {
	spec := &g.obj.Spec.Conditions[i]
	target := g.conditionRef(spec)
	if g.isDenied(i) {
		return &Cause{
			Object: target, Reason: ReasonNamespaceDenied, Message: "is in a namespace that doesn't allow this gate",
			Remedy:  "allow it, if you own that namespace",
			Command: fmt.Sprintf("kubectl annotate namespace %s %s=%s", target.Namespace, konductorv1.AllowGatesAnnotation, g.ref.Namespace),
		}
	}
	want := spec.WantedState()
	r := w.resources[target]
	if want == konductorv1.StateAvailable && spec.WantedPermits() > 1 && r != nil && r.sem != nil && r.permits > 0 && spec.WantedPermits() > r.permits {
		return w.asksTooMuchCause(r, spec.WantedPermits(), "the gate wants")
	}
	c := w.explainFor(target, nil, g.reducible)
	switch {
	case !c.Reason.isHealthy():
		return c
	case c.Reason == ReasonComplete && want == konductorv1.StateComplete:
		return w.aboutToGoCause(target, g)
	case (c.Reason == ReasonComplete || c.Reason == ReasonOpen) && c.meetsState(want):
		return w.aboutToGoCause(target, g)
	case c.Reason == ReasonComplete || c.Reason == ReasonOpen:
		return &Cause{Object: target, Reason: ReasonWrongState, Message: fmt.Sprintf("%s, but the gate wants state %s", c.Message, want), Remedy: "change the condition, or replace the object"}
	case c.Reason == ReasonAvailable && want == konductorv1.StateAvailable && (r == nil || r.freePermits() < spec.WantedPermits()):
		return w.withHolderCauses(r, &Cause{
			Object: target, Reason: ReasonPermitsInUse, Message: fmt.Sprintf("has %s free, but the gate wants %d", countText(int(r.freePermits()), "permit"), spec.WantedPermits()),
			Remedy: "wait for holders to release",
		})
	case c.Reason == ReasonAvailable && want == konductorv1.StateAvailable:
		return w.aboutToGoCause(target, g)
	default:
		return &Cause{Object: target, Reason: ReasonConditionsNotMet, Message: fmt.Sprintf("%s, but the gate wants state %s", c.Message, want)}
	}
}

func (c *Cause) meetsState(want konductorv1.GateState) bool {
	return want == konductorv1.StateOpen && c.Reason == ReasonOpen
}

// aboutToGoCause describes an object that meets the gate's condition. A running operator observes that within moments.
func (w *explainer) aboutToGoCause(target Ref, g *gate) *Cause {
	if j := w.jobs[target]; j != nil {
		for _, c := range j.obj.Status.Conditions {
			if c.Type == batchv1.JobComplete && w.isOperatorOverdue(c.LastTransitionTime.Time) && w.isOperatorOverdue(g.obj.CreationTimestamp.Time) {
				silent := w.operatorSilentCause(g.obj.Namespace, fmt.Sprintf("has been complete for %s, but the operator hasn't updated the gate", w.formatAge(c.LastTransitionTime.Time)))
				silent.Object = target
				return silent
			}
		}
	}
	return &Cause{Object: target, Reason: ReasonAboutToGo, Message: "meets the gate's condition: the operator is about to update the gate"}
}
