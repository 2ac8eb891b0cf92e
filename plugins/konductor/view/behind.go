package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	konductorv1 "github.com/LogicIQ/konductor/apis/v1"
)

// Forget drops all objects of a kind, which are not followed any more.
func (w *World) Forget(kinds ...string) {
	for ref := range w.objects {
		if slices.Contains(kinds, ref.Kind) {
			delete(w.objects, ref)
		}
	}
	for _, kind := range kinds {
		delete(w.known, kind)
		delete(w.denied, kind)
	}
}

// behind adds the Pods that take part in the object, and the Jobs that they belong to or that a gate waits for.
func (w *World) behind(d *Detail, now time.Time) {
	pods, jobs := w.involved(d.Row.Ref, now)
	for _, pod := range pods {
		if owner := metav1.GetControllerOf(pod); owner != nil && owner.Kind == KindJob {
			jobs[owner.Name] = true
		}
	}
	s := Section{Title: "Pods and Jobs behind", Columns: []string{"OBJECT", "HOW IT IS", "NODE", "AGE"}}
	for _, name := range sortedKeys(jobs) {
		if job, ok := w.objects[Ref{KindJob, d.Row.Namespace, name}].(*batchv1.Job); ok {
			s.Lines = append(s.Lines, Line{Cells: []string{"job/" + name, jobIs(job), "", Age(job.CreationTimestamp.Time, now)}, Mood: jobMood(job)})
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	for _, pod := range slices.Compact(pods) {
		s.Lines = append(s.Lines, Line{
			Cells: []string{"pod/" + pod.Name, podIs(pod), cmp.Or(pod.Spec.NodeName, "none"), Age(pod.CreationTimestamp.Time, now)}, Mood: podMood(pod),
		})
	}
	for _, kind := range []string{KindPod, KindJob} {
		if denied := w.Denied(kind); denied != "" {
			s.More = denied
		}
	}
	d.section(s)
}

// involved returns the Pods and the names of the Jobs that an object speaks of.
func (w *World) involved(ref Ref, now time.Time) (pods []*corev1.Pod, jobs map[string]bool) {
	jobs = map[string]bool{}
	addPod := func(name string) {
		if pod, ok := w.objects[Ref{KindPod, ref.Namespace, name}].(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	for _, c := range w.claims[ref] {
		if c.Spec.BoundTo != nil {
			addPod(c.Spec.BoundTo.Name)
		}
	}
	for _, a := range w.arrived[ref] {
		if a.Spec.BoundTo != nil {
			addPod(a.Spec.BoundTo.Name)
		}
		if kind, name, _ := participantParts(a.Spec.Participant); kind == "job" {
			jobs[name] = true
		}
	}
	switch o := w.objects[ref].(type) {
	case *konductorv1.Barrier:
		for _, m := range w.missingAt(o, w.arrivalsAt(ref), now) {
			if kind, name, _ := participantParts(m.participant); kind == "job" {
				jobs[name] = true
			} else {
				addPod(name)
			}
		}
	case *konductorv1.Gate:
		for _, c := range o.Spec.Conditions {
			if c.Type == konductorv1.GateOnJob && c.Namespace == "" {
				jobs[c.Name] = true
			}
		}
	}
	for name := range jobs {
		if job, ok := w.objects[Ref{KindJob, ref.Namespace, name}].(*batchv1.Job); ok {
			pods = append(pods, w.podsOf(job)...)
		}
	}
	return pods, jobs
}

// podsOf returns the Pods of a Job.
func (w *World) podsOf(job *batchv1.Job) []*corev1.Pod {
	var pods []*corev1.Pod
	for ref, obj := range w.objects {
		if pod, ok := obj.(*corev1.Pod); ok && ref.Namespace == job.Namespace && metav1.IsControlledBy(pod, job) {
			pods = append(pods, pod)
		}
	}
	return pods
}

// podIs says how a Pod is, much as kubectl get does.
func podIs(pod *corev1.Pod) string {
	switch {
	case pod.DeletionTimestamp != nil:
		return "Terminating"
	case pod.Status.Reason != "":
		return pod.Status.Reason
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return join("Pending: not scheduled", c.Message)
		}
	}
	for _, s := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		if waiting := s.State.Waiting; waiting != nil && waiting.Reason != "" && waiting.Reason != "PodInitializing" && waiting.Reason != "ContainerCreating" {
			return string(pod.Status.Phase) + ": " + waiting.Reason
		}
	}
	for i, s := range pod.Status.InitContainerStatuses {
		if s.State.Running != nil && (s.Started == nil || !*s.Started || pod.Status.Phase == corev1.PodPending) {
			return fmt.Sprintf("Init:%d/%d (%s)", i, len(pod.Status.InitContainerStatuses), s.Name)
		}
	}
	return cmp.Or(string(pod.Status.Phase), "Pending")
}

func podMood(pod *corev1.Pod) Mood {
	switch {
	case pod.Status.Phase == corev1.PodSucceeded:
		return Dim
	case pod.Status.Phase == corev1.PodFailed, strings.Contains(podIs(pod), ": "):
		return Bad
	default:
		return Plain
	}
}

// jobIs says how a Job is.
func jobIs(job *batchv1.Job) string {
	for _, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed || c.Type == batchv1.JobSuspended) {
			return join(string(c.Type), strings.TrimSuffix(c.Reason, "Job"+string(c.Type)))
		}
	}
	if job.Status.Active == 0 && job.Status.Succeeded == 0 && job.Status.Failed == 0 {
		return "no pod yet"
	}
	words := fmt.Sprintf("%d active", job.Status.Active)
	if job.Status.Succeeded > 0 {
		words += fmt.Sprintf(", %d succeeded", job.Status.Succeeded)
	}
	if job.Status.Failed > 0 {
		words += fmt.Sprintf(", %d failed", job.Status.Failed)
	}
	return words
}

func jobMood(job *batchv1.Job) Mood {
	for _, c := range job.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobFailed:
			return Bad
		case c.Type == batchv1.JobComplete:
			return Dim
		}
	}
	return Plain
}

func sortedKeys(set map[string]bool) []string {
	var keys []string
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
