package waits_test

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
	"github.com/LogicIQ/konductor/apis/waits"
)

// noon is when all scenes play. Everything in them has been there since an hour before.
var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const shop = "shop" // the namespace

// scene is a snapshot that is being set up.
type scene struct {
	waits.Snapshot
	revision int
}

func newScene() *scene {
	return &scene{Snapshot: waits.Snapshot{Now: noon, Namespaces: []string{shop}}}
}

func (s *scene) meta(name string) metav1.ObjectMeta {
	s.revision++
	return metav1.ObjectMeta{
		Namespace: shop, Name: name, UID: types.UID(fmt.Sprintf("uid-%d", s.revision)), Generation: 1,
		ResourceVersion: fmt.Sprint(s.revision), CreationTimestamp: metav1.NewTime(noon.Add(-time.Hour)),
	}
}

// podOption says something about a Pod.
type podOption func(*corev1.Pod)

func container(pod *corev1.Pod, init bool, name string, argv []string, state corev1.ContainerState) {
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

func words(command string) []string {
	if script, ok := strings.CutPrefix(command, "sh: "); ok {
		return []string{"sh", "-c", script}
	}
	return strings.Fields(command)
}

// ran, inits, runs and will are containers that have done their work, initialize the Pod now, run now, and come later.
func ran(name, command string) podOption {
	return func(p *corev1.Pod) {
		container(p, true, name, words(command), corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{}})
	}
}

func inits(name, command string) podOption {
	return func(p *corev1.Pod) {
		container(p, true, name, words(command), corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
		p.Status.Phase = corev1.PodPending
	}
}

func runs(name, command string) podOption {
	return func(p *corev1.Pod) {
		container(p, false, name, words(command), corev1.ContainerState{Running: &corev1.ContainerStateRunning{}})
	}
}

func will(name, command string) podOption {
	return func(p *corev1.Pod) {
		container(p, false, name, words(command), corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "PodInitializing"}})
	}
}

func stuck(reason, message string) podOption {
	return func(p *corev1.Pod) {
		container(p, false, "main", nil, corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}})
		p.Status.Phase = corev1.PodPending
	}
}

func unscheduled(reason, message string) podOption {
	return func(p *corev1.Pod) {
		p.Spec.NodeName, p.Status.Phase = "", corev1.PodPending
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message,
		})
	}
}

func of(job string) podOption {
	return func(p *corev1.Pod) {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: job, Controller: ptr.To(true)}}
	}
}

func index(n int) podOption { return annotated(batchv1.JobCompletionIndexAnnotation, fmt.Sprint(n)) }

func annotated(name, value string) podOption {
	return func(p *corev1.Pod) {
		if p.Annotations == nil {
			p.Annotations = map[string]string{}
		}
		p.Annotations[name] = value
	}
}

func phase(to corev1.PodPhase) podOption { return func(p *corev1.Pod) { p.Status.Phase = to } }

func deleting() podOption {
	return func(p *corev1.Pod) { p.DeletionTimestamp = ptr.To(metav1.NewTime(noon.Add(-time.Minute))) }
}

func (s *scene) pod(name string, options ...podOption) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: s.meta(name)}
	p.Spec.NodeName, p.Status.Phase = "node-1", corev1.PodRunning
	p.Status.StartTime = ptr.To(metav1.NewTime(noon.Add(-10 * time.Minute)))
	for _, o := range options {
		o(p)
	}
	s.Pods = append(s.Pods, p)
	return p
}

func (s *scene) job(name string, with ...func(*batchv1.Job)) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: s.meta(name)}
	for _, f := range with {
		f(j)
	}
	s.Jobs = append(s.Jobs, j)
	return j
}

func ended(as batchv1.JobConditionType, reason string) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		j.Status.Conditions = append(j.Status.Conditions, batchv1.JobCondition{
			Type: as, Status: corev1.ConditionTrue, Reason: reason, LastTransitionTime: metav1.NewTime(noon.Add(-time.Minute)),
		})
	}
}

func does(command string) func(*batchv1.Job) {
	return func(j *batchv1.Job) {
		j.Spec.Template.Spec.Containers = append(j.Spec.Template.Spec.Containers, corev1.Container{Name: "main", Command: words(command)})
	}
}

func (s *scene) gate(name string, conditions ...konductorv1.GateCondition) *konductorv1.Gate {
	g := &konductorv1.Gate{ObjectMeta: s.meta(name), Spec: konductorv1.GateSpec{Conditions: conditions}}
	g.Status.Phase, g.Status.ObservedGeneration = konductorv1.GateWaiting, 1
	for _, c := range conditions {
		g.Status.ConditionStatuses = append(g.Status.ConditionStatuses, konductorv1.GateConditionStatus{Type: c.Type, Name: c.Name, Namespace: c.Namespace})
	}
	s.Gates = append(s.Gates, g)
	return g
}

func on(kind konductorv1.GateConditionType, name string) konductorv1.GateCondition {
	return konductorv1.GateCondition{Type: kind, Name: name}
}

