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
	w, err := rules.ParseLimitedWorkload(annotations, a.limitsOf(j))
	if err != nil {
		j.invalidAnnotation = err
		return
	}
	p := &process{node: node{ref: j.ref}, uid: j.obj.UID, heldJob: j, participantName: j.ref.String()}
	if len(w.Arrive) > 0 {
		arrivals := containerCalls{}
		for _, barrier := range w.Arrive {
			arrivals.calls = append(arrivals.calls, Call{Kind: konductorv1.KindBarrier, Verb: VerbArrive, Name: barrier, Permits: 1, FromAnnotation: true})
		}
		p.calls = []containerCalls{arrivals}
		j.calls = append(j.calls, arrivals)
	}
	j.held, j.workload = p, w
	a.processes = append(a.processes, p)
	a.processByUID[p.uid] = p
}

// limitsOf returns the limits that apply to a Job, of those in the snapshot.
func (a *Analysis) limitsOf(j *job) map[rules.WorkloadRef]*konductorv1.JobLimit {
	limits := map[rules.WorkloadRef]*konductorv1.JobLimit{}
	for _, ref := range rules.LimitsOf(j.obj.Annotations) {
		if r := a.resources[Ref{ref.Kind, j.ref.Namespace, ref.Name}]; r != nil && r.jobLimit() != nil {
			limits[ref] = r.jobLimit()
		}
	}
	return limits
}

// heldState returns the value of the Job's HeldLabel.
func (j *job) heldState() string { return j.obj.Labels[konductorv1.HeldLabel] }

// isWaitingForHolds reports whether the Job is suspended until the operator starts it.
func (j *job) isWaitingForHolds() bool {
	state := j.heldState()
	return j.held != nil && j.isSuspended() && j.terminalCondition() == "" && !j.workload.Paused && (state == "" || state == konductorv1.HeldWaiting)
}

// statusNode returns the node that stands for the Job.
func (j *job) statusNode() *node {
	if j.held != nil {
		return &j.held.node
	}
	return &j.node
}

// addHeldJobWaits adds the waits of held Jobs that no Claim shows: for gates and barriers, and for the next hold if its Claim
// doesn't exist yet.
func (a *Analysis) addHeldJobWaits() {
	for _, j := range a.jobs {
		if !j.isWaitingForHolds() {
			continue
		}
		p := j.held
		for _, ref := range j.workload.After {
			w := &wait{process: p, target: Ref{ref.Kind, j.ref.Namespace, ref.Name}, evidence: EvidenceHeldJob, permits: 1}
			if a.isWaitable(w) || !a.isOpen(w.target) {
				p.waits = append(p.waits, w)
			}
		}
		for _, hold := range j.workload.Holds {
			target := Ref{hold.Kind, j.ref.Namespace, hold.Name}
			if p.holdsTarget(target) {
				continue
			}
			if len(p.waits) == 0 {
				p.waits = append(p.waits, &wait{process: p, target: target, evidence: EvidenceHeldJob, permits: hold.Permits})
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
		return &Cause{
			Reason: ReasonAnnotationInvalid, Message: "isn't held: " + j.invalidAnnotation.Error(), Remedy: "delete it and create it again with the right annotation",
			Command: kubectlCommand("describe", j.ref),
		}
	}
	if j.held == nil || !j.isSuspended() {
		return nil
	}
	switch state := j.heldState(); {
	case state == konductorv1.HeldSkipped:
		return &Cause{
			Reason: ReasonJobSkipped, Message: "was skipped: it could not start in time", Remedy: "its Event says what was busy; to run it, delete it and create it again",
			Command: kubectlCommand("describe", j.ref),
		}
	case state == konductorv1.HeldStopping && len(j.activePods) > 0:
		c := &Cause{Reason: ReasonJobNotFinished, Message: "is being stopped, and still has " + countText(len(j.activePods), "pod"), Command: kubectlCommand("describe", j.ref)}
		for _, p := range j.activePods {
			c.Because = append(c.Because, w.explain(p.ref, nil))
		}
		return c
	case j.workload.Paused:
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
	return &Cause{Reason: ReasonAboutToGo, Message: "has everything that it waited for: the operator is about to start it"}
}
