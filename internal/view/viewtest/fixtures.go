// Package viewtest has fixtures for tests of views: the objects of a namespace at work, as a watch would deliver them.
package viewtest

import (
	"fmt"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
	"github.com/LogicIQ/konductor/internal/view"
)

// Now is the current time in the fixtures.
func Now() time.Time { return time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC) }

func timeAgo(d time.Duration) metav1.Time { return metav1.NewTime(Now().Add(-d)) }

func microTimeAgo(d time.Duration) metav1.MicroTime { return metav1.NewMicroTime(Now().Add(-d)) }

func newObjectMeta(namespace, name string, age time.Duration) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: name, UID: types.UID("uid-" + namespace + "-" + name), CreationTimestamp: timeAgo(age),
		ResourceVersion: fmt.Sprint(int64(100000 - age.Seconds())), Generation: 1,
	}
}

func newConditions(kind string, is bool, reason, message string, since time.Duration) []metav1.Condition {
	status := metav1.ConditionFalse
	if is {
		status = metav1.ConditionTrue
	}
	return []metav1.Condition{
		{Type: konductorv1.ConditionReady, Status: metav1.ConditionTrue, Reason: konductorv1.ReasonAccepted, Message: "in operation", LastTransitionTime: timeAgo(since)},
		{Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: timeAgo(since)},
	}
}

// Barrier returns a barrier with that progress, in the phase that follows from it.
func Barrier(namespace, name string, arrived, failed, expected, quorum int32) *konductorv1.Barrier {
	const age = 9 * time.Minute
	b := &konductorv1.Barrier{
		ObjectMeta: newObjectMeta(namespace, name, age),
		Spec:       konductorv1.BarrierSpec{Expected: expected},
		Status:     konductorv1.BarrierStatus{Phase: konductorv1.BarrierWaiting, ObservedGeneration: 1, Arrived: arrived, Failed: failed},
	}
	if quorum != 0 {
		b.Spec.Quorum = &quorum
	}
	at := timeAgo(2 * time.Minute)
	message := fmt.Sprintf("%d of %d participants have arrived", arrived, expected)
	switch {
	case arrived >= b.Quorum():
		b.Status.Phase, b.Status.OpenedAt = konductorv1.BarrierOpen, &at
	case failed > expected-b.Quorum():
		b.Status.Phase, b.Status.EndedAt = konductorv1.BarrierFailed, &at
		message += fmt.Sprintf(", %d failed: the quorum of %d can't be reached any more", failed, b.Quorum())
	}
	b.Status.Conditions = newConditions(konductorv1.ConditionOpen, b.Status.Phase == konductorv1.BarrierOpen, string(b.Status.Phase), message, 2*time.Minute)
	return b
}

// Gate returns a gate on Jobs of those names, the first met of which are complete.
func Gate(namespace, name string, met int, jobs ...string) *konductorv1.Gate {
	g := &konductorv1.Gate{
		ObjectMeta: newObjectMeta(namespace, name, 8*time.Minute),
		Status:     konductorv1.GateStatus{Phase: konductorv1.GateWaiting, ObservedGeneration: 1, ConditionsMet: int32(met), ConditionsTotal: int32(len(jobs))},
	}
	message := fmt.Sprintf("%d of %d conditions are met", met, len(jobs))
	for i, job := range jobs {
		s := konductorv1.GateConditionStatus{Type: konductorv1.GateOnJob, Name: job, State: konductorv1.StateComplete, Met: i < met, Message: "job/" + job + " is running"}
		if s.Met {
			s.Message = "job/" + job + " is complete"
		}
		g.Spec.Conditions = append(g.Spec.Conditions, konductorv1.GateCondition{Type: konductorv1.GateOnJob, Name: job})
		g.Status.ConditionStatuses = append(g.Status.ConditionStatuses, s)
	}
	if met == len(jobs) {
		at := timeAgo(time.Minute)
		g.Status.Phase, g.Status.OpenedAt = konductorv1.GateOpen, &at
	}
	g.Status.Conditions = newConditions(konductorv1.ConditionOpen, met == len(jobs), string(g.Status.Phase), message, 8*time.Minute)
	return g
}

