package waits

import (
	"slices"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// A node is live when nothing known keeps it from getting where others wait for it to be: a process to its end, a Job
// to completion, a gate or barrier to opening. What is live is found by reduction, as in the AND-OR model of deadlocks:
// begin with nothing, and add what needs only things that are live, until there is no more to add. Whatever is left waits
// for something else that is left, so that a circle is among it. Nothing left can go on unless somebody gives up (a
// timeout, a TTL, a deletion) or the declarations change (more permits, say), and that is what is reported.
//
// Where something is not known, it counts as live: what can't be read, what doesn't exist yet, a barrier that expects more
// participants than there are to be seen. So is what people can be expected to do: resume a Job or a paused semaphore. And
// only certain waits count, not those that a script or an annotation just mentions.

// edge says that one node needs another that is not live.
type edge struct {
	from, to *node
	// via is the lease or semaphore that from waits for and to holds, or is to get first.
	via Ref
	// ahead says that to doesn't hold it yet and is before from in the queue.
	ahead bool
}

// reduce finds what is live.
func (a *Analysis) reduce() {
	for _, r := range a.resources {
		r.findRivals()
	}
	type open struct {
		*node
		look func() []edge
	}
	var left []open
	for _, p := range a.processes {
		left = append(left, open{&p.node, func() []edge { return a.processNeeds(p) }})
	}
	for _, j := range a.jobs {
		left = append(left, open{&j.node, func() []edge { return a.jobNeeds(j) }})
	}
	for _, g := range a.gates {
		left = append(left, open{&g.node, func() []edge { return a.gateNeeds(g) }})
	}
	for _, b := range a.barriers {
		left = append(left, open{&b.node, func() []edge { return a.barrierNeeds(b) }})
	}
	for changed := true; changed; {
		changed = false
		left = slices.DeleteFunc(left, func(o open) bool {
			o.blockers = o.look()
			if len(o.blockers) > 0 {
				return false
			}
			o.live, changed = true, true
			return true
		})
	}
}

// processNeeds returns what keeps a process from its end.
func (a *Analysis) processNeeds(p *process) (needs []edge) {
	if a.ending(p) {
		return nil
	}
	for _, w := range p.waits {
		if !w.evidence.certain() {
			continue
		}
		switch w.target.Kind {
		case konductorv1.KindGate:
			if g := a.gates[w.target]; g != nil && !g.live {
				needs = append(needs, edge{from: &p.node, to: &g.node})
			}
		case konductorv1.KindBarrier:
			if b := a.barriers[w.target]; b != nil && !b.live {
				needs = append(needs, edge{from: &p.node, to: &b.node})
			}
		default:
			if r := a.resources[w.target]; r != nil && w.claim != nil {
				needs = append(needs, r.needs(&p.node, w.permits, w)...)
			}
		}
	}
	return needs
}

// ending reports whether a process is about to end whatever it waits for, and its holds with it: its Pod is being deleted,
// or is gone already.
func (a *Analysis) ending(p *process) bool {
	if p.pod != nil {
		return p.pod.DeletionTimestamp != nil
	}
	return p.ref.Kind == KindPod && a.readable(KindPod, p.ref.Namespace)
}

// needs returns who must let go before that many permits can be had by the claim w, or, when w is nil, be free.
//
// Permits that somebody holds who is not live don't come back. Neither do those that a process ahead in the queue will get
// which is not live for another reason: it is looked at first whenever w is, so that it gets them first if it asks for
// no more. One that waits for this alone needs no look: it is stuck only if w is too.
func (r *resource) needs(from *node, permits int32, w *wait) (needs []edge) {
	if !r.exists() || permits > r.permits {
		return nil
	}
	taken := int64(0)
	for i := range r.holds {
		if h := &r.holds[i]; !h.process.live && !h.ending {
			taken += int64(h.holder.Permits)
			needs = append(needs, edge{from: from, to: &h.process.node, via: r.ref})
		}
	}
	for _, other := range r.rivals {
		if w != nil && other.place >= w.place {
			break
		}
		if other.process.live {
			continue
		}
		if (w != nil && r.isFirst(other)) || (other.permits <= permits && other.process.waitsElsewhere(other)) {
			taken += int64(other.permits)
			needs = append(needs, edge{from: from, to: &other.process.node, via: r.ref, ahead: true})
		}
	}
	if int64(permits)+taken <= int64(r.permits) {
		return nil
	}
	return needs
}

// findRivals notes which of a queue can be in the way of those behind them for another reason than that they wait there too:
// few, so that the cost of a look doesn't grow with the square of the queue.
func (r *resource) findRivals() {
	for i, w := range r.queue {
		w.place = i + 1
		if r.isFirst(w) || w.process.waitsElsewhere(w) {
			r.rivals = append(r.rivals, w)
		}
	}
}

// isFirst reports whether w has been passed as often as may be, so that all permits are kept for it.
func (r *resource) isFirst(w *wait) bool {
	return r.head != nil && r.head.ClaimUID == w.claim.UID && r.head.Overtaken >= rules.MaxOvertaken
}

// waitsElsewhere reports whether the process waits for something besides w, for certain.
func (p *process) waitsElsewhere(w *wait) bool {
	return slices.ContainsFunc(p.waits, func(other *wait) bool { return other != w && other.evidence.certain() })
}

// jobNeeds returns what keeps a Job from completion: each of its Pods must end.
func (a *Analysis) jobNeeds(j *job) (needs []edge) {
	if j.ended() != "" {
		return nil
	}
	for _, p := range j.pods {
		if !p.live {
			needs = append(needs, edge{from: &j.node, to: &p.node})
		}
	}
	return needs
}

// gateNeeds returns what keeps a gate from opening.
func (a *Analysis) gateNeeds(g *gate) (needs []edge) {
	if !g.waiting() {
		return nil
	}
	for i := range g.obj.Spec.Conditions {
		if c := &g.obj.Spec.Conditions[i]; !g.met(i) && !g.denied(i) {
			needs = append(needs, a.conditionNeeds(g, c)...)
		}
	}
	return needs
}

func (a *Analysis) conditionNeeds(g *gate, c *konductorv1.GateCondition) []edge {
	target := g.target(c)
	to := func(n *node) []edge {
		if n.live {
			return nil
		}
		return []edge{{from: &g.node, to: n}}
	}
	switch want := c.WantedState(); {
	case want == konductorv1.StateComplete:
		if j := a.jobs[target]; j != nil {
			return to(&j.node)
		}
	case want == konductorv1.StateOpen && c.Type == konductorv1.GateOnBarrier:
		if b := a.barriers[target]; b != nil {
			return to(&b.node)
		}
	case want == konductorv1.StateOpen:
		if other := a.gates[target]; other != nil {
			return to(&other.node)
		}
	case want == konductorv1.StateAvailable:
		if r := a.resources[target]; r != nil {
			return r.needs(&g.node, c.WantedPermits(), nil)
		}
	default:
		// That something fails, is taken or times out may always happen.
	}
	return nil
}

// target returns the object that a condition names.
func (g *gate) target(c *konductorv1.GateCondition) Ref {
	namespace := c.Namespace
	if namespace == "" {
		namespace = g.ref.Namespace
	}
	return Ref{Kind: string(c.Type), Namespace: namespace, Name: c.Name}
}

// status returns what the operator says about the i-th condition, or nil.
func (g *gate) status(i int) *konductorv1.GateConditionStatus {
	c := &g.obj.Spec.Conditions[i]
	if i >= len(g.obj.Status.ConditionStatuses) {
		return nil
	}
	s := &g.obj.Status.ConditionStatuses[i]
	if s.Type != c.Type || s.Name != c.Name || s.Namespace != c.Namespace {
		return nil // of an earlier spec
	}
	return s
}

func (g *gate) met(i int) bool {
	s := g.status(i)
	return s != nil && s.Met
}

// denied reports whether the object's namespace doesn't let the gate look.
func (g *gate) denied(i int) bool {
	s := g.status(i)
	return s != nil && !s.Met && s.Namespace != "" && s.Message == rules.DeniedMessage(s.Namespace)
}

// barrierNeeds returns what keeps a barrier from opening: those who are missing, when all who are to come are known.
func (a *Analysis) barrierNeeds(b *barrier) (needs []edge) {
	if !b.waiting() {
		return nil
	}
	missing := b.missing()
	known, coming := int64(0), int64(0)
	for _, r := range b.arrivers {
		known += int64(r.count)
		if stuck := r.stuck(); len(stuck) == 0 {
			coming += int64(r.count)
		} else {
			for _, p := range stuck {
				needs = append(needs, edge{from: &b.node, to: &p.node})
			}
		}
	}
	if known < missing || coming >= missing {
		return nil
	}
	return needs
}

// missing returns how many must still arrive.
func (b *barrier) missing() int64 {
	return max(int64(b.obj.Quorum())-int64(b.obj.Status.Arrived), 0)
}

// stuck returns the processes of which one would have to go on for the participant to arrive; none if it can.
func (r *arriver) stuck() []*process {
	processes := r.processes
	if len(processes) == 0 && r.job != nil && !r.job.suspended() && r.job.full() {
		processes = r.job.pods
	}
	for _, p := range processes {
		if p.live {
			return nil
		}
	}
	return processes
}

// full reports whether the Job can start no more Pods before one of those that it has ends.
func (j *job) full() bool {
	parallelism := int32(1)
	if j.obj.Spec.Parallelism != nil {
		parallelism = *j.obj.Spec.Parallelism
	}
	return int(parallelism) <= len(j.pods)
}
