package waitgraph_test

import (
	"fmt"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/waitgraph"
)

// testNow is the time of all snapshots. The objects in them were created an hour before.
var testNow = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const testNamespace = "shop" // of all objects

// snapshotBuilder builds a snapshot.
type snapshotBuilder struct {
	waitgraph.Snapshot
	revision int
}

func newSnapshotBuilder() *snapshotBuilder {
	return &snapshotBuilder{Snapshot: waitgraph.Snapshot{Now: testNow, Namespaces: []string{testNamespace}}}
}

func (s *snapshotBuilder) objectMeta(name string) metav1.ObjectMeta {
	s.revision++
	return metav1.ObjectMeta{
		Namespace: testNamespace, Name: name, UID: types.UID(fmt.Sprintf("uid-%d", s.revision)), Generation: 1,
		ResourceVersion: fmt.Sprint(s.revision), CreationTimestamp: metav1.NewTime(testNow.Add(-time.Hour)),
	}
}

// podOption sets something of a Pod.
type podOption func(*corev1.Pod)

func addContainer(pod *corev1.Pod, init bool, name string, argv []string, state corev1.ContainerState) {
	c := corev1.Container{Name: name, Image: "busybox", Command: argv}
	status := corev1.ContainerStatus{Name: name, Image: "busybox", State: state}
	if init {
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
		pod.Status.InitContainerStatuses = append(pod.Status.InitContainerStatuses, status)
	} else {
		pod.Spec.Containers = append(pod.Spec.Containers, c)
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, status)
	}
}

func commandWords(command string) []string {
	if script, ok := strings.CutPrefix(command, "sh: "); ok {
		return []string{"sh", "-c", script}
	}
	return strings.Fields(command)
}

// succeededInitContainer, runningInitContainer, runningContainer and pendingContainer add a container in that state.
func succeededInitContainer(name, command string) podOption {
	return func(p *corev1.Pod) {
		addContainer(p, true, name, commandWords(command), corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}})
	}
}

func runningInitContainer(name, command string) podOption {
	return func(p *corev1.Pod) {
		addContainer(p, true, name, commandWords(command), corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
		p.Status.Phase = corev1.PodPending
	}
}

func runningContainer(name, command string) podOption {
	return func(p *corev1.Pod) {
		addContainer(p, false, name, commandWords(command), corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	}
}

func pendingContainer(name, command string) podOption {
	return func(p *corev1.Pod) {
		addContainer(p, false, name, commandWords(command), corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}})
	}
}

func waitingContainer(reason, message string) podOption {
	return func(p *corev1.Pod) {
		addContainer(p, false, "main", nil, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}})
		p.Status.Phase = corev1.PodPending
	}
}

func unschedulable(reason, message string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.NodeName, p.Status.Phase = "", corev1.PodPending
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message,
		})
	}
}

func ownedByJob(job string) podOption {
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: job, Controller: ptr.To(true)}}
	}
}

func withCompletionIndex(n int) podOption {
	return withAnnotation(batchv1.JobCompletionIndexAnnotation, fmt.Sprint(n))
}

func withAnnotation(name, value string) podOption {
	return func(p *corev1.Pod) {
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[name] = value
	}
}

func withPhase(to corev1.PodPhase) podOption { return func(p *corev1.Pod) { p.Status.Phase = to } }

func terminating() podOption {
	return func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.NewTime(testNow.Add(-time.Minute))) }
}

func (s *snapshotBuilder) addPod(name string, options ...podOption) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: s.objectMeta(name)}
	p.Spec.NodeName, p.Status.Phase = "node-1", corev1.PodRunning
	p.Status.StartTime = ptr.To(metav1.NewTime(testNow.Add(-10 * time.Minute)))
	for _, o := range options {
		o(p)
	}
	s.Pods = append(s.Pods, p)
	return p
}

func (s *snapshotBuilder) addJob(name string, with ...func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: s.objectMeta(name)}
	for _, f := range with {
		f(j)
	}
	s.Jobs = append(s.Jobs, j)
	return j
}

func withJobCondition(as batchv1.JobConditionType, reason string) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{
			Type: as, Status: corev1.ConditionTrue, Reason: reason, LastTransitionTime: metav1.NewTime(testNow.Add(-time.Minute)),
		})
	}
}

// held makes a Job wait suspended, with annotations given as NAME=VALUE.
func held(state string, annotations ...string) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		suspend := state != konductorv1.HeldStarted
		j.Spec.Suspend = &suspend
		j.Labels = map[string]string{konductorv1.HeldLabel: state}
		j.Annotations = map[string]string{}
		for _, a := range annotations {
			name, value, _ := strings.Cut(a, "=")
			j.Annotations["konductor.io/"+name] = value
		}
	}
}

func withCommand(command string) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		j.Spec.Template.Spec.Containers = append(j.Spec.Template.Spec.Containers, corev1.Container{Name: "main", Command: commandWords(command)})
	}
}

func (s *snapshotBuilder) addGate(name string, conditions ...konductorv1.GateCondition) *konductorv1.Gate {
	g := &konductorv1.Gate{ObjectMeta: s.objectMeta(name), Spec: konductorv1.GateSpec{Conditions: conditions}}
	g.Status.Phase, g.Status.ObservedGeneration = konductorv1.GateWaiting, 1
	for _, c := range conditions {
		g.Status.ConditionStatuses = append(g.Status.ConditionStatuses, konductorv1.GateConditionStatus{Type: c.Type, Name: c.Name, Namespace: c.Namespace})
	}
	s.Gates = append(s.Gates, g)
	return g
}

