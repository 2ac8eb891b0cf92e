package waitgraph

import (
	"fmt"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// addHeldJob adds the process of a Job that the operator holds: it waits, holds and arrives as the Job, before and after its Pods
// exist. Its node is the Job's.
func (a *Analysis) addHeldJob(j *job) {
	annotations := j.obj.Annotations
	if !rules.IsHeldWorkload(annotations) && annotations[konductorv1.ArriveAnnotation] == "" || j.heldState() == konductorv1.HeldFinished {
		return
	}
	p := &process{node: node{ref: j.ref}, uid: j.obj.UID, heldJob: j, participantName: j.ref.String()}
	a.addHeldWorkload(p, annotations)
	if p.held == nil {
		j.invalidAnnotation = p.invalidAnnotation
		return
	}
	if len(p.held.Arrive) > 0 {
		p.calls = []containerCalls{{calls: arriveCalls(p.held.Arrive)}}
		j.calls = append(j.calls, p.calls...)
	}
	j.held = p
	a.processes = append(a.processes, p)
	a.processByUID[p.uid] = p
}

// addHeldWorkload adds to a process what its annotations ask for.
func (a *Analysis) addHeldWorkload(p *process, annotations map[string]string) {
	if !rules.IsHeldWorkload(annotations) && annotations[konductorv1.ArriveAnnotation] == "" {
		return
	}
	w, err := rules.ParseLimitedWorkload(annotations, a.limitsOf(p.ref.Namespace, annotations))
	if err != nil {
		p.invalidAnnotation = err
		return
	}
	p.held = &w
}

// limitsOf returns the limits that apply to a Job with those annotations, of those in the snapshot.
func (a *Analysis) limitsOf(namespace string, annotations map[string]string) map[rules.WorkloadRef]*konductorv1.JobLimit {
	limits := map[rules.WorkloadRef]*konductorv1.JobLimit{}
	for _, ref := range rules.LimitsOf(annotations) {
		if r := a.resources[Ref{ref.Kind, namespace, ref.Name}]; r != nil && r.jobLimit() != nil {
			limits[ref] = r.jobLimit()
		}
	}
	return limits
}

// heldState returns the value of the Job's HeldLabel.
func (j *job) heldState() string { return j.obj.Labels[konductorv1.HeldLabel] }

// isWaitingToStart reports whether a held Job or Pod waits until the operator starts it.
func (p *process) isWaitingToStart() bool {
	state := ""
	switch {
	case p.held == nil || p.held.Paused:
		return false
	case p.heldJob != nil:
		if state = p.heldJob.heldState(); !p.heldJob.isSuspended() || p.heldJob.terminalCondition() != "" {
			return false
		}
	default:
		if state = p.pod.Labels[konductorv1.HeldLabel]; !HasHoldGate(&p.pod.Spec) {
			return false
		}
	}
	return state == "" || state == konductorv1.HeldWaiting
}

// statusNode returns the node that stands for the Job.
func (j *job) statusNode() *node {
	if j.held != nil {
		return &j.held.node
	}
	return &j.node
}

// addHeldWaits adds the waits of held Jobs and Pods that no Claim shows: for gates and barriers, and for the next hold if its Claim
// doesn't exist yet.
func (a *Analysis) addHeldWaits() {
	for _, p := range a.processes {
		if !p.isWaitingToStart() {
			continue
		}
		for _, ref := range p.held.After {
			w := &wait{process: p, target: Ref{ref.Kind, p.ref.Namespace, ref.Name}, evidence: EvidenceAnnotation, permits: 1}
			if a.isWaitable(w) || !a.isOpen(w.target) {
				p.waits = append(p.waits, w)
			}
		}
		for _, hold := range p.held.Holds {
			target := Ref{hold.Kind, p.ref.Namespace, hold.Name}
			if p.holdsTarget(target) {
				continue
			}
			if len(p.waits) == 0 {
				p.waits = append(p.waits, &wait{process: p, target: target, evidence: EvidenceAnnotation, permits: hold.Permits})
			}
			break
		}
	}
}

// isOpen reports whether a gate or barrier is open.
func (a *Analysis) isOpen(ref Ref) bool {
	if g := a.gates[ref]; g != nil {
		return g.obj.DeletionTimestamp == nil && g.obj.Status.Phase == konductorv1.GateOpen
	}
	b := a.barriers[ref]
	return b != nil && b.obj.DeletionTimestamp == nil && b.obj.Status.Phase == konductorv1.BarrierOpen
}

// holdsTarget reports whether the process holds a lease or semaphore.
func (p *process) holdsTarget(target Ref) bool {
	for i := range p.holds {
		if p.holds[i].resource.ref == target {
			return true
		}
	}
	return false
}

// heldJobCause describes a held Job that has not finished and has no Pods at work; nil: it is like any other Job.
func (w *explainer) heldJobCause(j *job) *Cause {
	if j.invalidAnnotation != nil {
		return invalidAnnotationCause(j.ref, j.invalidAnnotation)
	}
	if j.held == nil || !j.isSuspended() {
		return nil
	}
	switch state := j.heldState(); {
	case state == konductorv1.HeldSkipped:
		return skippedCause(j.ref)
	case state == konductorv1.HeldStopping && len(j.activePods) > 0:
		c := &Cause{Reason: ReasonJobNotFinished, Message: "is being stopped, and still has " + countText(len(j.activePods), "pod"), Command: kubectlCommand("describe", j.ref)}
		for _, p := range j.activePods {
			c.Because = append(c.Because, w.explain(p.ref, nil))
		}
		return c
	case j.held.held.Paused:
		return &Cause{
			Reason: ReasonJobPaused, Message: "is paused by its annotation " + konductorv1.PauseAnnotation, Remedy: "remove the annotation",
			Command: fmt.Sprintf("kubectl annotate job/%s -n %s %s-", j.ref.Name, j.ref.Namespace, konductorv1.PauseAnnotation),
		}
	}
	if c := w.waitsCause(j.held); c != nil {
		return c
	}
	if w.isOperatorOverdue(j.obj.CreationTimestamp.Time) && j.heldState() == "" {
		return w.operatorSilentCause(j.ref.Namespace, "is held, but the operator has not observed it")
	}
	return aboutToStartCause()
}

func invalidAnnotationCause(ref Ref, err error) *Cause {
	return &Cause{
		Reason: ReasonAnnotationInvalid, Message: "isn't held: " + err.Error(), Remedy: "delete it and create it again with the right annotation",
		Command: kubectlCommand("describe", ref),
	}
}

func skippedCause(ref Ref) *Cause {
	return &Cause{
		Reason: ReasonSkipped, Message: "was skipped: it could not start in time", Remedy: "its Event says what was busy; to run it, delete it and create it again",
		Command: kubectlCommand("describe", ref),
	}
}

func aboutToStartCause() *Cause {
	return &Cause{Reason: ReasonAboutToGo, Message: "has everything that it waited for: the operator is about to start it"}
}

// heldPodCause describes a Pod that waits behind the operator's scheduling gate; nil: it is like any other Pod.
func (w *explainer) heldPodCause(p *process) *Cause {
	switch {
	case p.pod.DeletionTimestamp != nil || !HasHoldGate(&p.pod.Spec):
		return nil
	case p.invalidAnnotation != nil:
		return invalidAnnotationCause(p.ref, p.invalidAnnotation)
	case p.pod.Labels[konductorv1.HeldLabel] == konductorv1.HeldSkipped:
		return skippedCause(p.ref)
	}
	if c := w.waitsCause(p); c != nil {
		return c
	}
	if w.isOperatorOverdue(p.pod.CreationTimestamp.Time) && p.pod.Labels[konductorv1.HeldLabel] == "" {
		return w.operatorSilentCause(p.ref.Namespace, "is held, but the operator has not observed it")
	}
	return aboutToStartCause()
}
