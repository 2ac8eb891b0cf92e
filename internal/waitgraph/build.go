package waitgraph

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/rules"
)

func (a *Analysis) addJobs() {
	for _, obj := range a.Jobs {
		ref := Ref{KindJob, obj.Namespace, obj.Name}
		j := &job{node: node{ref: ref}, obj: obj, calls: podCalls(&obj.Spec.Template.Spec, obj.Spec.Template.Annotations)}
		a.jobs[ref] = j
		if j.terminalCondition() == "" && hasUnparsable(j.calls) {
			a.namespacesWithUnparsable[ref.Namespace] = true
		}
		a.addHeldJob(j)
	}
}

// addPods adds a process for each Pod that has not ended.
func (a *Analysis) addPods() {
	for _, pod := range a.Pods {
		if isPodEnded(pod) {
			a.endedPods[Ref{KindPod, pod.Namespace, pod.Name}] = pod
			continue
		}
		ref := Ref{KindPod, pod.Namespace, pod.Name}
		p := a.newProcess(ref)
		p.pod, p.uid, p.calls = pod, pod.UID, podCalls(&pod.Spec, pod.Annotations)
		p.participantName = ParticipantName(pod)
		a.addHeldWorkload(p, pod.Annotations)
		if hasUnparsable(p.calls) {
			a.namespacesWithUnparsable[ref.Namespace] = true
		}
		a.processByUID[pod.UID] = p
		if j := a.jobs[ownerJobRef(pod)]; j != nil {
			p.job = j
			j.activePods = append(j.activePods, p)
		}
	}
}

// hasUnparsable reports whether the commands of some container can't be parsed.
func hasUnparsable(containers []containerCalls) bool {
	return slices.ContainsFunc(containers, func(c containerCalls) bool { return c.unparsable })
}

func isPodEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// ownerJobRef returns the Job that a Pod belongs to, or a Ref without a name.
func ownerJobRef(pod *corev1.Pod) Ref {
	if owner := konductorv1.ControllingJob(pod); owner != nil {
		return Ref{KindJob, pod.Namespace, owner.Name}
	}
	return Ref{}
}

func (a *Analysis) newProcess(ref Ref) *process {
	p := &process{node: node{ref: ref}}
	a.processes = append(a.processes, p)
	a.processByRef[ref] = p
	return p
}

func (a *Analysis) addCoordinationObjects() {
	for _, obj := range a.Gates {
		ref := Ref{konductorv1.KindGate, obj.Namespace, obj.Name}
		a.gates[ref] = &gate{node: node{ref: ref}, obj: obj}
	}
	for _, obj := range a.Barriers {
		ref := Ref{konductorv1.KindBarrier, obj.Namespace, obj.Name}
		a.barriers[ref] = &barrier{node: node{ref: ref}, obj: obj, arrivedParticipants: map[string]bool{}, arrivedIndexes: map[string][]int32{}}
	}
	for _, arrival := range a.Arrivals {
		if b := a.barriers[Ref{konductorv1.KindBarrier, arrival.Namespace, arrival.Spec.Barrier}]; b != nil && arrival.DeletionTimestamp == nil && isFor(arrival.Spec.BarrierUID, b.obj.UID) {
			b.recordArrival(arrival.Spec.Participant)
		}
	}
	for _, obj := range a.Leases {
		a.ensureResource(Ref{konductorv1.KindLease, obj.Namespace, obj.Name}).lease = obj
	}
	for _, obj := range a.Semaphores {
		r := a.ensureResource(Ref{konductorv1.KindSemaphore, obj.Namespace, obj.Name})
		r.sem, r.permits = obj, obj.Spec.Permits
	}
}

// ensureResource returns the Lease or Semaphore of that name, which may not exist.
func (a *Analysis) ensureResource(ref Ref) *resource {
	r, ok := a.resources[ref]
	if !ok {
		r = &resource{node: node{ref: ref}, permits: 1}
		a.resources[ref] = r
	}
	return r
}