// Lease returns a lease, held for that long by holder unless that is empty.
func Lease(namespace, name, holder string, held time.Duration, waiting int32) *konductorv1.Lease {
	l := &konductorv1.Lease{
		ObjectMeta: newObjectMeta(namespace, name, time.Hour),
		Status:     konductorv1.LeaseStatus{Phase: konductorv1.LeaseAvailable, ObservedGeneration: 1, Waiting: waiting, FencingToken: 4711},
	}
	message := "nobody holds the lease"
	if holder != "" {
		until := microTimeAgo(-4 * time.Minute)
		l.Status.Phase = konductorv1.LeaseHeld
		l.Status.SetHolder(&konductorv1.Holder{
			Name: holder, Claim: "lease-" + name + "-" + holder, ClaimUID: types.UID("uid-" + namespace + "-lease-" + name + "-" + holder), Permits: 1,
			FencingToken: l.Status.FencingToken, AcquiredAt: microTimeAgo(held), ExpiresAt: &until,
		})
		message = holder + " holds the lease"
	}
	l.Status.Conditions = newConditions(konductorv1.ConditionHeld, holder != "", string(l.Status.Phase), message, held)
	return l
}

// Semaphore returns a semaphore on which each holder has one permit.
func Semaphore(namespace, name string, permits, waiting int32, holders ...string) *konductorv1.Semaphore {
	s := &konductorv1.Semaphore{
		ObjectMeta: newObjectMeta(namespace, name, 3*time.Hour),
		Spec:       konductorv1.SemaphoreSpec{Permits: permits},
		Status: konductorv1.SemaphoreStatus{
			Phase: konductorv1.SemaphoreReady, ObservedGeneration: 1, InUse: int32(len(holders)), Available: permits - int32(len(holders)), Waiting: waiting,
		},
	}
	if s.Status.Available <= 0 {
		s.Status.Phase = konductorv1.SemaphoreFull
	}
	for i, holder := range holders {
		s.Status.Holders = append(s.Status.Holders, konductorv1.Holder{
			Name: holder, Claim: "semaphore-" + name + "-" + holder, ClaimUID: types.UID("uid-" + holder), Permits: 1,
			FencingToken: int64(5000 + i), AcquiredAt: microTimeAgo(time.Duration(i+1) * 40 * time.Second),
		})
	}
	s.Status.Conditions = newConditions(konductorv1.ConditionAvailable, s.Status.Available > 0, string(s.Status.Phase),
		fmt.Sprintf("%d of %d permits are free", s.Status.Available, permits), time.Minute)
	return s
}

// Claim returns a claim of that age, granted or pending.
func Claim(namespace, kind, target, holder string, waited time.Duration, priority int32, granted bool) *konductorv1.Claim {
	c := &konductorv1.Claim{
		ObjectMeta: newObjectMeta(namespace, "" /* below */, waited),
		Spec: konductorv1.ClaimSpec{
			Target: konductorv1.ClaimTarget{Kind: kind, Name: target}, Holder: holder, Permits: 1, Priority: priority,
			BoundTo: &konductorv1.BoundObject{Kind: konductorv1.KindPod, Name: holder, UID: types.UID("pod-" + holder)},
		},
		Status: konductorv1.ClaimStatus{Phase: konductorv1.ClaimPending},
	}
	prefix := "lease-"
	if kind == konductorv1.KindSemaphore {
		prefix = "semaphore-"
	}
	c.Name = prefix + target + "-" + holder
	c.UID = types.UID("uid-" + namespace + "-" + c.Name)
	if granted {
		c.Status.Phase = konductorv1.ClaimGranted
	}
	return c
}

// Arrival returns an arrival created that long ago.
func Arrival(namespace, barrier, participant string, ago time.Duration, failed bool, reason string) *konductorv1.Arrival {
	return &konductorv1.Arrival{
		ObjectMeta: newObjectMeta(namespace, fmt.Sprintf("%s-%x", barrier, participant), ago),
		Spec:       konductorv1.ArrivalSpec{Barrier: barrier, Participant: participant, Failed: failed, Reason: reason},
	}
}