func (s *scene) barrier(name string, expected int32, arrived ...string) *konductorv1.Barrier {
	b := &konductorv1.Barrier{ObjectMeta: s.meta(name), Spec: konductorv1.BarrierSpec{Expected: expected}}
	b.Status = konductorv1.BarrierStatus{Phase: konductorv1.BarrierWaiting, ObservedGeneration: 1, Arrived: int32(len(arrived)), Arrivals: arrived}
	s.Barriers = append(s.Barriers, b)
	for _, participant := range arrived {
		s.Arrivals = append(s.Arrivals, &konductorv1.Arrival{ObjectMeta: s.meta("a"), Spec: konductorv1.ArrivalSpec{Barrier: name, Participant: participant}})
	}
	return b
}

func (s *scene) lease(name string) *konductorv1.Lease {
	l := &konductorv1.Lease{ObjectMeta: s.meta(name)}
	l.Status = konductorv1.LeaseStatus{Phase: konductorv1.LeaseAvailable, ObservedGeneration: 1, Conditions: []metav1.Condition{{
		Type: konductorv1.ConditionHeld, Status: metav1.ConditionFalse, LastTransitionTime: metav1.NewTime(noon.Add(-time.Hour)),
	}}}
	s.Leases = append(s.Leases, l)
	return l
}

func (s *scene) semaphore(name string, permits int32) *konductorv1.Semaphore {
	m := &konductorv1.Semaphore{ObjectMeta: s.meta(name), Spec: konductorv1.SemaphoreSpec{Permits: permits}}
	m.Status = konductorv1.SemaphoreStatus{Phase: konductorv1.SemaphoreReady, ObservedGeneration: 1, Available: permits}
	s.Semaphores = append(s.Semaphores, m)
	return m
}

// claim makes a claim by a Pod of that name if there is one, and otherwise by a holder of that name.
func (s *scene) claim(who, target string, permits int32) *konductorv1.Claim {
	kind, name, _ := strings.Cut(target, "/")
	c := &konductorv1.Claim{ObjectMeta: s.meta(who + "-" + name)}
	c.Name += "-" + c.ResourceVersion
	c.CreationTimestamp = metav1.NewTime(noon.Add(-5 * time.Minute))
	ref, _ := waits.ParseRef(kind, name)
	c.Spec = konductorv1.ClaimSpec{Target: konductorv1.ClaimTarget{Kind: ref.Kind, Name: name}, Holder: who, Permits: permits}
	c.Status.Phase = konductorv1.ClaimPending
	for _, p := range s.Pods {
		if p.Name == who {
			c.Spec.BoundTo = &konductorv1.BoundObject{Kind: "Pod", Name: who, UID: p.UID}
		}
	}
	s.Claims = append(s.Claims, c)
	return c
}

// waits queues somebody.
func (s *scene) waits(who, target string, permits ...int32) *konductorv1.Claim {
	return s.claim(who, target, append(permits, 1)[0])
}

// holds grants to somebody, who has held for five minutes.
func (s *scene) holds(who, target string, permits ...int32) *konductorv1.Claim {
	c := s.claim(who, target, append(permits, 1)[0])
	c.Status.Phase, c.Status.FencingToken = konductorv1.ClaimGranted, int64(1000+s.revision)
	s.record(c)
	return c
}

// record writes a granted claim into the status of what it holds.
func (s *scene) record(c *konductorv1.Claim) {
	at := metav1.NewMicroTime(noon.Add(-5 * time.Minute))
	for _, l := range s.Leases {
		if c.Spec.Target.Kind == konductorv1.KindLease && l.Name == c.Spec.Target.Name {
			l.Status.Phase, l.Status.Holder, l.Status.Claim, l.Status.ClaimUID = konductorv1.LeaseHeld, c.Spec.Holder, c.Name, c.UID
			l.Status.AcquiredAt, l.Status.FencingToken, l.Status.ExpiresAt = &at, c.Status.FencingToken, c.Status.ExpiresAt
		}
	}
	for _, m := range s.Semaphores {
		if c.Spec.Target.Kind == konductorv1.KindSemaphore && m.Name == c.Spec.Target.Name {
			m.Status.Holders = append(m.Status.Holders, konductorv1.SemaphoreHolder{
				Holder: c.Spec.Holder, Claim: c.Name, ClaimUID: c.UID, Permits: c.Spec.Permits, FencingToken: c.Status.FencingToken, AcquiredAt: at,
			})
			m.Status.InUse += c.Spec.Permits
			m.Status.Available = m.Spec.Permits - m.Status.InUse
		}
	}
}

// of returns a reference to KIND/NAME.
func ref(text string) waits.Ref {
	r, _ := waits.ParseRef(text)
	if holder, ok := strings.CutPrefix(text, "holder/"); ok {
		r = waits.Ref{Kind: waits.KindHolder, Name: holder}
	}
	r.Namespace = shop
	return r
}
