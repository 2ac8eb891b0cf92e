package waits

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/LogicIQ/konductor/apis/rules"
	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

func (a *Analysis) addJobs() {
	for _, obj := range a.Jobs {
		ref := Ref{KindJob, obj.Namespace, obj.Name}
		j := &job{node: node{ref: ref}, obj: obj, calls: podCalls(&obj.Spec.Template.Spec)}
		if declared := declaredCalls(obj.Spec.Template.Annotations); len(declared) > 0 {
			j.calls = append(j.calls, containerCalls{calls: declared})
		}
		a.jobs[ref] = j
	}
}

// addPods makes a process of each Pod that has not ended.
func (a *Analysis) addPods() {
	for _, pod := range a.Pods {
		if podEnded(pod) {
			a.endedPods[Ref{KindPod, pod.Namespace, pod.Name}] = pod
			continue
		}
		p := a.newProcess(Ref{KindPod, pod.Namespace, pod.Name})
		p.pod, p.uid, p.calls = pod, pod.UID, podCalls(&pod.Spec)
		if declared := declaredCalls(pod.Annotations); len(declared) > 0 {
			p.calls = append(p.calls, containerCalls{calls: declared})
		}
		a.byUID[pod.UID] = p
		if j := a.jobs[ownerJob(pod)]; j != nil {
			p.job = j
			j.pods = append(j.pods, p)
		}
	}
}