// isFor reports whether a Claim or an Arrival that names the UID named is for the object with that UID. One that names none
// is for any object.
func isFor(named, uid types.UID) bool { return named == "" || named == uid }

// addClaims adds the holds and the queues.
func (a *Analysis) addClaims() {
	claims := make(map[types.UID]*konductorv1.Claim, len(a.Claims))
	for _, c := range a.Claims {
		claims[c.UID] = c
	}
	grantedClaims := map[types.UID]bool{}
	for _, r := range a.resources {
		for _, h := range r.holders() {
			c := claims[h.ClaimUID]
			grantedClaims[h.ClaimUID] = true
			p := a.holderProcess(r.ref.Namespace, &h, c)
			granted := hold{resource: r, process: p, holder: h, claim: c}
			// Its claim was deleted, or ends with its object. The hold of a Job lasts until its Pods have ended.
			granted.ending = (c == nil && h.Job == nil && a.isReadable(konductorv1.KindClaim, r.ref.Namespace)) || (c != nil && c.DeletionTimestamp != nil) || a.terminatingObject(r.ref) != nil
			r.holds = append(r.holds, granted)
			p.holds = append(p.holds, granted)
		}
	}
	for _, c := range a.Claims {
		if grantedClaims[c.UID] || (c.Status.Phase != "" && c.Status.Phase != konductorv1.ClaimPending) || c.Spec.WhenBusy == konductorv1.BusyRefuse {
			continue
		}
		r := a.ensureResource(Ref{c.Spec.Target.Kind, c.Namespace, c.Spec.Target.Name})
		if r.exists() && !isFor(c.Spec.Target.UID, r.uid()) {
			continue
		}
		if c.DeletionTimestamp != nil || (a.terminatingObject(r.ref) != nil && c.Spec.Target.UID != "") {
			continue
		}
		p := a.holderProcess(c.Namespace, &konductorv1.Holder{Name: c.Spec.Holder}, c)
		w := &wait{process: p, target: r.ref, evidence: EvidenceClaim, claim: c, permits: max(c.Spec.Permits, 1)}
		p.waits = append(p.waits, w)
		r.queue = append(r.queue, w)
	}
	for _, r := range a.resources {
		slices.SortFunc(r.queue, func(x, y *wait) int {
			if rules.ServedBefore(x.claim, y.claim) {
				return -1
			}
			return 1
		})
		slices.SortFunc(r.holds, func(x, y hold) int { return cmp.Compare(x.holder.FencingToken, y.holder.FencingToken) })
	}
}

func (r *resource) holders() []konductorv1.Holder {
	switch {
	case r.lease != nil:
		return r.lease.Status.Holders()
	case r.sem != nil:
		return r.sem.Status.Holders
	}
	return nil
}

func (r *resource) uid() types.UID {
	if r.lease != nil {
		return r.lease.UID
	}
	return r.sem.UID
}

// holderProcess returns the process behind a hold or a claim: the Pod or Job it is bound to, else the holder of that name.
func (a *Analysis) holderProcess(namespace string, h *konductorv1.Holder, c *konductorv1.Claim) *process {
	var bound *konductorv1.BoundObject
	switch {
	case c != nil:
		bound = c.Spec.BoundTo
	case h.Job != nil:
		bound = &konductorv1.BoundObject{Kind: KindJob, Name: h.Job.Name, UID: h.Job.UID}
	}
	if bound != nil {
		if p, ok := a.processByUID[bound.UID]; ok {
			return p
		}
		p := &process{node: node{ref: Ref{bound.Kind, namespace, bound.Name}}, uid: bound.UID}
		a.processes = append(a.processes, p)
		a.processByUID[p.uid] = p
		if _, taken := a.processByRef[p.ref]; !taken {
			a.processByRef[p.ref] = p
		}
		return p
	}
	ref := Ref{KindHolder, namespace, h.Name}
	if p, ok := a.processByRef[ref]; ok {
		return p
	}
	return a.newProcess(ref)
}