// Event returns an event that happened that long ago.
func Event(namespace, kind, name string, ago time.Duration, warning bool, reason, message string) *corev1.Event {
	e := &corev1.Event{
		ObjectMeta:     newObjectMeta(namespace, fmt.Sprintf("%s.%d", name, ago), ago),
		InvolvedObject: corev1.ObjectReference{Kind: kind, Namespace: namespace, Name: name, APIVersion: "konductor.io/v1"},
		Type:           corev1.EventTypeNormal, Reason: reason, Message: message, LastTimestamp: timeAgo(ago), Count: 1,
	}
	e.UID = types.UID(fmt.Sprintf("event-%s-%s-%s-%d", namespace, name, reason, ago))
	if warning {
		e.Type = corev1.EventTypeWarning
	}
	return e
}

// Job returns a Job whose one container runs command; an Indexed one if completions isn't 0.
func Job(namespace, name string, completions int32, command ...string) *batchv1.Job {
	j := &batchv1.Job{ObjectMeta: newObjectMeta(namespace, name, 7*time.Minute), Status: batchv1.JobStatus{Active: 1}}
	if completions > 0 {
		j.Spec.Completions, j.Spec.CompletionMode = &completions, ptr.To(batchv1.IndexedCompletion)
	}
	j.Spec.Template.Spec.Containers = []corev1.Container{{Name: "main", Command: command}}
	return j
}

// Pod returns a Pod of a Job, or of none if job is nil.
func Pod(namespace, name string, job *batchv1.Job, index string, phase corev1.PodPhase) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: newObjectMeta(namespace, name, 6*time.Minute), Spec: corev1.PodSpec{NodeName: "node-1"}, Status: corev1.PodStatus{Phase: phase}}
	if job != nil {
		p.OwnerReferences = []metav1.OwnerReference{{APIVersion: "batch/v1", Kind: "Job", Name: job.Name, UID: job.UID, Controller: ptr.To(true)}}
		p.Spec.Containers = job.Spec.Template.Spec.Containers
	}
	if index != "" {
		p.Annotations = map[string]string{batchv1.JobCompletionIndexAnnotation: index}
	}
	return p
}

// FullDelta returns a Delta that lists all kinds, with these objects.
func FullDelta(objects ...metav1.Object) view.Delta {
	byKind := map[string][]metav1.Object{}
	for _, obj := range objects {
		kind := ""
		switch obj.(type) {
		case *konductorv1.Barrier:
			kind = konductorv1.KindBarrier
		case *konductorv1.Gate:
			kind = konductorv1.KindGate
		case *konductorv1.Lease:
			kind = konductorv1.KindLease
		case *konductorv1.Semaphore:
			kind = konductorv1.KindSemaphore
		case *konductorv1.Claim:
			kind = konductorv1.KindClaim
		case *konductorv1.Arrival:
			kind = konductorv1.KindArrival
		case *corev1.Event:
			kind = view.KindEvent
		case *corev1.Pod:
			kind = view.KindPod
		case *batchv1.Job:
			kind = view.KindJob
		}
		byKind[kind] = append(byKind[kind], obj)
	}
	var news view.Delta
	for _, kind := range append(view.WatchedKinds(), view.KindPod, view.KindJob) {
		news.Kinds = append(news.Kinds, view.KindDelta{Kind: kind, Replace: true, Upserted: byKind[kind]})
	}
	return news
}