func podEnded(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// ownerJob returns the Job that a Pod belongs to, or a Ref without a name.
func ownerJob(pod *corev1.Pod) Ref {
	if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == KindJob {
		return Ref{KindJob, pod.Namespace, owner.Name}
	}
	return Ref{}
}

func (a *Analysis) newProcess(ref Ref) *process {
	p := &process{node: node{ref: ref}}
	a.processes = append(a.processes, p)
	a.byRef[ref] = p
	return p
}

func (a *Analysis) addObjects() {
	for _, obj := range a.Gates {
		ref := Ref{konductorv1.KindGate, obj.Namespace, obj.Name}
		a.gates[ref] = &gate{node: node{ref: ref}, obj: obj}
	}
	for _, obj := range a.Barriers {
		ref := Ref{konductorv1.KindBarrier, obj.Namespace, obj.Name}
		a.barriers[ref] = &barrier{node: node{ref: ref}, obj: obj, arrived: map[string]bool{}}
	}
	for _, arrival := range a.Arrivals {
		if b := a.barriers[Ref{konductorv1.KindBarrier, arrival.Namespace, arrival.Spec.Barrier}]; b != nil && madeFor(arrival.OwnerReferences, konductorv1.KindBarrier, b.obj.UID) {
			b.arrived[arrival.Spec.Participant] = true
		}
	}
	for _, obj := range a.Leases {
		a.resource(Ref{konductorv1.KindLease, obj.Namespace, obj.Name}).lease = obj
	}
	for _, obj := range a.Semaphores {
		r := a.resource(Ref{konductorv1.KindSemaphore, obj.Namespace, obj.Name})
		r.sem, r.permits, r.head = obj, obj.Spec.Permits, obj.Status.Head
	}
}

// resource returns the Lease or Semaphore of that name, which may not exist.
func (a *Analysis) resource(ref Ref) *resource {
	r, ok := a.resources[ref]
	if !ok {
		r = &resource{ref: ref, permits: 1}
		a.resources[ref] = r
	}
	return r
}

// madeFor reports whether a child was made for the object with that UID, as far as it says.
func madeFor(owners []metav1.OwnerReference, kind string, uid types.UID) bool {
	for _, owner := range owners {
		if owner.Kind == kind && owner.APIVersion == konductorv1.GroupVersion().String() {
			return owner.UID == uid
		}
	}
	return true
}

// addClaims notes who holds what, and who waits to.
func (a *Analysis) addClaims() {
	claims := make(map[types.UID]*konductorv1.Claim, len(a.Claims))
	for _, c := range a.Claims {
		claims[c.UID] = c
	}
	holding := map[types.UID]bool{}
	for _, r := range a.resources {
		for _, h := range r.holders() {
			c := claims[h.ClaimUID]
			holding[h.ClaimUID] = true
			p := a.holderProcess(r.ref.Namespace, h.Holder, c)
			one := hold{on: r, process: p, holder: h, claim: c, ending: c == nil && a.readable(konductorv1.KindClaim, r.ref.Namespace)}
			r.holds = append(r.holds, one)
			p.holds = append(p.holds, one)
		}
	}
	for _, c := range a.Claims {
		if holding[c.UID] || (c.Status.Phase != "" && c.Status.Phase != konductorv1.ClaimPending) || c.Spec.WhenBusy == konductorv1.BusyRefuse {
			continue
		}
		r := a.resource(Ref{c.Spec.Target.Kind, c.Namespace, c.Spec.Target.Name})
		if r.exists() && !madeFor(c.OwnerReferences, r.ref.Kind, r.uid()) {
			continue
		}
		p := a.holderProcess(c.Namespace, c.Spec.Holder, c)
		w := &wait{process: p, target: r.ref, evidence: ByClaim, claim: c, permits: max(c.Spec.Permits, 1)}
		p.waits = append(p.waits, w)
		r.queue = append(r.queue, w)
	}
	for _, r := range a.resources {
		slices.SortFunc(r.queue, func(x, y *wait) int {
			if rules.Before(x.claim, y.claim, revision) {
				return -1
			}
			return 1
		})
		slices.SortFunc(r.holds, func(x, y hold) int { return cmp.Compare(x.holder.FencingToken, y.holder.FencingToken) })
	}
}

func (r *resource) holders() []konductorv1.SemaphoreHolder {
	switch {
	case r.lease != nil:
		return rules.LeaseHolders(&r.lease.Status)
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

func revision(c *konductorv1.Claim) uint64 {
	n, err := strconv.ParseUint(c.ResourceVersion, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// holderProcess returns the process behind a claim: the Pod it is bound to, else whoever goes by the holder's name.
func (a *Analysis) holderProcess(namespace, holder string, c *konductorv1.Claim) *process {
	if c != nil && c.Spec.BoundTo != nil {
		if p, ok := a.byUID[c.Spec.BoundTo.UID]; ok {
			return p
		}
		p := &process{node: node{ref: Ref{KindPod, namespace, c.Spec.BoundTo.Name}}, uid: c.Spec.BoundTo.UID}
		a.processes = append(a.processes, p)
		a.byUID[p.uid] = p
		if _, taken := a.byRef[p.ref]; !taken {
			a.byRef[p.ref] = p
		}
		return p
	}
	ref := Ref{KindHolder, namespace, holder}
	if p, ok := a.byRef[ref]; ok {
		return p
	}
	return a.newProcess(ref)
}

// addCalls notes what Pods wait for without a claim, as the commands of the containers that run tell.
func (a *Analysis) addCalls() {
	for _, p := range a.processes {
		for _, c := range p.calls {
			for i := range c.calls {
				if call := &c.calls[i]; call.blocks() && p.runs(c.name, call) {
					a.addCall(p, c.name, call)
				}
			}
		}
	}
}

func (a *Analysis) addCall(p *process, container string, call *Call) {
	w := &wait{
		process: p, target: Ref{call.Kind, p.ref.Namespace, call.Name}, evidence: ByScript, permits: call.Permits, container: container,
	}
	switch {
	case call.Declared:
		w.evidence = ByAnnotation
	case call.Alone:
		w.evidence = ByCommand
	}
	if slices.ContainsFunc(p.waits, func(other *wait) bool { return other.target == w.target }) ||
		slices.ContainsFunc(p.holds, func(h hold) bool { return h.on.ref == w.target }) || !a.waitable(w) {
		return
	}
	p.waits = append(p.waits, w)
}

// waitable reports whether there is something to wait for: what is open lets everybody through, what has failed ends
// those who wait, and a lease or semaphore that exists shows by a claim who waits.
func (a *Analysis) waitable(w *wait) bool {
	switch w.target.Kind {
	case konductorv1.KindGate:
		g := a.gates[w.target]
		return g == nil || g.waiting()
	case konductorv1.KindBarrier:
		b := a.barriers[w.target]
		return b == nil || b.waiting()
	default:
		r := a.resources[w.target]
		return w.evidence == ByCommand && (r == nil || !r.exists())
	}
}

func (g *gate) waiting() bool {
	return g.obj.Status.Phase == "" || g.obj.Status.Phase == konductorv1.GateWaiting
}

func (b *barrier) waiting() bool {
	return b.obj.Status.Phase == "" || b.obj.Status.Phase == konductorv1.BarrierWaiting
}

// runs reports whether a container of that name runs, as far as a call in it may be under way. A declared call may be
// whenever the Pod runs.
func (p *process) runs(container string, call *Call) bool {
	if call.Declared {
		return p.pod.Status.Phase == corev1.PodRunning
	}
	s := p.status(container)
	return s != nil && s.State.Running != nil
}

// over reports whether a container of that name has done its work.
func (p *process) over(container string) bool {
	s := p.status(container)
	return s != nil && s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
}

func (p *process) status(container string) *corev1.ContainerStatus {
	for _, statuses := range [][]corev1.ContainerStatus{p.pod.Status.InitContainerStatuses, p.pod.Status.ContainerStatuses} {
		for i := range statuses {
			if statuses[i].Name == container {
				return &statuses[i]
			}
		}
	}
	return nil
}

// addArrivers notes for each barrier that waits who could still arrive: Pods, and Jobs that have none at the moment.
func (a *Analysis) addArrivers() {
	byParticipant := map[*barrier]map[string]*arriver{}
	add := func(b *barrier, participant string, j *job, p *process, count int32) {
		if b.arrived[participant] {
			return
		}
		if byParticipant[b] == nil {
			byParticipant[b] = map[string]*arriver{}
		}
		r := byParticipant[b][participant]
		if r == nil {
			r = &arriver{participant: participant, job: j, count: count}
			byParticipant[b][participant] = r
			b.arrivers = append(b.arrivers, r)
		}
		if p != nil {
			r.processes = append(r.processes, p)
		}
	}
	for _, p := range a.processes {
		for _, b := range a.arrivesAt(p.ref.Namespace, p.calls, p.over) {
			add(b, p.participant(), p.job, p, 1)
		}
	}
	for _, j := range a.jobs {
		if j.ended() != "" {
			continue
		}
		for _, b := range a.arrivesAt(j.ref.Namespace, j.calls, func(string) bool { return false }) {
			if rest := j.stillToStart(b); rest > 0 {
				add(b, j.startingAs(), j, nil, rest)
			}
		}
	}
	for _, b := range a.barriers {
		slices.SortFunc(b.arrivers, func(x, y *arriver) int { return strings.Compare(x.participant, y.participant) })
	}
}

// arrivesAt returns the barriers that wait and at which those calls arrive, leaving out containers that are over.
func (a *Analysis) arrivesAt(namespace string, containers []containerCalls, over func(string) bool) (at []*barrier) {
	for _, c := range containers {
		for i := range c.calls {
			call := &c.calls[i]
			b := a.barriers[Ref{konductorv1.KindBarrier, namespace, call.Name}]
			if call.Verb == VerbArrive && call.Kind == konductorv1.KindBarrier && b != nil && b.waiting() &&
				(call.Declared || !over(c.name)) && !slices.Contains(at, b) {
				at = append(at, b)
			}
		}
	}
	return at
}

// participant returns under which name the process arrives, unless it is told another.
func (p *process) participant() string {
	owner := ownerJob(p.pod)
	if owner.Name == "" {
		return p.ref.String()
	}
	if index, ok := p.pod.Annotations[batchv1.JobCompletionIndexAnnotation]; ok {
		return owner.String() + "/" + index
	}
	return owner.String()
}

// startingAs names the participants of a Job that have no Pod yet.
func (j *job) startingAs() string {
	if j.indexed() {
		return j.ref.String() + "/…"
	}
	return j.ref.String()
}

// stillToStart returns how many participants of the Job are neither at the barrier nor have a Pod that could go there.
func (j *job) stillToStart(b *barrier) int32 {
	if !j.indexed() {
		if b.arrived[j.ref.String()] || len(j.pods) > 0 {
			return 0
		}
		return 1
	}
	here := make(map[string]bool, len(j.pods))
	for _, p := range j.pods {
		here[p.participant()] = true
	}
	rest := int32(0)
	for i := range j.participants() {
		if name := fmt.Sprintf("%s/%d", j.ref, i); !b.arrived[name] && !here[name] {
			rest++
		}
	}
	return rest
}
