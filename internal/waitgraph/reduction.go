package waitgraph

import (
	"cmp"
	"iter"
	"slices"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

// A node is reducible when nothing known keeps it from reaching the state that others wait for: a process its end, a Job
// completion, a gate or barrier its opening. Reducible nodes are found by reduction, as in the AND-OR model of deadlocks: begin
// with none, and add each node that needs only reducible ones, until there are no more to add. Each node that is left is blocked:
// it waits for another one that is left, so there is a wait cycle among them. No blocked node can proceed unless one gives up (a
// timeout, a TTL, a deletion) or the specs change (more permits, say), and that is what is reported.
//
// Anything unknown counts as reducible: objects that can't be read or don't exist yet, a barrier that expects more participants
// than are visible. So does what people can be expected to do: resume a Job or a paused semaphore. And only certain waits count,
// not those that a script or an annotation just mentions.

// blocker says that one node needs another that is not reducible. A waiter has an edge to the lease or semaphore, and that has
// edges to its holders, so that there are as many edges as waits and holds, and not one for each pair of them.
type blocker struct {
	from, to *node
	// via is the lease or semaphore that from waits for, and that to holds or gets first, where the edge skips it.
	via Ref
	// aheadInQueue says that to doesn't hold it yet and is ahead of from in the queue.
	aheadInQueue bool
}

// reduction finds the reducible nodes. It checks again only nodes that need one which has become reducible: otherwise a chain of
// ten thousand would be checked ten thousand times.
type reduction struct {
	*Analysis
	readyNodes     []*node     // to be marked reducible
	dirtyResources []*resource // with a holder, or a waiter ahead, that has become reducible
}

// reduce finds the reducible nodes, and the blockers of all others.
func (a *Analysis) reduce() {
	r := &reduction{Analysis: a}
	for _, res := range a.resources {
		res.queueState = newQueueState(res)
		r.markDirty(res)
	}
	for _, p := range a.processes {
		r.addProcess(p)
	}
	for _, j := range a.jobs {
		r.addJob(j)
	}
	for _, g := range a.gates {
		r.addGate(g)
	}
	for _, b := range a.barriers {
		r.addBarrier(b)
	}
	for _, res := range a.resources {
		slices.SortStableFunc(res.permitConditions, func(x, y *permitCondition) int { return cmp.Compare(x.permits, y.permits) })
	}
	for len(r.readyNodes) > 0 || len(r.dirtyResources) > 0 {
		if last := len(r.readyNodes) - 1; last >= 0 {
			n := r.readyNodes[last]
			r.readyNodes = r.readyNodes[:last]
			r.markReducible(n)
			continue
		}
		last := len(r.dirtyResources) - 1
		res := r.dirtyResources[last]
		r.dirtyResources = r.dirtyResources[:last]
		res.dirty = false
		r.reduceWaiters(res)
	}
	a.findBlockers()
}

func (r *reduction) markReducible(n *node) {
	if n.reducible {
		return
	}
	n.reducible = true
	for _, then := range n.onReducible {
		then()
	}
	n.onReducible = nil
}

// markDirty has a lease or semaphore checked again.
func (r *reduction) markDirty(res *resource) {
	if !res.dirty && res.exists() {
		res.dirty = true
		r.dirtyResources = append(r.dirtyResources, res)
	}
}

// addNeed records that n needs to.
func (r *reduction) addNeed(n, to *node) {
	n.unmetNeeds++
	to.onReducible = append(to.onReducible, func() { r.removeNeed(n) })
}

// removeNeed records that one need of n is met.
func (r *reduction) removeNeed(n *node) {
	if n.unmetNeeds--; n.unmetNeeds == 0 {
		r.readyNodes = append(r.readyNodes, n)
	}
}

// markIfReady makes n ready if it needs nothing.
func (r *reduction) markIfReady(n *node) {
	if n.unmetNeeds == 0 {
		r.readyNodes = append(r.readyNodes, n)
	}
}

// addProcess adds what a process needs to reach its end.
func (r *reduction) addProcess(p *process) {
	for i := range p.holds {
		h := &p.holds[i]
		p.onReducible = append(p.onReducible, func() {
			h.resource.queueState.releaseHold(h)
			r.markDirty(h.resource)
		})
	}
	ending := r.isEnding(p)
	for _, w := range p.waits {
		res := r.resources[w.target]
		if w.claim != nil && res != nil {
			p.onReducible = append(p.onReducible, func() {
				res.queueState.removeWait(w)
				r.markDirty(res)
			})
		}
		if ending || !w.evidence.isCertain() {
			continue
		}
		switch w.target.Kind {
		case konductorv1.KindGate:
			if g := r.gates[w.target]; g != nil {
				r.addNeed(&p.node, &g.node)
			}
		case konductorv1.KindBarrier:
			if b := r.barriers[w.target]; b != nil {
				r.addNeed(&p.node, &b.node)
			}
		default:
			if w.needsPermits(res) {
				p.unmetNeeds++
			}
		}
	}
	if p.heldJob != nil {
		r.addPodNeeds(p.heldJob)
	}
	r.markIfReady(&p.node)
}

// needsPermits reports whether w waits for permits that others may hold. A wait that asks for more than exist waits for nobody.
func (w *wait) needsPermits(r *resource) bool {
	return r != nil && r.exists() && w.claim != nil && w.permits <= r.permits
}

// isEnding reports whether a process is about to end whatever it waits for, and its holds with it: its Pod is being deleted, or
// doesn't exist any more.
func (a *Analysis) isEnding(p *process) bool {
	if p.pod != nil {
		return p.pod.DeletionTimestamp != nil
	}
	return p.ref.Kind == KindPod && a.isReadable(KindPod, p.ref.Namespace)
}

// addJob adds what a Job needs for completion: each of its Pods must end.
func (r *reduction) addJob(j *job) {
	if j.held != nil {
		return // addProcess does it.
	}
	r.addPodNeeds(j)
	r.markIfReady(&j.node)
}

func (r *reduction) addPodNeeds(j *job) {
	if j.terminalCondition() == "" && r.terminatingObject(j.ref) == nil {
		for _, p := range j.activePods {
			r.addNeed(j.statusNode(), &p.node)
		}
	}
}

// addGate adds what a gate needs to open.
func (r *reduction) addGate(g *gate) {
	for c := range g.unmetConditions() {
		switch n, res := r.conditionTarget(g, c); {
		case n != nil:
			r.addNeed(&g.node, n)
		case res != nil:
			g.unmetNeeds++
			w := &permitCondition{resource: res, gate: g, permits: c.WantedPermits()}
			res.permitConditions, g.permitConditions = append(res.permitConditions, w), append(g.permitConditions, w)
		}
	}
	r.markIfReady(&g.node)
}

// unmetConditions iterates over the conditions that keep a gate from opening, except those that it is denied.
func (g *gate) unmetConditions() iter.Seq[*konductorv1.GateCondition] {
	return func(yield func(*konductorv1.GateCondition) bool) {
		for i := range g.obj.Spec.Conditions {
			if g.isWaiting() && !g.isMet(i) && !g.isDenied(i) && !yield(&g.obj.Spec.Conditions[i]) {
				return
			}
		}
	}
}

// conditionTarget returns the node that must become reducible for a condition to be met, or the resource of which it needs
// permits. Both are nil when the condition can be met at any time: an object may always fail, be taken or time out.
func (a *Analysis) conditionTarget(g *gate, c *konductorv1.GateCondition) (*node, *resource) {
	target := g.conditionRef(c)
	switch want := c.WantedState(); {
	case want == konductorv1.StateComplete:
		if j := a.jobs[target]; j != nil {
			return j.statusNode(), nil
		}
	case want == konductorv1.StateOpen && c.Type == konductorv1.GateOnBarrier:
		if b := a.barriers[target]; b != nil {
			return &b.node, nil
		}
	case want == konductorv1.StateOpen:
		if other := a.gates[target]; other != nil {
			return &other.node, nil
		}
	case want == konductorv1.StateAvailable:
		if res := a.resources[target]; res != nil && res.exists() && a.terminatingObject(target) == nil && c.WantedPermits() <= res.permits {
			return nil, res
		}
	default:
	}
	return nil, nil
}

// addBarrier adds what a barrier needs to open: as many arrivals as are missing, if all expected participants are known.
func (r *reduction) addBarrier(b *barrier) {
	missing, known, arriving := b.missingCount(), int64(0), int64(0)
	for _, participant := range b.pendingParticipants {
		known += int64(participant.count)
	}
	if !b.isWaiting() || r.namespacesWithUnparsable[b.ref.Namespace] || known < missing {
		r.readyNodes = append(r.readyNodes, &b.node)
		return
	}
	addArrivals := func(n int32) {
		if arriving += int64(n); arriving >= missing {
			r.readyNodes = append(r.readyNodes, &b.node)
		}
	}
	addArrivals(0)
	for _, participant := range b.pendingParticipants {
		processes := participant.candidateProcesses()
		if len(processes) == 0 {
			addArrivals(participant.count)
		}
		first := true
		for _, p := range processes {
			p.onReducible = append(p.onReducible, func() {
				if first {
					first = false
					addArrivals(participant.count)
				}
			})
		}
	}
}

// reduceWaiters removes a need from the waiters of a lease or semaphore, and from gates, whose permits can be had.
func (r *reduction) reduceWaiters(res *resource) {
	for w := range res.queueState.candidates() {
		if int64(w.permits)+res.queueState.permitsAhead(w) <= int64(res.permits) {
			w.satisfiable = true
			res.queueState.wantedPermits.remove(w.queuePosition)
			r.removeNeed(&w.process.node)
		}
	}
	for len(res.permitConditions) > 0 {
		w := res.permitConditions[0]
		if int64(w.permits)+res.queueState.permitsAheadAtTail(w.permits) > int64(res.permits) {
			break // The others ask for no less.
		}
		w.satisfiable, res.permitConditions = true, res.permitConditions[1:]
		r.removeNeed(&w.gate.node)
	}
}

// isBlocked reports whether the held permits don't come back.
func (h *hold) isBlocked() bool { return !h.process.reducible && !h.ending }

// waitsForOtherThan reports whether the process certainly waits for something besides w.
func (p *process) waitsForOtherThan(w *wait) bool {
	return slices.ContainsFunc(p.waits, func(other *wait) bool { return other != w && other.evidence.isCertain() })
}

// conditionRef returns the object that a condition names.
func (g *gate) conditionRef(c *konductorv1.GateCondition) Ref {
	namespace := c.Namespace
	if namespace == "" {
		namespace = g.ref.Namespace
	}
	return Ref{Kind: string(c.Type), Namespace: namespace, Name: c.Name}
}

// conditionStatus returns the operator's status of the i-th condition, or nil.
func (g *gate) conditionStatus(i int) *konductorv1.GateConditionStatus {
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

func (g *gate) isMet(i int) bool {
	s := g.conditionStatus(i)
	return s != nil && s.Met
}

// isDenied reports whether the object's namespace doesn't allow the gate.
func (g *gate) isDenied(i int) bool {
	return rules.IsConditionDenied(g.obj, i)
}

// AllowedNamespaces returns the other namespaces that are known to allow the gate: the operator has observed objects there for
// it. The spec alone proves nothing, since users can name any namespace in it.
func AllowedNamespaces(obj *konductorv1.Gate) (namespaces []string) {
	g := &gate{obj: obj}
	for i := range obj.Spec.Conditions {
		if n := obj.Spec.Conditions[i].Namespace; n != "" && n != obj.Namespace && g.conditionStatus(i) != nil && !g.isDenied(i) {
			namespaces = append(namespaces, n)
		}
	}
	return namespaces
}

// missingCount returns how many arrivals the barrier still needs.
func (b *barrier) missingCount() int64 {
	return max(int64(b.obj.Quorum())-int64(b.obj.Status.Arrived), 0)
}

// candidateProcesses returns the processes of which one must proceed for the participant to arrive; none if it can arrive
// without.
func (r *pendingParticipant) candidateProcesses() []*process {
	if len(r.processes) == 0 && r.job != nil && !r.job.isSuspended() && r.job.isAtParallelism() {
		return r.job.activePods
	}
	return r.processes
}

// isAtParallelism reports whether the Job can start no more Pods before one of its active ones ends.
func (j *job) isAtParallelism() bool {
	parallelism := int32(1)
	if j.obj.Spec.Parallelism != nil {
		parallelism = *j.obj.Spec.Parallelism
	}
	return int(parallelism) <= len(j.activePods)
}