// PipelineObjects returns a nightly pipeline half done: ten extracts arrive, transforms wait, a migration is blocked.
func PipelineObjects() []metav1.Object {
	const ns = "etl"
	extract := Job(ns, "extract", 10, "sh", "-c", "extract && koncli barrier arrive extracts-done")
	report := Job(ns, "report", 0, "koncli", "barrier", "arrive", "reviewed")
	objects := []metav1.Object{
		Barrier(ns, "extracts-done", 7, 0, 10, 0), Barrier(ns, "checks", 6, 1, 10, 8), Barrier(ns, "approved", 1, 0, 1, 0),
		Barrier(ns, "uploads", 3, 3, 5, 0), Barrier(ns, "reviewed", 0, 0, 2, 0),
		Gate(ns, "dependencies-ready", 1, "load", "validate"), Gate(ns, "cleanup", 2, "load", "report"),
		Lease(ns, "db-migration", "migrate-7c9f", 3*time.Minute+12*time.Second, 3), Lease(ns, "nightly-report", "", 0, 0),
		Semaphore(ns, "db-connections", 10, 0, "load-1", "load-2", "load-3", "load-4"), Semaphore(ns, "api-calls", 3, 12, "sync-a", "sync-b", "sync-c"),
		Semaphore(ns, "paused", 0, 4),
		extract, report,
		Claim(ns, konductorv1.KindLease, "db-migration", "migrate-7c9f", 3*time.Minute+12*time.Second, 0, true),
		Claim(ns, konductorv1.KindLease, "db-migration", "migrate-a", 3*time.Minute, 0, false),
		Claim(ns, konductorv1.KindLease, "db-migration", "migrate-b", 2*time.Minute, 5, false),
		Claim(ns, konductorv1.KindLease, "db-migration", "migrate-c", 90*time.Second, 0, false),
		Pod(ns, "migrate-7c9f", nil, "", corev1.PodRunning), Pod(ns, "migrate-a", nil, "", corev1.PodPending),
		Arrival(ns, "uploads", "job/upload-c", 4*time.Minute, true, "the bucket is gone"),
		Event(ns, konductorv1.KindBarrier, "approved", 2*time.Minute, false, konductorv1.EventOpened, "1 of 1 participants have arrived"),
		Event(ns, konductorv1.KindLease, "db-migration", 192*time.Second, false, konductorv1.EventGranted, "granted to migrate-7c9f, fencing token 4711"),
		Event(ns, konductorv1.KindBarrier, "uploads", 125*time.Second, true, konductorv1.EventFailed, "3 of 5 participants have arrived, 3 failed: the quorum of 5 can't be reached any more; last to fail: job/upload-c (the bucket is gone)"),
		Event(ns, konductorv1.KindSemaphore, "api-calls", 40*time.Second, false, konductorv1.EventGranted, "granted 1 permit to sync-a, fencing token 5000"),
		Event(ns, konductorv1.KindLease, "nightly-report", 5*time.Second, true, konductorv1.EventExpired, "the hold of report-1 has expired"),
	}
	for i := range 7 {
		index := fmt.Sprint(i)
		objects = append(objects, Arrival(ns, "extracts-done", "job/extract/"+index, time.Duration(7-i)*20*time.Second, false, ""),
			Pod(ns, "extract-"+index+"-x2x4z", extract, index, corev1.PodSucceeded))
	}
	return append(objects, Pod(ns, "extract-7-q8w1k", extract, "7", corev1.PodRunning), Pod(ns, "extract-8-mm3c9", extract, "8", corev1.PodPending))
}

// ManyObjects returns n primitives of all kinds in several namespaces, some with long names.
func ManyObjects(n int) []metav1.Object {
	var objects []metav1.Object
	for i := range n {
		ns := fmt.Sprintf("team-%d", i%5)
		switch i % 4 {
		case 0:
			objects = append(objects, Barrier(ns, fmt.Sprintf("stage-%04d", i), int32(i%11), 0, 10, 0))
		case 1:
			objects = append(objects, Gate(ns, fmt.Sprintf("gate-of-a-rather-long-name-%04d", i), i%3, "load", "validate", "report"))
		case 2:
			objects = append(objects, Lease(ns, fmt.Sprintf("lease-%04d", i), fmt.Sprintf("holder-%d", i), time.Duration(i)*time.Second, int32(i%7)))
		default:
			objects = append(objects, Semaphore(ns, fmt.Sprintf("semaphore-%04d", i), 3, int32(i%5), "a", "b"))
		}
	}
	return objects
}