func conditionOn(kind konductorv1.GateConditionType, name string) konductorv1.GateCondition {
	return konductorv1.GateCondition{Type: kind, Name: name}
}

func (s *snapshotBuilder) addBarrier(name string, expected int32, arrived ...string) *konductorv1.Barrier {
	b := &konductorv1.Barrier{ObjectMeta: s.objectMeta(name), Spec: konductorv1.BarrierSpec{Expected: expected}}
	b.Status = konductorv1.BarrierStatus{Phase: konductorv1.BarrierWaiting, ObservedGeneration: 1, Arrived: int32(len(arrived)), Arrivals: arrived}
	s.Barriers = append(s.Barriers, b)
	for _, participant := range arrived {
		s.Arrivals = append(s.Arrivals, &konductorv1.Arrival{ObjectMeta: s.objectMeta("a"), Spec: konductorv1.ArrivalSpec{Barrier: name, Participant: participant}})
	}
	return b
}

func (s *snapshotBuilder) addLease(name string) *konductorv1.Lease {
	l := &konductorv1.Lease{ObjectMeta: s.objectMeta(name)}
	l.Status = konductorv1.LeaseStatus{Phase: konductorv1.LeaseAvailable, ObservedGeneration: 1, Conditions: []metav1.Condition{{
		Type: konductorv1.ConditionHeld, Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(testNow.Add(-time.Hour)),
	}}}
	s.Leases = append(s.Leases, l)
	return l
}

func (s *snapshotBuilder) addSemaphore(name string, permits int32) *konductorv1.Semaphore {
	m := &konductorv1.Semaphore{ObjectMeta: s.objectMeta(name), Spec: konductorv1.SemaphoreSpec{Permits: permits}}
	m.Status = konductorv1.SemaphoreStatus{Phase: konductorv1.SemaphoreReady, ObservedGeneration: 1, Available: permits}
	s.Semaphores = append(s.Semaphores, m)
	return m
}

// addClaim adds a claim by the Pod of that name if there is one, and otherwise by a holder of that name.
func (s *snapshotBuilder) addClaim(who, target string, permits int32) *konductorv1.Claim {
	kind, name, _ := strings.Cut(target, "/")
	c := &konductorv1.Claim{ObjectMeta: s.objectMeta(who + "-" + name)}
	c.Name += "-" + c.ResourceVersion
	c.CreationTimestamp = metav1.NewTime(testNow.Add(-5 * time.Minute))
	ref, _ := waitgraph.ParseRef(kind, name)
	c.Spec = konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: ref.Kind, Name: name}, Holder: who, Permits: permits}
	c.Status.Phase = konductorv1.ClaimPending
	for _, p := range s.Pods {
		if p.Name == who {
			c.Spec.BoundTo = &konductorv1.BoundObject{Kind: "Pod", Name: who, UID: p.UID}
		}
	}
	for _, j := range s.Jobs {
		if "job/"+j.Name == who {
			c.Spec.BoundTo = &konductorv1.BoundObject{Kind: "Job", Name: j.Name, UID: j.UID}
		}
	}
	s.Claims = append(s.Claims, c)
	return c
}

// addWaiter adds a pending claim.
func (s *snapshotBuilder) addWaiter(who, target string, permits ...int32) *konductorv1.Claim {
	return s.addClaim(who, target, append(permits, 1)[0])
}

// addHolder adds a claim that was granted five minutes ago.
func (s *snapshotBuilder) addHolder(who, target string, permits ...int32) *konductorv1.Claim {
	c := s.addClaim(who, target, append(permits, 1)[0])
	c.Status.Phase, c.Status.FencingToken = konductorv1.ClaimGranted, int64(1000+s.revision)
	s.recordHolder(c)
	return c
}

// recordHolder writes a granted claim into the status of its target.
func (s *snapshotBuilder) recordHolder(c *konductorv1.Claim) {
	h := konductorv1.Holder{
		Name: c.Spec.Holder, Claim: c.Name, ClaimUID: c.UID, Permits: c.Spec.Permits, FencingToken: c.Status.FencingToken,
		AcquiredAt: metav1.NewMicroTime(testNow.Add(-5 * time.Minute)), ExpiresAt: c.Status.ExpiresAt,
	}
	if bound := c.Spec.BoundTo; bound != nil && bound.Kind == konductorv1.KindJob {
		h.Job = &konductorv1.JobReference{Name: bound.Name, UID: bound.UID}
	}
	for _, l := range s.Leases {
		if c.Spec.Target.Kind == konductorv1.KindLease && l.Name == c.Spec.Target.Name {
			l.Status.Phase = konductorv1.LeaseHeld
			l.Status.SetHolder(&h)
		}
	}
	for _, m := range s.Semaphores {
		if c.Spec.Target.Kind == konductorv1.KindSemaphore && m.Name == c.Spec.Target.Name {
			m.Status.Holders = append(m.Status.Holders, h)
			m.Status.InUse += c.Spec.Permits
			m.Status.Available = m.Spec.Permits - m.Status.InUse
		}
	}
}

// mustRef returns a reference to KIND/NAME.
func mustRef(text string) waitgraph.Ref {
	r, _ := waitgraph.ParseRef(text)
	if holder, ok := strings.CutPrefix(text, "holder/"); ok {
		r = waitgraph.Ref{Kind: waitgraph.KindHolder, Name: holder}
	}
	r.Namespace = testNamespace
	return r
}

// behindHoldGate makes a Pod wait behind the operator's scheduling gate, as the API server does.
func behindHoldGate(p *corev1.Pod) {
	p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: konductorv1.HoldSchedulingGate}}
	p.Status.Phase = corev1.PodPending
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonSchedulingGated}}
}