// addInferredWaits adds the waits of Pods without a claim, which are inferred from the commands of the running containers.
func (a *Analysis) addInferredWaits() {
	for _, p := range a.processes {
		for _, c := range p.calls {
			for i := range c.calls {
				if call := &c.calls[i]; call.mayBlock() && p.isContainerRunning(c.name) {
					a.addInferredWait(p, c.name, call)
				}
			}
		}
	}
}

func (a *Analysis) addInferredWait(p *process, container string, call *Call) {
	w := &wait{
		process: p, target: Ref{call.Kind, p.ref.Namespace, call.Name}, evidence: EvidenceScript, permits: call.Permits, container: container,
	}
	if call.OnlyCommand {
		w.evidence = EvidenceCommand
	}
	if slices.ContainsFunc(p.waits, func(other *wait) bool { return other.target == w.target }) ||
		slices.ContainsFunc(p.holds, func(h hold) bool { return h.resource.ref == w.target }) || !a.isWaitable(w) {
		return
	}
	p.waits = append(p.waits, w)
}

// isWaitable reports whether a process can wait for the target: an open object lets everybody through, a failed one ends its
// waiters, and the waiters of an existing lease or semaphore have a claim.
func (a *Analysis) isWaitable(w *wait) bool {
	switch w.target.Kind {
	case konductorv1.KindGate:
		g := a.gates[w.target]
		return g == nil || g.isWaiting()
	case konductorv1.KindBarrier:
		b := a.barriers[w.target]
		return b == nil || b.isWaiting()
	default:
		r := a.resources[w.target]
		return w.evidence == EvidenceCommand && (r == nil || !r.exists())
	}
}

func (g *gate) isWaiting() bool {
	return g.obj.DeletionTimestamp == nil && (g.obj.Status.Phase == "" || g.obj.Status.Phase == konductorv1.GateWaiting)
}

func (b *barrier) isWaiting() bool {
	return b.obj.DeletionTimestamp == nil && (b.obj.Status.Phase == "" || b.obj.Status.Phase == konductorv1.BarrierWaiting)
}

// isContainerRunning reports whether a container of that name runs, so that a call of it may be in progress.
func (p *process) isContainerRunning(container string) bool {
	s := p.containerStatus(container)
	return s != nil && s.State.Running != nil
}

// isContainerSucceeded reports whether a container of that name has ended with exit code 0.
func (p *process) isContainerSucceeded(container string) bool {
	s := p.containerStatus(container)
	return s != nil && s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
}

func (p *process) containerStatus(container string) *corev1.ContainerStatus {
	if p.pod == nil {
		return nil
	}
	for _, statuses := range [][]corev1.ContainerStatus{p.pod.Status.InitContainerStatuses, p.pod.Status.ContainerStatuses} {
		for i := range statuses {
			if statuses[i].Name == container {
				return &statuses[i]
			}
		}
	}
	return nil
}

// addPendingParticipants adds to each waiting barrier the participants that could still arrive: Pods, and Jobs whose Pods don't
// exist yet.
func (a *Analysis) addPendingParticipants() {
	byParticipant := map[*barrier]map[string]*pendingParticipant{}
	add := func(b *barrier, participant string, j *job, p *process, count int32) {
		if b.arrivedParticipants[participant] {
			return
		}
		if byParticipant[b] == nil {
			byParticipant[b] = map[string]*pendingParticipant{}
		}
		r := byParticipant[b][participant]
		if r == nil {
			r = &pendingParticipant{name: participant, job: j, count: count}
			byParticipant[b][participant] = r
			b.pendingParticipants = append(b.pendingParticipants, r)
		}
		if p != nil {
			r.processes = append(r.processes, p)
		}
	}
	for _, p := range a.processes {
		for _, b := range a.barriersToArriveAt(p.ref.Namespace, p.calls, p.isContainerSucceeded) {
			add(b, p.participantName, p.job, p, 1)
		}
	}
	for _, j := range a.jobs {
		if j.terminalCondition() != "" {
			continue
		}
		for _, b := range a.barriersToArriveAt(j.ref.Namespace, j.calls, func(string) bool { return false }) {
			if rest := j.unstartedCount(b); rest > 0 {
				add(b, j.unstartedName(), j, nil, rest)
			}
		}
	}
	for _, b := range a.barriers {
		slices.SortFunc(b.pendingParticipants, func(x, y *pendingParticipant) int { return strings.Compare(x.name, y.name) })
	}
}

