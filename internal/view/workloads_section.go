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

// DropKinds removes all objects of kinds that are not watched any more.
func (w *Store) DropKinds(kinds ...string) {
	for ref := range w.objects {
		if slices.Contains(kinds, ref.Kind) {
			delete(w.objects, ref)
		}
	}
	for _, kind := range kinds {
		delete(w.listedKinds, kind)
		delete(w.deniedMessages, kind)
	}
}

// addWorkloadsSection adds the Pods that take part in the object, and their Jobs or those that a gate waits for.
func (w *Store) addWorkloadsSection(d *Detail, now time.Time) {
	pods, jobs := w.relatedWorkloads(d.Row.Ref, now)
	for _, pod := range pods {
		if owner := konductorv1.ControllingJob(pod); owner != nil {
			jobs[owner.Name] = true
		}
	}
	s := Section{Title: "Related Pods and Jobs", Columns: []string{"OBJECT", "STATUS", "NODE", "AGE"}}
	for _, name := range sortedKeys(jobs) {
		if job, ok := w.objects[Ref{KindJob, d.Row.Namespace, name}].(*batchv1.Job); ok {
			s.Lines = append(s.Lines, Line{Cells: []string{"job/" + name, jobStatusText(job), "", FormatAge(job.CreationTimestamp.Time, now)}, Severity: jobSeverity(job)})
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return cmp.Compare(a.Name, b.Name) })
	for _, pod := range slices.Compact(pods) {
		s.Lines = append(s.Lines, Line{
			Cells: []string{"pod/" + pod.Name, podStatusText(pod), cmp.Or(pod.Spec.NodeName, "none"), FormatAge(pod.CreationTimestamp.Time, now)}, Severity: podSeverity(pod),
		})
	}
	for _, kind := range []string{KindPod, KindJob} {
		if denied := w.DeniedMessage(kind); denied != "" {
			s.Footnote = denied
		}
	}
	d.addSection(s)
}

// relatedWorkloads returns the Pods of an object's participants, and the names of the Jobs.
func (w *Store) relatedWorkloads(ref Ref, now time.Time) (pods []*corev1.Pod, jobs map[string]bool) {
	jobs = map[string]bool{}
	addPod := func(name string) {
		if pod, ok := w.objects[Ref{KindPod, ref.Namespace, name}].(*corev1.Pod); ok {
			pods = append(pods, pod)
		}
	}
	addBound := func(bound *konductorv1.BoundObject) {
		switch {
		case bound == nil:
		case bound.Kind == konductorv1.KindJob:
			jobs[bound.Name] = true
		default:
			addPod(bound.Name)
		}
	}
	for _, c := range w.claimsByTarget[ref] {
		addBound(c.Spec.BoundTo)
	}
	for _, a := range w.arrivalsByBarrier[ref] {
		addBound(a.Spec.BoundTo)
		if kind, name, _ := parseParticipant(a.Spec.Participant); kind == "job" {
			jobs[name] = true
		}
	}
	switch o := w.objects[ref].(type) {
	case *konductorv1.Barrier:
		for _, m := range w.missingParticipants(o, w.sortedArrivals(ref), now) {
			if kind, name, _ := parseParticipant(m.participant); kind == "job" {
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
	return append(pods, w.podsOfJobs(ref.Namespace, jobs)...), jobs
}

// podsOfJobs returns the Pods controlled by Jobs of those names.
func (w *Store) podsOfJobs(namespace string, jobs map[string]bool) (pods []*corev1.Pod) {
	if len(jobs) == 0 {
		return nil
	}
	for ref, obj := range w.objects {
		pod, ok := obj.(*corev1.Pod)
		if !ok || ref.Namespace != namespace {
			continue
		}
		owner := metav1.GetControllerOf(pod)
		if owner == nil || !jobs[owner.Name] {
			continue
		}
		if job, ok := w.objects[Ref{KindJob, namespace, owner.Name}].(*batchv1.Job); ok && metav1.IsControlledBy(pod, job) {
			pods = append(pods, pod)
		}
	}
	return pods
}

// podStatusText returns a Pod's status, much as kubectl get prints it.
func podStatusText(pod *corev1.Pod) string {
	switch {
	case pod.DeletionTimestamp != nil:
		return "Terminating"
	case pod.Status.Reason != "":
		return pod.Status.Reason
	}
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodScheduled && c.Status == corev1.ConditionFalse {
			return joinNonEmpty("Pending: not scheduled", c.Message)
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

func podSeverity(pod *corev1.Pod) Severity {
	switch {
	case pod.Status.Phase == corev1.PodSucceeded:
		return SeverityMuted
	case pod.Status.Phase == corev1.PodFailed, strings.Contains(podStatusText(pod), ": "):
		return SeverityError
	default:
		return SeverityNone
	}
}

// jobStatusText returns a Job's status.
func jobStatusText(job *batchv1.Job) string {
	if state := job.Labels[konductorv1.HeldLabel]; state != "" && job.Spec.Suspend != nil && *job.Spec.Suspend {
		return "Held: " + state
	}
	for _, c := range job.Status.Conditions {
		if c.Status == corev1.ConditionTrue && (c.Type == batchv1.JobComplete || c.Type == batchv1.JobFailed || c.Type == batchv1.JobSuspended) {
			return joinNonEmpty(string(c.Type), strings.TrimSuffix(c.Reason, "Job"+string(c.Type)))
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

func jobSeverity(job *batchv1.Job) Severity {
	for _, c := range job.Status.Conditions {
		switch {
		case c.Status != corev1.ConditionTrue:
		case c.Type == batchv1.JobFailed:
			return SeverityError
		case c.Type == batchv1.JobComplete:
			return SeverityMuted
		}
	}
	return SeverityNone
}

func sortedKeys(set map[string]bool) []string {
	var keys []string
	for key := range set {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