// barriersToArriveAt returns the waiting barriers at which those calls arrive, leaving out containers that have succeeded.
func (a *Analysis) barriersToArriveAt(namespace string, containers []containerCalls, isSucceeded func(string) bool) (at []*barrier) {
	for _, c := range containers {
		for i := range c.calls {
			call := &c.calls[i]
			b := a.barriers[Ref{konductorv1.KindBarrier, namespace, call.Name}]
			if call.Verb == VerbArrive && call.Kind == konductorv1.KindBarrier && b != nil && b.isWaiting() &&
				(call.FromAnnotation || !isSucceeded(c.name)) && !slices.Contains(at, b) {
				at = append(at, b)
			}
		}
	}
	return at
}

// ParticipantName returns the name under which a Pod arrives unless its command sets another.
func ParticipantName(pod *corev1.Pod) string {
	owner := ownerJobRef(pod)
	if owner.Name == "" {
		return Ref{Kind: KindPod, Name: pod.Name}.String()
	}
	if index, ok := completionIndex(pod); ok {
		return owner.String() + "/" + index
	}
	return owner.String()
}

// completionIndex returns the index of the Job's completion that a Pod is for.
func completionIndex(pod *corev1.Pod) (string, bool) {
	index := pod.Annotations[batchv1.JobCompletionIndexAnnotation]
	_, ok := parseCompletionIndex(index)
	return index, ok
}

// parseCompletionIndex parses a completion index as Kubernetes writes it: no sign, no leading zeros.
func parseCompletionIndex(index string) (int32, bool) {
	n, err := strconv.ParseInt(index, 10, 32)
	return int32(n), err == nil && n >= 0 && strconv.FormatInt(n, 10) == index
}

// recordArrival adds a participant that has arrived.
func (b *barrier) recordArrival(participant string) {
	if b.arrivedParticipants[participant] {
		return
	}
	b.arrivedParticipants[participant] = true
	slash := strings.LastIndexByte(participant, '/')
	if n, ok := parseCompletionIndex(participant[slash+1:]); ok && slash > 0 {
		b.arrivedIndexes[participant[:slash]] = append(b.arrivedIndexes[participant[:slash]], n)
	}
}

// unstartedName returns a name for the participants of a Job that have no Pod yet.
func (j *job) unstartedName() string {
	if j.isIndexed() {
		return j.ref.String() + "/…"
	}
	return j.ref.String()
}

// unstartedCount returns how many participants of the Job neither have arrived nor have a Pod that could. It counts those that
// do, and subtracts: the number of completions is set by users, and may be huge.
func (j *job) unstartedCount(b *barrier) int32 {
	if !j.isIndexed() {
		if b.arrivedParticipants[j.ref.String()] || len(j.activePods) > 0 {
			return 0
		}
		return 1
	}
	prefix := j.ref.String() + "/"
	activeParticipants := make(map[string]bool, len(j.activePods))
	for _, p := range j.activePods {
		index, ok := strings.CutPrefix(p.participantName, prefix)
		if n, isIndex := parseCompletionIndex(index); ok && isIndex && n < j.participantCount() && !b.arrivedParticipants[p.participantName] {
			activeParticipants[p.participantName] = true
		}
	}
	return j.notArrivedCount(b) - int32(len(activeParticipants))
}
